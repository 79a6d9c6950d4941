//! The program: hands its arguments and its environment to `cli`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // What people say is in the files that this program makes: they are for its own user.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    antiphon::cli::main(env::args_os(), &env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
}
