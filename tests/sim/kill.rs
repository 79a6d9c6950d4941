//! `kill -9` of a process that appends to a file log: what it had told anybody is there afterwards.
//!
//! Method: this binary runs itself again with a variable set. That child opens the log, appends from eight tasks and
//! prints a line for each acknowledgement; the parent reads along and kills it after a random number of lines.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use antiphon::{
    clock::Clock,
    log::{
        Append, Draft, Log, Verdict,
        file::{FileLog, Options},
    },
};
use antiphon_schemas::{
    MessageId, RequestId, RoomName, Seq,
    event::{Author, AuthorKind, MessagePosted},
};
use uuid::Uuid;

const FOLDER_VARIABLE: &str = "ANTIPHON_SIM_APPEND_TO";

fn open(folder: &Path) -> FileLog {
    let options = Options { segment_bytes: 256 << 10, recent_bytes_max: 0, ..Options::default() };
    FileLog::open_folder(folder, options, Clock::system()).unwrap()
}

fn post(id: Uuid, text: &str) -> Append {
    let author = Author { name: "ann".into(), kind: AuthorKind::Human, color: None };
    let id = MessageId(id);
    let event =
        MessagePosted { id, author, text: text.into(), to: None, ask: None, reply_to: None, hops: 0, said_at_ms: None };
    let draft = Draft::new(Some(RoomName::new("lobby").unwrap()), event.into(), rand::random()).unwrap();
    Append {
        after: Seq::ZERO,
        request: RequestId(Uuid::new_v4()),
        subjects: Vec::new(),
        drafts: vec![draft],
        moves: vec![],
    }
}

/// Not a test of its own: what the child does, until it is killed.
#[test]
fn the_child_appends() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(async {
        let log = std::sync::Arc::new(open(Path::new(&folder)));
        let tasks: Vec<_> = (0..8u32)
            .map(|task| {
                let log = log.clone();
                tokio::spawn(async move {
                    while log.tail() < Seq::MAX {
                        let text = "text ".repeat((rand::random::<u32>() % (20 << task)) as usize);
                        let verdict = log.append(vec![post(Uuid::new_v4(), &text)]).await.unwrap().remove(0);
                        let Verdict::Appended(entries) = verdict else { panic!("{verdict:?}") };
                        for entry in entries {
                            let hash = u64::from_le_bytes(entry.hash()[..8].try_into().unwrap());
                            let line = format!("ack {} {hash}\n", entry.header.seq);
                            // Not `println`: the test harness would keep that.
                            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data");
    let kills = if std::env::var_os("ANTIPHON_SOAK").is_some_and(|v| v == "1") { 50 } else { 10 };
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut torn = 0;
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::the_child_appends", "--nocapture"])
            .env(FOLDER_VARIABLE, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut left = 1 + rand::random::<u32>() % 2_000;
        let mut line = String::new();
        // After the kill the lines that are still in the pipe count too; the last may be cut.
        while lines.read_line(&mut line).unwrap() > 0 {
            // The harness's own "test kill::… ... " may stand before the first.
            if let Some((_, ack)) = line.trim_end_matches('\n').split_once("ack ")
                && line.ends_with('\n')
            {
                let (seq, hash) = ack.split_once(' ').unwrap();
                acknowledged.insert(seq.parse().unwrap(), hash.parse().unwrap());
                left = left.saturating_sub(1);
                if left == 0 {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        assert!(!child.wait().unwrap().success(), "it was killed");

        let log = open(&folder);
        torn += u64::from(log.recovery().cut_bytes > 0);
        let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read_all(&log));
        assert!(found.iter().map(|(seq, _)| *seq).eq(1..=log.tail().0), "a gap");
        let found: HashMap<_, _> = found.into_iter().collect();
        for (seq, hash) in &acknowledged {
            assert_eq!(found.get(seq), Some(hash), "entry {seq} was acknowledged");
        }
    }
    println!("{} acknowledged in {kills} lives, {torn} torn tails cut", acknowledged.len());
    assert!(acknowledged.len() > kills);
}

async fn read_all(log: &FileLog) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    loop {
        let entries = log.read(Seq(all.len() as u64), 1_000).await.unwrap();
        if entries.is_empty() {
            return all;
        }
        all.extend(entries.iter().map(|e| (e.header.seq.0, u64::from_le_bytes(e.hash()[..8].try_into().unwrap()))));
    }
}
