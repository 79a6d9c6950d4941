//! A master, its replica and three sentinels: the master is killed while the replica lacks the last entries.

use super::{
    DURABLE, Place,
    load::{Load, until_health},
};
use crate::{
    harness::{Events, soak},
    redis::{Redis, Sentinels, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_without_the_last_entries_is_found_and_given_them_under_a_new_epoch() {
    let (failovers, posts) = if soak() { (8, 1_000) } else { (1, 20) };
    let place = Place::on(Sentinels::start_with(&DURABLE), 2, &["--pace", "0"]);
    let sentinels = &place.redis;
    let nodes = [place.start(0), place.start(1)];
    let load = Load::start(&place);
    for n in 0..failovers {
        load.goes_on(posts).await;
        let mut watching = [Events::open(&nodes[0], "room-0", None).await, nodes[1].events("room-3").await];
        for events in &mut watching {
            // From here on nothing but what is new.
            events.until("snapshot").await;
        }
        let replica = sentinels.replica();
        let before = sentinels.master_port();
        // It has a part of the log; without any of it a person would be asked.
        let offset = |server: &Redis, key: &str| server.info(key)?.parse::<u64>().ok();
        let there = offset(sentinels.master(), "master_repl_offset");
        until("the replica follows", || (offset(replica, "slave_repl_offset") >= there).then_some(()));
        // What was sent to the replica it will have; what comes after its connection is cut it will lack.
        replica.stop();
        sentinels.master().ask(&["CLIENT", "KILL", "TYPE", "replica"]);
        load.goes_on(20).await;
        assert_eq!(sentinels.kill_master(), before);
        replica.go_on();
        assert_ne!(sentinels.wait_for_another(before), before);
        for (node, events) in nodes.iter().zip(&mut watching) {
            let (_, reset) = events.until("reset").await;
            assert_eq!(reset["reason"], "other-epoch");
            until_health(node, "connected").await;
        }
        load.goes_on(posts).await;
        println!("failover {} of {failovers}", n + 1);
        if n + 1 < failovers {
            // The old master comes back as a replica of the new one.
            sentinels.server(before).restart();
            until("the old master is a replica in step", || {
                (sentinels.server(before).info("master_link_status").as_deref() == Some("up")).then_some(())
            });
        }
    }
    assert!(load.parked() > 0, "while there was no master posts went to the outbox");
    load.ends_well(&place, &nodes).await;
}
