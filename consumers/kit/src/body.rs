//! Gathers a body piece by piece, up to a bound: what is on the other side of a connection may never come to an end.
//!
//! Not here: the connection.

/// The other side sent more than was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// How many bytes were allowed.
    pub max: usize,
}

/// What has arrived of a body.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    max: usize,
}

impl Body {
    /// An empty body that takes at most `max` bytes.
    pub fn at_most(max: usize) -> Body {
        Body { bytes: Vec::new(), max }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`TooLarge`]: with it the body would exceed its bound; nothing of the piece is kept.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        if piece.len() > self.max - self.bytes.len() {
            return Err(TooLarge { max: self.max });
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// All that was taken.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_up_to_its_bound_and_not_a_byte_further() {
        let mut body = Body::at_most(5);
        assert_eq!(body.push(b"abc"), Ok(()));
        assert_eq!(body.push(b"def"), Err(TooLarge { max: 5 }));
        assert_eq!(body.push(b"de"), Ok(()));
        assert_eq!(body.push(b"f"), Err(TooLarge { max: 5 }));
        assert_eq!(body.into_bytes(), b"abcde");
    }
}
