//! Reads the lines of a file or of stdin, plain or gzip, ahead of posting.
//!
//! Promises: a line is at most [`LINE_BYTES_MAX`] long; at most [`CHUNKS_AHEAD`] chunks are read ahead; a byte order mark before
//! a line (files put one after the other have several) and the CR of a CRLF are no part of it.
//! Not here: what a line says (`row`).

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    thread,
};

use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

/// The longest text may have 64 KiB, each byte of it six in JSON; the rest is generous.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Lines handed over at once: waking the other side for each would cost more than reading it.
const CHUNK_LINES: usize = 128;
/// And their bytes, so that a chunk of long lines is handed over early.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait.
const CHUNKS_AHEAD: usize = 2;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// Begin files of the encoding that some programs call Unicode.
const UTF16_MARKS: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];

/// A line with its number, from 1; the text is absent if it was too long.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: Option<Vec<u8>>,
}

type Chunk = io::Result<Vec<Line>>;

/// Opens `path`, or stdin for `-`; gzip is detected by its first bytes.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") { unpacked(io::stdin()) } else { unpacked(File::open(path)?) }
}

fn unpacked(input: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    // A pipe may deliver its first bytes one by one: collect two, then put them back.
    let mut magic = Vec::new();
    while magic.len() < GZIP_MAGIC.len() && input.by_ref().take(1).read_to_end(&mut magic)? > 0 {}
    if UTF16_MARKS.iter().any(|mark| magic == mark) {
        let why = "it is UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8 OLD > NEW";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let gzip = magic == GZIP_MAGIC;
    let input = BufReader::new(io::Cursor::new(magic).chain(input));
    Ok(if gzip { Box::new(BufReader::new(MultiGzDecoder::new(input))) } else { Box::new(input) })
}

/// Counts the lines that are not empty, as [`read`] would give them.
pub(super) fn count(mut input: impl BufRead) -> io::Result<u64> {
    let mut lines = 0;
    while let Some(line) = next_line(&mut input)? {
        lines += u64::from(!is_blank(&line));
    }
    Ok(lines)
}

/// Reads on a separate thread until the end, the first error, or until the receiver is dropped.
pub(super) fn read(mut input: impl BufRead + Send + 'static) -> mpsc::Receiver<Chunk> {
    let (tx, rx) = mpsc::channel(CHUNKS_AHEAD);
    let read_all = move || {
        let (mut chunk, mut bytes, mut number) = (Vec::new(), 0, 0);
        loop {
            let line = match next_line(&mut input) {
                Ok(line) => line,
                Err(error) => {
                    let _nobody = tx.blocking_send(Ok(chunk));
                    let _nobody = tx.blocking_send(Err(error));
                    return;
                }
            };
            let ended = line.is_none();
            if let Some(text) = line {
                number += 1;
                bytes += text.len();
                if !is_blank(&text) {
                    chunk.push(Line { number, text: Some(text).filter(|t| t.len() <= LINE_BYTES_MAX) });
                }
            }
            if ended || chunk.len() >= CHUNK_LINES || bytes >= CHUNK_BYTES {
                bytes = 0;
                if tx.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() || ended {
                    return;
                }
            }
        }
    };
    // Not a thread of the runtime: a read of stdin may never return, and the process must still be able to exit.
    thread::Builder::new().name("import-read".into()).spawn(read_all).expect("a process can have two threads");
    rx
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// The next line without its end; of a longer one than [`LINE_BYTES_MAX`] just one byte more. `None` at the end.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|last| *last == b'\r');
    } else if line.len() as u64 == limit {
        input.skip_until(b'\n')?;
    }
    if line.starts_with(UTF8_MARK) {
        line.drain(..UTF8_MARK.len());
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    async fn lines(input: impl BufRead + Send + 'static) -> (Vec<(u64, Option<String>)>, bool) {
        let (mut rx, mut lines) = (read(input), Vec::new());
        while let Some(chunk) = rx.recv().await {
            let Ok(chunk) = chunk else { return (lines, true) };
            lines.extend(chunk.into_iter().map(|l| (l.number, l.text.map(|t| String::from_utf8(t).unwrap()))));
        }
        (lines, false)
    }

    #[tokio::test]
    async fn plain_and_gzip_give_the_same_numbered_lines() {
        let dir = tempfile::tempdir().unwrap();
        let text = "\u{feff}a\n\r\n  \nb\r\n\u{feff}c";
        let two_members = [gzip("\u{feff}a\n\r\n  \n"), gzip("b\r\n\u{feff}c")].concat();
        for (name, bytes) in [("plain", text.into()), ("gz", gzip(text)), ("gz2", two_members)] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let expected = [(1, "a"), (4, "b"), (5, "c")].map(|(n, t)| (n, Some(t.to_owned())));
            assert_eq!(lines(open(&path).unwrap()).await, (expected.to_vec(), false), "{name}");
            assert_eq!(count(open(&path).unwrap()).unwrap(), 3);
        }
        std::fs::write(dir.path().join("empty"), "").unwrap();
        assert_eq!(lines(open(&dir.path().join("empty")).unwrap()).await, (vec![], false));
    }

    #[test]
    fn text_in_utf_16_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.jsonl");
        std::fs::write(&path, [0xff, 0xfe, b'{', 0]).unwrap();
        let why = open(&path).err().unwrap().to_string();
        assert!(why.contains("iconv -f UTF-16"), "{why}");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_read() {
        let text = format!("a\n{}\nb\n{}", "x".repeat(2 * LINE_BYTES_MAX), "y".repeat(LINE_BYTES_MAX));
        let (lines, _) = lines(io::Cursor::new(text)).await;
        let seen: Vec<_> = lines.iter().map(|(n, t)| (*n, t.as_ref().map(String::len))).collect();
        assert_eq!(seen, [(1, Some(1)), (2, None), (3, Some(1)), (4, Some(LINE_BYTES_MAX))]);
    }

    #[tokio::test]
    async fn a_file_that_breaks_off_gives_what_is_there_and_then_the_error() {
        let mut bytes = gzip(&"a line\n".repeat(1_000));
        bytes.truncate(bytes.len() - 8);
        let (lines, failed) = lines(BufReader::new(MultiGzDecoder::new(io::Cursor::new(bytes)))).await;
        assert!(failed && lines.len() > 900, "{} lines", lines.len());
    }
}
