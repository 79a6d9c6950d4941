//! Where copies of a text may exist outside the log.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use antiphon_schemas::MessageId;

use super::{super::Desk, Erase};
use crate::{
    cli::client::Client,
    config::{Config, Flags, LogKind},
    outbox::Outbox,
    replay::{places::Places, source::Where},
    tasks::Tasks,
};

/// Where copies may exist outside this log, one sentence each.
pub(super) fn elsewhere(desk: &Desk<'_>, erase: &Erase, place: &Where, places: &Places) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    if places.texts.is_empty() {
        return Ok(all);
    }
    if !matches!(place, Where::Bundle(_)) {
        let in_memory = "the server's memory (recent messages, feeds, caches) drops it at once";
        let shown = desk.handle().block_on(in_views(erase, places));
        all.push(match shown {
            Ok(count) => format!("{in_memory}; in its recent views now: {count}"),
            Err(why) => format!("{in_memory}; how many are there now is unknown: {why}"),
        });
        all.push("index, snapshot and checkpoints contain no texts".into());
    }
    if let Where::Folder(folder) = place {
        all.extend(set_aside(folder));
    }
    if let Where::Redis(_) = place {
        all.extend(parked(desk, erase)?);
        all.push(
            "Redis: its append-only file, its RDB snapshots and those of its replicas keep old copies until they are rewritten: \
             run BGREWRITEAOF and BGSAVE afterwards, and delete old files"
                .into(),
        );
    }
    all.push(
        "bundles, exports, copies made by `replay into`, and backups cannot be found from here; recreate those that you keep, \
         and delete the old ones"
            .into(),
    );
    all.push("anyone who has read it: browsers, and models that had it in a prompt".into());
    if erase.author.is_some() {
        all.push(
            "messages that mention this author, or were posted under other names, must be named with --message".into(),
        );
    }
    Ok(all)
}

/// How many of the texts are in the recent views of the server.
async fn in_views(erase: &Erase, places: &Places) -> anyhow::Result<usize> {
    let client = Client::new(&erase.server)?;
    let ids: HashSet<MessageId> = places.texts.iter().filter(|text| !text.gone).map(|text| text.id).collect();
    let rooms: HashSet<_> = places.texts.iter().filter_map(|text| text.header.room.clone()).collect();
    let mut count = 0;
    for room in rooms {
        let view = client.state_room(&room).await?;
        count += view.messages.iter().filter(|message| ids.contains(&message.id) && !message.text.is_empty()).count();
    }
    Ok(count)
}

/// What `--salvage` set aside in this folder.
fn set_aside(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut aside: Vec<_> = names.filter(|name| name.starts_with("salvaged-")).collect();
    aside.sort();
    (!aside.is_empty()).then(|| {
        format!(
            "`{}` contains data that --salvage set aside and that was not searched: {}; delete it if it is not needed",
            folder.display(),
            aside.join(", ")
        )
    })
}

/// Posts in this node's outbox that contain such a text.
fn parked(desk: &Desk<'_>, erase: &Erase) -> anyhow::Result<Option<String>> {
    let config = Config::load(&Flags::default(), desk.env, Path::new("."))?;
    let folder = config.data.join("redis").join("outbox");
    if !matches!(config.log, LogKind::Redis(_)) || !folder.is_dir() {
        return Ok(Some(
            "each node's outbox may contain posts that wait for the store: check on their machines".into(),
        ));
    }
    let found = desk.handle().block_on(in_outbox(desk, &folder, erase));
    let shown = folder.display();
    Ok(Some(match found {
        Ok([0, 0]) => format!("outbox `{shown}`: none of it; other nodes have their own"),
        Ok([waiting, refused]) => format!(
            "outbox `{shown}`: {waiting} posts of it wait for the store (erase them once they are in the log), {refused} were refused \
             and stay there until you delete the folder; other nodes have their own"
        ),
        Err(why) => format!("outbox `{shown}` could not be read: {why}"),
    }))
}

async fn in_outbox(desk: &Desk<'_>, folder: &Path, erase: &Erase) -> Result<[usize; 2], String> {
    let copy: PathBuf = std::env::temp_dir().join(format!("antiphon-erase-{:016x}", rand::random::<u64>()));
    let copied = crate::cli::doctor::copied(folder, &copy).map_err(|why| why.to_string());
    let found = async {
        copied?;
        let outbox = Outbox::open(&copy, desk.clock.clone(), &Tasks::new()).await.map_err(|why| why.to_string())?;
        let ours = |post: &crate::decide::post::Post| {
            erase.messages.contains(&post.id) || erase.author.as_deref() == Some(&*post.author.name)
        };
        let waiting = outbox.first(usize::MAX).iter().filter(|parked| ours(&parked.post)).count();
        let refused = outbox.refused().iter().filter(|refused| ours(&refused.post)).count();
        // It is a copy: nothing is lost with it.
        let _ = outbox.close().await;
        Ok([waiting, refused])
    };
    let found = found.await;
    let _ = std::fs::remove_dir_all(&copy);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_salvage_set_aside_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(set_aside(folder.path()), None);
        std::fs::create_dir(folder.path().join("salvaged-0000000000000007")).unwrap();
        assert!(set_aside(folder.path()).unwrap().contains("salvaged-0000000000000007"));
    }
}
