//! A wire to a server that fails when told to: it loses an answer, keeps a request for later, or is cut.

use std::{
    collections::VecDeque,
    io::Write,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use super::{
    Reply,
    resp::{fill, parse},
    until,
};

/// A TCP proxy in front of a server on this machine.
#[derive(Debug)]
pub(crate) struct Wire {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: bool,
    refuses: bool,
    /// What the request holds whose answer gets lost.
    swallow: Option<String>,
    swallowed: usize,
    /// What a request holds that is kept for later, and all that come after it on its connection.
    hold: Option<String>,
    connections: Vec<Connection>,
}

/// One client's way to the server.
#[derive(Debug)]
struct Connection {
    id: usize,
    client: Option<TcpStream>,
    server: TcpStream,
    /// What becomes of the answers that are still to come, in their order.
    answers: VecDeque<Fate>,
    held: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Fate {
    Pass,
    Swallow,
    Keep(Arc<Mutex<Option<Reply>>>),
}

impl Wire {
    /// A wire to the server on this port of 127.0.0.1. It need not be up.
    pub(crate) fn to(server: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = wire.shared.clone();
        thread::spawn(move || {
            for (id, client) in listener.incoming().enumerate() {
                if lock(&shared).ended {
                    return;
                }
                let Ok(client) = client else { continue };
                // Dropping the client's end refuses it.
                if !lock(&shared).refuses
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", server))
                {
                    join(&shared, id, client, server);
                }
            }
        });
        wire
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// All is well again: nothing more is swallowed, held or refused. What is held stays so.
    pub(crate) fn pass(&self) {
        let mut shared = lock(&self.shared);
        (shared.refuses, shared.swallow, shared.hold) = (false, None, None);
    }

    /// The next request that holds `needle` reaches the server; when the server has answered it, its connection is cut
    /// and the answer is lost.
    pub(crate) fn swallow_next_answer(&self, needle: &str) {
        lock(&self.shared).swallow = Some(needle.into());
    }

    /// How many answers it has swallowed.
    pub(crate) fn swallowed(&self) -> usize {
        lock(&self.shared).swallowed
    }

    /// Requests that hold `needle` (empty: all), and what comes after them on the same connection, are kept.
    pub(crate) fn hold_requests(&self, needle: &str) {
        lock(&self.shared).hold = Some(needle.into());
    }

    /// How many requests are held.
    pub(crate) fn held(&self) -> usize {
        lock(&self.shared).connections.iter().map(|c| c.held.len()).sum()
    }

    /// Passes on what is held, whether or not its client is still there, and returns the server's answers.
    pub(crate) fn let_go(&self) -> Vec<Reply> {
        let mut answers = Vec::new();
        {
            let mut shared = lock(&self.shared);
            shared.hold = None;
            for connection in &mut shared.connections {
                for request in std::mem::take(&mut connection.held) {
                    let answer = Arc::new(Mutex::new(None));
                    connection.answers.push_back(Fate::Keep(answer.clone()));
                    connection.server.write_all(&request).unwrap();
                    answers.push(answer);
                }
            }
        }
        let answers =
            answers.into_iter().map(|answer| until("held requests are answered", || answer.lock().unwrap().take()));
        let answers = answers.collect();
        lock(&self.shared).sweep();
        answers
    }

    /// Cuts all connections now. Requests that are held stay so.
    pub(crate) fn cut(&self) {
        let mut shared = lock(&self.shared);
        shared.connections.iter_mut().for_each(Connection::lose_client);
        shared.sweep();
    }

    /// Takes no new connections; those that are there stay.
    pub(crate) fn refuse_new(&self) {
        lock(&self.shared).refuses = true;
    }

    /// Cuts all connections and takes no new ones.
    pub(crate) fn refuse(&self) {
        self.refuse_new();
        self.cut();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        {
            let mut shared = lock(&self.shared);
            shared.ended = true;
            for connection in &mut shared.connections {
                connection.held.clear();
                connection.lose_client();
            }
            shared.sweep();
        }
        // Wakes the thread that listens.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn connection(&mut self, id: usize) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// Ends connections without a client, unless they hold requests or wait for the answers to some.
    fn sweep(&mut self) {
        self.connections.retain(|c| {
            let waits = || !c.held.is_empty() || c.answers.iter().any(|fate| matches!(fate, Fate::Keep(_)));
            let stays = c.client.is_some() || waits();
            if !stays {
                let _gone = c.server.shutdown(Shutdown::Both);
            }
            stays
        });
    }

    /// Passes on or keeps a request.
    fn request(&mut self, id: usize, request: &[u8]) {
        let holds = |needle: &Option<String>| needle.as_ref().is_some_and(|n| contains(request, n.as_bytes()));
        let (swallow, hold) = (holds(&self.swallow), holds(&self.hold));
        let Some(connection) = self.connection(id) else { return };
        if hold || !connection.held.is_empty() {
            return connection.held.push(request.into());
        }
        connection.answers.push_back(if swallow { Fate::Swallow } else { Fate::Pass });
        let _server_gone = connection.server.write_all(request);
        if swallow {
            self.swallow = None;
        }
    }

    /// Passes on an answer, or does with it what was decided when its request came by.
    fn answer(&mut self, id: usize, reply: Reply, bytes: &[u8]) {
        let Some(connection) = self.connection(id) else { return };
        // Push messages of RESP3 answer nothing.
        let fate = if bytes[0] == b'>' { Fate::Pass } else { connection.answers.pop_front().unwrap_or(Fate::Pass) };
        if let Fate::Swallow = fate {
            connection.lose_client();
            self.swallowed += 1;
            return self.sweep();
        }
        if let Fate::Keep(kept) = fate {
            *kept.lock().unwrap() = Some(reply);
        }
        if let Some(client) = &mut connection.client {
            let _client_gone = client.write_all(bytes);
        }
    }
}

impl Connection {
    fn lose_client(&mut self) {
        if let Some(client) = self.client.take() {
            let _gone = client.shutdown(Shutdown::Both);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|w| w == needle)
}

fn join(shared: &Arc<Mutex<Shared>>, id: usize, client: TcpStream, server: TcpStream) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let connection = Connection { id, client: Some(client), server, answers: VecDeque::new(), held: Vec::new() };
    lock(shared).connections.push(connection);
    let there = shared.clone();
    thread::spawn(move || {
        frames(&mut from_client, |_, bytes| lock(&there).request(id, bytes));
        let mut shared = lock(&there);
        shared.connection(id).into_iter().for_each(Connection::lose_client);
        shared.sweep();
    });
    let back = shared.clone();
    thread::spawn(move || {
        frames(&mut from_server, |reply, bytes| lock(&back).answer(id, reply, bytes));
        let mut shared = lock(&back);
        if let Some(connection) = shared.connection(id) {
            connection.held.clear();
            connection.answers.clear();
            connection.lose_client();
        }
        shared.sweep();
    });
}

/// Takes what comes, frame by frame, to the end.
fn frames(from: &mut TcpStream, mut take: impl FnMut(Reply, &[u8])) {
    let mut buffer = Vec::new();
    while fill(from, &mut buffer).is_ok_and(|bytes| bytes > 0) {
        while let Some((reply, bytes)) = parse(&buffer) {
            take(reply, &buffer[..bytes]);
            buffer.drain(..bytes);
        }
    }
}
