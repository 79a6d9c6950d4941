//! File descriptors: whether the system allows as many as the settings may need.

use super::Check;
use crate::{
    config::Config,
    server::descriptors::{MEND, Share},
};

const WHAT: &str = "open files";

/// Raises this process's limit as `serve` does, and compares.
pub(super) fn check(config: &Config) -> Check {
    judge(Share::raise(config.subscribers_max))
}

fn judge(share: Share) -> Check {
    match share.shortage() {
        Some(shortage) => Check::warn(WHAT, shortage, MEND),
        None => Check::ok(WHAT, format!("{} are allowed, {} may be needed", share.allowed, share.needed)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_low_limit_is_a_warning_that_says_how_to_raise_it() {
        let check = judge(Share::of(1_024, 10_000));
        assert_eq!(check.state, State::Warn);
        assert!(check.says.contains("1024 open files") && check.mend.contains("ulimit -n"), "{check:?}");
        assert_eq!(judge(Share::of(20_000, 10_000)).state, State::Ok);
    }
}
