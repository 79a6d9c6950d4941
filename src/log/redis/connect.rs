//! Reaches the master that has the log: directly, through a cluster's slots, or through sentinels.
//!
//! Promises: ends within [`LOOK_MAX`] (and [`CONNECT_MAX`] for one server); what it returns speaks RESP3, which notices
//! a lost connection even when idle; `TCP_NODELAY` and keepalive are on.
//! All keys of a partition lie in one slot, so one ordinary connection is enough in a cluster too.
//! Not here: connecting again (that is the keeper's), whether the server is fit for a log (`facts`).

use std::{fs, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection,
    cmd,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio_util::sync::CancellationToken;

use super::{
    address::{Address, Credentials, Host, Route, Tls},
    trouble::{Kind, Trouble, classify},
};

mod stream;
pub(super) use self::stream::{Stream, command, lost, stream};

/// For one server: name, TCP, TLS and greeting. A healthy one on the same continent takes a tenth of it.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// For finding the master and connecting, however many sentinels or nodes are silent.
pub const LOOK_MAX: Duration = Duration::from_secs(10);
/// A sentinel or node that knows the way says it at once.
const ASK_MAX: Duration = Duration::from_secs(2);
/// Idle this long, the system asks whether the other side still lives; firewalls forget after minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// The partition whose keys lie where we connect; the only one in this version.
const PARTITION: u8 = 0;

/// A connection to the master.
#[derive(Clone)]
pub struct Connected {
    /// To be given away and dropped, never repaired: it does not connect again.
    pub connection: MultiplexedConnection,
    /// Host and port of the master in use.
    pub at: String,
    /// The same, to connect to it once more.
    pub host: Host,
    /// Cancelled when the connection ends, even while nothing is asked on it.
    pub ended: CancellationToken,
}

/// Why there is no connection. As text: who, what, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{at}: {trouble}")]
pub struct LinkError {
    /// Host and port, or the address of the whole.
    pub at: String,
    /// What is wrong.
    pub trouble: Trouble,
}

/// Connects to the master that has the log's keys.
///
/// `response_timeout` bounds every command on the connection; for one that blocks it must be longer than that.
/// Cost: one connection (server), two (cluster), or one for each sentinel asked and one more.
///
/// # Errors
/// [`LinkError`]: no way was found; it may be there later.
pub async fn connect(address: &Address, response_timeout: Duration) -> Result<Connected, LinkError> {
    let look = async {
        match &address.route {
            Route::Server(host) => open(address, host, response_timeout).await,
            Route::Cluster(nodes) => in_cluster(address, nodes, response_timeout).await,
            Route::Sentinel { sentinels, master, credentials } => {
                by_sentinel(address, sentinels, master, credentials, response_timeout).await
            }
        }
    };
    tokio::time::timeout(LOOK_MAX, look).await.unwrap_or_else(|_| {
        let said = format!("nothing found within {} s", LOOK_MAX.as_secs());
        Err(LinkError { at: address.to_string(), trouble: Trouble::new(Kind::TimedOut, said) })
    })
}

/// The slot of a cluster in which a key lies: CRC-16 (XMODEM) of the hash tag if there is one, else of the key.
///
/// Source: Redis Cluster specification, "Key distribution model".
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let crc = tag.filter(|tag| !tag.is_empty()).unwrap_or(key).bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| crc << 1 ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 })
    });
    crc % SLOTS
}

/// Asks each node in turn for the one that has the slot.
async fn in_cluster(address: &Address, nodes: &[Host], response_timeout: Duration) -> Result<Connected, LinkError> {
    let slot = slot(&address.key(PARTITION, ""));
    let mut last = None;
    for node in nodes {
        let asked = async {
            let mut asked = open(address, node, ASK_MAX).await?;
            let ranges: Vec<Value> = ask(&mut asked, cmd("CLUSTER").arg("SLOTS")).await?;
            let owner = ranges
                .iter()
                .find_map(|range| owner(range, slot, node))
                .ok_or_else(|| no_master(&asked.at, format!("no node has slot {slot}, which holds the log's keys")))?;
            open(address, &owner, response_timeout).await
        };
        match asked.await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_master(&address.to_string(), "there is no node to ask".into())))
}

/// The master of a range of `CLUSTER SLOTS`, `[first, last, [host, port, …], …]`, if the slot is in it.
fn owner(range: &Value, slot: u16, asked: &Host) -> Option<Host> {
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_sequence()? else { return None };
    if !(*first..=*last).contains(&i64::from(slot)) {
        return None;
    }
    let [name, Value::Int(port), ..] = &master[..] else { return None };
    // A node that does not know its own name leaves it empty or as `?`: it is the one we reached.
    let name = String::from_redis_value_ref(name).ok().filter(|name| !name.is_empty() && name != "?");
    Some(Host { name: name.unwrap_or_else(|| asked.name.clone()), port: u16::try_from(*port).ok()? })
}

/// Asks each sentinel in turn for the master, until one names a server that is it.
async fn by_sentinel(
    address: &Address,
    sentinels: &[Host],
    master: &str,
    credentials: &Credentials,
    response_timeout: Duration,
) -> Result<Connected, LinkError> {
    let to_sentinel = Address { credentials: credentials.clone(), db: 0, ..address.clone() };
    let mut last = None;
    for sentinel in sentinels {
        let asked = async {
            let mut asked = open(&to_sentinel, sentinel, ASK_MAX).await?;
            let named: Option<(String, u16)> =
                ask(&mut asked, cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master)).await?;
            let Some((name, port)) = named else {
                return Err(no_master(&asked.at, format!("the sentinel knows no master `{master}`")));
            };
            let mut found = open(address, &Host { name, port }, response_timeout).await?;
            // Sentinels may be late; the server itself knows best.
            let role: Vec<Value> = ask(&mut found, &cmd("ROLE")).await?;
            match role.first().map(String::from_redis_value_ref) {
                Some(Ok(role)) if role == "master" => Ok(found),
                _ => Err(no_master(&found.at, "the sentinel calls it the master, but it is a replica".into())),
            }
        };
        match asked.await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_master(&address.to_string(), "there is no sentinel to ask".into())))
}

fn no_master(at: &str, said: String) -> LinkError {
    LinkError { at: at.into(), trouble: Trouble::new(Kind::NoMaster, said) }
}

async fn ask<T: FromRedisValue>(connected: &mut Connected, command: &redis::Cmd) -> Result<T, LinkError> {
    let asked = command.query_async(&mut connected.connection).await;
    asked.map_err(|error| LinkError { at: connected.at.clone(), trouble: classify(&error) })
}

/// One connection to one server.
async fn open(address: &Address, host: &Host, response_timeout: Duration) -> Result<Connected, LinkError> {
    let at = host.to_string();
    let ended = CancellationToken::new();
    let on_push = {
        let ended = ended.clone();
        move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.cancel();
            }
            Ok::<(), ()>(())
        }
    };
    let config = AsyncConnectionConfig::new()
        .set_push_sender(on_push)
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(response_timeout));
    let opened = async {
        let client = client(address, host)?;
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| classify(&error))
    };
    match opened.await {
        Ok(connection) => Ok(Connected { connection, at, host: host.clone(), ended }),
        Err(trouble) => Err(LinkError { at, trouble }),
    }
}

fn client(address: &Address, host: &Host) -> Result<Client, Trouble> {
    let (name, port) = (host.name.clone(), host.port);
    let addr = match &address.tls {
        None => ConnectionAddr::Tcp(name, port),
        Some(_) => ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None },
    };
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let mut redis = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("antiphon", env!("CARGO_PKG_VERSION"))
        .set_db(i64::from(address.db));
    if let Some(user) = &address.credentials.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &address.credentials.password {
        redis = redis.set_password(password);
    }
    let wrong = |error: RedisError| Trouble::new(Kind::BadSetup, error.to_string());
    let info = addr.into_connection_info().map_err(wrong)?.set_tcp_settings(tcp).set_redis_settings(redis);
    match &address.tls {
        None => Client::open(info).map_err(wrong),
        Some(tls) => {
            // The process has one provider of cryptography; a second try to set it changes nothing.
            let _first = rustls::crypto::ring::default_provider().install_default();
            Client::build_with_tls(info, certificates(tls)?).map_err(wrong)
        }
    }
}

/// Reads the files, every time: certificates are renewed while a server runs.
fn certificates(tls: &Tls) -> Result<TlsCertificates, Trouble> {
    let client_tls = match &tls.own {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read_file(cert)?, client_key: read_file(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_deref().map(read_file).transpose()? })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(|e| Trouble::new(Kind::BadSetup, format!("cannot read {}: {e}", path.display())))
}

#[cfg(test)]
mod tests;
