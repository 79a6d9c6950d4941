//! The doctor against real folders, a real port and a server that plays the model servers.

use std::{fs, fs::File, net::TcpListener, path::PathBuf};

use serde_json::json;

use super::*;
use crate::{
    cli::fake::{Answer, Fake},
    config::LogKind,
    log::redis::server::Redis,
};

fn config(dir: &Path, env: &[(&str, &str)]) -> Config {
    let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let mut config = Config::load(&Flags::default(), &env, dir).unwrap();
    config.data = dir.join("data");
    config
}

fn states(checks: &[Check]) -> Vec<(State, &str)> {
    checks.iter().map(|c| (c.state, c.what)).collect()
}

#[test]
fn a_folder_is_made_later_written_now_and_never_littered() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), &[]);
    let checks = folder::check(&config);
    assert_eq!(states(&checks)[0], (State::Ok, "data folder"));
    assert!(checks[0].says.contains("does not exist yet"));
    assert!(!config.data.exists());
    fs::create_dir(&config.data).unwrap();
    fs::write(config.data.join("meta"), "antiphon log\nformat 1\nepoch 00000000000000aa from 1\ncheck 0\n").unwrap();
    let checks = folder::check(&config);
    assert_eq!(checks.last().unwrap().says, "format 1, epoch 00000000000000aa");
    assert_eq!(fs::read_dir(&config.data).unwrap().count(), 1);
    fs::write(config.data.join("meta"), "antiphon log\nformat 9\n").unwrap();
    assert_eq!(folder::check(&config).last().unwrap().state, State::Fail);
    config.data = config.data.join("meta");
    assert_eq!(states(&folder::check(&config)), [(State::Fail, "data folder")]);
    config.log = LogKind::Memory;
    assert_eq!(states(&folder::check(&config)), [(State::Warn, "data folder")]);
    config.log = LogKind::File;
    config.data = PathBuf::from("/proc/antiphon");
    assert_eq!(states(&folder::check(&config))[0], (State::Fail, "data folder"));
}

#[test]
fn a_folder_in_use_names_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[]);
    fs::create_dir(&config.data).unwrap();
    fs::write(config.data.join("lock"), "4711\n").unwrap();
    assert!(folder::check(&config).iter().all(|c| c.what != "lock"));
    let holder = File::open(config.data.join("lock")).unwrap();
    holder.lock().unwrap();
    let checks = folder::check(&config);
    let lock = checks.iter().find(|c| c.what == "lock").expect("told");
    assert!(lock.says.contains("process 4711"), "{}", lock.says);
}

#[tokio::test]
async fn a_port_is_free_ours_or_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), &[]);
    config.listen.set_port(0);
    assert_eq!(port::check(&config).await.state, State::Ok);
    let ours = Fake::start(|_, _| Answer::json(200, json!({}))).await;
    config.listen = ours.url.socket_addrs(|| None).unwrap()[0];
    let check = port::check(&config).await;
    assert!(check.state == State::Ok && check.says.contains("an Antiphon server is running"), "{check:?}");
    let theirs = Fake::start(|_, _| Answer::Cut).await;
    config.listen = theirs.url.socket_addrs(|| None).unwrap()[0];
    let check = port::check(&config).await;
    assert!(check.state == State::Fail && check.mend.contains("--listen"), "{check:?}");
}

#[tokio::test]
async fn models_are_asked_for_where_they_should_be() {
    let fake = Fake::start(|request, _| match (request.path.as_str(), request.header("authorization")) {
        ("/api/tags", _) => Answer::json(200, json!({"models": [{"name": "llama3.2:latest"}]})),
        ("/v1/models", Some("Bearer sk-good")) => Answer::json(200, json!({"data": [{"id": "gpt-x"}]})),
        ("/v1/models", _) => Answer::json(401, json!({"error": {}})),
        _ => Answer::Cut,
    })
    .await;
    let here = fake.url.as_str().trim_end_matches('/').to_owned();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (v1, nowhere, dir) = (format!("{here}/v1"), format!("http://{free}"), tempfile::tempdir().unwrap());
    let good = [("OLLAMA_HOST", here.as_str()), ("OPENAI_BASE_URL", &v1), ("OPENAI_API_KEY", "sk-good")];
    let bad = [("OLLAMA_HOST", nowhere.as_str()), ("OPENAI_BASE_URL", &v1), ("OPENAI_API_KEY", "sk-bad")];
    let bare = [("OLLAMA_HOST", nowhere.as_str())];
    for (env, model, state, words) in [
        (&good[..], "builtin", State::Ok, "builtin"),
        (&good, "ollama:llama3.2", State::Ok, "ollama:llama3.2"),
        (&good, "ollama:other", State::Fail, "`ollama pull other`"),
        (&bad, "ollama:llama3.2", State::Fail, "`ollama serve`"),
        (&good, "openai:gpt-x", State::Ok, "has `gpt-x`"),
        (&good, "openai:gpt-y", State::Fail, "does not list `gpt-y`"),
        (&bad, "openai:gpt-x", State::Fail, "OPENAI_API_KEY"),
        (&good, "", State::Ok, "ollama:llama3.2"),
        (&bad, "", State::Warn, "OPENAI_BASE_URL"),
        (&bare, "", State::Ok, "builtin"),
    ] {
        let env: Vec<_> = env.iter().copied().chain([("ANTIPHON_MODEL", model)]).collect();
        let checks = models::check(&config(dir.path(), &env)).await;
        let text: String = checks.iter().map(Check::text).collect();
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].state, state, "{model}: {text}");
        assert!(text.contains(words) && !text.contains("sk-"), "{model}: {text}");
        assert!((state == State::Ok) == checks[0].mend.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn how_a_model_wants_to_be_asked_is_shown() {
    let fake = Fake::start(|_, _| Answer::json(200, json!({"data": [{"id": "m"}]}))).await;
    let (dir, url) = (tempfile::tempdir().unwrap(), format!("{}v1", fake.url));
    fs::write(dir.path().join("antiphon.toml"), "[models.'openai:m']\npreload = false\n").unwrap();
    let config = config(dir.path(), &[("OPENAI_BASE_URL", &url), ("ANTIPHON_MODEL", "openai:m")]);
    fs::create_dir(&config.data).unwrap();
    fs::write(config.data.join("models.json"), r#"{"openai:m": {"merge_roles": true}}"#).unwrap();
    let says = models::check(&config).await.pop().unwrap().says;
    assert!(
        says.contains("asked with preload = false (set)") && says.contains("merge_roles = true (learnt)"),
        "{says}"
    );
}

#[test]
fn settings_that_differ_are_shown_with_their_source() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("antiphon.toml"), "lease_ms = 10000\ngap_s = 61\n").unwrap();
    let checks = configuration(&config(dir.path(), &[("ANTIPHON_LEASE", "1"), ("OPENAI_API_KEY", "sk-1")]));
    let text: String = checks.iter().map(Check::text).collect();
    assert!(text.contains("gap_s = 61 (file)") && text.contains("openai_api_key = \"***\" (OPENAI_API_KEY)"), "{text}");
    assert!(!text.contains("lease_ms =") && text.contains("did you mean ANTIPHON_LEASE_MS?"), "{text}");
}

#[tokio::test]
async fn a_redis_is_shown_with_what_is_wrong_with_it_and_without_its_password() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(store::check(&config(dir.path(), &[])).await, [], "the log is elsewhere");
    let redis = Redis::start_with(&[("requirepass", "hush"), ("maxmemory-policy", "allkeys-lru")]);
    let ask = async |url: &str| {
        let checks = store::check(&config(dir.path(), &[("ANTIPHON_LOG_BACKEND", url)])).await;
        let text: String = checks.iter().map(Check::text).collect();
        assert!(!text.contains("hush"), "{text}");
        (checks.iter().map(|check| check.state).max().unwrap(), text)
    };
    let url = redis.url();
    let (state, text) = ask(&url).await;
    assert!(state == State::Fail && text.contains("noeviction") && text.contains("appendonly is no"), "{text}");
    for (key, value) in
        [("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory", "100mb")]
    {
        assert_eq!(redis.command(&["CONFIG", "SET", key, value]), "OK");
    }
    let (state, text) = ask(&url).await;
    // Some newer servers have a hole that is known; that and a slow machine are warnings.
    assert!(state != State::Fail && text.contains("an acknowledged entry is on the disk of Redis"), "{text}");
    assert!(text.contains("this machine and Redis are"), "{text}");
    let (state, text) = ask(&url.replace("hush", "hushed")).await;
    assert!(state == State::Fail && text.contains("redis://USER:PASSWORD@HOST"), "{text}");
    redis.kill();
    let (state, text) = ask(&url).await;
    assert!(
        state == State::Fail && text.contains("cannot be reached") && text.contains("check that it is running"),
        "{text}"
    );
}

#[test]
fn a_clock_that_is_an_hour_off_is_a_warning_that_says_which_side_and_what_to_do() {
    let check = store::clock(40);
    assert_eq!((check.state, &*check.mend), (State::Ok, ""));
    for (ahead_ms, words) in [(3_700_000, "3700 s behind the log's"), (-3_700_000, "3700 s ahead of the log's")] {
        let check = store::clock(ahead_ms);
        assert!(check.state == State::Warn && check.says.contains(words) && check.mend.contains("NTP"), "{check:?}");
    }
}
