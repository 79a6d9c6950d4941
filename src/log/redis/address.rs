//! Where the log's Redis is, as one line of configuration: a server, a cluster, or a master that sentinels know.
//!
//! ```text
//! redis://[user:password@]host[:6379][/db]                            rediss:// for TLS
//! redis+cluster://[user:password@]host[:6379],host…                   rediss+cluster://
//! redis+sentinel://[user:password@]host[:26379],host…/master[/db]     rediss+sentinel://
//!
//! ?ns=NAME                                what the keys begin with
//! &sentinel_user=…&sentinel_password=…    who we are to the sentinels
//! &ca=FILE&cert=FILE&key=FILE             TLS: who signed the server's certificate; our own, and its key
//! ```
//! Promises: nothing that prints an [`Address`], and no error about one, shows a password.
//! Not here: reaching it (`connect`).

use std::{fmt, path::PathBuf};

/// Where Redis listens if nobody says.
const PORT: u16 = 6379;
/// Where a sentinel does.
const SENTINEL_PORT: u16 = 26379;
/// Before every key, so that others can share the server.
const NAMESPACE: &str = "antiphon";
/// Far more than anybody runs; bounds how long a look around may take.
const HOSTS_MAX: usize = 16;
/// Stands in every key.
const NAMESPACE_BYTES_MAX: usize = 64;

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How to find the server.
    pub route: Route,
    /// How to speak TLS, with sentinels too; absent: not at all.
    pub tls: Option<Tls>,
    /// Who we are to the server.
    pub credentials: Credentials,
    /// The database; 0 in a cluster.
    pub db: u16,
    /// What every key begins with.
    pub namespace: String,
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who signed the server's certificate, if not somebody whom this machine trusts anyway.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for a server that wants to see one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How to find the server that has the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It is this one.
    Server(Host),
    /// Any of these nodes knows.
    Cluster(Vec<Host>),
    /// Any of these sentinels knows the master of this name.
    Sentinel {
        /// At least one.
        sentinels: Vec<Host>,
        /// What they call it.
        master: String,
        /// Who we are to them.
        credentials: Credentials,
    },
}

/// A host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name or address; IPv6 without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// Name and password, either of which may be absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; absent for the default one.
    pub user: Option<String>,
    /// Never printed.
    pub password: Option<String>,
}

impl Address {
    /// Reads an address as the module header shows it. Name and password may be percent-encoded.
    ///
    /// # Errors
    /// A sentence that says what to write; it never quotes what may hold a password.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.trim().split_once("://").ok_or("has no scheme; write redis://HOST:6379")?;
        let (tls, kind) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", kind) => (false, kind),
            ("rediss", kind) => (true, kind),
            _ => return Err(wrong_scheme()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold a `/` that nobody encoded, a path holds no `@`.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let query = Query::parse(query)?;
        if kind != "sentinel" && query.sentinel != Credentials::default() {
            return Err("sentinel_user and sentinel_password belong to redis+sentinel://".into());
        }
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let mut hosts = hosts.split(',').map(|host| Host::parse(host, port)).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err(format!("names {} hosts; {HOSTS_MAX} are enough to discover the others", hosts.len()));
        }
        let (route, db) = match kind {
            "" if hosts.len() > 1 => {
                return Err("names several hosts; write redis+cluster://… or redis+sentinel://…/MASTER".into());
            }
            "" => (Route::Server(hosts.remove(0)), path),
            "cluster" if !path.is_empty() && path != "0" => {
                return Err("names a database; a cluster has only 0, so leave it out".into());
            }
            "cluster" => (Route::Cluster(hosts), ""),
            "sentinel" => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                let master = decode(master)?;
                if master.is_empty() {
                    return Err(
                        "names no master; write redis+sentinel://HOST:26379/MASTER as the sentinels call it".into()
                    );
                }
                (Route::Sentinel { sentinels: hosts, master, credentials: query.sentinel }, db)
            }
            _ => return Err(wrong_scheme()),
        };
        let db = match db {
            "" => 0,
            db => db.parse().map_err(|_| "has a database that is not a number; write redis://HOST:6379/0")?,
        };
        let credentials = login.map(Credentials::parse).transpose()?.unwrap_or_default();
        let own = match (query.cert, query.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => return Err("names one of cert and key; they belong together".into()),
        };
        if !tls && (query.ca.is_some() || own.is_some()) {
            return Err("names files for TLS; write rediss:// to speak it".into());
        }
        let tls = tls.then_some(Tls { ca: query.ca, own });
        Ok(Address { route, tls, credentials, db, namespace: query.namespace.unwrap_or_else(|| NAMESPACE.into()) })
    }

    /// The name of a key of a partition. All keys of a partition share the hash tag and so one slot of a cluster.
    pub fn key(&self, partition: u8, rest: &str) -> String {
        format!("{}:{rest}", self.tag(partition))
    }

    /// What the keys of a partition begin with.
    fn tag(&self, partition: u8) -> String {
        format!("{{{}:{partition}}}", self.namespace)
    }

    /// `text` as it may be shown: an address without its passwords, and what cannot be read as one without all that
    /// may be a password.
    pub fn shown(text: &str) -> String {
        match (Address::parse(text), text.split_once("://")) {
            (Ok(address), _) => address.to_string(),
            (Err(_), Some((scheme, _))) => format!("{scheme}://***"),
            (Err(_), None) if text.contains(['@', ':']) => "***".into(),
            (Err(_), None) => text.to_owned(),
        }
    }
}

fn wrong_scheme() -> String {
    "has an unknown scheme; write redis://, rediss://, redis+cluster:// or redis+sentinel://".into()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, hosts, master) = match &self.route {
            Route::Server(host) => ("", std::slice::from_ref(host), None),
            Route::Cluster(hosts) => ("+cluster", &hosts[..], None),
            Route::Sentinel { sentinels, master, .. } => ("+sentinel", &sentinels[..], Some(master)),
        };
        let hosts: Vec<_> = hosts.iter().map(Host::to_string).collect();
        write!(
            f,
            "redis{}{kind}://{}{}",
            if self.tls.is_some() { "s" } else { "" },
            self.credentials,
            hosts.join(",")
        )?;
        if let Some(master) = master {
            write!(f, "/{master}")?;
        }
        if self.db != 0 {
            write!(f, "/{}", self.db)?;
        }
        // The files are of no interest to a reader of messages.
        if self.namespace != NAMESPACE { write!(f, "?ns={}", self.namespace) } else { Ok(()) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl Host {
    fn parse(text: &str, port: u16) -> Result<Host, String> {
        let (name, given) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("has an address that begins with `[` and lacks the `]`")?,
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match given.strip_prefix(':').unwrap_or(given) {
            "" => port,
            // Not quoted: without an `@` it may be a password.
            given => given.parse().map_err(|_| "has a port that is not a number; write HOST:6379")?,
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if name.is_empty() || port == 0 || !name.chars().all(fits) {
            return Err("has no host, or one that is no name; write redis://HOST:6379".into());
        }
        Ok(Host { name: name.into(), port })
    }
}

impl fmt::Display for Credentials {
    /// With the `@`, if there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, &self.password) {
            (None, None) => Ok(()),
            (user, None) => write!(f, "{}@", user.as_deref().unwrap_or_default()),
            (user, Some(_)) => write!(f, "{}:***@", user.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Credentials {
    fn parse(login: &str) -> Result<Credentials, String> {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Ok(Credentials { user: some(user)?, password: some(password)? })
    }
}

/// The part after the `?`.
#[derive(Default)]
struct Query {
    namespace: Option<String>,
    sentinel: Credentials,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Query {
    fn parse(text: &str) -> Result<Query, String> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "ns" => query.namespace = some(value)?,
                "sentinel_user" => query.sentinel.user = some(value)?,
                "sentinel_password" => query.sentinel.password = some(value)?,
                "ca" => query.ca = some(value)?.map(PathBuf::from),
                "cert" => query.cert = some(value)?.map(PathBuf::from),
                "key" => query.key = some(value)?.map(PathBuf::from),
                _ => return Err("has an unknown parameter after `?`; known are ns, ca, cert, key, sentinel_user and sentinel_password, and a `?` in a password is written %3F".into()),
            }
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        match &query.namespace {
            Some(ns) if ns.len() > NAMESPACE_BYTES_MAX || !ns.chars().all(fits) => {
                Err(format!("has an invalid namespace; ns must have 1-{NAMESPACE_BYTES_MAX} of A-Z a-z 0-9 - _ . :"))
            }
            _ => Ok(query),
        }
    }
}

fn some(text: &str) -> Result<Option<String>, String> {
    decode(text).map(|text| Some(text).filter(|text| !text.is_empty()))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let broken = || "has a `%` that is not followed by two hex digits; a `%` itself is written %25".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || (rest.next()? as char).to_digit(16);
        match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                _ => return Err(broken()),
            },
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn every_form_is_read_and_shown_without_its_passwords() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://h:1/", "redis://h:1"),
            ("rediss://h:1/3", "rediss://h:1/3"),
            ("redis://:hush@h", "redis://:***@h:6379"),
            ("redis://me@h", "redis://me@h:6379"),
            ("redis://me:hu%2Fs%40h/@h:1?ns=a-b.c:d", "redis://me:***@h:1?ns=a-b.c:d"),
            ("redis://[::1]:7", "redis://[::1]:7"),
            ("redis+cluster://a,b:2,[::1]", "redis+cluster://a:6379,b:2,[::1]:6379"),
            ("rediss+cluster://u:hush@a:1/0", "rediss+cluster://u:***@a:1"),
            ("redis+sentinel://a,b:2/the-log", "redis+sentinel://a:26379,b:2/the-log"),
            (
                "redis+sentinel://u:hush@a/m/4?sentinel_user=s&sentinel_password=hush2&ns=x",
                "redis+sentinel://u:***@a:26379/m/4?ns=x",
            ),
        ] {
            let address = parse(text);
            assert_eq!(address.to_string(), shown, "{text}");
            let debug = format!("{address:?}");
            assert!(!debug.contains("hush") && !Address::shown(text).contains("hu"), "{debug}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_used() {
        let address = parse("redis://m%20e:p%40s%2fs%3a@h/2?ns=x");
        let login = Credentials { user: Some("m e".into()), password: Some("p@s/s:".into()) };
        assert_eq!((address.credentials, address.db, address.tls), (login, 2, None));
        let own = Some(("/c".into(), "/k".into()));
        assert_eq!(parse("rediss://h?ca=/a&cert=/c&key=%2fk").tls, Some(Tls { ca: Some("/a".into()), own }));
        assert_eq!(parse("rediss://h").tls, Some(Tls::default()));
        let Route::Sentinel { master, credentials, .. } =
            parse("rediss+sentinel://a/m%201?sentinel_password=p%26").route
        else {
            panic!("a sentinel's")
        };
        assert_eq!((master.as_str(), credentials.password.as_deref()), ("m 1", Some("p&")));
        assert_eq!(parse("redis://h").key(0, "log"), "{antiphon:0}:log");
        assert_eq!(parse("redis://h?ns=x").key(7, "work:bot:5"), "{x:7}:work:bot:5");
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write_and_without_what_may_be_a_password() {
        for (text, word) in [
            ("redis", "redis://HOST"),
            ("http://h", "redis+sentinel://"),
            ("redis+ring://h", "redis+cluster://"),
            ("redis://", "no host"),
            ("redis://:hush", "no"),
            ("redis://user:hush", "not a number"),
            ("redis://u:hush@h:0", "no host"),
            ("redis://u:hush@h/x", "database"),
            ("redis://u:hush@a,b", "redis+cluster://"),
            ("redis+cluster://u:hush@a/1", "leave it out"),
            ("redis+sentinel://u:hush@a", "MASTER"),
            ("redis://u:hush%@h", "%25"),
            ("redis://u:hush%e9@h", "%25"),
            ("redis://u:hush?h", "%3F"),
            ("redis://u:hush@h?db=1", "%3F"),
            ("redis://u:hush@h?ns={x}", "invalid namespace"),
            ("redis://u:hush@h?sentinel_user=x", "redis+sentinel://"),
            ("redis://u:hush@h?ca=/a", "rediss://"),
            ("rediss://u:hush@h?cert=/a", "belong together"),
            ("redis://[::1", "lacks"),
            ("redis://hu sh", "no name"),
        ] {
            let why = Address::parse(text).expect_err(text);
            assert!(why.contains(word) && !why.contains("hu") && !why.contains('\n'), "{text}: {why}");
            assert!(!Address::shown(text).contains("hu"), "{text}");
        }
    }
}
