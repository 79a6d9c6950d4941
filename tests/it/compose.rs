//! Dockerfile and docker-compose.yml say what this program and Redis understand.
//!
//! They are read as text: there is no docker where these tests run, so nothing here shows that the images can be built.

use std::{fs, process::Command};

use antiphon::config::Layer;

fn read(name: &str) -> String {
    let text = fs::read_to_string(name).unwrap();
    // Comments show commands for people.
    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// The lines of one service, without its name.
fn service(compose: &str, name: &str) -> String {
    let after = compose.split(&format!("\n  {name}:\n")).nth(1).unwrap_or_else(|| panic!("no service {name}"));
    after.lines().take_while(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n")
}

/// The words of a list in one line: `key: ["a", "b"]` or `KEY ["a", "b"]`.
fn words(text: &str, key: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
    let list = line.trim().trim_start_matches('[').trim_end_matches(']');
    list.split(", ").map(|word| word.trim_matches('"').to_owned()).collect()
}

#[test]
fn the_flags_and_variables_of_the_container_files_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_antiphon")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: Vec<_> = help.split([' ', ',', '[', '=', '\n']).filter(|word| word.starts_with("--")).collect();
    let (dockerfile, compose) = (read("Dockerfile"), read("docker-compose.yml"));
    assert_eq!(words(&dockerfile, "ENTRYPOINT"), ["antiphon"]);
    let mut flags = 0;
    let nodes = ["node-1", "node-2"].map(|name| words(&service(&compose, name), "command:"));
    for command in [&words(&dockerfile, "CMD"), &nodes[0], &nodes[1]] {
        assert_eq!(command[0], "serve");
        for flag in command.iter().filter(|word| word.starts_with("--")) {
            assert!(known.contains(&flag.as_str()), "{flag} is not a flag of `antiphon serve`");
            flags += 1;
        }
    }
    assert!(flags > 8, "{flags}");
    let variables: Vec<_> = compose.lines().filter_map(|line| line.trim().strip_prefix("ANTIPHON_")).collect();
    assert!(!variables.is_empty());
    for line in variables {
        let key = line.split(':').next().unwrap().to_lowercase();
        assert!(Layer::KEYS.contains(&key.as_str()), "ANTIPHON_{} is not a setting", key.to_uppercase());
    }
}

#[test]
fn images_are_pinned_to_a_version() {
    let images = [read("Dockerfile"), read("docker-compose.yml")].join("\n");
    let images: Vec<_> = images
        .lines()
        .filter_map(|line| line.trim().strip_prefix("FROM ").or(line.trim().strip_prefix("image: ")))
        .map(|image| image.split(' ').next().unwrap())
        .collect();
    assert!(images.len() >= 5, "{images:?}");
    for image in images {
        let version = image.split_once(':').unwrap_or_else(|| panic!("{image} has no version")).1;
        assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'), "{image}");
    }
}

#[test]
fn redis_keeps_what_it_acknowledges_and_is_not_published() {
    let compose = read("docker-compose.yml");
    let redis = service(&compose, "redis");
    let command = words(&redis, "command:").join(" ");
    for option in ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"] {
        assert!(command.contains(option), "{option} is not in `{command}`");
    }
    assert!(redis.contains("image: redis:7.") && redis.contains("redis-data:/data") && !redis.contains("ports:"));
}

#[test]
fn each_node_has_a_name_a_volume_and_a_port_of_its_own_on_one_redis() {
    let compose = read("docker-compose.yml");
    let nodes = ["node-1", "node-2"].map(|name| (name, service(&compose, name)));
    for ((name, service), port) in nodes.iter().zip(["8080", "8081"]) {
        let command = words(service, "command:").join(" ");
        assert!(
            command.contains(&format!("--node {name}")) && command.contains("--log redis://redis:6379"),
            "{command}"
        );
        assert_eq!(words(service, "volumes:"), [format!("{name}-data:/data")]);
        assert_eq!(words(service, "ports:"), [format!("127.0.0.1:{port}:8080")], "loopback: there are no tokens yet");
        assert!(compose.contains(&format!("\n  {name}-data:")), "its volume is declared");
    }
}

#[test]
fn nodes_ask_ollama_only_when_its_profile_is_on() {
    let compose = read("docker-compose.yml");
    assert!(service(&compose, "ollama").contains("profiles: [ollama]"));
    let asks: Vec<_> = compose.lines().filter(|line| line.contains("http://ollama")).collect();
    assert_eq!(asks.len(), 1, "{asks:?}");
    assert!(asks[0].contains("${COMPOSE_PROFILES:+http://ollama:11434}"), "{asks:?}");
    for name in ["redis", "node-1", "node-2"] {
        assert!(!service(&compose, name).contains("profiles:"), "{name}");
    }
}

#[test]
fn the_image_runs_as_a_user_of_its_own_with_its_data_in_a_volume() {
    let dockerfile = read("Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    let at = |word: &str| last.find(word).unwrap_or_else(|| panic!("no {word}"));
    assert!(at("useradd") < at("\nUSER antiphon") && at("\nUSER antiphon") < at("\nENTRYPOINT"));
    assert!(
        at("--owner antiphon") > 0 && at("\nVOLUME /data") > 0 && words(last, "CMD").join(" ").contains("--data /data")
    );
    // What the build needs is not kept from it: cargo wants the files of every target that Cargo.toml names.
    let ignored = read(".dockerignore");
    for needed in ["src", "schemas", "consumers", "web", "tests", "benches", "Cargo.lock"] {
        assert!(!ignored.contains(needed), "{needed}");
    }
}
