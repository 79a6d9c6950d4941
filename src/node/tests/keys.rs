//! Workers' keys on a node: made, revoked, told of, and brought back when the store has lost them.

use antiphon_schemas::event::{KeyCreated, KeyRevoked};

use super::{away::Away, *};
use crate::{
    decide::Refusal,
    log::{self, Access},
    node::key_sha256,
};

async fn made(node: &Node, worker: &str) -> (String, String) {
    let (key, secret) = node.create_key(worker.into(), vec![bot()]).await.unwrap();
    (key.id.to_string(), secret)
}

fn opens(node: &Node, secret: &str) -> bool {
    node.key(&key_sha256(secret).expect("it looks like a key")).unwrap().is_some()
}

#[tokio::test]
async fn a_key_is_shown_once_found_by_its_hash_and_no_longer_once_revoked() {
    let rig = Rig::new().await;
    let (key, secret) = rig.node.create_key("gpu-box".into(), vec![bot()]).await.unwrap();
    let digits = secret.strip_prefix("ak_").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{secret}");
    assert_eq!((&*key.worker, key.bots.as_slice(), key.created_at_ms), ("gpu-box", &[bot()][..], START_MS));
    assert_eq!((key.id.len(), key.sha256.len(), key.sha256.starts_with(&*key.id)), (12, 64, true));
    let (_, other) = made(&rig.node, "other").await;
    assert_ne!(secret, other);
    assert!(opens(&rig.node, &secret) && opens(&rig.node, &other));
    for wrong in
        ["", "ak_", digits, &format!("ak_{}", &digits[1..]), &format!("{secret}0"), &format!("ak_{}z", &digits[1..])]
    {
        assert_eq!(key_sha256(wrong), None, "{wrong}");
    }
    let entries = rig.entries().await;
    assert!(entries.iter().all(|e| e.header.room.is_none() && e.header.subjects.is_empty()));
    let holds = |entry: &Arc<Entry>| String::from_utf8_lossy(&entry.body).contains(digits);
    assert!(!entries.iter().any(holds), "the secret is nowhere");

    for _ in 0..2 {
        rig.node.revoke_key(&key.id).await.unwrap();
        assert!(!opens(&rig.node, &secret) && opens(&rig.node, &other));
    }
    let why = rig.node.revoke_key("0123456789ab").await.unwrap_err();
    assert!(matches!(&why, Error::Refused(Refusal::NoSuchKey(id)) if &**id == "0123456789ab"), "{why}");
    assert_eq!(rig.kinds().await, ["key.created", "key.created", "key.revoked"]);
    assert_eq!(rig.node.keys().unwrap().iter().map(|key| &*key.worker).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn key_events_are_in_no_feed() {
    let rig = Rig::new().await;
    let mut view = rig.view().await;
    let (id, _) = made(&rig.node, "gpu-box").await;
    rig.node.revoke_key(&id).await.unwrap();
    rig.post(Post { to: Some(vec![]), ..question("hello") }).await.unwrap();
    assert_eq!(view.until("message.posted").await, ["message.posted"]);
}

#[tokio::test]
async fn whoever_waits_for_a_change_of_the_keys_is_woken_and_by_nothing_else() {
    let rig = Rig::new().await;
    let (id, _) = made(&rig.node, "gpu-box").await;
    let mut changed = rig.node.keys_changed();
    changed.borrow_and_update();
    rig.ask("a post is no key").await;
    assert!(!changed.has_changed().unwrap());
    let waiting = tokio::spawn(async move { changed.changed().await });
    rig.node.revoke_key(&id).await.unwrap();
    timeout(PATIENCE, waiting).await.expect("it is told").unwrap().unwrap();
}

#[tokio::test]
async fn nobody_is_told_that_a_key_is_bad_before_the_log_was_read() {
    let rig = Away::starting(policy(), Access::Away { why: "not there yet".into() }).await;
    assert!(matches!(rig.node.key(""), Err(Error::Log(log::Error::Away(_)))));
    assert!(matches!(rig.node.keys(), Err(Error::Log(log::Error::Away(_)))));
    let refused = rig.node.create_key("gpu-box".into(), vec![bot()]).await;
    assert!(matches!(refused, Err(Error::Log(log::Error::Away(_)))), "{refused:?}");
}

#[tokio::test]
async fn a_store_that_lost_its_tail_gets_back_keys_and_above_all_revocations() {
    let rig = Away::new(policy()).await;
    let (revoked, revoked_secret) = made(&rig.node, "shut out").await;
    let (kept, kept_secret) = made(&rig.node, "kept").await;
    // From here on all is lost.
    let (_, lost_secret) = made(&rig.node, "lost").await;
    rig.node.revoke_key(&revoked).await.unwrap();
    let (both, both_secret) = made(&rig.node, "made and revoked").await;
    rig.node.revoke_key(&both).await.unwrap();
    rig.node.post(question("a post among them")).await.unwrap();

    rig.log.away();
    rig.is("degraded").await;
    assert!(opens(&rig.node, &kept_secret) && !opens(&rig.node, &revoked_secret), "as far as is known");
    let mut changed = rig.node.keys_changed();
    changed.borrow_and_update();
    // Whenever somebody can look, what was revoked is not good: a look gives an answer only when all is back.
    let node = rig.node.clone();
    let looking = tokio::spawn(async move {
        loop {
            match node.key(&key_sha256(&revoked_secret).unwrap()) {
                Ok(key) => assert!(key.is_none(), "a revoked key is good"),
                Err(Error::Log(log::Error::Away(_))) => {}
                Err(why) => panic!("{why}"),
            }
            tokio::task::yield_now().await;
        }
    });
    rig.log.back_shorter(2).await;
    rig.settled().await;
    looking.abort();
    assert!(looking.await.unwrap_err().is_cancelled(), "a revoked key was good");
    assert!(changed.has_changed().unwrap(), "whoever waits looks again");
    assert!(opens(&rig.node, &kept_secret) && opens(&rig.node, &lost_secret) && !opens(&rig.node, &both_secret));
    assert!(rig.node.keys().unwrap().iter().any(|key| *key.id == *kept));
    assert!(rig.node.revoke_key(&revoked).await.is_ok(), "it is known to be revoked");

    let entries = rig.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|e| e.event.kind()).take(7).collect();
    let (created, gone) = ("key.created", "key.revoked");
    assert_eq!(kinds, [created, created, created, gone, created, gone, "message.posted"], "first, and in their order");
    let repaired = entries.iter().find_map(|e| match &e.event {
        Event::LogRepaired(e) => Some((e.offered, e.again)),
        _ => None,
    });
    assert_eq!(repaired, Some((5, 5)));
}

#[tokio::test]
async fn what_another_node_brought_back_before_is_not_written_twice() {
    let rig = Away::new(policy()).await;
    let (id, secret) = made(&rig.node, "gpu-box").await;
    rig.node.revoke_key(&id).await.unwrap();
    let seen = rig.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
    rig.log.away();
    rig.is("degraded").await;
    // Another node, which saw less, was first: it has brought the key, and not its revocation.
    rig.log.back_shorter_having_lost(1, seen).await;
    rig.settled().await;
    assert!(!opens(&rig.node, &secret));
    let entries = rig.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
    let of_key = |e: &&Arc<Entry>| {
        matches!(&e.event, Event::KeyCreated(KeyCreated { .. }) | Event::KeyRevoked(KeyRevoked { .. }))
    };
    assert_eq!(
        entries.iter().filter(of_key).map(|e| e.event.kind()).collect::<Vec<_>>(),
        ["key.created", "key.revoked"]
    );
}
