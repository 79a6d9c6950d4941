//! Posts on this node's disk: those that wait for the store, and those that the log refused.

use std::{fs, io, path::Path};

use super::Check;
use crate::{
    cli::foreign::one_line,
    clock::Clock,
    config::{Config, LogKind},
    outbox::Outbox,
    tasks::Tasks,
};

const WHAT: &str = "outbox";
/// How many refused posts are shown in full; the rest are counted.
const SHOWN_MAX: usize = 20;
/// Characters shown of each text, name and reason: enough to know it again.
const TEXT_CHARS_MAX: usize = 80;
const NAME_CHARS_MAX: usize = 40;
const REASON_CHARS_MAX: usize = 300;

/// No check unless the log is in Redis and there is an outbox.
pub(super) async fn check(config: &Config) -> Option<Check> {
    let folder = config.data.join("redis").join("outbox");
    if !matches!(config.log, LogKind::Redis(_)) || !folder.is_dir() {
        return None;
    }
    // A copy, because opening an outbox takes its lock and may rewrite it.
    let copy = std::env::temp_dir().join(format!("antiphon-doctor-{:016x}", rand::random::<u64>()));
    let found = match copied(&folder, &copy) {
        Ok(()) => look(&copy).await,
        Err(e) => Err(e.to_string()),
    };
    let _ = fs::remove_dir_all(&copy);
    Some(found.unwrap_or_else(|why| {
        let mend = "a node with this data folder will not start either; its error message says more";
        Check::fail(WHAT, format!("{}: {why}", folder.display()), mend)
    }))
}

async fn look(copy: &Path) -> Result<Check, String> {
    let outbox = Outbox::open(copy, Clock::system(), &Tasks::new()).await.map_err(|e| e.to_string())?;
    let (counts, refused) = (outbox.counts(), outbox.refused());
    // It is a copy: nothing is lost with it.
    let _ = outbox.close().await;
    let mut says = format!("{} posts wait for the store", counts.pending);
    if refused.is_empty() {
        return Ok(Check::ok(WHAT, says));
    }
    says.push_str(&format!("; {} were accepted, but the log rejected them:", refused.len()));
    for refused in refused.iter().take(SHOWN_MAX) {
        let post = &refused.post;
        let (text, name) = (one_line(&post.text, TEXT_CHARS_MAX), one_line(&post.author.name, NAME_CHARS_MAX));
        let reason = one_line(&refused.reason, REASON_CHARS_MAX);
        says.push_str(&format!("\n{} in {} by {name}: \"{text}\": {reason}", post.id, post.room));
    }
    let mend = "tell their authors; once the reason is fixed, a post can be sent again with another id";
    Ok(Check::warn(WHAT, says, mend))
}

/// Copies an outbox's folder, without its lock.
pub(in crate::cli) fn copied(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &target)?;
        } else if entry.file_name() != "lock" {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::{
        MessageId, RoomName,
        event::{Author, AuthorKind},
    };
    use uuid::Uuid;

    use super::*;
    use crate::{decide::post::Post, outbox::Settled};

    #[tokio::test]
    async fn what_was_accepted_and_refused_is_shown_and_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("outbox");
        let outbox = Outbox::open(&folder, Clock::system(), &Tasks::new()).await.unwrap();
        let post = |text: &str| Post {
            room: RoomName::new("lobby").unwrap(),
            id: MessageId(Uuid::new_v4()),
            fresh: false,
            author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
            text: text.into(),
            to: None,
            priority: 5,
            reply_to: None,
            said_at_ms: None,
        };
        let (waits, refused) = (post("waits"), post("refused\u{7}"));
        outbox.park(vec![waits, refused.clone()]).await.unwrap();
        outbox.settle(vec![(refused.id, Settled::Refused("there is no such bot".into()))]).await.unwrap();
        // The server runs: the lock is held.
        let copy = dir.path().join("copy");
        copied(&folder, &copy).unwrap();
        let check = look(&copy).await.unwrap();
        assert!(check.says.contains("1 posts wait") && check.says.contains("there is no such bot"), "{check:?}");
        assert!(check.says.contains(&refused.id.to_string()) && !check.says.contains('\u{7}'), "{check:?}");
        assert_eq!((outbox.pending(), outbox.refused().len()), (1, 1));
    }
}
