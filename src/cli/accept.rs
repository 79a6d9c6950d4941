//! `antiphon accept-empty-store`: the operator's word that an empty store is the right one.

use super::{
    DONE,
    client::{Client, Server},
    tail::print,
};

const ABOUT: &str = "\
A server whose store (Redis) comes back empty takes no posts, because the data may only be missing for a while: a wrong
volume, a wrong address, a restore under way. Put the data back and it resumes by itself. If the empty store is right, this
command says so: a new log begins, and what the server still knows of the old one is offered to it.

Run it on the machine of the server.";

/// Take an empty store as a new log
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
