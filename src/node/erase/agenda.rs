//! What is to be erased, how far that is done, and when the next page is due: pure, driven by positions and times.
//!
//! Promises: `done` covers only what was looked at since the log was last opened; a page that began before that says nothing
//! about the log that is open now, however its positions compare.
//! Not here: reading, erasing, waiting (the parent module).

use std::time::{Duration, Instant};

use antiphon_schemas::Seq;

/// How long another node has for what it was asked to erase: it may have to copy a log of millions of entries.
const OTHERS_WAIT: Duration = Duration::from_secs(60);
/// Wait before a page that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// When the next page is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Due {
    /// Nothing is to be erased.
    Never,
    Now,
    At(Instant),
}

/// A page of work: what was wanted when it began, of which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Page {
    generation: u64,
    /// Done before it.
    pub(in crate::node) after: Seq,
    /// Wanted up to here.
    pub(in crate::node) upto: Seq,
}

/// The decisions of erasing.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Agenda {
    /// How often the log was opened: what was done in one opening is not known to be done in the next.
    generation: u64,
    /// Wanted by somebody, up to here.
    sometime: Seq,
    /// Wanted from this node, at once, up to here.
    now: Seq,
    done: Seq,
    /// Since when something is wanted that another node was asked for.
    since: Option<Instant>,
    /// When what failed is tried again.
    again: Option<Instant>,
}

impl Agenda {
    /// Everything up to here is erased, in the log that is open now.
    pub(in crate::node) fn done(&self) -> Seq {
        self.done
    }

    /// A `message.erased` was applied; the node that appended it acts first.
    pub(in crate::node) fn note(&mut self, at: Seq, time: Instant) {
        self.sometime = self.sometime.max(at);
        self.since = self.since.or((self.sometime > self.done).then_some(time));
    }

    /// A caller waits for everything up to here. It may be luckier than the last try was.
    pub(in crate::node) fn hurry(&mut self, at: Seq) {
        self.now = self.now.max(at);
        self.again = None;
    }

    /// The log was opened, and ends here.
    pub(in crate::node) fn opened(&mut self, tail: Seq) {
        let generation = self.generation + 1;
        *self = Agenda { generation, sometime: tail, now: tail, ..Agenda::default() };
    }

    /// When the next page is due; `shared`: other nodes erase in this log, too.
    pub(in crate::node) fn due(&self, shared: bool) -> Due {
        let wait = match (self.now > self.done, self.sometime > self.done) {
            (true, _) => None,
            (false, true) if shared => self.since.map(|since| since + OTHERS_WAIT),
            (false, true) => None,
            (false, false) => return Due::Never,
        };
        wait.max(self.again).map_or(Due::Now, Due::At)
    }

    /// The next page.
    pub(in crate::node) fn begin(&self) -> Page {
        Page { generation: self.generation, after: self.done, upto: self.sometime.max(self.now) }
    }

    /// Whether the log was not opened again since this page began.
    fn is_current(&self, page: &Page) -> bool {
        self.generation == page.generation
    }

    /// A page is erased up to `end`.
    pub(in crate::node) fn ended(&mut self, page: &Page, end: Seq) {
        if !self.is_current(page) {
            return;
        }
        (self.done, self.again) = (end, None);
        if self.done >= self.sometime {
            self.since = None;
        }
    }

    /// A page failed at this time; some of it may be erased.
    pub(in crate::node) fn failed(&mut self, page: &Page, time: Instant) {
        if self.is_current(page) {
            self.again = Some(time + AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(tail: u64) -> Agenda {
        let mut agenda = Agenda::default();
        agenda.opened(Seq(tail));
        agenda
    }

    /// As [`opened`], and all of it was looked at.
    fn quiet(tail: u64) -> Agenda {
        let mut agenda = opened(tail);
        agenda.ended(&agenda.begin(), Seq(tail));
        agenda
    }

    #[test]
    fn nothing_is_due_before_the_log_is_open_and_after_all_of_it_was_looked_at() {
        assert_eq!(Agenda::default().due(true), Due::Never);
        assert_eq!(opened(7).due(true), Due::Now);
        assert_eq!(quiet(7).due(true), Due::Never);
        assert_eq!(quiet(7).done(), Seq(7));
    }

    #[test]
    fn what_this_node_was_asked_for_is_due_at_once() {
        let mut agenda = quiet(7);
        agenda.hurry(Seq(9));
        assert_eq!(agenda.due(true), Due::Now);
        let page = agenda.begin();
        assert_eq!((page.after, page.upto), (Seq(7), Seq(9)));
    }

    #[test]
    fn what_another_node_was_asked_for_is_its_own_to_do_for_a_while() {
        let (mut agenda, time) = (quiet(7), Instant::now());
        agenda.note(Seq(8), time);
        agenda.note(Seq(9), time + AGAIN);
        assert_eq!(agenda.due(true), Due::At(time + OTHERS_WAIT), "counted from the first");
        assert_eq!(agenda.due(false), Due::Now, "there is no other node");
        agenda.ended(&agenda.begin(), Seq(9));
        assert_eq!(agenda.due(true), Due::Never);
        agenda.note(Seq(10), time + OTHERS_WAIT);
        assert_eq!(agenda.due(true), Due::At(time + OTHERS_WAIT * 2), "counted from here");
    }

    #[test]
    fn a_page_of_many_is_followed_by_the_next_without_a_wait() {
        let (mut agenda, time) = (quiet(7), Instant::now());
        agenda.note(Seq(5_000), time);
        agenda.ended(&agenda.begin(), Seq(1_000));
        assert_eq!(agenda.due(true), Due::At(time + OTHERS_WAIT));
        assert_eq!(agenda.begin().after, Seq(1_000));
    }

    #[test]
    fn a_failure_is_tried_again_after_a_while_or_when_somebody_asks() {
        let (mut agenda, time) = (opened(7), Instant::now());
        agenda.failed(&agenda.begin(), time);
        assert_eq!(agenda.due(true), Due::At(time + AGAIN));
        agenda.note(Seq(8), time);
        assert_eq!(agenda.due(true), Due::At(time + AGAIN), "another wish is no luck");
        agenda.hurry(Seq(8));
        assert_eq!(agenda.due(true), Due::Now);
    }

    /// A page that began at 0 compares equal to a log that was opened meanwhile, whose `done` is 0, too.
    #[test]
    fn a_page_that_began_before_the_log_was_opened_again_does_not_count() {
        let mut agenda = opened(7);
        let page = agenda.begin();
        agenda.opened(Seq(7));
        agenda.ended(&page, Seq(7));
        assert_eq!((agenda.done(), agenda.due(true)), (Seq::ZERO, Due::Now));
        agenda.failed(&page, Instant::now());
        assert_eq!(agenda.due(true), Due::Now, "nor does its failure");
    }
}
