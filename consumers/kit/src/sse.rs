//! Reads server-sent events from bytes as they arrive, wherever they are cut.
//!
//! Promises: the same events for every way of cutting the bytes; at most [`EVENT_BYTES_MAX`] are held.
//! Not here: connections, reconnecting. Source: WHATWG HTML, "Server-sent events".

/// The longest event taken; a longer one means that the other side does not speak SSE.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

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

/// The other side sent an event longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// An incremental reader.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Vec<u8>,
    after_cr: bool,
    event: SseEvent,
    has_data: bool,
    bytes: usize,
}

impl SseReader {
    /// A reader at the start of a stream.
    pub fn new() -> SseReader {
        SseReader::default()
    }

    /// Takes the next bytes and appends every event that they complete to `out`.
    ///
    /// # Errors
    /// [`TooLong`]: give up on this stream.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<SseEvent>) -> Result<(), TooLong> {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(out),
                _ => {
                    self.line.push(byte);
                    self.bytes += 1;
                    if self.bytes > EVENT_BYTES_MAX {
                        return Err(TooLong);
                    }
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.bytes = 0;
            let id = self.event.id.clone();
            let mut event = std::mem::replace(&mut self.event, SseEvent { id, ..SseEvent::default() });
            if std::mem::take(&mut self.has_data) {
                if event.name.is_empty() {
                    event.name = "message".into();
                }
                out.push(event);
            }
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
        let stream = "retry: 50\r\n\r\nid: 7\nevent: delta\ndata: {\"a\":1}\n\n: comment\n\ndata:two\ndata: lines ☃\r\rid: 8\ndata\n\nevent: cut";
        let read = |size: usize| {
            let (mut reader, mut out) = (SseReader::new(), Vec::new());
            stream.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk, &mut out).unwrap());
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
    fn an_endless_line_is_given_up() {
        let (mut reader, mut out) = (SseReader::new(), Vec::new());
        assert_eq!(reader.push(&vec![b'x'; EVENT_BYTES_MAX + 1], &mut out), Err(TooLong));
    }
}
