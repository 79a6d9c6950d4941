//! The names of the keys.

use antiphon_schemas::event::Ask;

use super::address::Address;

/// The names of the keys.
pub(super) struct Keys {
    pub(super) log: String,
    pub(super) live: String,
    pub(super) meta: String,
    pub(super) lanes: String,
    /// The log without what is erased, while that is made.
    pub(super) copy: String,
    /// The log before that, until it is freed.
    pub(super) old: String,
    /// Who makes it.
    pub(super) erasing: String,
    /// What a lane's name begins with.
    pub(super) work: String,
}

impl Keys {
    pub(super) fn of(address: &Address) -> Keys {
        let key = |rest| address.key(0, rest);
        Keys {
            log: key("log"),
            live: key("live"),
            meta: key("meta"),
            lanes: key("lanes"),
            copy: key("log.erasing"),
            old: key("log.erased"),
            erasing: key("erasing"),
            work: key("work:"),
        }
    }

    pub(super) fn lane(&self, ask: &Ask) -> String {
        format!("{}{}:{}{}", self.work, ask.bot, ask.priority, if ask.second { "b" } else { "" })
    }
}
