//! Reads server-sent events from bytes as they arrive, wherever they are cut.
//!
//! Promises: the same events for every way of cutting the bytes; at most [`EVENT_BYTES_MAX`] are held; an event that is longer
//! is passed over, and [`TOO_LONG`] takes its place.
//! Not here: connections, reconnecting. Source: WHATWG HTML, "Server-sent events".

/// The longest event taken; the longest that a server sends, a snapshot of a room, is far below.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// The name of what comes in place of an event that was longer; it has no data.
pub const TOO_LONG: &str = "too-long";
/// May stand at the beginning of a stream, and says nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// `event:`, or `message` if absent.
    pub name: String,
    /// `data:` lines joined by line feeds.
    pub data: String,
    /// The last `id:` seen so far, of this event or an earlier one.
    pub id: Option<String>,
    /// `retry:` in ms, if this event set it.
    pub retry_ms: Option<u64>,
}

/// An incremental reader.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Vec<u8>,
    after_cr: bool,
    event: SseEvent,
    has_data: bool,
    bytes: usize,
    /// The event is too long, and what is left of it is passed over.
    too_long: bool,
    begun: bool,
}

impl SseReader {
    /// A reader at the start of a stream.
    pub fn new() -> SseReader {
        SseReader::default()
    }

    /// Takes the next bytes and appends every event that they complete to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<SseEvent>) {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(out),
                _ => {
                    self.bytes += 1;
                    self.too_long |= self.bytes > EVENT_BYTES_MAX;
                    // One byte is enough to know that the line is not empty.
                    if !self.too_long || self.line.is_empty() {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.is_empty() {
            self.bytes = 0;
            let id = self.event.id.clone();
            let mut event = std::mem::replace(&mut self.event, SseEvent { id, ..SseEvent::default() });
            let has_data = std::mem::take(&mut self.has_data);
            if std::mem::take(&mut self.too_long) {
                out.push(SseEvent { name: TOO_LONG.into(), data: String::new(), ..event });
            } else if has_data {
                if event.name.is_empty() {
                    event.name = "message".into();
                }
                out.push(event);
            }
            return;
        }
        if self.too_long {
            self.event.data = String::new();
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.into(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.into()),
            "retry" => self.event.retry_ms = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_cutting_the_bytes_gives_the_same_events() {
        let stream = "\u{feff}retry: 50\r\n\r\nid: 7\nevent: delta\ndata: {\"a\":1}\n\n: comment\n\ndata:two\ndata: lines ☃\r\rid: 8\ndata\n\nevent: cut";
        let read = |size: usize| {
            let (mut reader, mut out) = (SseReader::new(), Vec::new());
            stream.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk, &mut out));
            out
        };
        let whole = read(stream.len());
        assert_eq!(
            whole.iter().map(|e| (e.name.as_str(), e.data.as_str(), e.id.as_deref())).collect::<Vec<_>>(),
            [("delta", "{\"a\":1}", Some("7")), ("message", "two\nlines ☃", Some("7")), ("message", "", Some("8")),]
        );
        (1..stream.len()).for_each(|size| assert_eq!(read(size), whole, "chunks of {size}"));
    }

    #[test]
    fn an_event_that_is_too_long_is_passed_over_and_told() {
        let (mut reader, mut out) = (SseReader::new(), Vec::new());
        reader.push(b"id: 7\nevent: a\ndata: 1\ndata: ", &mut out);
        (0..3).for_each(|_| reader.push(&vec![b'x'; EVENT_BYTES_MAX / 2], &mut out));
        assert!(reader.line.len() <= EVENT_BYTES_MAX && out.is_empty());
        reader.push(b"\ndata: 2\n\nevent: b\ndata: 3\n\n", &mut out);
        let events: Vec<_> = out.iter().map(|e| (e.name.as_str(), e.data.as_str(), e.id.as_deref())).collect();
        assert_eq!(events, [(TOO_LONG, "", Some("7")), ("b", "3", Some("7"))]);
    }
}
