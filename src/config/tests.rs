//! The configuration seen from outside: sources and their order, what is refused and how, and that all is documented.

use std::fs;

use clap::Args;

use super::*;

const EXAMPLE: &str = include_str!("../../antiphon.example.toml");
const DOCS: &str = include_str!("../../docs/configuration.md");

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn load(flags: &str, env: &[(&str, &str)], file: &str) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), file).unwrap();
    let flags = <Cli as clap::Parser>::try_parse_from(["x"].into_iter().chain(flags.split_whitespace())).unwrap().flags;
    Config::load(&flags, &env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(), dir.path())
}

fn defaults() -> Config {
    load("", &[], "").unwrap()
}

#[track_caller]
fn refused(flags: &str, env: &[(&str, &str)], file: &str, words: &[&str]) {
    let why = load(flags, env, file).expect_err("refused").to_string();
    assert!(!why.contains('\n'), "one line: {why}");
    words.iter().for_each(|word| assert!(why.contains(word), "`{word}` is not in: {why}"));
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let (env, file) = (("ANTIPHON_LEASE_MS", "300"), "lease_ms = 200\nqueue_max = 7");
    assert_eq!(defaults().lease, Duration::from_secs(10));
    assert_eq!(load("", &[], file).unwrap().lease.as_millis(), 200);
    assert_eq!(load("", &[env], file).unwrap().lease.as_millis(), 300);
    let config = load("--lease-ms 400", &[env], file).unwrap();
    assert_eq!(config.lease.as_millis(), 400);
    assert_eq!(config.queue_max, 7);
    let said = |key: &str| (config.sources.set[key].value.to_string(), config.sources.set[key].from.clone());
    assert_eq!(said("lease_ms"), ("400".into(), "flag".into()));
    assert_eq!(said("queue_max"), ("7".into(), "file".into()));
    assert_eq!(config.sources.set.len(), 2);
    let config = load("", &[env, ("ANTIPHON_LEAS_MS", "1"), ("ANTIPHON_PORT", "tcp://10.0.0.1")], "").unwrap();
    assert_eq!(config.sources.set["lease_ms"].from, "ANTIPHON_LEASE_MS");
    assert!(config.sources.warnings[0].contains("did you mean ANTIPHON_LEASE_MS?"), "{:?}", config.sources.warnings);
    assert_eq!(config.sources.warnings.len(), 2);
}

#[test]
fn the_flags_that_others_rely_on_are_there() {
    let config = load(
        "--listen 127.0.0.1:0 --data /d --log memory --model ollama:llama3.2 --pace 0 --lease-ms 100 --max-age-s 1 \
         --expose --salvage",
        &[],
        "",
    )
    .unwrap();
    assert_eq!(config.listen.port(), 0);
    assert_eq!((config.data.to_str(), &config.log, config.pace), (Some("/d"), &LogKind::Memory, Duration::ZERO));
    assert_eq!((config.lease.as_millis(), config.heartbeat.as_micros()), (100, 33_333));
    assert_eq!((config.max_age.as_secs(), config.expose, config.salvage), (1, true, true));
    assert_eq!(config.model.as_deref(), Some("ollama:llama3.2"));
    assert_eq!(config.bots[0].model.as_deref(), Some("ollama:llama3.2"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    refused("", &[], "\n\nlisen = 1", &["antiphon.toml line 3", "`lisen`", "did you mean `listen`?"]);
    refused("", &[], "lease-ms = 1", &["did you mean `lease_ms`?"]);
    refused("", &[], "colour = 1", &["line 1", "unknown key `colour`", "docs/configuration.md"]);
    refused("", &[], "[[bots]]\nname='a'\ncolour='b'", &["line 3", "in [[bots]]", "did you mean `color`?"]);
    refused("", &[], "[[bots]]\nname='a'\nlisten='b'", &["`listen`", "top of the file"]);
    refused("", &[], "persona = 'p'", &["belongs under [[bots]]"]);
    refused("", &[], "[server]\nlisten = ''", &["unknown key `server`"]);
    refused("", &[], "listen = 5", &["line 1", "string"]);
    refused("", &[], "a = \nb = 2", &["line 1"]);
    refused("--config /no/such/file", &[], "", &["/no/such/file", "cannot read"]);
}

#[test]
fn values_that_make_no_sense_are_refused_with_a_sentence() {
    refused("--listen 0.0.0.0:80", &[], "", &["--expose", "no access tokens", "127.0.0.1:80"]);
    refused("--listen nowhere", &[], "", &["`nowhere`", "127.0.0.1:8080"]);
    for no_name in ["https://chat.example", "chat.example:80", "chat/x", "[::1]"] {
        refused(&format!("--allow-host {no_name}"), &[], "", &["allow_host", no_name, "without scheme and port"]);
    }
    refused("--lease-ms 99", &[], "", &["lease_ms", "100 to 600000"]);
    refused("", &[("ANTIPHON_LEASE_MS", "soon")], "", &["ANTIPHON_LEASE_MS", "`soon`", "digit"]);
    refused(
        "",
        &[("ANTIPHON_LOG_BACKEND", "redis")],
        "",
        &["log: unknown backend `redis`", "file, memory or redis://HOST"],
    );
    refused("--node Node_1", &[], "", &["node: `Node_1`", "1-40"]);
    refused("", &[], "node = ''", &["node: ``"]);
    refused("", &[("ANTIPHON_LOG", "memory")], "", &["ANTIPHON_LOG_BACKEND=memory"]);
    refused("", &[], "log = 'redis'", &["unknown backend `redis`", "memory"]);
    refused("", &[], "log = 1", &["line 1", "string"]);
    refused("", &[], "queue_max = -1", &["line 1"]);
    refused("--model gpt", &[], "", &["`gpt`", "builtin, ollama:NAME, openai:NAME, or remote"]);
    refused("--model ollama:", &[], "", &["ollama:NAME"]);
    refused("--retry-base-ms 5 --retry-max-ms 4", &[], "", &["retry_base_ms", "retry_max_ms"]);
    refused("--gap-s 700", &[], "", &["gap_s", "total_s"]);
    refused("--text-bytes-max 65537", &[], "", &["text_bytes_max"]);
    refused("--ollama-url ftp://x", &[], "", &["ollama_url"]);
    refused("", &[], "[[bots]]\nname='a'\n[[bots]]\nname='A'", &["two are named `A`"]);
    refused("", &[], "[[bots]]\ncolor='a'", &["no `name`"]);
    for color in ["blue", "80c0ff", "#80c0f", "#80c0fg", "", "#é1"] {
        refused("", &[], &format!("[[bots]]\nname='a'\ncolor='{color}'"), &["bots.a.color", "`#80c0ff`"]);
    }
    refused("", &[], "[[bots]]\nname='a b'", &["`a b`"]);
    refused("", &[], "[[bots]]\nname='a'\ntrim_after=['']", &["bots.a.trim_after", "empty string"]);
    refused("", &[], "[[bots]]\nname='a'\nrooms=['a*b']", &["bots.a.rooms", "`a*b`"]);
    refused("", &[], "[[bots]]\nname='a'\nmodel='x'", &["bots.a.model"]);
    refused("", &[], "[[bots]]\nname='a'\nslots=0", &["bots.a.slots", "1 to 1024"]);
    refused("", &[], "[[bots]]\nname='a'\nanswers='some'", &["line 3", "addressed"]);
}

#[test]
fn a_setting_that_repeats_the_default_does_not_differ() {
    let key = ("OPENAI_API_KEY", "sk-1");
    let config =
        load("--lease-ms 10000 --listen 0.0.0.0:80 --expose --log file", &[key], "gap_s = 61\nbots = []").unwrap();
    let differs: Vec<_> = config.sources.set.iter().filter(|(_, s)| s.differs).map(|(key, _)| *key).collect();
    assert_eq!(differs, ["bots", "expose", "gap_s", "listen", "openai_api_key"]);
    assert_eq!(config.sources.set["openai_api_key"].value, "***");
    assert_eq!(config.sources.set["log"].value, "file");
}

#[test]
fn names_of_the_server_can_be_said_in_every_source() {
    let names = |flags: &str, env: &[(&str, &str)], file: &str| load(flags, env, file).unwrap().allow_host;
    let (env, file) = (("ANTIPHON_ALLOW_HOST", "b.example,c.example"), "allow_host = ['D.Example.', 'nas']");
    assert_eq!(names("--allow-host A.example --allow-host a2.example", &[env], file), ["a.example", "a2.example"]);
    assert_eq!(names("", &[env], file), ["b.example", "c.example"]);
    assert_eq!(names("", &[], file), ["d.example", "nas"]);
    assert!(defaults().allow_host.is_empty());
}

#[test]
fn expose_can_be_said_in_every_source() {
    let open = "--listen 0.0.0.0:80";
    assert!(load(open, &[("ANTIPHON_EXPOSE", "1")], "").unwrap().expose);
    assert!(load(open, &[], "expose = true").unwrap().expose);
    assert!(load(&format!("{open} --expose"), &[], "expose = false").unwrap().expose);
    refused(&format!("{open} --expose=false"), &[], "expose = true", &["--expose"]);
    assert!(load("--listen [::1]:80", &[], "").is_ok());
}

#[test]
fn a_port_alone_is_one_of_this_machine() {
    for port in ["localhost:8081", ":8081", "8081"] {
        assert_eq!(load(&format!("--listen {port}"), &[], "").unwrap().listen.to_string(), "127.0.0.1:8081");
    }
    assert_eq!(load("", &[], "listen = ':8081'").unwrap().listen.to_string(), "127.0.0.1:8081");
    for no_port in [":", ":65536", "::8081", "localhost"] {
        refused(&format!("--listen {no_port}"), &[], "", &["listen", no_port]);
    }
}

#[test]
fn ollama_host_may_lack_scheme_and_port() {
    for (given, url) in [
        ("", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        (":99", "http://127.0.0.1:99"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::1]:99", "http://[::1]:99"),
        ("[::]", "http://[::1]:11434"),
        ("http://box:1/", "http://box:1"),
        ("https://box/ollama", "https://box:443/ollama"),
    ] {
        assert_eq!(load("", &[("OLLAMA_HOST", given)], "").unwrap().ollama_url, url, "{given}");
    }
    let both = [("OLLAMA_HOST", "a"), ("ANTIPHON_OLLAMA_URL", "http://b:1")];
    assert_eq!(load("", &both, "").unwrap().ollama_url, "http://b:1");
}

#[test]
fn the_key_comes_from_variable_or_file_and_is_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, "sk-from-file\n").unwrap();
    let file = file.to_str().unwrap();
    let key = |flags: &str, env: &[(&str, &str)], toml: &str| {
        let config = load(flags, env, toml).unwrap();
        assert!(!format!("{config:?}").contains("sk-"), "{config:?}");
        config.openai_api_key.map(|k| k.expose().to_owned())
    };
    assert_eq!(key("", &[], ""), None);
    let toml = "openai_api_key = 'sk-toml'";
    assert_eq!(key("", &[], toml).as_deref(), Some("sk-toml"));
    assert_eq!(key("", &[("OPENAI_API_KEY", " sk-env ")], toml).as_deref(), Some("sk-env"));
    assert_eq!(key("", &[("OPENAI_API_KEY_FILE", file)], toml).as_deref(), Some("sk-from-file"));
    let ours_first = [("ANTIPHON_OPENAI_API_KEY_FILE", file), ("OPENAI_API_KEY", "sk-env")];
    assert_eq!(key("", &ours_first, "").as_deref(), Some("sk-from-file"));
    let env = [("OPENAI_API_KEY", "sk-env")];
    assert_eq!(key(&format!("--openai-api-key-file {file}"), &env, "").as_deref(), Some("sk-from-file"));
    for odd in ["two words", "q\"uo'te\\s", "%41$HOME`x`", "schl\u{fc}ssel-\u{20ac}-\u{1f511}"] {
        let key = load("", &[("OPENAI_API_KEY", odd)], "").unwrap().openai_api_key;
        assert_eq!(key.unwrap().expose(), odd);
    }
    fs::write(file, "\u{feff}sk-windows\r\n").unwrap();
    assert_eq!(key("", &[("OPENAI_API_KEY_FILE", file)], "").as_deref(), Some("sk-windows"));
    refused("", &[("OPENAI_API_KEY", "a\u{7}b")], "", &["openai_api_key", "header"]);
    refused("--openai-api-key-file /no/such/key", &[], "", &["/no/such/key"]);
    assert!(load("", &[("OPENAI_BASE_URL", "http://h:1/v1/")], "").unwrap().openai_base_url.unwrap().ends_with("/v1"));
}

#[test]
fn a_program_that_is_no_server_reads_the_settings_of_models_only() {
    let flags = Layer { pace_ms: Some(0), ollama_url: Some("box:1".into()), ..Layer::default() };
    let env = [("ANTIPHON_PACE_MS", "5"), ("ANTIPHON_MODEL", "ollama:m"), ("OPENAI_API_KEY", "sk-env")];
    let other = [("ANTIPHON_LISTEN", "0.0.0.0:80"), ("ANTIPHON_WORKER_KEY", "k"), ("ANTIPHON_WORKER_KEYS", "k")];
    let env = env.iter().chain(&other).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let config = Config::of_models(flags, &env).unwrap();
    assert_eq!((config.pace, config.ollama_url.as_str()), (Duration::ZERO, "http://box:1"));
    assert_eq!(config.model.as_deref(), Some("ollama:m"));
    assert_eq!(config.openai_api_key.unwrap().expose(), "sk-env");
    assert_eq!(config.sources.warnings.len(), 1, "{:?}", config.sources.warnings);
    let why = Config::of_models(Layer { ollama_url: Some("ftp://x".into()), ..Layer::default() }, &env).unwrap_err();
    assert!(why.to_string().contains("ollama_url"), "{why}");
}

#[test]
fn the_logs_address_is_taken_from_every_source_and_its_password_is_never_printed() {
    let url = "redis+sentinel://antiphon:hush%2Fhush@a,b:2/the-log?ns=x&sentinel_password=hush";
    for (flags, env, file) in [
        (format!("--log {url}"), vec![], String::new()),
        (String::new(), vec![("ANTIPHON_LOG_BACKEND", url)], String::new()),
        (String::new(), vec![], format!("log = '{url}'")),
    ] {
        let config = load(&flags, &env, &file).unwrap();
        let LogKind::Redis(address) = &config.log else { panic!("{:?}", config.log) };
        assert_eq!(address.credentials.password.as_deref(), Some("hush/hush"));
        let said = &config.sources.set["log"];
        assert_eq!((said.value.as_str(), said.differs), (Some(address.to_string().as_str()), true));
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }
    for bad in ["redis://u:hush@h/x", "redis://u:hush", "redis:hush@h", "http://u:hush@h", "redis://u:hush@h?x=hush"] {
        let env = [("ANTIPHON_LOG_BACKEND", bad)];
        for why in [load(&format!("--log {bad}"), &[], ""), load("", &env, ""), load("", &[], &format!("log='{bad}'"))]
        {
            let why = why.expect_err(bad).to_string();
            assert!(why.starts_with("log: ") && !why.contains("hush") && !why.contains('\n'), "{bad}: {why}");
        }
        let why = load("", &[("ANTIPHON_LOG", bad)], "").err().map_or(String::new(), |why| why.to_string());
        assert!(!why.contains("hush"), "{why}");
    }
    refused("", &[("ANTIPHON_LOG", url)], "", &["ANTIPHON_LOG_BACKEND=redis+sentinel://antiphon:***@a"]);
    let flags = <Cli as clap::Parser>::try_parse_from(["x", "--log", url]).unwrap().flags;
    assert!(!format!("{flags:?}").contains("hush"), "{flags:?}");
    assert_eq!(load("", &[("ANTIPHON_NODE", "node-1")], "").unwrap().node.as_deref(), Some("node-1"));
}

#[test]
fn without_bots_there_is_one_that_answers_everywhere() {
    let config = defaults();
    let bot = config.default_bot(&RoomName::new("anywhere").unwrap()).unwrap();
    assert_eq!((bot.name.as_str(), bot.model.as_deref(), bot.context_messages), ("antiphon", None, 20));
    assert!(bot.persona.contains("antiphon"));
    assert_eq!(load("", &[], "bots = []").unwrap().bots, []);
}

#[test]
fn the_first_bot_of_the_file_that_may_and_answers_all_is_the_rooms_default() {
    let config = load(
        "--model builtin",
        &[],
        "[[bots]]\nname='quiet'\nanswers='addressed'\n\
         [[bots]]\nname='helper'\nrooms=['help-*', 'desk']\nmodel='ollama:m'\n\
         [[bots]]\nname='rest'\n",
    )
    .unwrap();
    let default = |room| config.default_bot(&RoomName::new(room).unwrap()).unwrap().name.as_str();
    assert_eq!(
        [default("help-1"), default("desk"), default("desk2"), default("lobby")],
        ["helper", "helper", "rest", "rest"]
    );
    let models: Vec<_> = config.bots.iter().map(|b| b.model.as_deref().unwrap()).collect();
    assert_eq!(models, ["builtin", "ollama:m", "builtin"]);
    assert_eq!([slots_default("builtin"), slots_default("ollama:m"), slots_default("openai:m")], [4, 1, 4]);
}

#[test]
fn bounds_of_answers_are_set_by_bot_and_have_bounds_themselves() {
    let bots = |answer: &str| load("", &[], &format!("[[bots]]\nname = 'a'\nanswer = {answer}\n"));
    let answer = bots("{ tokens = 2048, seconds = 600 }").unwrap().bots[0].answer;
    assert_eq!(answer, Bounds { tokens: Some(2_048), seconds: Some(600), bytes: None });
    for (answer, words) in [
        ("{ token = 1 }", "did you mean `tokens`"),
        ("{ tokens = 0 }", "bots.a.answer.tokens: 0 is out of range"),
        ("{ bytes = 1000000 }", "answer.bytes"),
    ] {
        let why = bots(answer).unwrap_err().to_string();
        assert!(why.contains(words) && !why.contains('\n'), "{answer}: {why}");
    }
}

#[test]
fn how_a_model_wants_to_be_asked_is_set_by_its_name() {
    let config = load("", &[], "[models.'openai:m']\nmerge_roles = true\ncontext_tokens = 4096\n").unwrap();
    assert_eq!(config.models["openai:m"].words(), "merge_roles = true, context_tokens = 4096");
    for (text, words) in [
        ("[models.'openai:m']\nmerge_role = true", "did you mean `merge_roles`"),
        ("[models.m]\nmerge_roles = true", "`m` is not a model with a server"),
        ("[models.'openai:m']\ncontext_tokens = 5", "models.openai:m.context_tokens: 5 is out of range"),
        ("[models.'openai:m']\npreload = 1", "line 2"),
        ("merge_roles = true", "[models.NAME]"),
    ] {
        let why = load("", &[], text).unwrap_err().to_string();
        assert!(why.contains(words) && !why.contains('\n'), "{text}: {why}");
    }
}

#[test]
fn the_example_holds_every_setting_with_its_default() {
    let text: Vec<&str> =
        EXAMPLE.lines().map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(l)).collect();
    let parsed = file::parse(&text.join("\n"), Path::new("antiphon.example.toml")).unwrap();
    assert_eq!(parsed.layer.set_keys(), Layer::KEYS);
    let tables = text.iter().skip_while(|l| **l != "[[bots]]");
    let bots =
        tables.clone().take_while(|l| !l.starts_with("[models")).filter_map(|l| l.split_once(" = ")).map(|(k, _)| k);
    assert_eq!(bots.collect::<Vec<_>>(), BOT_KEYS);
    let models = tables.skip_while(|l| !l.starts_with("[models")).filter_map(|l| l.split_once(" = ")).map(|(k, _)| k);
    assert_eq!(models.collect::<Vec<_>>(), Shape::KEYS);
    // Settings without a fixed default are examples only.
    let without = ["node", "model", "openai_base_url", "openai_api_key", "openai_api_key_file"];
    let lines: Vec<&str> = text.into_iter().take_while(|l| *l != "[[bots]]").collect();
    let fixed =
        lines.into_iter().filter(|l| without.iter().all(|k| !l.starts_with(&format!("{k} =")))).collect::<Vec<_>>();
    let mut config = load("", &[], &fixed.join("\n")).unwrap();
    assert_eq!(config.sources.set.len(), Layer::KEYS.len() - without.len());
    config.sources = Sources::default();
    assert_eq!(config, Config { sources: Sources::default(), ..defaults() });
    assert!(load("", &[], EXAMPLE).is_ok(), "the example as it stands can be copied");
}

#[test]
fn every_setting_is_documented_and_has_a_flag() {
    for key in Layer::KEYS.iter().chain(BOT_KEYS).chain(&Shape::KEYS) {
        assert!(DOCS.contains(&format!("| `{key}` |")), "docs/configuration.md lacks `{key}`");
    }
    let command = Layer::augment_args(clap::Command::new("x"));
    for key in Layer::KEYS.iter().filter(|k| **k != "openai_api_key") {
        let flag = command.get_arguments().find(|a| a.get_id() == key).expect("a flag");
        assert!(flag.get_long().is_some() && flag.get_help().is_some(), "{key}");
    }
}
