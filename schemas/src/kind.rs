//! The kind of an entry, as its header says it: one of ours costs no memory, one of a later version is kept as it is.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::Serialize;

use crate::event::Event;

/// A kind.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// The kind in these bytes; `None` if they are not UTF-8.
    pub(crate) fn of(bytes: &[u8]) -> Option<Kind> {
        match Event::known_kind(bytes) {
            Some(ours) => Some(Kind(Cow::Borrowed(ours))),
            None => std::str::from_utf8(bytes).ok().map(|other| Kind(Cow::Owned(other.into()))),
        }
    }
}

impl From<&str> for Kind {
    fn from(text: &str) -> Kind {
        Kind(Event::known_kind(text.as_bytes()).map_or_else(|| Cow::Owned(text.into()), Cow::Borrowed))
    }
}

impl From<String> for Kind {
    fn from(text: String) -> Kind {
        text.as_str().into()
    }
}

impl Deref for Kind {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
