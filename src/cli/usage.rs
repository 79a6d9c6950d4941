//! Invalid command lines, in one sentence: what is wrong, the command's usage if an argument is missing, and which help to read.
//!
//! Pure: clap's error and the arguments in, one line out. Not here: whether a line is valid (clap).

use std::ffi::OsString;

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Flags that other servers have for what is a part of `--listen` here.
const PORT_FLAGS: [&str; 3] = ["--port", "-p", "-P"];

/// Whether the error is a text to be read as it is: help or version, asked for or shown because a subcommand is missing.
pub(super) fn is_help(error: &Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What is wrong with `args`, in one line. `root` is the program's command.
pub(super) fn one_line(error: &Error, root: Command, args: &[OsString]) -> String {
    let text = error.to_string();
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = lines().take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more")).collect();
    // clap puts a list below a colon.
    let told = told.join("; ").replace(":; ", ": ");
    let mut told = told.strip_prefix("error: ").unwrap_or(&told).to_owned();
    let (command, path) = named(root, args);
    if let Some(hint) = port_hint(error, &command, args) {
        told = hint;
    }
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(usage) = lines().find_map(|line| line.strip_prefix("Usage: "))
    {
        told.push_str(&format!("; usage: {usage}"));
    }
    format!("{told}; see `{path} --help`")
}

/// The command that the leading words of `args` name, and how it is called: `antiphon replay show`.
fn named(root: Command, args: &[OsString]) -> (Command, String) {
    let (mut command, mut path) = (root.clone(), root.get_name().to_owned());
    for word in args.iter().skip(1) {
        let Some(found) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", found.get_name());
        command = found;
    }
    (command, path)
}

/// For a port given on its own to a command that has `--listen`.
fn port_hint(error: &Error, command: &Command, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_port = error.kind() == ErrorKind::UnknownArgument && PORT_FLAGS.contains(&flag.as_str());
    if !is_port || command.get_arguments().all(|argument| argument.get_long() != Some("listen")) {
        return None;
    }
    let mut words = args.iter().filter_map(|word| word.to_str()).skip_while(|word| !word.starts_with(flag.as_str()));
    let given = words.next().and_then(|word| word.split_once('=')).map(|(_, port)| port).or(words.next());
    let port = given.filter(|port| port.parse::<u16>().is_ok()).unwrap_or("8080");
    Some(format!("there is no {flag}; the port is part of the address: --listen 127.0.0.1:{port}"))
}
