//! Replies out of bytes from anywhere: the same values however the bytes are cut, pages as the `redis` crate reads them, and
//! no memory for what is only announced.

use ::redis::parse_redis_value;
use antiphon_schemas::Stored;
use bytes::Bytes;

use super::{
    codec,
    resp::{End, Odd, Token, token},
};
use crate::fuzzer::{Decoder, fuzz, outcome};

/// Where the replies of a stream end that comes in pieces of this size, and why it was given up.
fn ends(input: &[u8], size: usize) -> (Vec<usize>, Option<Odd>) {
    let (mut end, mut begin, mut found) = (End::new(), 0, Vec::new());
    let cuts = (size..input.len()).step_by(size).chain([input.len()]);
    for cut in cuts {
        while begin < cut {
            match end.look(&input[begin..cut]) {
                Ok(Some(len)) => (end, begin) = (End::new(), begin + len),
                Ok(None) => break,
                Err(odd) => return (found, Some(odd)),
            }
            found.push(begin);
        }
    }
    (found, None)
}

/// Asserts that the entries of a page are those that the `redis` crate's values say; how many there are, and what ends them.
fn page(reply: &[u8]) -> (usize, Option<String>) {
    let answer = Bytes::copy_from_slice(reply);
    let (entries, damage) = codec::page("log", &answer);
    assert!(entries.capacity() * size_of::<Stored>() <= reply.len(), "room for what is there");
    // The crate gives up on a reply that has a text of other than UTF-8 anywhere.
    let values = parse_redis_value(reply).ok().and_then(codec::array);
    let sound = |values: &Vec<_>| entries.len() == values.len() || damage.is_some() && entries.len() < values.len();
    assert!(values.as_ref().is_none_or(sound), "{damage:?}");
    for (stored, value) in entries.iter().zip(values.into_iter().flatten()) {
        let other = codec::entry("log", value).map(|entry| Stored::from(&entry));
        assert_eq!(Some(stored), other.ok().as_ref(), "as the redis crate reads it");
    }
    let words = |damage: String| damage.rsplit(':').next().unwrap_or_default().to_owned();
    (entries.len(), damage.map(|damage| words(damage.to_string())))
}

/// Makes strings as long as their lines.
fn heal(input: &mut Vec<u8>) {
    let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for at in 1..lines.len() {
        if lines[at - 1].first() == Some(&b'$') {
            lines[at - 1] = format!("${}\r", lines[at].len().saturating_sub(1)).into_bytes();
        }
    }
    *input = lines.join(&b'\n');
}

fn look(input: &[u8]) -> u64 {
    let (found, odd) = ends(input, input.len().max(1));
    for size in [1, 7, 100] {
        assert_eq!(ends(input, size), (found.clone(), odd), "in pieces of {size}");
    }
    let (mut begin, mut pages) = (0, Vec::new());
    for end in &found {
        let reply = &input[begin..*end];
        if let Ok(Some((Token::Array(_), _))) = token(reply, 0) {
            pages.push(page(reply));
        }
        begin = *end;
    }
    pages.truncate(4);
    outcome((found.len().min(16), odd.map(|odd| odd.0), pages))
}

#[test]
fn replies_from_anywhere_are_read_the_same_way_however_they_are_cut() {
    let test = "log::redis::fuzz::replies_from_anywhere_are_read_the_same_way_however_they_are_cut";
    fuzz(Decoder { corpus: "resp", test, look, heal });
}
