//! Cuts a stream of bytes into lines, wherever the bytes were cut on their way.
//!
//! Promises: a character that was split comes whole; LF, CRLF and CR end a line, nothing else does; a byte order mark at
//! the very beginning is passed over; at most [`LINE_BYTES_MAX`] are held.

/// The longest line taken; a longer one means that the other side does not speak in events or lines.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// An incremental reader.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The line that has not ended yet.
    open: Vec<u8>,
    after_cr: bool,
    begun: bool,
}

/// The other side sent a line longer than [`LINE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    /// Takes the next bytes and returns the lines that they complete, without their ends; empty ones among them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (part, end) = (&rest[..at], rest[at]);
            let second_half = std::mem::replace(&mut self.after_cr, end == b'\r') && end == b'\n' && part.is_empty();
            if !second_half {
                self.hold(part)?;
                lines.push(self.take());
            }
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            self.after_cr = false;
            self.hold(rest)?;
        }
        Ok(lines)
    }

    /// The last line, if it came without an end.
    pub(crate) fn end(&mut self) -> Option<String> {
        (!self.open.is_empty()).then(|| self.take())
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.open.len() + part.len() > LINE_BYTES_MAX {
            return Err(TooLong);
        }
        self.open.extend_from_slice(part);
        Ok(())
    }

    fn take(&mut self) -> String {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open)).into_owned();
        match std::mem::replace(&mut self.begun, true) {
            false => line.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(line),
            true => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_cutting_the_bytes_gives_the_same_lines() {
        let stream = "\u{feff}{\"a\":\"é☃\"}\r\n\r\n{\"b\":\"\u{2028}\u{85}\"}\r\rx\n\nlast".as_bytes();
        for size in 1..=stream.len() {
            let mut lines = Lines::default();
            let mut read: Vec<String> = stream.chunks(size).flat_map(|chunk| lines.push(chunk).unwrap()).collect();
            read.extend(lines.end());
            let expected = ["{\"a\":\"é☃\"}", "", "{\"b\":\"\u{2028}\u{85}\"}", "", "x", "", "last"];
            assert_eq!(read, expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; LINE_BYTES_MAX]), Ok(vec![]));
        assert_eq!(lines.push(b"x\n"), Err(TooLong));
    }
}
