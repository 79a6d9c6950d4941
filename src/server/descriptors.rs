//! File descriptors: raised to what the system allows, and shared out so that connections never use up those of the files.
//!
//! Every connection takes one, and so do the log's segments, the index and each file that is opened for a moment. Without a
//! share of their own a crowd of subscribers would leave none for the log.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections beside those of subscribers: posts, pages, workers.
const CONNECTIONS_EXTRA: u64 = 4_096;
/// Descriptors that no connection gets: listener, log, index, outbox, store, models, and files that are open for a moment.
const KEPT_FOR_FILES: u64 = 256;

/// How the descriptors are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// What the system allows this process.
    pub(crate) allowed: u64,
    /// What the settings may need.
    pub(crate) needed: u64,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Event streams among them; the rest stays for posts.
    pub(crate) subscribers: usize,
}

impl Share {
    /// Raises the soft limit to the hard one, and shares out what that gives.
    pub(crate) fn raise(subscribers_max: usize) -> Share {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Without a limit there is none to raise.
        let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => maximum,
            Err(_) => current,
        };
        Share::of(allowed.unwrap_or(u64::MAX), subscribers_max)
    }

    /// Shares out `allowed` descriptors. A small limit keeps half for files, and a quarter of the connections for posts.
    pub(crate) fn of(allowed: u64, subscribers_max: usize) -> Share {
        let wanted = subscribers_max as u64 + CONNECTIONS_EXTRA;
        let connections = wanted.min(allowed - KEPT_FOR_FILES.min(allowed / 2)).max(1);
        let subscribers = (subscribers_max as u64).min(connections - connections / 4);
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Share {
            allowed,
            needed: wanted + KEPT_FOR_FILES,
            connections: size(connections),
            subscribers: size(subscribers),
        }
    }

    /// What the limit does not allow, as a sentence; none if it is enough.
    pub(crate) fn shortage(&self) -> Option<String> {
        (self.allowed < self.needed).then(|| {
            format!(
                "the system allows {} open files; {} are needed for all connections: until then {} connections are taken at \
                 once, {} of them event streams",
                self.allowed, self.needed, self.connections, self.subscribers
            )
        })
    }
}

/// How to get more of them.
pub(crate) const MEND: &str = "raise it (`ulimit -n`, LimitNOFILE= of the service) or lower `subscribers_max`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_high_enough_gives_all_that_the_settings_want() {
        let share = Share::of(1 << 20, 10_000);
        assert_eq!((share.connections, share.subscribers, share.shortage()), (14_096, 10_000, None));
    }

    #[test]
    fn a_low_limit_keeps_some_for_files_and_some_for_posts() {
        for allowed in [0, 1, 2, 8, 96, 256, 1_024, 4_096] {
            let share = Share::of(allowed, 10_000);
            assert!(share.connections as u64 <= (allowed - (allowed / 2).min(256)).max(1), "{share:?}");
            assert!(share.subscribers <= share.connections, "{share:?}");
            assert!(share.connections < 4 || share.subscribers < share.connections, "{share:?}");
            assert!(share.shortage().is_some());
        }
    }
}
