//! Crashes: afterwards the file holds a state that was durable, and continuing from it gives the same index.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use super::*;

/// A copy of the file while the indexer is idle is what a kill leaves: redb holds the rest in memory.
#[tokio::test]
async fn a_crash_goes_back_to_the_last_durable_moment_and_the_log_leads_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("index.redb"), folder.path().join("copy.redb"));
    let log = traffic(3_000);
    let index = Index::open(Some(&path), EPOCH, Seq::ZERO).unwrap();
    apply_durably(&index, &log[..1_000]).await;
    let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
    for batch in log[1_000..2_000].chunks(64) {
        applied(&indexer, batch).await;
    }
    model::assert_is_fold_of(&index.reader(), &log[..2_000]);
    fs::copy(&path, &copy).unwrap();

    let after = Index::open(Some(&copy), EPOCH, Seq(2_000)).unwrap();
    model::assert_is_fold_of(&after.reader(), &log[..1_000]);
    apply_durably(&after, &log[1_000..]).await;
    model::assert_is_fold_of(&after.reader(), &log);
}

const CHILD: &str = "ANTIPHON_INDEX_CHILD";
const UPTO: &str = "ANTIPHON_INDEX_CHILD_UPTO";
const KILLS: usize = 6;
const PART: usize = 10_000;

/// The test runs itself as a child that indexes into a file, kills it at some moment, looks, and lets another continue.
#[tokio::test]
async fn a_process_killed_while_it_indexes_leaves_a_moment_that_was_durable() {
    let log = traffic(KILLS * PART);
    if let (Some(path), Ok(upto)) = (std::env::var_os(CHILD), std::env::var(UPTO)) {
        return index_until_killed(Path::new(&path), &log[..upto.parse().unwrap()]).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    let open = || Index::open(Some(&path), EPOCH, Seq(log.len() as u64)).unwrap();
    let mut position = 0;
    for round in 0..KILLS {
        let durable = kill_a_child(&path, (round + 1) * PART, round);
        let index = open();
        let found = index.position().0;
        assert!(found >= durable && found > position, "at {found} after {durable} was durable and {position} before");
        model::assert_is_fold_of(&index.reader(), &log[..found as usize]);
        position = found;
    }
    let index = open();
    apply_durably(&index, &log[position as usize..]).await;
    model::assert_is_fold_of(&index.reader(), &log);
}

/// Starts a child, kills it (SIGKILL) once it said so often that more became durable; returns the last it said.
fn kill_a_child(path: &Path, upto: usize, after_flushes: usize) -> u64 {
    let name = "index::tests::crash::a_process_killed_while_it_indexes_leaves_a_moment_that_was_durable";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, path)
        .env(UPTO, upto.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The harness may print something before the first.
    let durable = lines.filter_map(|line| line.split_once("durable ")?.1.parse().ok()).nth(after_flushes);
    child.kill().unwrap();
    child.wait().unwrap();
    durable.expect("a child goes on until it is killed")
}

async fn index_until_killed(path: &Path, log: &[Arc<Entry>]) {
    // Ends with its parent, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let index = Index::open(Some(path), EPOCH, Seq(log.len() as u64)).unwrap();
    let from = index.position().0 as usize;
    let indexer = Indexer::flushing(index, Duration::from_millis(1)).unwrap();
    let mut durable = indexer.durable();
    let say = async {
        while durable.changed().await.is_ok() {
            println!("durable {}", *durable.borrow_and_update());
            std::io::stdout().flush().unwrap();
        }
    };
    let work = async {
        for batch in log[from..].chunks(50) {
            applied(&indexer, batch).await;
        }
    };
    tokio::join!(say, work);
}
