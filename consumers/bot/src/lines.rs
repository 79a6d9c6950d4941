//! Cuts a stream of bytes into lines, wherever the bytes were cut on their way.
//!
//! Promises: a character that was split comes whole; at most [`LINE_BYTES_MAX`] are held.

/// The longest line taken; a longer one means that the other side does not speak NDJSON.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

/// An incremental reader.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The line that has not ended yet.
    open: Vec<u8>,
}

/// The other side sent a line longer than [`LINE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    /// Takes the next bytes and returns the lines that they complete, without their ends and without empty ones.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.open.len() + part.len() > LINE_BYTES_MAX {
                return Err(TooLong);
            }
            self.open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.extend(self.end());
            }
        }
        Ok(lines)
    }

    /// The last line, if it came without an end.
    pub(crate) fn end(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.open);
        Some(String::from_utf8_lossy(&line).trim().to_owned()).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_cutting_the_bytes_gives_the_same_lines() {
        let stream = "{\"a\":\"é☃\"}\r\n\n{\"b\":2}\nlast".as_bytes();
        for size in 1..=stream.len() {
            let mut lines = Lines::default();
            let mut read: Vec<String> = stream.chunks(size).flat_map(|chunk| lines.push(chunk).unwrap()).collect();
            read.extend(lines.end());
            assert_eq!(read, ["{\"a\":\"é☃\"}", "{\"b\":2}", "last"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; LINE_BYTES_MAX]), Ok(vec![]));
        assert_eq!(lines.push(b"x\n"), Err(TooLong));
    }
}
