//! Turns the layers into a [`Config`]: defaults for what is unset, and a sentence for what is invalid.
//!
//! Pure. Each bound comes with its reason.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use antiphon_bot::Shape;
use antiphon_kit::{Bounds, Filters};
use antiphon_schemas::{BotName, RoomName};

use super::{
    Bot, Clocks, Config, Error, FromFile, Layer, LogKind, LogText, REMOTE, RoomPattern, Secret, Sources, file::BotEntry,
};
use crate::log::redis::address::Address;

/// The usual alternative port of a web server, on loopback only.
const LISTEN: &str = "127.0.0.1:8080";
/// Where `ollama serve` listens unless told otherwise.
const OLLAMA_URL: &str = "http://127.0.0.1:11434";
/// A renewal may be lost twice before the lease ends.
const HEARTBEATS_PER_LEASE: u32 = 3;
/// Longer leases are renewed no less often: every 3 s is cheap.
const HEARTBEAT_MAX: Duration = Duration::from_secs(3);
/// It is part of consumers' names and of live events.
const NODE_BYTES_MAX: usize = 40;
/// As DNS has it.
const HOST_BYTES_MAX: usize = 253;
/// A bot's name if the file names none.
pub(super) const BOT_NAME: &str = "antiphon";
const BOT_COLOR: &str = "#5b8def";
const PERSONA: &str = "You are antiphon, a friendly companion in a chat room. Answer in the language in which you are \
    spoken to, briefly and plainly, like a person in a chat: one to three sentences unless more is asked for. If you do \
    not know something, say so.";

/// The range of each numeric setting, and its default.
struct Bound {
    key: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
}

const fn bound(key: &'static str, default: u64, range: RangeInclusive<u64>) -> Bound {
    Bound { key, default, range }
}

const DAY_S: u64 = 86_400;
// Smaller segments waste headers and file handles; larger ones slow down recovery's scan of the last one.
const SEGMENT_BYTES: Bound = bound("segment_bytes", 64 << 20, 1 << 20..=1 << 30);
// Below 100 ms a hiccup looks like a dead worker; above 10 min a dead one is noticed too late.
const LEASE_MS: Bound = bound("lease_ms", 10_000, 100..=600_000);
const MAX_AGE_S: Bound = bound("max_age_s", 3_600, 1..=365 * DAY_S);
const ATTEMPTS_MAX: Bound = bound("attempts_max", 5, 1..=100);
const RETRY_BASE_MS: Bound = bound("retry_base_ms", 1_000, 1..=DAY_S * 1_000);
const RETRY_MAX_MS: Bound = bound("retry_max_ms", 60_000, 1..=DAY_S * 1_000);
// About 200 bytes each in the queue projection.
const QUEUE_MAX: Bound = bound("queue_max", 10_000, 1..=1_000_000);
// A text goes into prompts and to every subscriber; the work protocol relies on 64 KiB too.
const TEXT_BYTES_MAX: Bound = bound("text_bytes_max", 16 << 10, 1..=64 << 10);
const RECENT_MESSAGES: Bound = bound("recent_messages", 500, 1..=10_000);
const ROOMS_IN_MEMORY: Bound = bound("rooms_in_memory", 1_024, 1..=1_000_000);
const SUBSCRIBERS_MAX: Bound = bound("subscribers_max", 10_000, 1..=1_000_000);
const PACE_MS: Bound = bound("pace_ms", 30, 0..=10_000);
const LOAD_S: Bound = bound("load_s", 300, 1..=DAY_S);
const FIRST_TOKEN_S: Bound = bound("first_token_s", 120, 1..=DAY_S);
const GAP_S: Bound = bound("gap_s", 60, 1..=DAY_S);
const TOTAL_S: Bound = bound("total_s", 600, 1..=DAY_S);
// More parallel replies than this need more than one node.
const SLOTS: Bound = bound("slots", 1, 1..=1_024);
const ANSWER_TOKENS: Bound = bound("answer.tokens", 2_048, 1..=1_000_000);
const ANSWER_SECONDS: Bound = bound("answer.seconds", 600, 1..=DAY_S);
// More than the longest answer that is taken from any model bounds nothing.
const ANSWER_BYTES: Bound = bound("answer.bytes", 65_536, 1..=antiphon_bot::REPLY_BYTES_MAX as u64);
// Less holds no conversation; no model holds more.
const CONTEXT_TOKENS: Bound = bound("context_tokens", 4_096, 256..=16_777_216);
// More would not fit into what one node keeps of a room.
const CONTEXT_MESSAGES: Bound = bound("context_messages", 20, 0..=500);

impl Bound {
    fn of(&self, given: Option<u64>) -> Result<u64, Error> {
        let value = given.unwrap_or(self.default);
        if self.range.contains(&value) {
            return Ok(value);
        }
        let (low, high) = (self.range.start(), self.range.end());
        Err(invalid(self.key, format!("{value} is out of range; use {low} to {high}")))
    }

    fn size(&self, given: Option<u64>) -> Result<usize, Error> {
        self.of(given).map(|v| usize::try_from(v).expect("every upper bound fits into 32 bits"))
    }

    fn ms(&self, given: Option<u64>) -> Result<Duration, Error> {
        self.of(given).map(Duration::from_millis)
    }

    fn s(&self, given: Option<u64>) -> Result<Duration, Error> {
        self.of(given).map(Duration::from_secs)
    }
}

fn invalid(key: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Invalid { key: key.into(), why: why.into() }
}

/// The configuration of the merged `layer` and the file's bots.
pub(super) fn check(
    layer: Layer,
    bots: Option<Vec<BotEntry>>,
    salvage: bool,
    sources: Sources,
) -> Result<Config, Error> {
    let listen = listen(layer.listen.as_deref().unwrap_or(LISTEN))?;
    let expose = layer.expose.unwrap_or(false);
    if !listen.ip().is_loopback() && !expose {
        let why = format!(
            "other machines can reach {listen}, and rooms have no access tokens yet; pass --expose to allow that, or \
             listen on 127.0.0.1:{}",
            listen.port()
        );
        return Err(invalid("listen", why));
    }
    let lease = LEASE_MS.ms(layer.lease_ms)?;
    let (retry_base, retry_max) = (RETRY_BASE_MS.ms(layer.retry_base_ms)?, RETRY_MAX_MS.ms(layer.retry_max_ms)?);
    if retry_base > retry_max {
        return Err(invalid("retry_base_ms", "is longer than retry_max_ms; it must not be"));
    }
    let clocks = Clocks {
        load: LOAD_S.s(layer.load_s)?,
        first_token: FIRST_TOKEN_S.s(layer.first_token_s)?,
        gap: GAP_S.s(layer.gap_s)?,
        total: TOTAL_S.s(layer.total_s)?,
    };
    for (key, part) in [("first_token_s", clocks.first_token), ("gap_s", clocks.gap)] {
        if part > clocks.total {
            return Err(invalid(key, "is longer than total_s, so it could never expire; lower it or raise total_s"));
        }
    }
    let model = layer.model.map(|m| model("model", &m)).transpose()?;
    Ok(Config {
        listen,
        expose,
        allow_host: layer.allow_host.unwrap_or_default().iter().map(|name| host(name)).collect::<Result<_, _>>()?,
        data: layer.data.unwrap_or_else(|| "./antiphon-data".into()),
        log: layer.log.map(log).transpose()?.unwrap_or_default(),
        node: layer.node.map(node).transpose()?,
        salvage,
        segment_bytes: SEGMENT_BYTES.of(layer.segment_bytes)?,
        lease,
        heartbeat: (lease / HEARTBEATS_PER_LEASE).min(HEARTBEAT_MAX),
        max_age: MAX_AGE_S.s(layer.max_age_s)?,
        attempts_max: u32::try_from(ATTEMPTS_MAX.of(layer.attempts_max)?).expect("bounded by 100"),
        retry_base,
        retry_max,
        queue_max: QUEUE_MAX.size(layer.queue_max)?,
        text_bytes_max: TEXT_BYTES_MAX.size(layer.text_bytes_max)?,
        recent_messages: RECENT_MESSAGES.size(layer.recent_messages)?,
        rooms_in_memory: ROOMS_IN_MEMORY.size(layer.rooms_in_memory)?,
        subscribers_max: SUBSCRIBERS_MAX.size(layer.subscribers_max)?,
        pace: PACE_MS.ms(layer.pace_ms)?,
        clocks,
        ollama_url: url("ollama_url", &ollama(layer.ollama_url.as_deref().unwrap_or(OLLAMA_URL)))?,
        openai_base_url: layer.openai_base_url.map(|u| url("openai_base_url", &u)).transpose()?,
        openai_api_key: layer.openai_api_key.map(|key| api_key(&key)).transpose()?,
        bots: self::bots(bots, model.as_deref())?,
        model,
        models: BTreeMap::new(),
        sources,
    })
}

/// An address and port; `localhost:PORT`, `:PORT` and `PORT` mean 127.0.0.1.
fn listen(text: &str) -> Result<SocketAddr, Error> {
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    let here = port.parse::<u16>().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    here.or_else(|_| text.parse())
        .map_err(|_| invalid("listen", format!("`{text}` is not an address and port such as {LISTEN} or [::1]:8080")))
}

fn host(text: &str) -> Result<String, Error> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if (1..=HOST_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(invalid(
        "allow_host",
        format!("`{text}` is not a host name; write it without scheme and port, e.g. chat.example.org"),
    ))
}

fn log(LogText(text): LogText) -> Result<LogKind, Error> {
    let shown = || Address::shown(&text);
    match text.trim() {
        "file" => Ok(LogKind::File),
        "memory" => Ok(LogKind::Memory),
        address if address.contains("://") => {
            let wrong = |why| invalid("log", format!("`{}` {why}", shown()));
            Address::parse(address).map(LogKind::Redis).map_err(wrong)
        }
        _ => Err(invalid("log", format!("unknown backend `{}`; use file, memory or redis://HOST:6379", shown()))),
    }
}

fn node(name: String) -> Result<String, Error> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=NODE_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(invalid("node", format!("`{name}` is not a valid node name; use 1-{NODE_BYTES_MAX} of a-z 0-9 -")))
}

/// `OLLAMA_HOST` may omit scheme and port, and may be an address to listen on.
fn ollama(text: &str) -> String {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let is_port = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => (name, port.to_owned()),
        _ if text.contains("://") => (host, if scheme == "https" { "443" } else { "80" }.to_owned()),
        _ => (host, "11434".to_owned()),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "[::1]",
        host => host,
    };
    format!("{scheme}://{host}:{port}{path}")
}

/// The URL without a slash at the end.
fn url(key: &str, text: &str) -> Result<String, Error> {
    let text = text.trim().trim_end_matches('/');
    let web = text.starts_with("http://") || text.starts_with("https://");
    match reqwest::Url::parse(text) {
        Ok(url) if web && url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(text.into()),
        _ => Err(invalid(key, format!("`{text}` is not a web address such as {OLLAMA_URL}"))),
    }
}

fn api_key(key: &Secret) -> Result<Secret, Error> {
    // Files that were written on Windows begin with a byte order mark.
    let text = key.expose().trim_start_matches('\u{feff}').trim();
    // Real servers take keys with spaces and letters of any language, and a header may carry them.
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(invalid(
            "openai_api_key",
            "is empty or contains characters that are not allowed in an HTTP header",
        ));
    }
    Ok(Secret::new(text))
}

/// The model, if valid.
fn model(key: &str, text: &str) -> Result<String, Error> {
    let named =
        |prefix: &str| text.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && !n.contains(char::is_whitespace));
    if text == "builtin" || text == REMOTE || named("ollama:") || named("openai:") {
        return Ok(text.into());
    }
    Err(invalid(
        key,
        format!("`{text}` is not a model; write builtin, ollama:NAME, openai:NAME, or remote for workers"),
    ))
}

fn bots(entries: Option<Vec<BotEntry>>, default_model: Option<&str>) -> Result<Vec<Bot>, Error> {
    let entries = entries.unwrap_or_else(|| {
        let (color, persona) = (Some(BOT_COLOR.into()), Some(PERSONA.into()));
        vec![BotEntry { name: BOT_NAME.into(), color, persona, ..BotEntry::default() }]
    });
    let mut bots: Vec<Bot> = Vec::new();
    for entry in entries {
        let bot = bot(entry, default_model)?;
        if bots.iter().any(|b| b.name.as_str().eq_ignore_ascii_case(bot.name.as_str())) {
            return Err(invalid("bots", format!("two are named `{}`; give each bot its own name", bot.name)));
        }
        bots.push(bot);
    }
    Ok(bots)
}

fn bot(entry: BotEntry, default_model: Option<&str>) -> Result<Bot, Error> {
    if entry.name.is_empty() {
        return Err(invalid("bots", "one has no `name`"));
    }
    let key = |key: &str| format!("bots.{}.{key}", entry.name);
    let name = BotName::new(&entry.name).map_err(|e| invalid("bots", format!("`{}`: {e}", entry.name)))?;
    for (list, strings) in [("filter_out", &entry.filter_out), ("trim_after", &entry.trim_after)] {
        if strings.iter().any(String::is_empty) {
            return Err(invalid(key(list), "contains an empty string, which would match everywhere; remove it"));
        }
    }
    let color = entry.color.clone();
    if let Some(other) = color.as_deref().filter(|color| !is_hex_color(color)) {
        return Err(invalid(key("color"), format!("`{other}` is not a hex colour; write it as `#80c0ff` or `#8cf`")));
    }
    let everywhere = ["*".to_owned()];
    let rooms = entry.rooms.as_deref().unwrap_or(&everywhere).iter().map(|r| room_pattern(&key("rooms"), r));
    let rooms = rooms.collect::<Result<_, _>>()?;
    let within = |given: Option<u64>, bound: &Bound| {
        bound.size(given).map_err(|e| match e {
            Error::Invalid { why, .. } => invalid(key(bound.key), why),
            other => other,
        })
    };
    Ok(Bot {
        name,
        color,
        persona: entry.persona.clone().unwrap_or_else(|| PERSONA.replace(BOT_NAME, &entry.name)),
        model: match &entry.model {
            Some(text) => Some(model(&key("model"), text)?),
            None => default_model.map(str::to_owned),
        },
        rooms,
        answers: entry.answers,
        slots: entry.slots.map(|n| within(Some(n), &SLOTS)).transpose()?,
        context_messages: within(entry.context_messages, &CONTEXT_MESSAGES)?,
        answer: {
            let Bounds { tokens, seconds, bytes } = entry.answer;
            within(tokens.map(u64::from), &ANSWER_TOKENS)?;
            within(seconds, &ANSWER_SECONDS)?;
            within(bytes.map(|bytes| bytes as u64), &ANSWER_BYTES)?;
            entry.answer
        },
        options: entry.options,
        filters: Filters {
            filter_out: entry.filter_out,
            trim_after: entry.trim_after,
            trim_whitespace: entry.trim_whitespace,
        },
    })
}

/// `#rgb` or `#rrggbb`, which every page reads in the same way.
fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn room_pattern(key: &str, text: &str) -> Result<RoomPattern, Error> {
    let wrong = || invalid(key, format!("`{text}` is neither a room name nor a prefix followed by `*`"));
    match text.strip_suffix('*') {
        Some("") => Ok(RoomPattern::Prefix(String::new())),
        // The prefix plus one letter is a valid room name exactly if the prefix can begin one.
        Some(prefix) => {
            RoomName::new(&format!("{prefix}x")).map(|_| RoomPattern::Prefix(prefix.into())).map_err(|_| wrong())
        }
        None => RoomName::new(text).map(RoomPattern::Exact).map_err(|_| wrong()),
    }
}

/// Merges the layers, highest first, and checks the result.
pub(super) fn merge(
    flags: Layer,
    env: Layer,
    file: FromFile,
    salvage: bool,
    sources: Sources,
) -> Result<Config, Error> {
    let models = shapes(file.models)?;
    check(flags.or(env).or(file.layer), file.bots, salvage, sources).map(|config| Config { models, ..config })
}

/// How models want to be asked, as the file says.
fn shapes(models: BTreeMap<String, Shape>) -> Result<BTreeMap<String, Shape>, Error> {
    for (name, shape) in &models {
        let key = |key: &str| format!("models.{name}.{key}");
        if !name.starts_with("ollama:") && !name.starts_with("openai:") {
            return Err(invalid(
                "models",
                format!("`{name}` is not a model with a server; write e.g. [models.\"openai:NAME\"]"),
            ));
        }
        model("models", name)?;
        if let Some(tokens) = shape.context_tokens {
            CONTEXT_TOKENS.of(Some(tokens.into())).map_err(|e| match e {
                Error::Invalid { why, .. } => invalid(key(CONTEXT_TOKENS.key), why),
                other => other,
            })?;
        }
    }
    Ok(models)
}
