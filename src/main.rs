//! The program: hands its arguments and its environment to `cli`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    antiphon::cli::main(env::args_os(), &env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
}
