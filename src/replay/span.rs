//! Which part of a log is meant: from a time or position to another, and what of it.
//!
//! Times are RFC 3339, a day or a minute (`2026-11-25`, `2026-11-25T10:00`, UTC), or an age (`90s`, `15m`, `2h`, `3d`);
//! positions are numbers, or as a server gives them out (`17a71cc4a21de623-00-0000000000000004`).
//!
//! Promise: the first position of a time is found by halving, so that a long log costs no more than a short one.

use std::str::FromStr;

use antiphon_schemas::{Cursor, Entry, Epoch, MessageId, RoomName, Seq, Stored, entry::Header, time};

use super::source::{Error, Source};

/// A time or a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A number.
    Position(Seq),
    /// As given out: only good for the log of its epoch.
    Cursor(Cursor),
    /// In ms since 1970.
    Time(u64),
    /// This many ms before now.
    Ago(u64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(seq) = text.parse::<u64>() {
            return if seq <= Seq::MAX.0 {
                Ok(Moment::Position(Seq(seq)))
            } else {
                Err("the position is too large".into())
            };
        }
        if let Ok(cursor) = text.parse::<Cursor>() {
            return Ok(Moment::Cursor(cursor));
        }
        let unit = |unit: char| match unit {
            's' => Some(1_000),
            'm' => Some(60_000),
            'h' => Some(3_600_000),
            'd' => Some(86_400_000),
            _ => None,
        };
        let mut chars = text.chars();
        if let Some(ms) = chars.next_back().and_then(unit)
            && let Ok(count) = chars.as_str().parse::<u64>()
        {
            return Ok(Moment::Ago(count.saturating_mul(ms)));
        }
        let whole = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            16 => format!("{}:00Z", text.replacen(' ', "T", 1)),
            19 => format!("{}Z", text.replacen(' ', "T", 1)),
            _ => text.replacen(' ', "T", 1),
        };
        time::parse_rfc3339(&whole).map(Moment::Time).ok_or_else(|| {
            format!(
                "`{text}` is neither a time (2026-11-25, 2026-11-25T10:00:00Z, 2h for two hours ago) nor a position"
            )
        })
    }
}

/// A part of a log: the entries after `after`, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The position before the first.
    pub after: Seq,
    /// The last one; `None`: to the end, also of what comes.
    pub until: Option<Seq>,
}

impl Span {
    /// What `from` and `to` mean in a log. Both ends are part of it.
    ///
    /// # Errors
    /// [`Error`] of the source, or a position of another log.
    pub fn find(source: &mut dyn Source, from: Option<Moment>, to: Option<Moment>, now_ms: u64) -> Result<Span, Error> {
        let first = |source: &mut dyn Source, moment: Moment, later: u64| match moment {
            Moment::Position(seq) => Ok(Seq(seq.0 + later)),
            Moment::Cursor(cursor) => of_epoch(source.epoch(), cursor).map(|seq| Seq(seq.0 + later)),
            Moment::Time(ms) => first_since(source, ms + later),
            Moment::Ago(ms) => first_since(source, now_ms.saturating_sub(ms) + later),
        };
        let after = match from {
            None => Seq::ZERO,
            Some(from) => Seq(first(source, from, 0)?.0.saturating_sub(1)),
        };
        let until = match to {
            None => None,
            Some(to) => Some(Seq(first(source, to, 1)?.0.saturating_sub(1))),
        };
        source.seek(after)?;
        Ok(Span { after, until })
    }

    /// The position of a moment: the last entry that had happened by then.
    ///
    /// # Errors
    /// As [`Span::find`].
    pub fn at(source: &mut dyn Source, moment: Moment, now_ms: u64) -> Result<Seq, Error> {
        Span::find(source, None, Some(moment), now_ms).map(|span| span.until.unwrap_or_default())
    }
}

fn of_epoch(epoch: Epoch, cursor: Cursor) -> Result<Seq, Error> {
    if cursor.epoch == epoch {
        return Ok(cursor.seq);
    }
    Err(Error::Io(format!("the position {cursor} is of another log or epoch; this one has {epoch}")))
}

/// The first position whose entry is not older than `ms`; one beyond the end if all are.
fn first_since(source: &mut dyn Source, ms: u64) -> Result<Seq, Error> {
    let (mut low, mut high) = (Seq(1), source.tail()?.next());
    while low < high {
        let middle = Seq(low.0 + (high.0 - low.0) / 2);
        source.seek(Seq(middle.0 - 1))?;
        let page = source.read()?;
        let Some(first) = page.first() else {
            high = middle;
            continue;
        };
        if at_ms(first) >= ms {
            high = middle;
        } else {
            // The page is there anyway: what it says spares some steps.
            // Positions of a part may have holes.
            let older = page.partition_point(|stored| at_ms(stored) < ms);
            if let Some(found) = page.get(older) {
                return Ok(found.seq());
            }
            low = page[older - 1].seq().next();
        }
    }
    Ok(low)
}

fn at_ms(stored: &Stored) -> u64 {
    Header::decode(&stored.header).map_or(0, |header| header.at_ms)
}

/// What of a part of a log is wanted; everything that is not said is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Entries of this room.
    pub room: Option<RoomName>,
    /// Of one of these kinds, or beginnings of kinds (`message.`).
    pub kinds: Vec<String>,
    /// About this message.
    pub message: Option<MessageId>,
    /// Posted by this author, or claimed by this worker.
    pub author: Option<String>,
}

impl Filter {
    /// Whether entries of this kind pass.
    pub fn takes_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|k| kind == k || (k.ends_with('.') && kind.starts_with(k)))
    }

    /// Whether the header of an entry passes: nothing has to be decoded for most.
    pub fn takes_header(&self, header: &Header) -> bool {
        self.room.as_ref().is_none_or(|room| header.room.as_ref() == Some(room))
            && self.takes_kind(&header.kind)
            && self.message.is_none_or(|id| header.subjects.contains(&id))
    }

    /// Whether an entry passes.
    pub fn takes(&self, entry: &Entry) -> bool {
        use antiphon_schemas::Event;
        let by = |author: &str| match &entry.event {
            Event::MessagePosted(e) => &*e.author.name == author,
            Event::ReplyPosted(e) => &*e.author.name == author,
            Event::MessageClaimed(e) => &*e.worker == author || e.bot.as_str() == author,
            _ => false,
        };
        self.takes_header(&entry.header) && self.author.as_deref().is_none_or(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_positions_are_told_apart() {
        let epoch = Epoch(0x17a7_1cc4_a21d_e623);
        let cursor = Cursor::new(epoch, Seq(4));
        for (text, moment) in [
            ("0", Moment::Position(Seq(0))),
            ("1234", Moment::Position(Seq(1234))),
            ("17a71cc4a21de623-00-0000000000000004", Moment::Cursor(cursor)),
            ("2h", Moment::Ago(7_200_000)),
            ("90s", Moment::Ago(90_000)),
            ("1970-01-02", Moment::Time(86_400_000)),
            ("1970-01-01 00:01", Moment::Time(60_000)),
            ("1970-01-01T00:01:01", Moment::Time(61_000)),
            ("1970-01-01T02:00:00.5+02:00", Moment::Time(500)),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for text in ["", "yesterday", "h", "-1", "2026-13-01", "99999999999999999999"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
