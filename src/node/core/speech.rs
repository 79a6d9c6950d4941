//! Live words on their way through: taken, shown to followers of the room, told to other nodes when it is time.
//!
//! Not here: what a word may change (`live`).

use std::{sync::RwLockWriteGuard, time::Instant};

use super::{
    super::{Error, Heard, LiveUpdate, State, queue_position},
    Core, Effect,
    live::{self, Times, said::Said},
    positions::POSITIONS_MAX,
};
use crate::{decide::work::Held, fanout::feed::Wake};

impl Core {
    pub(super) fn times(&self) -> Times {
        Times { at: self.now.at, wall_ms: self.now.wall_ms, log: self.clock.now(self.now.at) }
    }

    pub(super) fn say(&mut self, held: Held, word: LiveUpdate) -> Result<Heard, Error> {
        let (view, times) = (self.view.clone(), self.times());
        let mut state = view.change();
        let spoken = self.live.word(&mut state, held, word, times)?;
        let heard = Heard { next_index: spoken.next_index, lease: spoken.lease };
        self.show_word(&view, state, held, spoken);
        Ok(heard)
    }

    /// Takes a word of another node, heard at `since`.
    pub(super) fn hear(&mut self, said: Said, since: Instant) {
        let (view, times) = (self.view.clone(), self.times());
        let held = Held { message_id: said.message, fence: said.fence };
        let mut state = view.change();
        if let Some(spoken) = self.live.hear(&mut state, said, since, times) {
            self.show_word(&view, state, held, spoken);
        }
    }

    fn show_word(&mut self, view: &super::View, state: RwLockWriteGuard<'_, State>, held: Held, spoken: live::Spoken) {
        if let Some((open, claim)) =
            state.projections.queue.get(&held.message_id).zip(state.projections.queue.claim(&held.message_id))
        {
            view.roster.heard(claim, &open.ask.bot, self.now.wall_ms);
        }
        let feed = view.feeds.get(&spoken.room).filter(|_| !spoken.frames.is_empty());
        let wake = feed.map(|feed| feed.push(spoken.frames));
        drop(state);
        wake.into_iter().for_each(Wake::wake);
        view.monitor.stir();
        self.is_alive(Some((held, spoken.lease)));
    }

    /// Live news whose time has come.
    pub(super) fn tell_late_news(&mut self) {
        let now = self.now.at;
        if self.live.due(now).is_some_and(|at| at <= now) {
            self.effects.extend(self.live.speak(now).into_iter().map(Effect::Broadcast));
        }
        if self.positions.due(now).is_some_and(|at| at <= now) {
            self.positions.told(now);
            let state = self.view.state();
            let mut wakes = Vec::new();
            for (id, room, ahead) in queue_position::places(&state, &self.policy, POSITIONS_MAX) {
                wakes.extend(self.view.feeds.get(room).map(|feed| feed.push([queue_position::queued(id, ahead)])));
            }
            drop(state);
            wakes.into_iter().for_each(Wake::wake);
        }
    }
}
