//! Replies of RESP2: where each value is in the bytes that came, with nothing copied.
//!
//! ```text
//! *2\r\n   an array of two values, which follow          :7\r\n      a number
//! $3\r\n7-0\r\n   a string of three bytes                +OK\r\n     a short text
//! $-1\r\n  *-1\r\n   nothing                             -ERR …\r\n  an error
//! ```
//!
//! Promises: pure; a reply is given out only when all of it is there; what is no reply, or larger than anything that we ask
//! for, is refused at its first byte that shows it.
//! Not here: RESP3 and what only other commands answer, which the `redis` crate reads.

use std::ops::Range;

/// A string: sixteen times the longest body of an entry.
pub(super) const STRING_BYTES_MAX: usize = 16 << 20;
/// A text or an error; Redis cuts its own far below.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Values in a reply: a page of entries with fifty times as many fields as we write.
const VALUES_MAX: usize = 1 << 20;
/// Digits of the longest number, and its sign.
const NUMBER_BYTES_MAX: usize = 20;

/// A value; of an array only its length, since its values follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Array(usize),
    String(Range<usize>),
    Text(Range<usize>),
    Error(Range<usize>),
    Number(i64),
    Nil,
}

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd(pub(super) &'static str);

/// The value that begins at `at`, and where the next one begins; `None`: it is not all there yet.
pub(super) fn token(bytes: &[u8], at: usize) -> Result<Option<(Token, usize)>, Odd> {
    let Some(kind) = bytes.get(at) else { return Ok(None) };
    let longest = match kind {
        b'+' | b'-' => LINE_BYTES_MAX,
        b'*' | b'$' | b':' => NUMBER_BYTES_MAX,
        _ => return Err(Odd("a value of an unknown kind")),
    };
    let Some(line) = line(bytes, at + 1, longest)? else { return Ok(None) };
    let next = line.end + 2;
    let token = match kind {
        b'+' => Token::Text(line),
        b'-' => Token::Error(line),
        b':' => Token::Number(number(&bytes[line])?),
        b'*' => match length(&bytes[line], VALUES_MAX)? {
            Some(values) => Token::Array(values),
            None => Token::Nil,
        },
        _ => match length(&bytes[line], STRING_BYTES_MAX)? {
            Some(len) => {
                let (end, after) = (next + len, next + len + 2);
                return match bytes.get(end..after) {
                    Some(b"\r\n") => Ok(Some((Token::String(next..end), after))),
                    Some(_) => Err(Odd("a string that is longer than it says")),
                    None => Ok(None),
                };
            }
            None => Token::Nil,
        },
    };
    Ok(Some((token, next)))
}

/// The line from `from` on, without its end.
fn line(bytes: &[u8], from: usize, longest: usize) -> Result<Option<Range<usize>>, Odd> {
    let rest = &bytes[from..];
    let looked = &rest[..rest.len().min(longest + 1)];
    let Some(len) = looked.iter().position(|byte| *byte == b'\r') else {
        return if looked.len() > longest { Err(Odd("a line that is too long")) } else { Ok(None) };
    };
    match rest.get(len + 1) {
        Some(b'\n') => Ok(Some(from..from + len)),
        Some(_) => Err(Odd("a line that does not end as lines do")),
        None => Ok(None),
    }
}

fn number(digits: &[u8]) -> Result<i64, Odd> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok()).ok_or(Odd("a number that is none"))
}

/// A length; `None` is that of nothing. Most numbers are lengths of one to three digits.
fn length(digits: &[u8], most: usize) -> Result<Option<usize>, Odd> {
    if digits == b"-1" {
        return Ok(None);
    }
    let digit = |length: Option<usize>, byte: &u8| {
        Some(length? * 10 + usize::from(byte.checked_sub(b'0').filter(|d| *d < 10)?))
    };
    // Eight digits cannot overflow, and are more than any bound has.
    let length = if (1..=8).contains(&digits.len()) { digits.iter().fold(Some(0), digit) } else { None };
    match length {
        Some(length) if length <= most => Ok(Some(length)),
        Some(_) => Err(Odd("a value that is larger than anything that was asked for")),
        None => Err(Odd("a length that is none, or of more than anything that was asked for")),
    }
}

/// Looks for the end of a reply while its bytes come; each value is looked at once.
#[derive(Debug)]
pub(super) struct End {
    at: usize,
    /// Values that are still to come.
    wanted: usize,
    values: usize,
}

impl End {
    /// Of the reply that begins at the first byte.
    pub(super) fn new() -> End {
        End { at: 0, wanted: 1, values: 1 }
    }

    /// Where the reply ends, if all of it is there; `bytes` are those of the last look and what came since.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<Option<usize>, Odd> {
        while self.wanted > 0 {
            let Some((token, next)) = token(bytes, self.at)? else { return Ok(None) };
            (self.at, self.wanted) = (next, self.wanted - 1);
            if let Token::Array(values) = token {
                (self.wanted, self.values) = (self.wanted + values, self.values + values);
                if self.values > VALUES_MAX {
                    return Err(Odd("more values than anything that was asked for"));
                }
            }
        }
        Ok(Some(self.at))
    }
}

#[cfg(test)]
mod tests {
    use ::redis::{Value, parse_redis_value};
    use proptest::prelude::*;

    use super::*;

    /// A reply as Redis would send it.
    #[derive(Debug, Clone)]
    enum Said {
        Array(Vec<Said>),
        String(Vec<u8>),
        Text(String),
        Error(String),
        Number(i64),
        Nil(&'static str),
    }

    fn said() -> impl Strategy<Value = Said> {
        let leaf = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60).prop_map(Said::String),
            "[ -~]{0,20}".prop_map(Said::Text),
            "[A-Z]{3,8}( [a-z]{1,8}){1,3}".prop_map(Said::Error),
            any::<i64>().prop_map(Said::Number),
            prop_oneof![Just(Said::Nil("$-1\r\n")), Just(Said::Nil("*-1\r\n"))],
        ];
        leaf.prop_recursive(3, 40, 8, |inner| proptest::collection::vec(inner, 0..8).prop_map(Said::Array))
    }

    fn write(said: &Said, out: &mut Vec<u8>) {
        match said {
            Said::Array(values) => {
                out.extend(format!("*{}\r\n", values.len()).bytes());
                values.iter().for_each(|value| write(value, out));
            }
            Said::String(bytes) => {
                out.extend(format!("${}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Said::Text(text) => out.extend(format!("+{text}\r\n").bytes()),
            Said::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Said::Number(number) => out.extend(format!(":{number}\r\n").bytes()),
            Said::Nil(text) => out.extend(text.bytes()),
        }
    }

    /// What we read, as the `redis` crate has it, and where the next value begins.
    fn read(bytes: &[u8], at: usize) -> (Value, usize) {
        let (token, mut next) = token(bytes, at).unwrap().unwrap();
        let text = |range: Range<usize>| String::from_utf8(bytes[range].to_vec()).unwrap();
        let value = match token {
            Token::Array(count) => {
                let mut values = Vec::new();
                for _ in 0..count {
                    let (value, after) = read(bytes, next);
                    values.push(value);
                    next = after;
                }
                Value::Array(values)
            }
            Token::String(range) => Value::BulkString(bytes[range].to_vec()),
            Token::Text(range) if &bytes[range.clone()] == b"OK" => Value::Okay,
            Token::Text(range) => Value::SimpleString(text(range)),
            Token::Error(range) => match parse_redis_value(format!("-{}\r\n", text(range)).as_bytes()).unwrap() {
                error @ Value::ServerError(_) => error,
                other => panic!("{other:?}"),
            },
            Token::Number(number) => Value::Int(number),
            Token::Nil => Value::Nil,
        };
        (value, next)
    }

    proptest! {
        #[test]
        fn replies_that_come_in_pieces_are_read_as_the_redis_crate_reads_them(
            replies in proptest::collection::vec(said(), 1..4), cuts: Vec<prop::sample::Index>,
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for reply in &replies {
                write(reply, &mut bytes);
                ends.push(bytes.len());
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let (mut end, mut begin, mut found) = (End::new(), 0, Vec::new());
            for cut in cuts {
                while let Some(len) = end.look(&bytes[begin..cut]).unwrap() {
                    let whole = &bytes[begin..begin + len];
                    let (value, next) = read(whole, 0);
                    prop_assert_eq!(next, len);
                    prop_assert_eq!(value, parse_redis_value(whole).unwrap());
                    (end, begin) = (End::new(), begin + len);
                    found.push(begin);
                    if begin == bytes.len() {
                        break;
                    }
                }
            }
            prop_assert_eq!(found, ends, "each ends where it was written to end");
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_never_read_otherwise_than_by_the_redis_crate(
            reply in said(), changed: Vec<(prop::sample::Index, u8)>,
        ) {
            let mut bytes = Vec::new();
            write(&reply, &mut bytes);
            for (at, byte) in changed {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(Some(end)) = End::new().look(&bytes) && std::str::from_utf8(&bytes[..end]).is_ok() {
                prop_assert_eq!(Ok(read(&bytes, 0).0), parse_redis_value(&bytes[..end]));
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_as_soon_as_it_shows() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request"[..],
            b"%1\r\n",
            b"$16777217\r\n",
            b"$123456789\r\n",
            b"$-2\r\n",
            b"$\r\n",
            b"$3\r\nabcd\r\n",
            b":\r\n",
            b":+1\r\n",
            b":99999999999999999999\r\n",
            b"*1048577\r\n",
            b"*2\r\n*1048575\r\n*1\r\n",
            b"+OK\rx",
            b":123456789012345678901",
        ] {
            let (mut end, text) = (End::new(), String::from_utf8_lossy(bytes));
            assert!(end.look(bytes).is_err(), "{text}");
        }
        let mut long = vec![b'-'; 1 + LINE_BYTES_MAX];
        assert_eq!(End::new().look(&long), Ok(None));
        long.push(b'x');
        assert!(End::new().look(&long).is_err(), "a line without an end");
        assert_eq!(End::new().look(b"$16777216\r\n"), Ok(None));
    }
}
