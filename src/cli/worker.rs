//! `antiphon worker`: answer for a server's bots from this machine.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use antiphon_bot::{Breaker, Endpoints, Known, Model, ModelSpec, discover, http_client};
use antiphon_schemas::BotName;
use anyhow::Context;
use reqwest::Url;
use serde_json::Value;
use tracing::warn;

use super::{
    DONE, Usage,
    client::{Client, base},
    wait_for,
};
use crate::{
    client::{self, Servers},
    config::{self, Config, Env, Layer, REMOTE, SERVER, Secret, WORKER_KEY, slots_default},
    model, telemetry,
    worker::{self, Chosen, Settings},
};

/// The longest name of a worker.
const NAME_BYTES_MAX: usize = 128;
/// Where Linux keeps the host's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

const EXAMPLES: &str = "\
Examples:
  antiphon worker --server https://chat.example.org --bot helper=ollama:llama3.2
  antiphon worker --bot helper --bot poet=openai:gpt-4o-mini --slots 2     two bots of the server on this machine
  antiphon worker --server http://a:8080,http://b:8080 --bot helper        two nodes; an unavailable one is skipped
  antiphon worker --bot helper=ollama:qwen3 --option num_ctx=8192          set the context size to fit this GPU

The worker opens all connections itself, so it works behind NAT, and it survives restarts of the server. On another machine
it needs a key: run `antiphon key create --worker NAME --bots helper` on the server's machine, pass the key here in the
variable ANTIPHON_WORKER_KEY or in a file (--key-file), and use the same NAME as --name.

On Ctrl-C or SIGTERM it finishes the replies in progress (--grace-s); a second signal releases them at once. Exit code 1 if
the server rejects the key, the name or a bot. docs/workers.md has a systemd unit.";

/// Answer for a server's bots from this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Worker {
    /// The server's address; several, separated by commas, for nodes that share a log
    #[arg(long, value_name = "URL", env = SERVER, default_value = "http://127.0.0.1:8080", value_parser = base,
        value_delimiter = ',')]
    server: Vec<Url>,
    /// Bot to answer for, and its model: builtin, ollama:NAME or openai:NAME; detected if not given
    #[arg(long = "bot", value_name = "NAME[=MODEL]", value_parser = bot, required = true)]
    bots: Vec<BotArgument>,
    /// Replies to generate in parallel [default: 1 if one of the models is ollama:, else 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: Option<u16>,
    /// This worker's name in the log and in its key [default: the host name]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// File with the worker's key [or the variable ANTIPHON_WORKER_KEY]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long replies in progress may take after a signal
    #[arg(long, value_name = "S", default_value = "60")]
    grace_s: u64,
    /// Option for every model, overriding those of the bots, e.g. num_ctx=8192
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option, help_heading = "Models")]
    options: Vec<(String, Value)>,
    /// Pause between the words of the built-in model, 0 for none [default: 30]
    #[arg(long = "pace", alias = "pace-ms", value_name = "MS", help_heading = "Models")]
    pace_ms: Option<u64>,
    /// Give up when a loading model makes no progress for this long [default: 300]
    #[arg(long, value_name = "S", help_heading = "Models")]
    load_s: Option<u64>,
    /// Longest wait for the first word after the model is loaded [default: 120]
    #[arg(long, value_name = "S", help_heading = "Models")]
    first_token_s: Option<u64>,
    /// Longest gap between two words [default: 60]
    #[arg(long, value_name = "S", help_heading = "Models")]
    gap_s: Option<u64>,
    /// Longest time for a whole answer, not counting loading [default: 600]
    #[arg(long, value_name = "S", help_heading = "Models")]
    total_s: Option<u64>,
    /// Where Ollama listens [or OLLAMA_HOST; default: this machine]
    #[arg(long, value_name = "URL", help_heading = "Models")]
    ollama_url: Option<String>,
    /// Where an OpenAI-compatible server listens [or OPENAI_BASE_URL; default: OpenAI]
    #[arg(long, value_name = "URL", help_heading = "Models")]
    openai_base_url: Option<String>,
    /// File with the key for that server [or the variable OPENAI_API_KEY]
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    openai_api_key_file: Option<PathBuf>,
}

/// A bot as it is named on the command line.
#[derive(Debug, Clone, PartialEq)]
struct BotArgument {
    name: BotName,
    model: Option<ModelSpec>,
}

impl Worker {
    pub(super) fn start(self, env: &Env) -> anyhow::Result<u8> {
        telemetry::init(env).map_err(Usage)?;
        let key = self.key(env)?;
        wait_for(async move {
            let settings = self.settings(key, env).await?;
            worker::run(settings).await?;
            Ok(DONE)
        })
    }

    async fn settings(self, key: Option<Secret>, env: &Env) -> anyhow::Result<Settings> {
        if let Some(twice) =
            self.bots.iter().enumerate().find(|(n, bot)| self.bots[..*n].iter().any(|b| b.name == bot.name))
        {
            return Err(Usage(format!("--bot {} is given twice; a bot has one model", twice.1.name)).into());
        }
        let config = Config::of_models(self.layer(), env)?;
        config.sources.warnings.iter().for_each(|warning| warn!("{warning}"));
        let open = self.server.iter().find(|url| url.scheme() == "http" && !client::is_this_machine(url));
        if let (Some(server), true) = (open, key.is_some()) {
            warn!("the key is sent to {} unencrypted; use https", client::shown(server));
        }
        let (endpoints, http) = (model::endpoints(&config).map_err(|why| Usage(why.to_string()))?, http_client());
        let specs = specs(&self.bots, &config, &endpoints, &http).await?;
        let slots = specs.iter().map(|spec| slots_default(&spec.to_string())).min().unwrap_or(1);
        let mut shared: HashMap<String, (Arc<dyn Model>, Breaker)> = HashMap::new();
        let bots = self.bots.into_iter().zip(specs).map(|(bot, spec)| {
            // It has no folder to keep what it learns.
            let known = Known::default;
            let fresh = || (spec.build(&endpoints, &http, config.pace, known()), Breaker::new(rand::random()));
            let (model, breaker) = shared.entry(spec.to_string()).or_insert_with(fresh).clone();
            Chosen { name: bot.name, model, breaker }
        });
        let servers = Servers::new(self.server).ok_or_else(|| Usage("--server names no server".into()))?;
        Ok(Settings {
            server: servers.urls().iter().map(client::shown).collect::<Vec<_>>().join(", "),
            client: Client::new(servers)?.with_key(key),
            name: self.name.unwrap_or_else(|| host_name(env)).into(),
            bots: bots.collect(),
            clocks: model::clocks(&config),
            options: self.options.into_iter().collect(),
            slots: self.slots.map_or(slots, usize::from),
            grace: Duration::from_secs(self.grace_s),
        })
    }

    /// The key, from the file or the variable; never printed.
    fn key(&self, env: &Env) -> anyhow::Result<Option<Secret>> {
        let text = match (&self.key_file, env.get(WORKER_KEY)) {
            (Some(path), _) => fs::read_to_string(path)
                .with_context(|| format!("cannot read the key file {}; check the path", path.display()))?,
            (None, Some(text)) => text.clone(),
            (None, None) => return Ok(None),
        };
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            let why = "contains characters that are not allowed in an HTTP header; it is the one line that `antiphon key create` printed";
            return Err(Usage(format!("the worker's key {why}")).into());
        }
        match (text.is_empty(), &self.key_file) {
            (true, Some(path)) => Err(Usage(format!("the key file {} is empty", path.display())).into()),
            (true, None) => Ok(None),
            _ => Ok(Some(Secret::new(text))),
        }
    }

    fn layer(&self) -> Layer {
        Layer {
            pace_ms: self.pace_ms,
            load_s: self.load_s,
            first_token_s: self.first_token_s,
            gap_s: self.gap_s,
            total_s: self.total_s,
            ollama_url: self.ollama_url.clone(),
            openai_base_url: self.openai_base_url.clone(),
            openai_api_key_file: self.openai_api_key_file.clone(),
            ..Layer::default()
        }
    }
}

/// The model of every bot: as named, else the configured one, else what is detected.
async fn specs(
    bots: &[BotArgument],
    config: &Config,
    endpoints: &Endpoints,
    http: &reqwest::Client,
) -> Result<Vec<ModelSpec>, config::Error> {
    let invalid = |why: antiphon_bot::BadSpec| config::Error::Invalid { key: "model".into(), why: why.to_string() };
    let default = match &config.model {
        Some(name) if name != REMOTE => name.parse().map_err(invalid)?,
        _ if bots.iter().all(|bot| bot.model.is_some()) => ModelSpec::Builtin,
        _ => discover(endpoints, http).await.unwrap_or_else(|| {
            warn!("no model server found, so the built-in model answers; name a model with --bot NAME=MODEL");
            ModelSpec::Builtin
        }),
    };
    Ok(bots.iter().map(|bot| bot.model.clone().unwrap_or_else(|| default.clone())).collect())
}

fn bot(text: &str) -> Result<BotArgument, String> {
    let (name, model) = match text.split_once('=') {
        Some((name, model)) => (name, Some(model.parse::<ModelSpec>().map_err(|why| why.to_string())?)),
        None => (text, None),
    };
    let name = BotName::new(name).map_err(|why| format!("`{name}` is not a bot's name: {why}"))?;
    Ok(BotArgument { name, model })
}

fn name(text: &str) -> Result<String, String> {
    let fits = |b: u8| is_name(b) || b == b'/';
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.into());
    }
    Err(format!("use 1-{NAME_BYTES_MAX} of A-Z a-z 0-9 . _ ~ - /"))
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-')
}

/// The value as JSON, or as a string if it is not JSON.
fn option(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("write an option as NAME=VALUE, e.g. num_ctx=8192".into()),
    }
}

/// The host name as a worker's name.
fn host_name(env: &Env) -> String {
    let name = fs::read_to_string(HOST_NAME).ok().or_else(|| env.get("HOSTNAME").cloned()).unwrap_or_default();
    clean(name.trim())
}

fn clean(host: &str) -> String {
    let name: String =
        host.chars().map(|c| if c.is_ascii() && is_name(c as u8) { c } else { '-' }).take(NAME_BYTES_MAX).collect();
    if name.is_empty() { "worker".into() } else { name }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        worker: Worker,
    }

    fn parsed(line: &str) -> Result<Worker, String> {
        let line = ["worker"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(line).map(|line| line.worker).map_err(|why| why.to_string())
    }

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    async fn settings(line: &str) -> anyhow::Result<Settings> {
        parsed(line).unwrap().settings(None, &env(&[("ANTIPHON_MODEL", "openai:m")])).await
    }

    #[tokio::test]
    async fn bots_on_one_model_share_it_and_a_local_model_answers_one_at_a_time() {
        let two =
            settings("--server a:1,https://b --bot x --bot y=openai:m --bot z=builtin --option num_ctx=1 --option k=v")
                .await;
        let two = two.unwrap();
        let models: Vec<_> = two.bots.iter().map(|bot| (bot.name.as_str(), bot.model.name())).collect();
        assert_eq!(models, [("x", "openai:m"), ("y", "openai:m"), ("z", "builtin")]);
        assert!(Arc::ptr_eq(&two.bots[0].model, &two.bots[1].model));
        assert_eq!((two.slots, two.server.as_str(), two.grace.as_secs()), (4, "http://a:1, https://b", 60));
        assert_eq!(json!(two.options), json!({"num_ctx": 1, "k": "v"}));
        let one = settings("--bot x=ollama:m --bot y=builtin --name gpu/1 --grace-s 5").await.unwrap();
        assert_eq!((one.slots, &*one.name, one.grace.as_secs()), (1, "gpu/1", 5));
        assert_eq!(settings("--bot x=ollama:m --slots 3").await.unwrap().slots, 3);
        let why = settings("--bot x --bot x=builtin").await.err().unwrap();
        assert!(why.is::<Usage>() && why.to_string().contains("--bot x is given twice"), "{why}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence() {
        for (line, word) in [
            ("", "--bot"),
            ("--bot x=gpt", "ollama:NAME"),
            ("--bot x/y", "bot's name"),
            ("--bot x --name a,b", "1-128"),
            ("--bot x --option num_ctx", "NAME=VALUE"),
            ("--bot x --slots 0", "1..=1024"),
            ("--bot x --server ftp://a", "server's address"),
            ("--bot x --listen a", "--listen"),
        ] {
            let why = parsed(line).map(|_| ()).unwrap_err();
            assert!(why.contains(word), "{line}: {why}");
        }
    }

    #[test]
    fn the_key_comes_from_file_or_variable_and_the_file_takes_precedence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "sk-file\n").unwrap();
        let with_file = format!("--bot x --key-file {}", file.display());
        let key = |line: &str, value: &str| {
            parsed(line).unwrap().key(&env(&[(WORKER_KEY, value)])).map(|key| key.map(|key| key.expose().to_owned()))
        };
        assert_eq!(key("--bot x", " sk-env ").unwrap().as_deref(), Some("sk-env"));
        assert_eq!(key(&with_file, "sk-env").unwrap().as_deref(), Some("sk-file"));
        assert_eq!(key("--bot x", "").unwrap(), None);
        for (line, value) in [("--bot x", "sk-a sk-b"), ("--bot x --key-file /no/such/file", "")] {
            let why = format!("{:#}", key(line, value).unwrap_err());
            assert!(!why.contains("sk-") && !why.contains('\n'), "{why}");
        }
        fs::write(&file, "").unwrap();
        assert!(key(&with_file, "sk-env").unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn a_hosts_name_is_made_a_workers() {
        assert_eq!(clean("gpu-box.lan"), "gpu-box.lan");
        assert_eq!(clean("Annas Büchse/2"), "Annas-B-chse-2");
        assert_eq!(clean(""), "worker");
        assert!(name(&clean(&"x".repeat(500))).is_ok() && name("").is_err());
    }
}
