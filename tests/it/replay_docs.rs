//! `docs/replay.md`: every command on it is run, in its order, and prints what the page says.
//!
//! The page's log is `docs/replay/example.antiphon`, loaded into a folder on which a server runs meanwhile. What differs from
//! day to day is masked on both sides: times of today, the key of that server's notary, and its snapshot.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::harness::{PATIENCE, Server};

/// A command of the page, and what it prints.
struct Example {
    command: String,
    prints: String,
}

/// The examples of the page, in order.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => examples.push(Example { command: command.into(), prints: String::new() }),
                None => {
                    let prints = &mut examples.last_mut().expect("a block begins with a command").prints;
                    prints.push_str(line);
                    prints.push('\n');
                }
            }
        }
    }
    examples
}

/// What is printed, without what is of today: times that are not of the example's day, and keys.
fn masked(text: &str) -> String {
    const KEY: &str = "antiphon/in-process+";
    let lines = text.lines().map(|line| {
        // Whether it has one by then depends on the machine.
        let line = if line.starts_with("  snapshot    ") { "SNAPSHOT" } else { line };
        let words = line.split(' ').map(|word| {
            let is_time = word.len() >= 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
            match word {
                _ if is_time && !word.starts_with("2026-11-26T00:4") => "TODAY",
                _ if word.starts_with(KEY) => "KEY",
                other => other,
            }
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

#[test]
fn every_command_of_the_page_prints_what_the_page_says() {
    let page = fs::read_to_string("docs/replay.md").unwrap();
    let examples = examples(&page);
    assert!(examples.len() >= 20, "{} examples", examples.len());
    let dir = tempfile::tempdir().unwrap();
    fs::copy("docs/replay/example.antiphon", dir.path().join("example.antiphon")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_antiphon")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut server: Option<Server> = None;
    for Example { command, prints } in examples {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(dir.path()).env_clear().env("PATH", &path);
        if let Some(server) = &server {
            shell.env("ANTIPHON_SERVER", format!("http://{}", server.address));
        }
        let output = shell.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(masked(&said), masked(&prints), "$ {command}");
        // The first one has made the log; from here on a server runs on it, as the page says.
        server.get_or_insert_with(|| {
            let settings = dir.path().join("server.toml");
            let bots = "[[bots]]\nname = \"helper\"\nmodel = \"remote\"\n\
                        [[bots]]\nname = \"oracle\"\nmodel = \"remote\"\nanswers = \"addressed\"\n";
            fs::write(&settings, bots).unwrap();
            let data = dir.path().join("antiphon-data");
            let server = Server::start_with(&data, &["--config", settings.to_str().unwrap()]);
            // The page shows what its notary has signed.
            let begun = Instant::now();
            while !data.join("checkpoints/latest").exists() {
                assert!(begun.elapsed() < PATIENCE, "nothing is signed");
                std::thread::sleep(Duration::from_millis(10));
            }
            server
        });
    }
}
