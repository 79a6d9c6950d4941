//! A TCP proxy that fails when told to: it cuts connections in the middle of what they carry, in either direction, and
//! goes dark.
//!
//! ```text
//! client ──▶ up ──▶ server       a cut connection is cut on both sides, after a number of bytes in one direction;
//! client ◀── down ◀── server     in the dark nothing moves, and what was there when it ends is cut: so a router restarts
//! ```
//!
//! Promises: until the cut every byte passes, in order and unchanged; nothing is cut while it is [`Proxy::calm`].
//! Not here: anything of ours, or of HTTP.
#![allow(dead_code, reason = "each of the binaries that include it uses a part")]

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// After how many bytes a connection is cut, in one direction or the other; `None`: it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// From the client to the server: in the middle of a request.
    pub(crate) up: Option<u64>,
    /// From the server to the client: in the middle of an answer.
    pub(crate) down: Option<u64>,
}

/// Draws what becomes of the next connection.
type Draw = dyn FnMut() -> Cut + Send;

/// A proxy on a port of its own. Dropping it ends it and its connections.
pub(crate) struct Proxy {
    address: String,
    draw: Arc<Mutex<Box<Draw>>>,
    dark: watch::Sender<bool>,
    cuts: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy to this address, which need not be up, that passes everything on.
    pub(crate) async fn to(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let draw: Arc<Mutex<Box<Draw>>> = Arc::new(Mutex::new(Box::new(Cut::default)));
        let dark = watch::Sender::new(false);
        let (count, cuts) = watch::channel(0);
        let task = tokio::spawn(serve(listener, server.to_owned(), draw.clone(), dark.subscribe(), count));
        Proxy { address, draw, dark, cuts, task }
    }

    /// Where clients find it: host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// From now on each new connection is cut as this says.
    pub(crate) fn rough(&self, draw: impl FnMut() -> Cut + Send + 'static) {
        *self.draw.lock().expect("nobody panics with it") = Box::new(draw);
    }

    /// From now on new connections are not cut; those that are there keep their fate.
    pub(crate) fn calm(&self) {
        self.rough(Cut::default);
    }

    /// In the dark nothing moves in either direction; with the light come cuts of all that was there.
    pub(crate) fn dark(&self, dark: bool) {
        self.dark.send_replace(dark);
    }

    /// How many connections were cut so far.
    pub(crate) fn cuts(&self) -> u64 {
        *self.cuts.borrow()
    }
}

async fn serve(
    listener: TcpListener,
    server: String,
    draw: Arc<Mutex<Box<Draw>>>,
    dark: watch::Receiver<bool>,
    cuts: watch::Sender<u64>,
) {
    // Dropped with this task, which ends its connections, too.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let cut = (draw.lock().expect("nobody panics with it"))();
        connections.spawn(connection(client, server.clone(), cut, dark.clone(), cuts.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    mut client: TcpStream,
    server: String,
    cut: Cut,
    mut dark: watch::Receiver<bool>,
    cuts: watch::Sender<u64>,
) {
    let carried = async {
        let mut server = TcpStream::connect(server).await.ok()?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        // Whichever side ends first ends both: HTTP needs no half of a connection.
        tokio::select! {
            cut = pump(from_client, to_server, cut.up) => Some(cut),
            cut = pump(from_server, to_client, cut.down) => Some(cut),
        }
    };
    let was_cut = tokio::select! {
        // Looked at first: what the dark holds back must not pass because it was ready in the same moment.
        biased;
        () = async { let _ = dark.wait_for(|dark| *dark).await; } => {
            // Nothing is carried any more, and nobody is told, until it is light.
            let _ = dark.wait_for(|dark| !*dark).await;
            true
        }
        carried = carried => carried == Some(true),
    };
    if was_cut {
        cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Carries bytes until one side ends or so many have passed; true if it was the number.
async fn pump(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, cut_after: Option<u64>) -> bool {
    let mut left = cut_after;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let most = left.map_or(buffer.len(), |left| buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        if most == 0 {
            return true;
        }
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return false };
        if to.write_all(&buffer[..read]).await.is_err() {
            return false;
        }
        left = left.map(|left| left - read as u64);
    }
}
