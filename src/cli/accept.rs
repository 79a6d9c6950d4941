//! `antiphon accept-empty-store`: the operator confirms that an empty store is the right one.

use super::{
    DONE,
    client::{Client, Server},
    tail::print,
};

const ABOUT: &str = "\
A server whose store (Redis) comes back empty rejects posts, because the data may be missing only temporarily: a wrong
volume, a wrong address, a restore in progress. If you put the data back, it resumes by itself. If the empty store is
correct, run this command: a new log begins, and the server offers it what it still knows of the old one.

Run this on the server's machine.";

/// Accept an empty store as a new log
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Accept {
    #[command(flatten)]
    server: Server,
}

impl Accept {
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        Client::new(&self.server)?.accept_empty_store().await?;
        print("a new log has begun\n")?;
        Ok(DONE)
    }
}
