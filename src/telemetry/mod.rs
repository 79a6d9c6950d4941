//! What the program says about itself on stderr: lines for people on a terminal, JSON lines elsewhere.
//!
//! Promises: `ANTIPHON_LOG`, else `RUST_LOG`, filters it, `info` if neither is set; a filter that cannot be read is
//! an error that says so, not silence; stdout is never written to.
//! Not here: the spans and events themselves (they are in the code that they describe), metrics.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Env, TRACE_FILTER};

/// What is said if nobody says otherwise.
const FILTER: &str = "info";
/// Filters of other Rust programs.
const RUST_FILTER: &str = "RUST_LOG";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For people, in colour.
    Colour,
    /// For people, e.g. with `NO_COLOR`.
    Plain,
    /// One JSON object a line, for programs.
    Json,
}

/// Starts saying things on stderr. A second call in the same process changes nothing.
///
/// # Errors
/// One line that names the variable whose filter cannot be read.
pub fn init(env: &Env) -> Result<(), String> {
    let filter = filter(env)?;
    let form = form(env, io::stderr().is_terminal());
    let base = fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // The error of `try_init` means that somebody, e.g. a test, was here first.
    let _first = match form {
        Form::Json => registry.with(base.json().flatten_event(true).with_current_span(false)).try_init(),
        Form::Colour | Form::Plain => registry.with(base.compact().with_ansi(form == Form::Colour)).try_init(),
    };
    Ok(())
}

fn form(env: &Env, terminal: bool) -> Form {
    let no_color = env.get("NO_COLOR").is_some_and(|v| !v.is_empty());
    match (terminal, no_color) {
        (false, _) => Form::Json,
        (true, true) => Form::Plain,
        (true, false) => Form::Colour,
    }
}

fn filter(env: &Env) -> Result<EnvFilter, String> {
    let given = |name| env.get(name).filter(|text| !text.trim().is_empty()).map(|text| (name, text));
    let Some((name, text)) = [TRACE_FILTER, RUST_FILTER].into_iter().find_map(given) else {
        return Ok(EnvFilter::new(FILTER));
    };
    EnvFilter::try_new(text).map_err(|e| format!("{name}: `{text}` is not a filter such as `antiphon=debug,info`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn our_own_filter_beats_that_of_other_programs() {
        let said = |pairs: &[(&str, &str)]| filter(&env(pairs)).unwrap().to_string();
        assert_eq!(said(&[]), "info");
        assert_eq!(said(&[("RUST_LOG", "warn")]), "warn");
        assert_eq!(said(&[("RUST_LOG", "warn"), ("ANTIPHON_LOG", "antiphon=debug")]), "antiphon=debug");
        assert_eq!(said(&[("RUST_LOG", "warn"), ("ANTIPHON_LOG", "")]), "warn");
        let why = filter(&env(&[("RUST_LOG", "a=b=c")])).expect_err("not a filter");
        assert!(why.starts_with("RUST_LOG: `a=b=c`") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn people_get_lines_and_programs_get_json() {
        assert_eq!(form(&env(&[]), true), Form::Colour);
        assert_eq!(form(&env(&[("NO_COLOR", "1")]), true), Form::Plain);
        assert_eq!(form(&env(&[]), false), Form::Json);
    }
}
