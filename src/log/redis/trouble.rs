//! What an error of Redis means: whether the command was surely not executed, whether to look for the master again,
//! and what to tell the operator.
//!
//! Pure; the texts are those of Redis 7.0 to 8, some of them checked against a real server (`connect::tests`).

use std::fmt;

use redis::{ErrorKind, RedisError};

use crate::log::Error;

/// What went wrong with a command or a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Which kind.
    pub kind: Kind,
    /// Whether the command may have been executed.
    pub written: Written,
    /// What the server or the system said, without its code.
    pub said: String,
}

/// Whether a command may have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Surely not.
    No,
    /// It, or a part of a script, may have been.
    Unknown,
}

/// The kinds, by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The connection could not be made.
    Unreachable,
    /// The connection was there and has ended: closed or reset, by the server or by something between.
    Ended,
    /// No answer in time. The connection must not be used again: the answer may still come.
    TimedOut,
    /// `OOM`: `maxmemory` is reached.
    Full,
    /// `READONLY`: it is a replica.
    ReadOnly,
    /// `LOADING`: it reads its data after a start.
    Loading,
    /// `NOSCRIPT`: it does not have the script (any more).
    NoScript,
    /// `MOVED`: another node of the cluster has the keys.
    Moved,
    /// `ASK`, `TRYAGAIN`: the keys are just being moved.
    Moving,
    /// `CLUSTERDOWN`: the cluster lacks nodes.
    ClusterDown,
    /// `MASTERDOWN`: it is a replica that lost its master.
    MasterDown,
    /// `MISCONF`: it cannot write to its disk.
    DiskFails,
    /// `NOREPLICAS`: fewer replicas than `min-replicas-to-write`.
    FewReplicas,
    /// `NOPERM`: the ACL forbids a command or key.
    Forbidden,
    /// `NOAUTH`, `WRONGPASS`: no or a wrong password.
    NotSignedIn,
    /// `BUSY`: it runs a script that does not end.
    Busy,
    /// `UNBLOCKED`: a blocked read ended because the server changed its role.
    Unblocked,
    /// `WRONGTYPE`: a key holds something else.
    WrongType,
    /// Our own side: a file for TLS cannot be read or is not what it should be.
    BadSetup,
    /// Nobody knows a master at the moment.
    NoMaster,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Trouble of ours, before any command was sent.
    pub fn new(kind: Kind, said: impl Into<String>) -> Trouble {
        Trouble { kind, written: Written::No, said: said.into() }
    }

    /// Whether the master may be elsewhere now, so that it is to be looked for before the next try.
    pub fn look_again(&self) -> bool {
        use Kind::*;
        match self.kind {
            Unreachable | Ended | TimedOut | ReadOnly | Loading | Moved | ClusterDown | MasterDown | Unblocked
            | NotSignedIn | NoMaster => true,
            Full | NoScript | Moving | DiskFails | FewReplicas | Forbidden | Busy | WrongType | BadSetup | Other => {
                false
            }
        }
    }

    /// Whether only a person can mend it: waiting will not help.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.kind, Kind::Forbidden | Kind::NotSignedIn | Kind::WrongType | Kind::BadSetup)
    }

    /// What is the case, with what the server or the system said.
    pub fn what(&self) -> String {
        format!("{} ({})", self.means().0, self.said)
    }

    /// What to do.
    pub fn mend(&self) -> &'static str {
        self.means().1
    }

    fn means(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Unreachable => ("cannot be reached", "check that it is running and that the address is right"),
            Kind::Ended => (
                "closed the connection",
                "check its log file, its `timeout`, and the idle timeout of what is in between",
            ),
            Kind::TimedOut => ("does not answer in time", "check whether it hangs"),
            Kind::Full => ("its memory is full", "raise maxmemory or free some"),
            Kind::ReadOnly => ("is a replica and accepts no writes", "use the address of its master"),
            Kind::Loading => ("is still loading its data", "wait"),
            Kind::NoScript => ("lost the script", "nothing: it is sent again"),
            Kind::Moved => ("another node of the cluster has the keys", "nothing: it is looked for"),
            Kind::Moving => ("the keys are just being moved to another node of the cluster", "wait"),
            Kind::ClusterDown => ("the cluster lacks nodes", "see `CLUSTER INFO`"),
            Kind::MasterDown => ("is a replica that lost its master", "check that the master is running"),
            Kind::DiskFails => ("cannot write to its disk", "see its log file and `INFO persistence`"),
            Kind::FewReplicas => ("has fewer replicas than min-replicas-to-write", "see `INFO replication`"),
            Kind::Forbidden => ("its ACL forbids what the log needs", "see `ACL LOG` and docs/configuration.md"),
            Kind::NotSignedIn => {
                ("wants another password", "put user and password into the address: redis://USER:PASSWORD@HOST")
            }
            Kind::Busy => ("is running a script that does not end", "see `SCRIPT KILL`"),
            Kind::Unblocked => ("changed its role", "nothing: its master is looked for"),
            Kind::WrongType => {
                ("a key of the log holds something else", "give the log its own namespace with ?ns=NAME")
            }
            Kind::BadSetup => ("cannot be used as the address says", "fix the file that the address names"),
            Kind::NoMaster => ("no master is known", "see what the sentinels or the cluster say"),
            Kind::Other => ("refused", "see what it says"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.mend())
    }
}

/// What `error` means.
pub fn classify(error: &RedisError) -> Trouble {
    let said = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::Io => {
            let refused = error.is_connection_refusal();
            let kind = match () {
                () if error.is_timeout() => Kind::TimedOut,
                () if error.is_connection_dropped() && !refused => Kind::Ended,
                () => Kind::Unreachable,
            };
            let written = if refused { Written::No } else { Written::Unknown };
            Trouble { kind, written, said }
        }
        ErrorKind::AuthenticationFailed => Trouble::new(Kind::NotSignedIn, said),
        ErrorKind::Client | ErrorKind::InvalidClientConfig => Trouble::new(Kind::Other, said),
        _ => of_code(error.code().unwrap_or_default(), said),
    }
}

/// The error that a reader of a log gets for trouble with the server `at`: waiting may help, or not.
pub(super) fn broken(at: &str, trouble: &Trouble) -> Error {
    let why = format!("{at}: {trouble}");
    if trouble.needs_a_person() || trouble.kind == Kind::Other { Error::Io(why) } else { Error::Away(why.into()) }
}

/// What the line of an error means, without its `-`.
pub(super) fn refused(line: &[u8]) -> Trouble {
    let line = String::from_utf8_lossy(line);
    let (code, said) = line.split_once(' ').unwrap_or((&line, ""));
    of_code(code, said.to_owned())
}

/// As [`classify`], of an error's code and the text behind it.
fn of_code(code: &str, said: String) -> Trouble {
    let kind = match code {
        "OOM" => Kind::Full,
        "READONLY" => Kind::ReadOnly,
        "LOADING" => Kind::Loading,
        "NOSCRIPT" => Kind::NoScript,
        "MOVED" => Kind::Moved,
        "ASK" | "TRYAGAIN" => Kind::Moving,
        "CLUSTERDOWN" => Kind::ClusterDown,
        "MASTERDOWN" => Kind::MasterDown,
        "MISCONF" => Kind::DiskFails,
        "NOREPLICAS" => Kind::FewReplicas,
        "NOPERM" => Kind::Forbidden,
        "NOAUTH" | "WRONGPASS" | "DENIED" => Kind::NotSignedIn,
        "BUSY" => Kind::Busy,
        "UNBLOCKED" => Kind::Unblocked,
        "WRONGTYPE" => Kind::WrongType,
        // What a user may not do inside a script has no code of its own: the words of Redis 7.0, and of later ones.
        "ERR" if said.starts_with("The user executing the script can't") => Kind::Forbidden,
        "ERR" if said.starts_with("ACL failure in script") => Kind::Forbidden,
        _ => Kind::Other,
    };
    // An error inside a script comes with ` script: SHA, on @user_script:LINE.`; the commands before that line may have
    // been done. Only what Redis checks before a script's first write and never after it is certain.
    let in_script = said.contains("script:");
    let before_the_first_write = matches!(kind, Kind::Full | Kind::ReadOnly | Kind::DiskFails | Kind::FewReplicas);
    let unsure = kind == Kind::Other || in_script && !before_the_first_write;
    Trouble { kind, written: if unsure { Written::Unknown } else { Written::No }, said }
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn each_error_says_whether_it_was_written_and_where_to_look() {
        use Kind::*;
        for (line, kind, written, look_again) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Full, Written::No, false),
            ("OOM command not allowed … script: ab12, on @user_script:3.", Full, Written::No, false),
            ("READONLY You can't write against a read only replica.", ReadOnly, Written::No, true),
            ("READONLY You can't write … script: ab12, on @user_script:3.", ReadOnly, Written::No, true),
            ("LOADING Redis is loading the dataset in memory", Loading, Written::No, true),
            ("NOSCRIPT No matching script. Please use EVAL.", NoScript, Written::No, false),
            ("MOVED 3999 127.0.0.1:6381", Moved, Written::No, true),
            ("ASK 3999 127.0.0.1:6381", Moving, Written::No, false),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Moving, Written::No, false),
            ("CLUSTERDOWN Hash slot not served", ClusterDown, Written::No, true),
            ("MASTERDOWN Link with MASTER is down", MasterDown, Written::No, true),
            ("MISCONF Errors writing to the AOF file: No space left on device", DiskFails, Written::No, false),
            ("NOREPLICAS Not enough good replicas to write.", FewReplicas, Written::No, false),
            ("NOPERM User x has no permissions to run the 'xadd' command", Forbidden, Written::No, false),
            ("NOPERM … script: ab12, on @user_script:9.", Forbidden, Written::Unknown, false),
            (
                "ERR The user executing the script can't run this command or subcommand script: ab12, on @user_script:9.",
                Forbidden,
                Written::Unknown,
                false,
            ),
            (
                "ERR ACL failure in script: User x has no … script: ab12, on @user_script:9.",
                Forbidden,
                Written::Unknown,
                false,
            ),
            ("NOAUTH Authentication required.", NotSignedIn, Written::No, true),
            ("WRONGPASS invalid username-password pair or user is disabled.", NotSignedIn, Written::No, true),
            ("BUSY Redis is busy running a script.", Busy, Written::No, false),
            ("UNBLOCKED force unblock from blocking operation", Unblocked, Written::No, true),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongType, Written::No, false),
            ("WRONGTYPE Operation … script: ab12, on @user_script:9.", WrongType, Written::Unknown, false),
            ("ERR max number of clients reached", Other, Written::Unknown, false),
            ("NEWCODE of a later version", Other, Written::Unknown, false),
        ] {
            let (code, said) = line.split_once(' ').unwrap();
            let trouble = classify(&make_extension_error(code.into(), Some(said.into())));
            assert_eq!((trouble.kind, trouble.written, trouble.look_again()), (kind, written, look_again), "{line}");
            let text = trouble.to_string();
            assert!(text.contains(said) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_broken_connection_leaves_open_whether_it_was_written_and_a_refused_one_does_not() {
        use std::io::ErrorKind::*;
        for (io, kind, written) in [
            (TimedOut, Kind::TimedOut, Written::Unknown),
            (BrokenPipe, Kind::Ended, Written::Unknown),
            (ConnectionReset, Kind::Ended, Written::Unknown),
            (UnexpectedEof, Kind::Ended, Written::Unknown),
            (HostUnreachable, Kind::Unreachable, Written::Unknown),
            (ConnectionRefused, Kind::Unreachable, Written::No),
        ] {
            let trouble = classify(&std::io::Error::from(io).into());
            assert_eq!((trouble.kind, trouble.written, trouble.look_again()), (kind, written, true), "{io}");
        }
    }
}
