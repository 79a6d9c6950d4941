//! Antiphon's ground floor: what is stored, what is spoken, and the ids that both use.
//!
//! Promises:
//! - formats only grow: a kind, a field or a code is never reused or renamed; `golden/` holds frozen bytes
//!   of every event kind, which must always remain decodable (`tests/golden.rs`);
//! - an event of an unknown kind is carried through byte for byte ([`Event::Unknown`]), never dropped;
//! - stored types ([`event`], [`entry`]) and spoken types ([`wire`]) are different types.
//!
//! Not here: any I/O, any clock, any decision.
//! Start with [`id`], then [`event`] and [`entry`]; [`wire`] is what HTTP and SSE speak.

pub mod entry;
pub mod event;
#[cfg(test)]
mod fuzz;
pub mod id;
pub mod kind;
mod met;
pub mod pack;
mod quick;
pub mod subjects;
pub mod time;
pub mod visible;
pub mod wire;

pub use entry::{Entry, Header, Stored};
pub use event::Event;
pub use id::{BotName, Cursor, Epoch, Invalid, MessageId, RequestId, RoomName, Seq};
pub use kind::Kind;
pub use subjects::Subjects;
