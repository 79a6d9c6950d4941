//! What people write, as the commands print it: nothing in it acts on the reader's terminal, or hides there.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use antiphon_bot::fake::{Fake, Step};
use serde_json::json;

use crate::harness::{Server, antiphon, ended, fake_settings, signal};

/// Sets a clipboard, clears the screen, returns to the line's begin, deletes, colours, turns round, isolates, hides.
const NASTY: &str = "a\u{1b}]52;c;cm0=\u{7}\u{1b}[2Jb\rc\u{8}\u{9b}31m\u{202e}d\u{2066}\u{200b}\u{e0041}e";

/// Whether a terminal may act on it, or hide it.
fn is_odd(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0041}')
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_hands_a_terminal_what_acts_on_it() {
    let fake = Fake::answering("fake", |_| Step::answer(&["an\u{202e}swer ", NASTY])).await;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), &fake_settings(&fake.url(), ""), &[]);
    let said = server.post("r", NASTY, json!({"author": {"name": "ann \u{202e}\u{200b}"}})).await;
    let id = said["id"].as_str().unwrap();
    server.until_status("r", id, "answered").await;
    let run = |arguments: &[&str]| {
        let mut command = antiphon();
        command.args(arguments).current_dir(dir.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
    };
    for (arguments, shows) in [
        (&["replay", "show", "r", "--log", "data"][..], "<U+202E>"),
        (&["replay", "show", "r", "--log", "data", "--json"], "\\u202e"),
        (&["replay", "cat", "--log", "data"], "<U+202E>"),
        (&["replay", "cat", "--log", "data", "--json"], "\\udb40\\udc41"),
        (&["replay", "why", id, "--log", "data"], "<U+202E>"),
        (&["replay", "stats", "--log", "data"], "asked"),
        (&["post", "r", NASTY, "--wait", "--server", &server.address], "an<U+202E>swer a␛]52"),
    ] {
        let printed = run(arguments);
        assert!(!printed.contains(is_odd) && printed.contains(shows), "{arguments:?}: {printed:?}");
    }
    for more in [None, Some("--json")] {
        let mut tail = antiphon();
        tail.args(["tail", "r", "--after", "0", "--server", &server.address]).args(more);
        let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap);
        let shown: Vec<_> = lines.by_ref().take(2).collect();
        signal(tail.id(), "INT");
        ended(&mut tail);
        assert!(shown.iter().all(|line| !line.contains(is_odd)) && shown.concat().contains("ann"), "{shown:?}");
    }
}
