//! Signed notes of C2SP: a text and who signed it, as Go's checksum database, Rekor and their witnesses write them.
//!
//! ```text
//! note:           text, ends in newline │ empty line │ signature line, one or more
//! signature line: "— " name " " base64(key id, 4 B ‖ signature) newline
//! key id:         the first 4 bytes of SHA-256(name ‖ newline ‖ 1 ‖ public key)          (1: Ed25519)
//! verifier key:   name "+" key id in hex "+" base64(1 ‖ public key)
//! signer's key:   "PRIVATE+KEY+" name "+" key id in hex "+" base64(1 ‖ seed)
//! ```
//!
//! Promises: what [`open`] gives is signed, byte for byte, by a key that was asked for; signatures of keys that nobody asked
//! for are passed over; a bad signature of a known key refuses the whole note; a signer never shows its secret.
//! Not here: what the text says (`checkpoint`), where keys are kept (`keys`).
//!
//! Source: <https://c2sp.org/signed-note>, and Go's `golang.org/x/mod/sumdb/note`.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// The longest note that is read: a checkpoint has 200 bytes, one with many witnesses a few thousand.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// The most signatures of one note; the specification asks for 16.
pub const SIGNATURES_MAX: usize = 100;
/// The longest name of a key: each checkpoint contains it.
pub const NAME_BYTES_MAX: usize = 255;

/// Ed25519, in the table of the specification.
const ED25519_TYPE: u8 = 1;
const DASH: &str = "— ";
const PRIVATE: &str = "PRIVATE+KEY+";
const KEY_BYTES: usize = 32;

/// Why a note or a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not of the form of a note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// It is not of the form of a key.
    #[error("not a key: {0}")]
    Key(&'static str),
    /// It is signed, but by none of the keys that were asked for.
    #[error("no signature by a known key; it is signed by {0}")]
    Unknown(String),
    /// A known key's signature is not of this text.
    #[error("the signature by `{0}` is not of this text")]
    Forged(String),
    /// The text cannot be signed.
    #[error("cannot be signed: {0}")]
    Text(&'static str),
}

/// A public key, with the name under which it signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    key: [u8; KEY_BYTES],
}

/// A key pair. Its secret is in no `Debug` and no `Display`; [`Signer::secret_text`] is the only way to it.
pub struct Signer {
    verifier: Verifier,
    pair: Ed25519KeyPair,
    seed: [u8; KEY_BYTES],
}

/// A note taken apart; nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// What is signed, with its last newline.
    pub text: &'a str,
    /// In their order; at least one.
    pub signatures: Vec<Signature<'a>>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    /// The key's name.
    pub name: &'a str,
    /// The key's id.
    pub id: u32,
    /// What the key made of the text.
    pub bytes: Vec<u8>,
}

/// A note takes apart into text and signatures. Nothing is verified: use [`open`] for what is to be trusted.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(note: &str) -> Result<Parsed<'_>, Error> {
    let wrong = |why| Err(Error::Malformed(why));
    if note.len() > NOTE_BYTES_MAX {
        return wrong("it is too long");
    }
    if note.bytes().any(|b| b < 0x20 && b != b'\n') {
        return wrong("it has control characters");
    }
    // The last empty line: a text may have some of its own.
    let Some(end) = note.rfind("\n\n") else { return wrong("no empty line before the signatures") };
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    let Some(lines) = lines.strip_suffix('\n') else { return wrong("it does not end in a newline") };
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == SIGNATURES_MAX {
            return wrong("it has too many signatures");
        }
        let parts = line.strip_prefix(DASH).and_then(|line| line.split_once(' '));
        let Some((name, encoded)) = parts else { return wrong("a signature line that is none") };
        check_name(name).map_err(Error::Malformed)?;
        let bytes = STANDARD.decode(encoded).unwrap_or_default();
        match bytes.split_first_chunk() {
            Some((id, bytes)) if !bytes.is_empty() => {
                signatures.push(Signature { name, id: u32::from_be_bytes(*id), bytes: bytes.to_vec() });
            }
            _ => return wrong("a signature that is none"),
        }
    }
    Ok(Parsed { text, signatures })
}

/// The text of a note that one of these keys has signed.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Unknown`], [`Error::Forged`]: do not trust the text.
pub fn open<'a>(note: &'a str, verifiers: &[Verifier]) -> Result<&'a str, Error> {
    let Parsed { text, signatures } = parse(note)?;
    let mut known = 0;
    for signature in &signatures {
        // Of keys that share name and id, any may have signed: the id has 32 bits, and somebody may have made another.
        let mut asked = verifiers.iter().filter(|v| v.name == signature.name && v.id == signature.id).peekable();
        if asked.peek().is_none() {
            continue;
        }
        if !asked.any(|verifier| verifier.verifies(text, &signature.bytes)) {
            return Err(Error::Forged(signature.name.into()));
        }
        known += 1;
    }
    if known > 0 {
        return Ok(text);
    }
    let by: Vec<_> = signatures.iter().map(|s| format!("`{}+{:08x}`", s.name, s.id)).collect();
    Err(Error::Unknown(by.join(", ")))
}

impl Verifier {
    /// The verifier of an Ed25519 public key.
    ///
    /// # Errors
    /// [`Error::Key`] if the name cannot be one.
    pub fn new(name: &str, key: [u8; KEY_BYTES]) -> Result<Verifier, Error> {
        check_name(name).map_err(Error::Key)?;
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519_TYPE]).chain_update(key).finalize();
        let [a, b, c, d] = [hash[0], hash[1], hash[2], hash[3]];
        Ok(Verifier { name: name.into(), id: u32::from_be_bytes([a, b, c, d]), key })
    }

    /// The name under which it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id: a short name for the key itself.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether these bytes are this key's signature of the text.
    pub fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(text.as_bytes(), signature).is_ok()
    }
}

/// The verifier key, as it is given to verifiers.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, encoded(&self.key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({self})")
    }
}

impl FromStr for Verifier {
    type Err = Error;

    /// A verifier key; its id must be that of its name and key.
    fn from_str(text: &str) -> Result<Verifier, Error> {
        let (name, id, key) = decoded(text)?;
        let verifier = Verifier::new(name, key)?;
        if verifier.id != id { Err(Error::Key("its id is not that of its name and key")) } else { Ok(verifier) }
    }
}

impl Signer {
    /// A fresh key of this name.
    ///
    /// # Errors
    /// [`Error::Key`] if the name cannot be one.
    pub fn generate(name: &str) -> Result<Signer, Error> {
        Signer::from_seed(name, rand::random())
    }

    /// The key of a seed of 32 random bytes.
    ///
    /// # Errors
    /// [`Error::Key`] if the name cannot be one.
    pub fn from_seed(name: &str, seed: [u8; KEY_BYTES]) -> Result<Signer, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::Key("its seed is not one"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::Key("its seed is not one"))?;
        Ok(Signer { verifier: Verifier::new(name, public)?, pair, seed })
    }

    /// The key that [`Signer::secret_text`] has written.
    ///
    /// # Errors
    /// [`Error::Key`]; reveals nothing of the content.
    pub fn from_secret_text(text: &str) -> Result<Signer, Error> {
        let rest = text.strip_prefix(PRIVATE).ok_or(Error::Key("it does not begin with PRIVATE+KEY+"))?;
        let (name, id, seed) = decoded(rest)?;
        let signer = Signer::from_seed(name, seed)?;
        if signer.verifier.id != id { Err(Error::Key("its id is not that of its name and key")) } else { Ok(signer) }
    }

    /// The secret, as Go's note package writes it. Only for the file that keeps it.
    pub fn secret_text(&self) -> String {
        format!("{PRIVATE}{}+{:08x}+{}", self.verifier.name, self.verifier.id, encoded(&self.seed))
    }

    /// Who verifies what it signs.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The text as a note, signed.
    ///
    /// # Errors
    /// [`Error::Text`] if it does not end in a newline, has other control characters, or is too long.
    pub fn sign(&self, text: &str) -> Result<String, Error> {
        if !text.ends_with('\n') || text.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(Error::Text("a note's text ends in a newline and has no other control characters"));
        }
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [&self.verifier.id.to_be_bytes(), signature.as_ref()].concat();
        let note = format!("{text}\n{DASH}{} {}\n", self.verifier.name, STANDARD.encode(bytes));
        if note.len() > NOTE_BYTES_MAX { Err(Error::Text("it is too long for a note")) } else { Ok(note) }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

/// Type and key, as both kinds of keys have them.
fn encoded(key: &[u8; KEY_BYTES]) -> String {
    STANDARD.encode([&[ED25519_TYPE], &key[..]].concat())
}

fn decoded(text: &str) -> Result<(&str, u32, [u8; KEY_BYTES]), Error> {
    // Base64 may have plus signs, names have none.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Error::Key("it is not of the form name+id+key"));
    };
    let is_id = id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let id = u32::from_str_radix(id, 16)
        .ok()
        .filter(|_| is_id)
        .ok_or(Error::Key("its id is not 8 lower-case hex digits"))?;
    let key = STANDARD.decode(key).map_err(|_| Error::Key("what stands behind its id is not base64"))?;
    match key.split_first() {
        Some((&ED25519_TYPE, key)) => match key.try_into() {
            Ok(key) => Ok((name, id, key)),
            Err(_) => Err(Error::Key("an Ed25519 key has 32 bytes")),
        },
        _ => Err(Error::Key("it is not an Ed25519 key")),
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    if fits && name.chars().all(plain) { Ok(()) } else { Err("the name of a key has no spaces and no plus") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const LINE: &str =
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn verifier(text: &str) -> Verifier {
        text.parse().unwrap()
    }

    #[test]
    fn a_note_made_by_go_is_opened_and_made_again() {
        let note = format!("{TEXT}\n{LINE}");
        assert_eq!(open(&note, &[verifier(KEY)]), Ok(TEXT));
        let signer = Signer::from_secret_text(SECRET).unwrap();
        assert_eq!(signer.sign(TEXT), Ok(note));
        assert_eq!((signer.verifier().to_string(), signer.secret_text()), (KEY.into(), SECRET.into()));
    }

    #[test]
    fn the_example_of_the_specification_is_opened() {
        let note = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let key = verifier("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
        assert_eq!(open(note, &[key]), Ok("This is an example message.\n"));
    }

    #[test]
    fn one_known_signature_is_enough_unknown_ones_are_passed_over_and_forged_ones_refused() {
        let (known, other) = (Signer::generate("a/known").unwrap(), Signer::generate("another").unwrap());
        let line = |note: &str| note.rsplit_once("\n\n").unwrap().1.to_owned();
        let [by_known, by_other] = [&known, &other].map(|signer| line(&signer.sign(TEXT).unwrap()));
        let verifiers = [known.verifier().clone()];
        let note = format!("{TEXT}\n{by_other}{by_known}{by_other}");
        assert_eq!(open(&note, &verifiers), Ok(TEXT));
        assert_eq!(parse(&note).unwrap().signatures.len(), 3);

        let stranger = format!("{TEXT}\n{by_other}");
        assert!(matches!(open(&stranger, &verifiers), Err(Error::Unknown(by)) if by.contains("`another+")));
        let forged = note.replace("answer", "solution");
        assert_eq!(open(&forged, &verifiers), Err(Error::Forged("a/known".into())));
        // The same name with another key is another key.
        let namesake = Signer::generate("a/known").unwrap().sign(TEXT).unwrap();
        assert!(matches!(open(&namesake, &verifiers), Err(Error::Unknown(_))));
    }

    #[test]
    fn a_text_may_have_empty_lines_and_a_note_may_not_be_cut_or_lack_anything() {
        let signer = Signer::generate("n").unwrap();
        let verifiers = [signer.verifier().clone()];
        let note = signer.sign("one\n\ntwo\n").unwrap();
        assert_eq!(open(&note, &verifiers), Ok("one\n\ntwo\n"));
        for end in (0..note.len()).filter(|end| note.is_char_boundary(*end)) {
            assert!(open(&note[..end], &verifiers).is_err(), "cut at {end}");
        }
        for wrong in ["", "\n", "\n\n", "a\n\n", "a\n\n\n", "a\n\n— n\n", "a\n\n— n AAAAAA==\n", "a\n\n- n AAAAAAA=\n"]
        {
            assert!(matches!(parse(wrong), Err(Error::Malformed(_))), "{wrong:?}");
        }
        let many = |n: usize| format!("a\n\n{}", "— n AAAAAAA=\n".repeat(n));
        assert!(parse(&many(SIGNATURES_MAX)).is_ok() && parse(&many(SIGNATURES_MAX + 1)).is_err());
        assert!(parse(&note.replace("two", "t\two")).is_err());
        assert!(signer.sign("no newline").is_err() && signer.sign("tab\t\n").is_err());
        assert!(signer.sign(&"x\n".repeat(NOTE_BYTES_MAX / 2)).is_err());
    }

    #[test]
    fn a_key_that_is_not_whole_is_refused_and_a_secret_is_not_shown() {
        for wrong in [
            "",
            "a",
            "a+b",
            "PeterNeumann+c74f20a3+",
            &KEY.replace("c74f20a3", "c74f20a4"),
            &KEY.replace("Peter", "Pete"),
            &KEY.replace("c74f20a3", "+74f20a3"),
            &KEY.replace("+AR", "+AB"),
            &KEY.replace("ARpc", "AhpcA"),
            &KEY[..KEY.len() - 4],
            &KEY.replace("PeterNeumann", "Peter Neumann"),
            &KEY.replace("PeterNeumann", ""),
        ] {
            assert!(wrong.parse::<Verifier>().is_err(), "{wrong}");
        }
        for wrong in [KEY, &SECRET[..SECRET.len() - 4], &SECRET.replace("AYEK", "AYEL")] {
            assert!(Signer::from_secret_text(wrong).is_err(), "{wrong}");
        }
        let signer = Signer::from_secret_text(SECRET).unwrap();
        let shown = format!("{signer:?}{:?}", Signer::from_secret_text(&SECRET[..SECRET.len() - 4]));
        assert!(!shown.contains("AYEKFALV") && shown.contains(KEY));
    }

    proptest! {
        #[test]
        fn bytes_from_anywhere_never_panic(text: String, lines in proptest::collection::vec("— [a-z]{0,3} [A-Za-z0-9+/=]{0,12}\n", 0..4)) {
            let _ = parse(&format!("{text}\n\n{}", lines.concat()));
            let _ = text.parse::<Verifier>();
        }
    }
}
