//! The server that a command talks to, and the client it uses.

use reqwest::Url;

pub(super) use crate::client::{After, Backoff, Client, Failure};
use crate::{client::Servers, config::SERVER};

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(long, value_name = "URL", env = SERVER, default_value = "http://127.0.0.1:8080", value_parser = base)]
    pub(super) server: Url,
}

/// A URL to which paths can be appended; `http://` may be omitted.
pub(super) fn base(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("not a server's address such as http://127.0.0.1:8080".into()),
    }
}

impl From<&Server> for Servers {
    fn from(server: &Server) -> Servers {
        Servers::from(server.server.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_address_may_lack_the_scheme() {
        assert_eq!(base("127.0.0.1:80").unwrap().as_str(), "http://127.0.0.1/");
        assert_eq!(base("https://h/under/").unwrap().as_str(), "https://h/under/");
        assert!(base("ftp://h").is_err() && base("").is_err());
    }
}
