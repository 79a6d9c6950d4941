//! The HTTP contract, held to from outside: what every client may count on.
//!
//! `post` says what a post is worth and whom it asks, `refuse` every way to be turned down, `read` pages and what
//! monitors get, `change` cancel, retry and redact, `erase` what leaves the log itself, `queue` who is answered when, `monitor` what
//! whoever watches is shown, `then` a room as it was, `keys` who gets a key, `work` what workers
//! on other machines say and are told, `connection` what goes on below, `edge` clients that break off, send on or send odd bytes.

mod change;
mod connection;
mod edge;
mod erase;
mod keys;
mod monitor;
mod post;
mod queue;
mod read;
mod refuse;
mod then;
mod work;
