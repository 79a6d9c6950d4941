//! A fuzzer for decoders on stable Rust: it changes the inputs of a corpus at random and goes on from those that lead
//! somewhere new.
//!
//! ```text
//! the test ─▶ itself again, as a process that may have ADDRESS_SPACE_KIB ─▶ corpus, then changed inputs, for a while
//! ```
//!
//! Promises:
//! - the same seed gives the same inputs in the same order (`ANTIPHON_SEED`); how many there are depends on the machine;
//! - a panic, a stack overflow and an allocation out of all proportion are failures alike. The input is in the temporary
//!   folder then, cut down as far as it still panics, and the message says where and how to keep it;
//! - one second each; 60 with `ANTIPHON_SOAK`.
//!
//! Not here: what decoders promise (their own tests say it), and coverage: "somewhere new" is what [`Decoder::look`] makes of
//! it. Only std, so that every crate can include it with `#[path = "…/tests/support/fuzz.rs"] mod fuzz;`.
#![allow(clippy::unwrap_used, reason = "the lints' exception for tests does not reach their helpers")]

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    env, fs,
    fs::File,
    hash::{BuildHasher, DefaultHasher, Hash, Hasher},
    os::unix::fs::FileExt,
    panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// What the process may map: far more than any decoder needs for an input, and less than a length of 32 bits can ask for.
const ADDRESS_SPACE_KIB: &str = "2097152";
/// As much as a thread of the server has.
const STACK_BYTES: usize = 2 << 20;
/// Longer inputs are not made: they cost time and show nothing more. Those of the corpus may be longer.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Inputs that led somewhere new and are changed further.
const KEPT_MAX: usize = 4_096;
/// How long a failing input is made smaller.
const CUTTING_MAX: Duration = Duration::from_secs(10);
/// Says to the process that it is one, and where its input goes.
const CHILD: &str = "ANTIPHON_FUZZ_INPUT";

/// A decoder, and what it promises.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    /// The folder of its corpus in `tests/fuzz/corpus`.
    pub(crate) corpus: &'static str,
    /// The test that calls [`fuzz`], without the crate: how `cargo test -- --exact` finds it.
    pub(crate) test: &'static str,
    /// Decodes, and panics if a promise is broken. Equal results stand for inputs that were treated alike.
    pub(crate) look: fn(&[u8]) -> u64,
    /// Makes right what would be refused at the door: checksums, lengths. Applied to every other input.
    pub(crate) heal: fn(&mut Vec<u8>),
}

/// What stands for an outcome: see [`Decoder::look`].
pub(crate) fn outcome(seen: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// Tries a decoder for a while.
///
/// # Panics
/// If it breaks a promise; the message says by which input.
pub(crate) fn fuzz(decoder: Decoder) {
    if let Some(input) = env::var_os(CHILD) {
        let run = move || Run::new(decoder, Path::new(&input)).run();
        let run = thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap();
        return run.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
    }
    let seed = env::var("ANTIPHON_SEED").map_or_else(|_| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    let input = env::temp_dir().join(format!("antiphon-fuzz-{}-{seed}", decoder.corpus));
    let mut again = Command::new("sh");
    again.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", ADDRESS_SPACE_KIB]).arg(env::current_exe().unwrap());
    again.args([decoder.test, "--exact", "--nocapture", "--test-threads=1"]);
    let out = again.env(CHILD, &input).env("ANTIPHON_SEED", seed.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    let ran = said.lines().find(|line| line.starts_with("fuzz: "));
    if out.status.success()
        && let Some(ran) = ran
    {
        eprintln!("{ran} (ANTIPHON_SEED={seed})");
        return fs::remove_file(&input).unwrap();
    }
    panic!(
        "{said}\n{} with ANTIPHON_SEED={seed}: the input is {}\nOnce that is mended, keep it: cp {1} {}/WHAT-IT-SHOWS",
        out.status,
        input.display(),
        folder(decoder).display()
    );
}

/// Where the corpus of a decoder is: two of the crates are folders further down.
fn folder(decoder: Decoder) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found =
        here.ancestors().map(|root| root.join("tests/fuzz/corpus").join(decoder.corpus)).find(|path| path.is_dir());
    found.unwrap_or_else(|| panic!("tests/fuzz/corpus/{} is missing", decoder.corpus))
}

/// One process's work.
struct Run {
    decoder: Decoder,
    dice: Dice,
    inputs: Vec<Vec<u8>>,
    outcomes: BTreeSet<u64>,
    /// Holds the input that is looked at: an overflow of the stack leaves no time to write it.
    file: File,
}

impl Run {
    fn new(decoder: Decoder, input: &Path) -> Run {
        let seed = env::var("ANTIPHON_SEED").unwrap().parse().unwrap();
        let file = File::create(input).unwrap();
        Run { decoder, dice: Dice(seed), inputs: Vec::new(), outcomes: BTreeSet::new(), file }
    }

    fn run(mut self) {
        let said = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let found = self.search();
        panic::set_hook(said);
        match found {
            Ok(tried) => println!("\nfuzz: {}: {tried} inputs, {} outcomes", self.decoder.corpus, self.outcomes.len()),
            Err(input) => {
                self.write(&input);
                (self.decoder.look)(&input);
            }
        }
    }

    /// How many inputs were tried, or the one that failed, cut down.
    fn search(&mut self) -> Result<usize, Vec<u8>> {
        let mut files: Vec<_> = fs::read_dir(folder(self.decoder)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut tried = 0;
        for input in files.iter().map(|file| fs::read(file).unwrap()) {
            tried += 1;
            self.look(&input)?;
            self.inputs.push(input);
        }
        assert!(tried > 0, "the corpus has a file at least");
        let budget = Duration::from_secs(if env::var_os("ANTIPHON_SOAK").is_some() { 60 } else { 1 });
        let began = Instant::now();
        while began.elapsed() < budget {
            let input = self.changed();
            tried += 1;
            if self.look(&input)? && self.inputs.len() < KEPT_MAX {
                self.inputs.push(input);
            }
        }
        Ok(tried)
    }

    /// Whether an input led somewhere new.
    fn look(&mut self, input: &[u8]) -> Result<bool, Vec<u8>> {
        self.write(input);
        match tried(self.decoder, input) {
            Some(outcome) => Ok(self.outcomes.insert(outcome)),
            None => Err(cut_down(self.decoder, input.into())),
        }
    }

    fn write(&self, input: &[u8]) {
        self.file.set_len(input.len() as u64).unwrap();
        self.file.write_all_at(input, 0).unwrap();
    }

    /// One of the inputs, changed here and there.
    fn changed(&mut self) -> Vec<u8> {
        let dice = &mut self.dice;
        let mut input = dice.of(&self.inputs).clone();
        for _ in 0..1 + dice.below(4) {
            let other = dice.of(&self.inputs);
            dice.change(&mut input, other);
        }
        let corpus = self.inputs.iter().map(Vec::len).max().unwrap_or_default();
        input.truncate(INPUT_BYTES_MAX.max(corpus));
        if dice.below(2) == 0 {
            (self.decoder.heal)(&mut input);
        }
        input
    }
}

/// The outcome, if there is one.
fn tried(decoder: Decoder, input: &[u8]) -> Option<u64> {
    panic::catch_unwind(|| (decoder.look)(input)).ok()
}

/// As much of a failing input as is needed for it to fail: halves, quarters, … single bytes are left out.
fn cut_down(decoder: Decoder, mut input: Vec<u8>) -> Vec<u8> {
    let (mut size, began) = (input.len() / 2, Instant::now());
    while size > 0 && began.elapsed() < CUTTING_MAX {
        let mut at = 0;
        while at < input.len() && began.elapsed() < CUTTING_MAX {
            let mut cut = [&input[..at], &input[input.len().min(at + size)..]].concat();
            let fails = tried(decoder, &cut).is_none() || {
                (decoder.heal)(&mut cut);
                cut.len() < input.len() && tried(decoder, &cut).is_none()
            };
            if fails {
                input = cut;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

/// Random numbers that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A part of so many bytes, mostly a short one.
    fn part(&mut self, len: usize) -> std::ops::Range<usize> {
        let at = self.below(len + 1);
        let most = 1 << self.below(12);
        at..len.min(at + 1 + self.below(most))
    }

    /// Changes an input in one way.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        /// What decoders split at, or take for something else than it is.
        const WORDS: &[&str] = &[
            "\0",
            "\r",
            "\n",
            "\r\n",
            "\n\n",
            " ",
            ":",
            ": ",
            "-1",
            "-",
            "*",
            "$",
            "\u{feff}",
            "☃",
            "— ",
            "🏳️‍🌈",
            "\"",
            "{",
            "..",
            "/",
        ];
        /// Where counters, lengths and signs turn.
        const NUMBERS: &[u64] = &[
            0,
            1,
            15,
            16,
            31,
            32,
            127,
            128,
            255,
            256,
            1_023,
            1_024,
            0x7fff,
            0xffff,
            0x10_0000,
            0x7fff_ffff,
            0xffff_ffff,
            1 << 50,
            (1 << 53) - 1,
            i64::MAX as u64,
            u64::MAX,
        ];
        let len = input.len();
        let at = self.below(len + 1);
        match self.below(12) {
            0 if at < len => input[at] ^= 1 << self.below(8),
            1 if at < len => input[at] = self.next() as u8,
            2 => input.truncate(at),
            3 => drop(input.drain(self.part(len))),
            4 => {
                let part = input[self.part(len)].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                input.truncate(at);
                input.extend_from_slice(&other[self.below(other.len() + 1)..]);
            }
            6 => {
                let part = self.part(other.len());
                input.splice(at..at, other[part].iter().copied());
            }
            7 => {
                // A number, of any width, in either order, or around what stands there.
                let width = 1 << self.below(4);
                let Some(place) = input.get_mut(at..at + width) else { return };
                let mut bytes = [0; 8];
                bytes[..width].copy_from_slice(place);
                let near = u64::from_le_bytes(bytes).wrapping_add(self.next() % 9).wrapping_sub(4);
                let number = if self.below(2) == 0 { near } else { *self.of(NUMBERS) };
                place.copy_from_slice(&number.to_le_bytes()[..width]);
                if self.below(2) == 0 {
                    place.reverse();
                }
            }
            8 => {
                // The digits that stand there.
                let Some(begin) = input[at..].iter().position(u8::is_ascii_digit).map(|skip| at + skip) else { return };
                let digits = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = self.of(NUMBERS).to_string();
                input.splice(begin..begin + digits, number.bytes());
            }
            9 => {
                let word = *self.of(WORDS);
                input.splice(at..at, word.bytes());
            }
            10 => {
                // The same byte again and again: nesting, long lines.
                let byte = if self.below(2) == 0 { self.next() as u8 } else { *input.get(at).unwrap_or(&0) };
                let number = *self.of(&NUMBERS[..12]) as usize;
                let times = if self.below(2) == 0 { number } else { self.below(1 << 12) };
                input.splice(at..at, std::iter::repeat_n(byte, times));
            }
            _ => {
                // Two parts change places.
                let middle = self.part(len);
                input[middle.clone()].rotate_left(middle.len() / 2);
            }
        }
    }
}
