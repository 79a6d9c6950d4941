//! The command line: the commands, their arguments, and their exit codes.
//!
//! Promises: exit code 0 for success, 1 for failure, 2 for an invalid command line or configuration, 70 for a server that
//! stopped because one of its tasks died; an error is one line on stderr that says what to do; stdout carries only what was
//! asked for.
//! Not here: settings (`config`), the server (`server`).
//! Start with [`main`]; each command has a file, `client` and `feed` connect them to a server.

mod accept;
mod answer;
mod client;
mod doctor;
mod feed;
mod foreign;
mod import;
mod key;
mod post;
mod replay;
mod screen;
mod serve;
mod tail;
mod usage;
mod worker;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

#[cfg(test)]
use crate::client::fake;
use crate::{
    config::{Env, Flags},
    server,
};

/// The command succeeded.
const DONE: u8 = 0;
/// The command failed.
const FAILED: u8 = 1;
/// The command line is invalid; the usual code for that.
const USAGE: u8 = 2;
/// A critical task of the server died; `EX_SOFTWARE` of sysexits.h, so that a supervisor can tell it from a bad setting.
const DIED: u8 = 70;

const SERVE_EXAMPLES: &str = "\
Examples:
  antiphon serve --listen 127.0.0.1:9000 --data /var/lib/antiphon
  antiphon serve --log memory --pace 0               keep nothing on disk, answer without delay
  antiphon serve --model ollama:llama3.2 --listen 0.0.0.0:8080 --expose

Each flag is also a key of ./antiphon.toml (dashes become underscores) and a variable ANTIPHON_*; docs/configuration.md
explains them, antiphon.example.toml lists them all. Ctrl-C or SIGTERM stops the server after the replies in progress.";

const EXAMPLES: &str = "\
Examples:
  antiphon                                      serve on 127.0.0.1:8080, data in ./antiphon-data
  antiphon --model ollama:llama3.2              the same, answered by Ollama
  antiphon post lobby 'Hello there' --wait      post a message and print the answer as it is written
  antiphon tail lobby                           follow a room
  antiphon worker --server https://chat.example.org --bot helper=ollama:llama3.2
                                                answer for a bot of that server with this machine's model
  antiphon import old-chat.jsonl.gz             import old conversations
  antiphon key create --worker gpu-box --bots helper   let a machine with a GPU answer
  antiphon replay show lobby --at 2h            show a room as it was two hours ago
  antiphon doctor                               find out what is wrong and how to fix it

Settings also come from ANTIPHON_* variables and ./antiphon.toml; see docs/configuration.md.";

/// A conversation server: people post in rooms, bots answer, browsers show the words as they are written.
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
    /// Run the server (the default command: `antiphon --listen …`)
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Flags),
    /// Post a message in a room
    Post(post::Post),
    /// Follow a room
    Tail(tail::Tail),
    /// Answer for a server's bots from this machine, e.g. one with a GPU behind NAT
    Worker(worker::Worker),
    /// Import conversations from JSON Lines
    Import(import::Import),
    /// Check configuration, data folder, port and models, and say how to fix what is wrong
    Doctor(doctor::Doctor),
    /// Create, list and revoke keys for workers on other machines
    Key(key::Key),
    /// Inspect the log: who said what, when, with which model, and whether it has been altered
    Replay(replay::Replay),
    /// Accept an empty store as a new log, although the server knows an older history
    AcceptEmptyStore(accept::Accept),
}

/// A command that is invalid; what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command that `args` (the first is the program's name) and `env` describe; returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, env: &Env) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if usage::is_help(&error) => {
            // A closed pipe is not worth a word.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
        Err(error) => {
            complain(&usage::one_line(&error, Cli::command(), &args));
            return ExitCode::from(USAGE);
        }
    };
    ExitCode::from(run(cli, env).unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return DONE;
        }
        complain(&told(&error));
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
    // A read of stdin cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    result
}

/// An error and its causes, each said once: many a message quotes its cause already.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

fn complain(why: &str) {
    eprintln!("antiphon: {}", foreign::lines(why));
}

/// Whether the reader of our stdout went away, as `head` does when it has enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::Config,
        tasks::{End, Ended},
    };

    fn parsed(line: &str) -> Result<Cli, String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(&args).map_err(|error| usage::one_line(&error, Cli::command(), &args))
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
    fn a_usage_error_names_the_help_of_its_own_command() {
        for (line, help) in [
            ("antiphon --lisen x", "`antiphon --help`"),
            ("antiphon post lobby x --priority 10", "`antiphon post --help`"),
            ("antiphon replay show lobby --att 2h", "`antiphon replay show --help`"),
            ("antiphon key revoke", "`antiphon key revoke --help`"),
        ] {
            let why = parsed(line).unwrap_err();
            assert!(why.ends_with(&format!("; see {help}")), "{line}: {why}");
        }
    }

    #[test]
    fn a_missing_argument_gets_the_usage_line() {
        let why = parsed("antiphon post lobby").unwrap_err();
        assert!(why.contains("<TEXT>; usage: antiphon post <ROOM> <TEXT>; see"), "{why}");
    }

    #[test]
    fn a_port_leads_to_listen_where_there_is_one() {
        for line in ["antiphon --port 8081", "antiphon serve --port=8081", "antiphon doctor -p 8081"] {
            let why = parsed(line).unwrap_err();
            assert!(why.contains("--listen 127.0.0.1:8081") && !why.contains('\n'), "{line}: {why}");
        }
        assert!(!parsed("antiphon post --port 8081").unwrap_err().contains("--listen"));
    }

    #[test]
    fn a_command_that_lacks_its_subcommand_gets_its_help() {
        for line in [["antiphon", "replay"], ["antiphon", "key"]] {
            let error = Cli::try_parse_from(line).unwrap_err();
            assert!(usage::is_help(&error) && error.to_string().contains("Commands:"), "{line:?}: {error}");
        }
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
    fn a_cause_that_the_message_quotes_is_not_said_again() {
        let flags = Flags { config: Some("/no/such/file".into()), ..Flags::default() };
        let why = told(&Config::load(&flags, &Env::new(), Path::new(".")).unwrap_err().into());
        assert!(why.contains("/no/such/file") && why.matches("os error 2").count() == 1, "{why}");
        assert_eq!(told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
