//! Names that this thread has met lately, so that reading a log makes each of them once and not once an entry.
//!
//! Promises: what is given is what would have been made; memory is bounded by [`MET`]; names chosen to
//! collide cost what they cost without this.
//! Not here: anything that people said or are called. What is erased from the log must not live on here.

/// Names of one sort that a thread remembers. More rooms than this are rarely spoken in at the same time.
const MET_BITS: u32 = 10;
const MET: usize = 1 << MET_BITS;

/// The last name met at each place.
pub(crate) struct Met<T>([Option<T>; MET]);

impl<T: AsRef<str> + Clone> Met<T> {
    pub(crate) const fn new() -> Met<T> {
        Met([const { None }; MET])
    }

    /// The name that is these bytes, as `make` makes it, if it does.
    pub(crate) fn get(&mut self, bytes: &[u8], make: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let place = &mut self.0[place(bytes)];
        match place {
            Some(met) if met.as_ref().as_bytes() == bytes => Some(met.clone()),
            _ => Some(place.insert(make(std::str::from_utf8(bytes).ok()?)?).clone()),
        }
    }
}

/// Where a text is remembered: by its length, its first and its last bytes.
fn place(text: &[u8]) -> usize {
    let (first, last) = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (text.iter().fold(text.len() as u64, |all, byte| all << 8 | u64::from(*byte)), 0),
    };
    // An odd number without a pattern: 2^64 divided by the golden ratio. The upper bits depend on all of the lower ones.
    let mixed = (first.rotate_left(29) ^ last ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - MET_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::RoomName;

    #[test]
    fn a_name_that_was_met_is_shared_and_one_that_took_its_place_is_not_mistaken_for_it() {
        let mut met = Met::<Arc<str>>::new();
        let mut get = |text: &str| met.get(text.as_bytes(), |text| Some(Arc::from(text))).unwrap();
        assert!(Arc::ptr_eq(&get("lobby"), &get("lobby")));
        for n in 0..10 * MET {
            let text = format!("room-{n}");
            assert_eq!(&*get(&text), text);
        }
        // They differ in the middle only: one place for both.
        let (a, b) = ("beginning-a-the-end", "beginning-b-the-end");
        assert_eq!(place(a.as_bytes()), place(b.as_bytes()));
        assert_eq!([&*get(a), &*get(b), &*get(a)], [a, b, a]);
    }

    #[test]
    fn what_is_no_name_is_refused_however_often() {
        for _ in 0..2 {
            assert_eq!([RoomName::met(b"no room"), RoomName::met(b"r\xffom"), RoomName::met(b"")], [None, None, None]);
            assert_eq!(RoomName::met(b"room"), RoomName::new("room").ok());
        }
    }
}
