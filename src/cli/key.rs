//! `antiphon key`: creates, lists and revokes the keys of workers on other machines.

use antiphon_schemas::{
    BotName,
    wire::work::{CreateKey, WorkerKey},
};

use super::{
    DONE,
    client::{Client, Server},
    complain, foreign,
    tail::print,
};

const ABOUT: &str = "\
Examples:
  antiphon key create --worker gpu-box --bots helper,echo > gpu-box.key
  antiphon key list
  antiphon key revoke 1f0c2d3e4b5a

A worker on another machine needs a key to claim messages and answer them. A key is valid for one worker and the named bots
only. Creating and revoking a key takes effect on every node at once; the log records when each happened.

Run this on the server's machine.";

/// Characters shown of a worker's name; the longest that a server takes.
const WORKER_CHARS_MAX: usize = 128;
/// What `list` says on stderr if there are none.
const NO_KEYS: &str = "there are no keys; create one with `antiphon key create --worker NAME --bots BOT,…`";

/// Create, list and revoke keys for workers on other machines
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Key {
    #[command(subcommand)]
    wish: Wish,
}

#[derive(Debug, clap::Subcommand)]
enum Wish {
    /// Create a key; stdout gets only the key
    Create {
        /// The worker it is for, which may call itself NAME or NAME/anything
        #[arg(long, value_name = "NAME")]
        worker: String,
        /// The bots whose messages it may answer
        #[arg(long, value_name = "BOT,…", required = true, value_delimiter = ',')]
        bots: Vec<String>,
        #[command(flatten)]
        server: Server,
    },
    /// List the valid keys, oldest first
    List {
        /// Print the server's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Revoke a key on every node, for good
    Revoke {
        /// The key's id, as `antiphon key list` shows it
        id: String,
        #[command(flatten)]
        server: Server,
    },
}

impl Key {
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        match self.wish {
            Wish::Create { worker, bots, server } => {
                let made = Client::new(&server)?.create_key(&CreateKey { worker, bots }).await?;
                print(&format!("{}\n", made.key))?;
                eprintln!(
                    "The key is shown only this once. Give it to the worker `{}`, which sends it with each call as \
                     `authorization: Bearer …`.\nIt may answer for {}. `antiphon key revoke {}` revokes it.",
                    foreign::one_line(&made.worker, WORKER_CHARS_MAX),
                    listed(&made.bots),
                    made.id
                );
            }
            Wish::List { json, server } => {
                let keys = Client::new(&server)?.keys().await?;
                if keys.keys.is_empty() && !json {
                    complain(NO_KEYS);
                }
                print(&if json {
                    format!("{}\n", foreign::json(&serde_json::to_string(&keys)?))
                } else {
                    foreign::piece(&table(&keys.keys)).into_owned()
                })?;
            }
            Wish::Revoke { id, server } => {
                Client::new(&server)?.revoke_key(&id).await?;
                print(&format!("revoked key {id}\n"))?;
            }
        }
        Ok(DONE)
    }
}

fn listed(bots: &[BotName]) -> String {
    bots.iter().map(BotName::as_str).collect::<Vec<_>>().join(",")
}

/// A line of headings and one line per key; empty without keys.
fn table(keys: &[WorkerKey]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let head = ["ID", "WORKER", "BOTS", "CREATED"].map(str::to_owned);
    let row = |key: &WorkerKey| [key.id.to_string(), key.worker.to_string(), listed(&key.bots), key.created_at.clone()];
    let rows: Vec<_> = [head].into_iter().chain(keys.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let line = |row: &[String; 4]| {
        let [id, worker, bots, created] = row;
        format!("{id:0$}  {worker:1$}  {bots:2$}  {created}\n", widths[0], widths[1], widths[2])
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_columns_below_each_other() {
        let key = |id: &str, worker: &str, bots: &[&str]| WorkerKey {
            id: id.into(),
            worker: worker.into(),
            bots: bots.iter().map(|bot| BotName::new(bot).unwrap()).collect(),
            created_at: "2026-11-25T20:00:00.000Z".into(),
        };
        let expected = "\
ID            WORKER   BOTS         CREATED
1f0c2d3e4b5a  gpu-box  helper,echo  2026-11-25T20:00:00.000Z
000000000000  a        b            2026-11-25T20:00:00.000Z
";
        let keys = [key("1f0c2d3e4b5a", "gpu-box", &["helper", "echo"]), key("000000000000", "a", &["b"])];
        assert_eq!(table(&keys), expected);
        assert_eq!(table(&[]), "");
    }
}
