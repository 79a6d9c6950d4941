//! The text of a reply while it is being written: cheap to clone while the state is locked, and still growing afterwards.
//!
//! Promise: a clone costs one `Arc`, however long the text is; the next piece then copies it once, at most
//! [`REPLY_BYTES_MAX`](super::REPLY_BYTES_MAX) bytes.

use std::{fmt, ops::Deref, sync::Arc};

/// The text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(Arc<String>);

impl Text {
    /// The text so far.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds a piece.
    pub fn push_str(&mut self, piece: &str) {
        Arc::make_mut(&mut self.0).push_str(piece);
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Arc::new(text.into()))
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_stays_as_it_was_while_the_text_grows() {
        let mut text = Text::from("one");
        let taken = text.clone();
        assert!(Arc::ptr_eq(&taken.0, &text.0), "shared, not copied");
        text.push_str(" two");
        assert_eq!((taken, text), (Text::from("one"), Text::from("one two")));
    }
}
