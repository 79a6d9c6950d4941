//! The command line: what each command is called, what it takes, and how it ends.
//!
//! Promises: exit code 0 for done, 1 for failed, 2 for a command or configuration that cannot be understood, 70 for a
//! server that stopped because one of its tasks died; an error is one line on stderr that says what to do; stdout holds nothing but what was asked for.
//! Not here: settings (`config`), the server (`server`).
//! Start with [`main`]; each command has a file, `client` and `feed` are what they speak to a server with.

mod accept;
mod answer;
mod client;
mod doctor;
mod feed;
mod import;
mod key;
mod post;
mod replay;
mod screen;
mod serve;
mod tail;
mod worker;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

#[cfg(test)]
use crate::client::fake;
use crate::{
    config::{Env, Flags},
    server,
};

/// The command did what it was asked for.
const DONE: u8 = 0;
/// It could not.
const FAILED: u8 = 1;
/// It was not understood; as in most programs.
const USAGE: u8 = 2;
/// A critical task of the server died; `EX_SOFTWARE` of sysexits.h, so that a supervisor can tell it from a bad setting.
const DIED: u8 = 70;

const SERVE_EXAMPLES: &str = "\
Examples:
  antiphon serve --listen 127.0.0.1:9000 --data /var/lib/antiphon
  antiphon serve --log memory --pace 0               nothing is kept; answers come at once
  antiphon serve --model ollama:llama3.2 --listen 0.0.0.0:8080 --expose

Each flag is also a key of ./antiphon.toml (dashes become underscores) and a variable ANTIPHON_*; docs/configuration.md
explains them, antiphon.example.toml holds them all. Ends with Ctrl-C or SIGTERM, after the replies under way.";

const EXAMPLES: &str = "\
Examples:
  antiphon                                      serve on 127.0.0.1:8080, data in ./antiphon-data
  antiphon --model ollama:llama3.2              the same, answered by Ollama
  antiphon post lobby 'Hello there' --wait      say something and read the answer as it is written
  antiphon tail lobby                           watch a room
  antiphon worker --server https://chat.example --bot helper=ollama:llama3.2
                                                answer for a bot of that server with this machine's model
  antiphon import old-chat.jsonl.gz             bring old conversations in
  antiphon key create --worker gpu-box --bots helper   let a machine with a GPU answer
  antiphon replay show lobby --at 2h            a room as it was two hours ago
  antiphon doctor                               see what is wrong, and how to mend it

Settings also come from ANTIPHON_* variables and ./antiphon.toml; see docs/configuration.md.";

/// A conversation server: people post into rooms, bots answer, browsers watch the words arrive.
#[derive(Debug, Parser)]
#[command(name = "antiphon", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without naming it: `antiphon --listen …`)
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Flags),
    /// Say something in a room
    Post(post::Post),
    /// Watch a room
    Tail(tail::Tail),
    /// Answer for a server's bots from this machine, e.g. one with a GPU behind NAT
    Worker(worker::Worker),
    /// Bring conversations in from JSON Lines
    Import(import::Import),
    /// Check configuration, data folder, port and models, and say how to mend what is wrong
    Doctor(doctor::Doctor),
    /// Make, list and revoke the keys of workers on other machines
    Key(key::Key),
    /// Look into the log: what was said, when, by which model and why, and whether it is what it was
    Replay(replay::Replay),
    /// Take an empty store as a new log, although the server knows a history of it
    AcceptEmptyStore(accept::Accept),
}

/// A command that makes no sense; what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command that `args` (the first is the program's name) and `env` describe; returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // Help and version. A closed pipe is not worth a word.
            let _ = error.print();
            return ExitCode::from(DONE);
        }
        Err(error) => {
            complain(&one_line(&error.to_string()));
            return ExitCode::from(USAGE);
        }
    };
    ExitCode::from(run(cli, env).unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return DONE;
        }
        complain(&format!("{error:#}"));
        code(&error)
    }))
}

/// The exit code for what a command failed with.
fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<server::Error>() {
        Some(server::Error::TaskEnded(_)) => DIED,
        _ if error.is::<Usage>() || error.is::<crate::config::Error>() => USAGE,
        _ => FAILED,
    }
}

fn run(cli: Cli, env: &Env) -> anyhow::Result<u8> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(flags) => serve::run(flags, env),
        Command::Post(post) => wait_for(post.run()),
        Command::Tail(tail) => wait_for(tail.run()),
        Command::Key(key) => wait_for(key.run()),
        Command::AcceptEmptyStore(accept) => wait_for(accept.run()),
        Command::Worker(worker) => worker.start(env),
        Command::Replay(replay) => replay.run(env),
        Command::Import(import) => wait_for(import.run()),
        Command::Doctor(doctor) => wait_for(doctor.run(env)),
    }
}

/// Runs a client command to its end; the result is its exit code.
fn wait_for(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    // A read of stdin cannot be called off; nobody waits for it.
    runtime.shutdown_background();
    result
}

fn complain(why: &str) {
    eprintln!("antiphon: {why}");
}

/// The error of an argument without the usage that clap shows below it.
fn one_line(error: &str) -> String {
    let lines = error.lines().map(str::trim).filter(|l| !l.is_empty());
    let told: Vec<&str> = lines.take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more")).collect();
    // clap puts a list below a colon.
    let told = told.join("; ").replace(":; ", ": ");
    format!("{}; `antiphon --help` lists what there is", told.strip_prefix("error: ").unwrap_or(&told))
}

/// Whether the reader of our stdout went away, as `head` does when it has enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{End, Ended};

    fn parsed(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|e| one_line(&e.to_string()))
    }

    #[test]
    fn serve_is_what_happens_when_no_command_is_named() {
        let named = |line: &str| match parsed(line).unwrap() {
            Cli { command: Some(Command::Serve(flags)), .. } | Cli { command: None, serve: flags } => {
                flags.layer.listen
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(named("antiphon"), None);
        assert_eq!(named("antiphon --listen 127.0.0.1:1").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(named("antiphon serve --listen 127.0.0.1:1").as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn a_wrong_flag_gets_one_line_with_the_nearest_one() {
        let why = parsed("antiphon --lisen x").unwrap_err();
        assert!(why.contains("'--lisen'") && why.contains("'--listen'") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn a_server_whose_task_died_ends_with_a_code_of_its_own() {
        let died = Ended { task: "conductor", how: End::Panicked("out of luck".into()) };
        let error = anyhow::Error::from(server::Error::TaskEnded(died));
        assert_eq!(code(&error), 70);
        assert!(error.to_string().starts_with("the task `conductor` panicked: out of luck; "), "{error}");
        assert_eq!(code(&anyhow::anyhow!("else")), FAILED);
    }

    #[test]
    fn the_commands_fit_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
