//! The Redis protocol, as much of it as tests need: a blocking client, and where one frame ends.

use std::{
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A server that is stopped must not hang a test for ever.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A simple or bulk string, and what RESP3 has beside them.
    Text(String),
    Number(i64),
    Nil,
    Error(String),
    /// A list; maps and sets are lists of what is in them.
    List(Vec<Reply>),
}

impl Reply {
    /// The parts of a list, else the answer itself.
    pub(crate) fn parts(&self) -> &[Reply] {
        match self {
            Reply::List(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Text(text) => f.write_str(text),
            Reply::Number(n) => write!(f, "{n}"),
            Reply::Nil => f.write_str("(nil)"),
            Reply::Error(text) => write!(f, "(error) {text}"),
            Reply::List(parts) => {
                let parts: Vec<_> = parts.iter().map(Reply::to_string).collect();
                f.write_str(&parts.join("\n"))
            }
        }
    }
}

/// A connection that speaks RESP2.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn open(port: u16, password: Option<&str>) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut client = Client { stream, buffer: Vec::new() };
        match password.map(|p| client.ask(&["AUTH", p])).transpose()? {
            Some(Reply::Error(why)) => Err(io::Error::other(why)),
            _ => Ok(client),
        }
    }

    /// Sends a command and waits for its answer; an error of the server is an answer.
    pub(crate) fn ask(&mut self, command: &[&str]) -> io::Result<Reply> {
        self.stream.write_all(&request(command))?;
        self.receive()
    }

    /// The next answer.
    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, bytes)) = parse(&self.buffer) {
                self.buffer.drain(..bytes);
                return Ok(reply);
            }
            if fill(&mut self.stream, &mut self.buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Reads once; 0 at the end.
pub(super) fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 16 << 10];
    let bytes = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..bytes]);
    Ok(bytes)
}

/// A command as it goes over the wire.
pub(super) fn request(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// The first frame (RESP2 or RESP3) and its length, once it is all there.
pub(super) fn parse(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|w| w == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    let (count, after) = (line.parse::<i64>().unwrap_or_default(), end + 2);
    let part_count = match bytes[0] {
        b'*' | b'~' | b'>' => count,
        b'%' => count * 2,
        b'$' | b'=' | b'!' => {
            let Ok(len) = usize::try_from(count) else { return Some((Reply::Nil, after)) };
            let text = String::from_utf8_lossy(bytes.get(after..after + len)?).into_owned();
            bytes.get(after + len..after + len + 2)?;
            let reply = if bytes[0] == b'!' { Reply::Error(text) } else { Reply::Text(text) };
            return Some((reply, after + len + 2));
        }
        b':' => return Some((Reply::Number(count), after)),
        b'_' => return Some((Reply::Nil, after)),
        b'-' => return Some((Reply::Error(line), after)),
        _ => return Some((Reply::Text(line), after)),
    };
    if part_count < 0 {
        return Some((Reply::Nil, after));
    }
    let (mut parts, mut at) = (Vec::new(), after);
    for _ in 0..part_count {
        let (part, bytes) = parse(&bytes[at..])?;
        parts.push(part);
        at += bytes;
    }
    Some((Reply::List(parts), at))
}
