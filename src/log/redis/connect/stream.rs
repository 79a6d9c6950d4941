//! A connection whose bytes we read ourselves: TCP or TLS to a server that was found before, signed in.
//!
//! Promises: signed in and in the right database when it is returned, within [`CONNECT_MAX`]; it is trusted, and trusts,
//! as the connections of the `redis` crate beside it, and speaks RESP2.
//! Not here: finding the server; what is asked on it (`pages`).

use std::sync::Arc;

use ::redis::RedisError;
use bytes::BytesMut;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    super::{
        address::{Address, Host, Tls},
        resp::{self, Token},
        trouble::{Kind, Trouble, classify, refused},
    },
    CONNECT_MAX, LinkError, read_file,
};

/// Bytes in both directions.
pub(in crate::log::redis) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection to a server.
pub(in crate::log::redis) type Stream = Box<dyn Duplex>;

/// Connects to one server and signs in.
///
/// # Errors
/// [`LinkError`]: as [`connect`](super::connect).
pub(in crate::log::redis) async fn stream(address: &Address, host: &Host) -> Result<Stream, LinkError> {
    let opened = timeout(CONNECT_MAX, async {
        let tcp = TcpStream::connect((&*host.name, host.port)).await.map_err(lost)?;
        tcp.set_nodelay(true).map_err(lost)?;
        let mut stream: Stream = match &address.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(host.name.clone()).map_err(wrong)?;
                let connector = TlsConnector::from(Arc::new(config(tls)?));
                Box::new(connector.connect(name, tcp).await.map_err(lost)?)
            }
        };
        greet(&mut stream, address).await?;
        Ok(stream)
    });
    let late = || Trouble::new(Kind::TimedOut, format!("no connection within {} s", CONNECT_MAX.as_secs()));
    let opened = opened.await.unwrap_or_else(|_| Err(late()));
    opened.map_err(|trouble| LinkError { at: host.to_string(), trouble })
}

/// A command as Redis reads it.
pub(in crate::log::redis) fn command(words: &[&str]) -> Vec<u8> {
    let head = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().fold(head, |mut out, word| {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        out
    })
}

/// What breaks a connection.
pub(in crate::log::redis) fn lost(error: std::io::Error) -> Trouble {
    classify(&RedisError::from(error))
}

fn wrong(error: impl std::fmt::Display) -> Trouble {
    Trouble::new(Kind::BadSetup, error.to_string())
}

/// Says who we are, and which database is meant.
async fn greet(stream: &mut Stream, address: &Address) -> Result<(), Trouble> {
    let mut commands = Vec::new();
    // A name alone signs in nobody.
    if let Some(password) = &address.credentials.password {
        let user = address.credentials.user.as_deref().unwrap_or("default");
        commands.push(command(&["AUTH", user, password]));
    }
    if address.db != 0 {
        commands.push(command(&["SELECT", &address.db.to_string()]));
    }
    for command in commands {
        stream.write_all(&command).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        let mut answer = BytesMut::new();
        loop {
            match resp::token(&answer, 0).map_err(|odd| Trouble::new(Kind::Other, odd.0))? {
                Some((Token::Error(line), _)) => return Err(refused(&answer[line])),
                Some(_) => break,
                None if stream.read_buf(&mut answer).await.map_err(lost)? == 0 => {
                    return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Trusts whom the address names, else whom this machine trusts. Files are read every time, as in `connect`.
fn config(tls: &Tls) -> Result<ClientConfig, Trouble> {
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, Trouble> {
        CertificateDer::pem_slice_iter(&read_file(path)?).collect::<Result<_, _>>().map_err(wrong)
    };
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => certificates(ca)?.into_iter().try_for_each(|ca| roots.add(ca)).map_err(wrong)?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    match &tls.own {
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read_file(key)?).map_err(wrong)?;
            config.with_client_auth_cert(certificates(cert)?, key).map_err(wrong)
        }
        None => Ok(config.with_no_client_auth()),
    }
}
