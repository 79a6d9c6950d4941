//! One layer of settings: what the flags, the environment or the file set; the rest is absent.
//!
//! The same struct is the flags (clap), the keys of `antiphon.toml` (serde) and the `ANTIPHON_*` variables (`env`),
//! so each setting is named, typed and described once.
//! Not here: defaults and bounds (`check`).

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::log::redis::address::Address;

/// The value of `log` as written: it may contain a password, so it is displayed by [`Address::shown`], and only
/// `check`, whose messages quote no passwords, rejects it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct LogText(pub(super) String);

impl FromStr for LogText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<LogText, Infallible> {
        Ok(LogText(text.into()))
    }
}

impl Serialize for LogText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Address::shown(&self.0))
    }
}

impl fmt::Debug for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Address::shown(&self.0))
    }
}

/// Settings that only the command line has, and the layer of flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Configuration file [default: ./antiphon.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Open a log that is corrupt in the middle, continuing after the last entry that can be read
    #[arg(long)]
    pub salvage: bool,
    /// The other settings.
    #[command(flatten)]
    pub layer: Layer,
}

macro_rules! layer {
    ($($(#[$attribute:meta])* $name:ident: $type:ty,)*) => {
        /// Every setting, absent where this source does not set it. Documented in docs/configuration.md.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Layer {
            $($(#[$attribute])* pub $name: Option<$type>,)*
        }

        impl Layer {
            /// The names of all settings, as written in `antiphon.toml`.
            pub const KEYS: &[&str] = &[$(stringify!($name)),*];

            /// This layer's settings, and those of `lower` where this one has none.
            pub fn or(self, lower: Layer) -> Layer {
                Layer { $($name: self.$name.or(lower.$name),)* }
            }

            /// This layer reduced to one setting.
            pub fn only(&self, key: &str) -> Layer {
                Layer { $($name: if key == stringify!($name) { self.$name.clone() } else { None },)* }
            }

            /// The settings that this layer sets.
            pub fn set_keys(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$name.is_some() { keys.push(stringify!($name)); })*
                keys
            }
        }
    };
}

layer! {
    /// Address to listen on; `localhost:PORT`, or a port alone, works too [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Allow an address that other machines can reach. Rooms have no access tokens yet: anyone who reaches it can read and post
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    expose: bool,
    /// A host name by which others reach the server, e.g. chat.example.org; repeatable. Loopback names always work, IP
    /// addresses with --expose
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// Folder of the log, the index and the snapshots [default: ./antiphon-data]
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the log lives: file, memory, or for several nodes redis://HOST:6379 [default: file]
    #[arg(long, value_name = "WHERE")]
    log: LogText,
    /// This node's name among several [default: generated at the first start and kept in the data folder]
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Size of a log segment [default: 67108864]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    segment_bytes: u64,
    /// How long a claim stays valid without a heartbeat [default: 10000]
    #[arg(long, value_name = "MS", help_heading = "Work")]
    lease_ms: u64,
    /// Give up a message that has waited longer than this [default: 3600]
    #[arg(long, value_name = "S", help_heading = "Work")]
    max_age_s: u64,
    /// Attempts before a message is given up [default: 5]
    #[arg(long, value_name = "N", help_heading = "Work")]
    attempts_max: u64,
    /// Delay before the second attempt; doubled for each further one [default: 1000]
    #[arg(long, value_name = "MS", help_heading = "Work")]
    retry_base_ms: u64,
    /// Longest delay between two attempts [default: 60000]
    #[arg(long, value_name = "MS", help_heading = "Work")]
    retry_max_ms: u64,
    /// Messages that may wait for one bot; further ones get 503 [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    queue_max: u64,
    /// Longest text of a message [default: 16384]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    text_bytes_max: u64,
    /// Messages kept in memory per room [default: 500]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    recent_messages: u64,
    /// Rooms kept in memory [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    rooms_in_memory: u64,
    /// Open event streams; further clients are asked to retry later [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    subscribers_max: u64,
    /// Model of the bots that name none: builtin, ollama:NAME, openai:NAME, or remote for workers only [default: detected at
    /// startup]
    #[arg(long, value_name = "MODEL", help_heading = "Models")]
    model: String,
    /// Pause between the words of the built-in model, 0 for none [default: 30]
    #[arg(long = "pace", alias = "pace-ms", value_name = "MS", help_heading = "Models")]
    pace_ms: u64,
    /// Give up when a loading model makes no progress for this long [default: 300]
    #[arg(long, value_name = "S", help_heading = "Models")]
    load_s: u64,
    /// Longest wait for the first word after the model is loaded [default: 120]
    #[arg(long, value_name = "S", help_heading = "Models")]
    first_token_s: u64,
    /// Longest gap between two words [default: 60]
    #[arg(long, value_name = "S", help_heading = "Models")]
    gap_s: u64,
    /// Longest time for a whole answer, not counting loading [default: 600]
    #[arg(long, value_name = "S", help_heading = "Models")]
    total_s: u64,
    /// Where Ollama listens [default: http://127.0.0.1:11434]
    #[arg(long, value_name = "URL", help_heading = "Models")]
    ollama_url: String,
    /// Where an OpenAI-compatible server listens [default: https://api.openai.com/v1]
    #[allow(rustdoc::bare_urls, reason = "it is also the flag's help, where brackets would be seen")]
    #[arg(long, value_name = "URL", help_heading = "Models")]
    openai_base_url: String,
    /// Key for that server. Not a flag, because everyone on the machine can read a process's arguments
    #[arg(skip)]
    openai_api_key: Secret,
    /// File that holds the key for the OpenAI-compatible server
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    openai_api_key_file: PathBuf,
}
