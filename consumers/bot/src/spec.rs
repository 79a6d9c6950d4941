//! Which model: its name in settings, where its server is, and what is used when nobody chose.
//!
//! ```text
//! builtin            needs nothing
//! ollama:NAME        NAME as `ollama list` shows it, e.g. ollama:llama3.2:3b
//! openai:NAME        NAME as the server calls it, e.g. openai:gpt-4o-mini
//! ```
//!
//! Not here: reading the environment (the configuration's business; it hands in [`Endpoints`]).

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use reqwest::{Client, Url};
use serde::{Deserialize, Serialize, de};

use crate::{
    builtin::Builtin,
    model::Model,
    ollama::{self, Ollama},
    openai::{self, OpenAi},
    shape::Known,
};

/// Where an Ollama is if nobody says otherwise.
const OLLAMA_URL: &str = "http://127.0.0.1:11434";
const OLLAMA_PORT: u16 = 11434;
/// Where `OPENAI_API_KEY` alone leads.
const OPENAI_URL: &str = "https://api.openai.com/v1";
/// An Ollama on this machine lists its models within a few ms; a start must not wait for one that is not there.
const DISCOVER_OLLAMA_MAX: Duration = Duration::from_millis(300);
/// The same for a server that may be far away; a start takes a second at most.
const DISCOVER_OPENAI_MAX: Duration = Duration::from_millis(600);
/// Taken from a list that has them, in this order: small, quick, cheap.
const PREFERRED: [&str; 4] = ["gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini", "gpt-3.5-turbo"];
/// Words in the names of models that do not converse.
const NOT_FOR_TALK: [&str; 11] =
    ["embed", "bge-", "minilm", "rerank", "whisper", "tts", "dall-e", "image", "moderation", "transcribe", "realtime"];

/// A model by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelSpec {
    /// The one that needs nothing.
    Builtin,
    /// A model on an Ollama server.
    Ollama(String),
    /// A model on an OpenAI-compatible server.
    OpenAi(String),
}

/// Why a model's name or address cannot be used, and what can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSpec(pub String);

impl FromStr for ModelSpec {
    type Err = BadSpec;
    fn from_str(text: &str) -> Result<ModelSpec, BadSpec> {
        match text.split_once(':') {
            None if text == "builtin" => Ok(ModelSpec::Builtin),
            Some(("ollama", name)) if is_name(name) => Ok(ModelSpec::Ollama(name.into())),
            Some(("openai", name)) if is_name(name) => Ok(ModelSpec::OpenAi(name.into())),
            _ => Err(BadSpec(format!("`{text}` is not a model: use `builtin`, `ollama:NAME` or `openai:NAME`"))),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelSpec::Builtin => f.write_str("builtin"),
            ModelSpec::Ollama(name) => write!(f, "ollama:{name}"),
            ModelSpec::OpenAi(name) => write!(f, "openai:{name}"),
        }
    }
}

impl Serialize for ModelSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ModelSpec, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl ModelSpec {
    /// The model, ready to be asked; nothing is sent yet. `pace`: the pause between the built-in model's words; `known`: how
    /// its server wants to be asked.
    pub fn build(&self, endpoints: &Endpoints, client: &Client, pace: Duration, known: Known) -> Arc<dyn Model> {
        match self {
            ModelSpec::Builtin => Arc::new(Builtin::new(pace)),
            ModelSpec::Ollama(name) => Arc::new(Ollama::new(client.clone(), endpoints.ollama_url.clone(), name, known)),
            ModelSpec::OpenAi(name) => {
                let key = endpoints.openai_api_key.as_deref();
                Arc::new(OpenAi::new(client.clone(), endpoints.openai_url(), key, name, known))
            }
        }
    }
}

/// Where models are.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Ollama's address.
    pub ollama_url: Url,
    /// An OpenAI-compatible server, with its path (`…/v1` as a rule); absent: OpenAI's own.
    pub openai_base_url: Option<Url>,
    /// What it wants as a key.
    pub openai_api_key: Option<String>,
}

impl Endpoints {
    /// From the usual settings, each as people write it: `OLLAMA_HOST` may be a host, a port, both or an address,
    /// `OPENAI_BASE_URL` may lack its `/v1`. Empty ones count as absent.
    ///
    /// # Errors
    /// [`BadSpec`] names the setting that is not an address.
    pub fn new(
        ollama_host: Option<&str>,
        openai_base_url: Option<&str>,
        openai_api_key: Option<&str>,
    ) -> Result<Endpoints, BadSpec> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let address = |name: &str, text: &str| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            // Not with the text itself: an address may hold a password.
            url.ok_or_else(|| BadSpec(format!("`{name}` is not an address; it looks like `http://host:port`")))
        };
        let ollama_url = match given(ollama_host) {
            Some(host) => address("OLLAMA_HOST", &ollama_address(&host))?,
            None => address("OLLAMA_HOST", OLLAMA_URL)?,
        };
        let openai_base_url = match given(openai_base_url) {
            Some(text) => {
                let mut url = address("OPENAI_BASE_URL", &text)?;
                if url.path() == "/" {
                    url.set_path("/v1");
                }
                Some(url)
            }
            None => None,
        };
        Ok(Endpoints { ollama_url, openai_base_url, openai_api_key: given(openai_api_key) })
    }

    fn openai_url(&self) -> Url {
        self.openai_base_url.clone().unwrap_or_else(|| Url::parse(OPENAI_URL).expect("a constant address"))
    }
}

impl Default for Endpoints {
    fn default() -> Endpoints {
        Endpoints::new(None, None, None).expect("constant addresses")
    }
}

impl fmt::Debug for Endpoints {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("ollama_url", &crate::client::shown(&self.ollama_url))
            .field("openai_base_url", &self.openai_base_url.as_ref().map(crate::client::shown))
            .field("openai_api_key", &self.openai_api_key.as_ref().map(|_| "…"))
            .finish()
    }
}

/// An address out of `host`, `host:port`, `:port` or an address; "all interfaces" means this machine to a client.
fn ollama_address(host: &str) -> String {
    let (scheme, rest) = match host.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("http", host),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (name, port) = match authority.rsplit_once(':') {
        // The last colon of `[::1]` is no port's.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let name = if matches!(name, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { name };
    match port {
        Some(port) => format!("{scheme}://{name}:{port}{path}"),
        // An address without a port means that of its scheme, as for Ollama itself.
        None if host.contains("://") => format!("{scheme}://{name}{path}"),
        None => format!("{scheme}://{name}:{OLLAMA_PORT}{path}"),
    }
}

/// The model to use when nobody chose one: of an Ollama that is there and has one, else of an OpenAI-compatible server
/// that settings name; `None` means the built-in one. Takes about a second at most.
pub async fn discover(endpoints: &Endpoints, client: &Client) -> Option<ModelSpec> {
    let ollama = ollama::list(client, &endpoints.ollama_url, DISCOVER_OLLAMA_MAX).await.unwrap_or_default();
    if let Some(name) = ollama.into_iter().find(|name| is_name(name) && converses(name)) {
        return Some(ModelSpec::Ollama(name));
    }
    if endpoints.openai_api_key.is_none() && endpoints.openai_base_url.is_none() {
        return None;
    }
    let (base, key) = (endpoints.openai_url(), endpoints.openai_api_key.as_deref());
    let models = match openai::list(client, &base, key, DISCOVER_OPENAI_MAX).await {
        Ok(models) => models,
        Err(error) if endpoints.openai_base_url.is_some() => {
            tracing::warn!(%error, "`OPENAI_BASE_URL` is set, but no model is to be had there; choose one by `--model openai:NAME`");
            return None;
        }
        // OpenAI itself has these whether it can be reached just now or not.
        Err(_) => return Some(ModelSpec::OpenAi(PREFERRED[2].into())),
    };
    let preferred =
        PREFERRED.iter().find(|name| models.iter().any(|there| there == *name)).map(|name| name.to_string());
    preferred.or_else(|| models.into_iter().find(|name| is_name(name) && converses(name))).map(ModelSpec::OpenAi)
}

fn converses(name: &str) -> bool {
    let name = name.to_lowercase();
    !NOT_FOR_TALK.iter().any(|word| name.contains(word))
}

/// Whether `model` could answer now: what is there, or what is missing and how to mend it. For `doctor`.
///
/// # Errors
/// A sentence on what is missing and what to do.
pub async fn probe(model: &dyn Model) -> Result<String, String> {
    model.probe().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_written() {
        for name in ["builtin", "ollama:llama3.2:3b", "ollama:hf.co/x/y:Q4", "openai:gpt-4o-mini", "openai:org/model"] {
            let spec: ModelSpec = name.parse().unwrap();
            assert_eq!(spec.to_string(), name);
            assert_eq!(serde_json::from_str::<ModelSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
            assert_eq!(
                spec.build(&Endpoints::default(), &crate::http_client(), Duration::ZERO, Known::default()).name(),
                name
            );
        }
        for bad in ["", "llama3.2", "ollama", "ollama:", "openai:", "openai:a b", "builtin:x", "Builtin"] {
            assert!(bad.parse::<ModelSpec>().unwrap_err().0.contains("ollama:NAME"), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (host, expected) in [
            ("", "http://127.0.0.1:11434/"),
            ("0.0.0.0", "http://127.0.0.1:11434/"),
            (":8000", "http://127.0.0.1:8000/"),
            ("box", "http://box:11434/"),
            ("box:80", "http://box/"),
            ("http://box", "http://box/"),
            ("https://box/ollama/", "https://box/ollama/"),
            ("[::1]", "http://[::1]:11434/"),
            ("[::]:5000", "http://127.0.0.1:5000/"),
        ] {
            assert_eq!(Endpoints::new(Some(host), None, None).unwrap().ollama_url.as_str(), expected, "{host}");
        }
        for (base, expected) in [
            ("http://localhost:8000", "http://localhost:8000/v1"),
            ("http://localhost:8000/v1/", "http://localhost:8000/v1/"),
            ("https://host/openai/v2", "https://host/openai/v2"),
        ] {
            let endpoints = Endpoints::new(None, Some(base), None).unwrap();
            assert_eq!(endpoints.openai_url().as_str(), expected, "{base}");
        }
        for bad in ["localhost:8000", "ftp://host", "nonsense", "http://"] {
            assert!(Endpoints::new(None, Some(bad), None).unwrap_err().0.contains("OPENAI_BASE_URL"), "{bad}");
        }
        assert!(Endpoints::new(Some("a b"), None, None).unwrap_err().0.contains("OLLAMA_HOST"));
    }

    #[test]
    fn a_key_does_not_show_in_traces() {
        let endpoints = Endpoints::new(None, Some("http://u:secret@host"), Some("sk-secret")).unwrap();
        assert!(!format!("{endpoints:?}").contains("secret"));
    }
}
