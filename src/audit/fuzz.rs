//! Notes, checkpoints and keys out of bytes from anywhere: what is taken is written in one way only, and nothing is trusted
//! that no known key has signed.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    checkpoint::Checkpoint,
    note::{self, SIGNATURES_MAX, Signer, Verifier},
};
use crate::fuzzer::{Decoder, fuzz, outcome};

fn look(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return outcome("not UTF-8") };
    if let Ok(key) = text.parse::<Verifier>() {
        assert_eq!(key.to_string(), text, "a key is written in one way");
        return outcome("a key");
    }
    if let Ok(key) = Signer::from_secret_text(text) {
        assert_eq!(key.secret_text(), text, "a secret is written in one way");
        assert!(!format!("{key:?}").contains(&text[text.len() - 44..]), "and not shown");
        return outcome("a secret");
    }
    let note = match note::parse(text) {
        Ok(note) => note,
        Err(error) => return outcome(error.to_string()),
    };
    let lines = note.signatures.iter().map(|s| {
        let bytes = [&s.id.to_be_bytes(), &*s.bytes].concat();
        format!("— {} {}\n", s.name, STANDARD.encode(bytes))
    });
    assert_eq!(format!("{}\n{}", note.text, lines.collect::<String>()), text, "a note is written in one way");
    assert!((1..=SIGNATURES_MAX).contains(&note.signatures.len()));
    let nobody = Verifier::new(note.signatures[0].name, [7; 32]).unwrap();
    assert!(note::open(text, &[nobody]).is_err(), "signed by nobody who was asked");
    let why = match Checkpoint::parse(note.text) {
        Ok(checkpoint) => {
            assert!(note.text.starts_with(&checkpoint.text()), "a checkpoint is written in one way");
            format!("{:?}", checkpoint.epoch().is_some())
        }
        Err(error) => error.to_string(),
    };
    outcome((why, note.signatures.len().min(8), note.text.len().ilog2()))
}

#[test]
fn notes_and_keys_from_anywhere_are_refused_or_written_in_one_way() {
    let test = "audit::fuzz::notes_and_keys_from_anywhere_are_refused_or_written_in_one_way";
    fuzz(Decoder { corpus: "note", test, look, heal: |_| {} });
}
