//! What a server says about when to come back: in headers, in the body, in a sentence.
//!
//! ```text
//! retry-after-ms: 1500      retry-after: 20      retry-after: Wed, 21 Oct 2026 07:28:00 GMT
//! {"estimated_time": 20.0}  {"retryDelay": "17s"}  … Please try again in 1.2s
//! ```
//!
//! Pure: headers and body in, a time out; for a date the wall clock's time is an argument.
//! Not here: what is done meanwhile (`breaker`).

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// The longest wait that is believed: a person's question is given up after an hour.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Headers that say it, after the customary two.
const RESETS: [&str; 3] = ["x-ratelimit-reset-after", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];
/// Fields of the body that say it, in seconds.
const FIELDS: [&str; 5] = ["estimated_time", "retry_after", "retryAfter", "retryDelay", "retry_after_seconds"];
/// What stands before a time in a sentence.
const SENTENCES: [&str; 4] = ["try again in ", "retry after ", "retry in ", "available in "];

/// How long to wait, if the server says so. `head`: a header's value by its name; `now_s`: seconds since 1970, if known.
pub(crate) fn wait_said<'a>(
    head: impl Fn(&str) -> Option<&'a str>,
    body: &str,
    now_s: Option<u64>,
) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let ms = head("retry-after-ms").and_then(number).and_then(|ms| seconds(ms / 1_000.0));
    let after = head("retry-after").and_then(|text| match number(text) {
        Some(s) => seconds(s),
        // The server's own clock is the one that it means.
        None => seconds(date(text)?.saturating_sub(head("date").and_then(date).or(now_s)?) as f64),
    });
    let reset = || RESETS.iter().find_map(|name| span(head(name)?));
    let said = ms.or(after).or_else(|| in_body(body)).or_else(reset)?;
    Some(said.min(WAIT_MAX))
}

fn in_body(body: &str) -> Option<Duration> {
    let json = serde_json::from_str::<Value>(body).ok();
    let field = json.as_ref().and_then(|json| in_json(json, 0));
    field.or_else(|| {
        let lower = body.to_lowercase();
        SENTENCES.iter().find_map(|words| span(&lower[lower.find(words)? + words.len()..]))
    })
}

/// A field that says it, not too deep down.
fn in_json(value: &Value, depth: usize) -> Option<Duration> {
    const DEPTH_MAX: usize = 4;
    let inner: Vec<&Value> = match value {
        Value::Object(fields) => {
            let said = FIELDS.iter().find_map(|name| match fields.get(*name)? {
                Value::Number(number) => seconds(number.as_f64()?),
                Value::String(text) => span(text),
                _ => None,
            });
            let ms = || seconds(fields.get("retry_after_ms")?.as_f64()? / 1_000.0);
            match said.or_else(ms) {
                None => fields.values().collect(),
                said => return said,
            }
        }
        Value::Array(list) => list.iter().collect(),
        _ => return None,
    };
    if depth < DEPTH_MAX { inner.into_iter().find_map(|value| in_json(value, depth + 1)) } else { None }
}

fn seconds(s: f64) -> Option<Duration> {
    (s >= 0.0).then(|| Duration::try_from_secs_f64(s).unwrap_or(WAIT_MAX))
}

/// `20`, `1.5s`, `120ms`, `6m0s`, `20 seconds`: whatever follows is passed over.
fn span(text: &str) -> Option<Duration> {
    let (mut total, mut rest, mut found) = (0.0, text.trim_start(), false);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..end].trim_end_matches('.').parse::<f64>() else { break };
        let unit = rest[end..].trim_start();
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let factor = match &unit[..letters] {
            "ms" | "milliseconds" => 0.001,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            _ => 1.0,
        };
        total += number * factor;
        (found, rest) = (true, &unit[letters..]);
    }
    found.then(|| seconds(total)).flatten()
}

/// Seconds since 1970 of a date in a header (RFC 9110).
fn date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(heads: &[(&str, &'static str)], body: &str) -> Option<f64> {
        let head = |name: &str| heads.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        wait_said(head, body, Some(784_111_777)).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn every_way_of_saying_when_is_understood() {
        for (heads, body, s) in [
            (&[("retry-after", "20")][..], "", 20.0),
            (&[("retry-after", "1.5")], "", 1.5),
            (&[("retry-after-ms", "250"), ("retry-after", "1")], "", 0.25),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], "", 30.0),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), ("date", "Sun, 06 Nov 1994 08:50:00 GMT")], "", 7.0),
            (&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], "", 0.0),
            (&[("x-ratelimit-reset-requests", "6m0s")], "", 360.0),
            (&[], r#"{"error":"Model x is currently loading","estimated_time":20.0}"#, 20.0),
            (&[], r#"{"error":{"details":[{"retryDelay":"17s"}]}}"#, 17.0),
            (&[], r#"{"error":{"message":"Rate limit reached. Please try again in 1.2s. Visit …"}}"#, 1.2),
            (&[], "Retry after 20 seconds.", 20.0),
            (&[("retry-after", "86400")], "", WAIT_MAX.as_secs_f64()),
        ] {
            assert_eq!(said(heads, body), Some(s), "{heads:?} {body}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_time() {
        for (heads, body) in [
            (&[("retry-after", "soon")][..], ""),
            (&[("retry-after", "-5")], ""),
            (&[("retry-after", "Sun, 99 Foo")], ""),
            (&[], r#"{"error":"busy"}"#),
            (&[], "try again in a while"),
        ] {
            assert_eq!(said(heads, body), None, "{heads:?} {body}");
        }
    }

    #[test]
    fn dates_are_read_as_they_are() {
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
    }
}
