//! Workers as processes of their own, on real servers: `antiphon worker`, the workers of `docs/workers.md`, and calls of
//! the work API made by hand.
//!
//! Each test starts its own servers, workers, proxies and models, and ends exactly those. Start with `story` (what a room
//! may show while workers come and go), then `chaos`.

mod cancel;
mod chaos;
mod clients;
mod idle;
mod keys;
mod restart;
mod story;
mod unit;

use std::{
    path::Path,
    process::{Child, ExitStatus, Stdio},
};

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    harness::{self, Server, antiphon, signal},
    nodes::BOTS,
};

/// Settings of a server whose bots are answered by workers alone; `more` of them at the top.
fn remote(bots: &[&str], more: &str) -> String {
    let bots = bots.iter().map(|bot| format!("[[bots]]\nname = \"{bot}\"\nmodel = \"remote\"\n"));
    format!("{more}{}", bots.collect::<String>())
}

/// A running `antiphon worker`; killed with SIGKILL when dropped.
struct Worker {
    child: Child,
}

impl Worker {
    /// One of this name that dials these servers, `host:port` with commas between, with further arguments. It keeps no
    /// files; `dir` is where it is started, so that no settings are found by chance.
    fn start(dir: &Path, name: &str, servers: &str, arguments: &[&str]) -> Worker {
        let servers: Vec<_> = servers.split(',').map(|server| format!("http://{server}")).collect();
        let mut command = antiphon();
        command.args(["worker", "--name", name, "--server", &servers.join(",")]).args(arguments);
        // Outages are what happens to it here; only what goes wrong beyond them is worth a line.
        command.env("ANTIPHON_LOG", "error").current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
        Worker { child: command.spawn().unwrap() }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM, and its exit status.
    fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        harness::ended(&mut self.child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Arguments for a worker that answers all [`BOTS`] by the built-in model.
fn all_bots() -> Vec<String> {
    BOTS.iter().flat_map(|bot| ["--bot".to_owned(), format!("{bot}=builtin")]).collect()
}

/// The steps of a message's life of one kind: the data of each.
async fn steps(server: &Server, id: &str, event: &str) -> Vec<Value> {
    let (status, timeline) = server.get(&format!("/api/messages/{id}/timeline")).await;
    assert_eq!(status, StatusCode::OK, "{timeline}");
    let steps = timeline["steps"].as_array().unwrap().iter().filter(|step| step["event"] == event);
    steps.map(|step| step["data"].clone()).collect()
}
