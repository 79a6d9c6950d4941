//! Keys and revocations that were lost: two nodes bring back what they saw, in any order, deciding at once.

use antiphon_schemas::event::{KeyCreated, KeyRevoked};

use super::*;
use crate::{
    decide::{
        key::{KEYS_MAX, KeyWish, key},
        tests::roomless,
    },
    projection::keys::Keys,
};

const KEYS: usize = 5;

fn key_id(n: usize) -> Arc<str> {
    format!("{n:012}").into()
}

fn made(n: usize) -> KeyCreated {
    KeyCreated { key_id: key_id(n), worker: "w".into(), bots: vec![bot(0)], key_sha256: format!("{n:064}").into() }
}

fn event(step: &(usize, bool)) -> Event {
    match step {
        (n, true) => made(*n).into(),
        (n, false) => KeyRevoked { key_id: key_id(*n) }.into(),
    }
}

/// A log of keys, and its fold.
#[derive(Default)]
struct Log {
    entries: Vec<Arc<Entry>>,
    keys: Keys,
}

impl Log {
    fn append(&mut self, event: Event) {
        let entry = roomless(self.entries.len() as u64 + 1, event);
        self.keys.apply(&entry);
        self.entries.push(entry);
    }

    fn of(entries: &[Arc<Entry>]) -> Log {
        let mut log = Log::default();
        entries.iter().for_each(|entry| log.append(entry.event.clone()));
        log
    }

    /// What somebody who sees these keys writes for a wish.
    fn wish(&mut self, seen: &Keys, wish: &KeyWish) {
        let policy = World::new().policy;
        if let Some(event) = key(seen, &policy, wish).expect("what was lost is never refused") {
            self.append(event);
        }
    }

    fn good(&self) -> BTreeSet<Arc<str>> {
        self.keys.live().iter().map(|key| key.id.clone()).collect()
    }
}

/// Keys as people make them: a key is made once, and revoked after that, perhaps twice.
fn lives() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let order = Just((0..KEYS).flat_map(|n| [(n, true), (n, false), (n, false)]).collect::<Vec<_>>()).prop_shuffle();
    (order, proptest::collection::vec(any::<bool>(), KEYS)).prop_map(|(order, revoked)| {
        let mut known = BTreeSet::new();
        order
            .into_iter()
            .filter(|(n, made)| if *made { known.insert(*n) } else { known.contains(n) && revoked[*n] })
            .collect()
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_revoked_stays_revoked_and_what_was_good_is_good_again(
        lives in lives(),
        at in any::<[prop::sample::Index; 3]>(),
        turns in proptest::collection::vec(any::<bool>(), 4 * KEYS),
        at_once in any::<bool>(),
    ) {
        let mut before = Log::default();
        lives.iter().for_each(|step| before.append(event(step)));
        let [kept, a, b] = cut(&before.entries, &at);
        let seen = Log::of(&before.entries[..a.max(b)]);
        let mut log = Log::of(&before.entries[..kept]);
        let of = |seen: usize| plan(&before.entries[kept..seen]).keys;
        let (plans, stale) = ([of(a), of(b)], log.keys.clone());
        let mut offers = plans.each_ref().map(|wishes| wishes.iter());
        // Each node keeps its order; whether the one sees what the other has written is up to chance.
        for turn in turns.into_iter().map(usize::from).chain([0; 4 * KEYS]).chain([1; 4 * KEYS]) {
            if let Some(wish) = offers[turn].next() {
                let seen = if at_once { stale.clone() } else { log.keys.clone() };
                log.wish(&seen, wish);
            }
        }
        prop_assert_eq!(log.good(), seen.good());
        for n in 0..KEYS {
            prop_assert_eq!(log.keys.is_revoked(&key_id(n)), seen.keys.is_revoked(&key_id(n)));
        }
        if !at_once {
            let again = log.entries.len();
            let mut said = BTreeSet::new();
            prop_assert!(log.entries[kept..].iter().all(|e| said.insert(e.body.clone())), "nothing is written twice");
            for wish in plans.iter().flatten() {
                let seen = log.keys.clone();
                log.wish(&seen, wish);
            }
            prop_assert_eq!(log.entries.len(), again, "offering the same again changes nothing");
        }
    }
}

#[test]
fn keys_come_first_in_their_order_and_are_never_refused() {
    let entries: Vec<_> =
        (1..).zip([(0, true), (1, true), (0, false)]).map(|(seq, step)| roomless(seq, event(&step))).collect();
    let plan = plan(&entries);
    let expected = [KeyWish::Restore(made(0)), KeyWish::Restore(made(1)), KeyWish::RestoreRevoked(key_id(0))];
    assert_eq!((plan.keys.as_slice(), plan.offered(), plan.refused.len()), (&expected[..], 3, 0));
    // A bot that this node does not know, and a list that is full, are no reasons: somebody was given the key.
    let mut log = Log::default();
    (0..KEYS_MAX).for_each(|n| log.append(made(n).into()));
    let stranger = KeyCreated { bots: vec![BotName::new("stranger").unwrap()], ..made(KEYS_MAX) };
    let seen = log.keys.clone();
    log.wish(&seen, &KeyWish::Restore(stranger));
    assert_eq!(log.good().len(), KEYS_MAX + 1);
    // A revocation comes back though nobody here knows its key: another node may still bring that.
    let mut log = Log::default();
    log.wish(&Keys::default(), &KeyWish::RestoreRevoked(key_id(7)));
    log.append(made(7).into());
    assert!(log.good().is_empty());
}
