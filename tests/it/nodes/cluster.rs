//! The log in a Redis Cluster: its slot moves to another master, and its master dies, while posts go on.

use super::{
    DURABLE, LOG, Place, Store,
    load::{Load, until_health},
};
use crate::{harness::soak, redis::Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_slot_of_the_log_goes_every_post_is_there_once_and_has_one_answer() {
    let (moves, posts) = if soak() { (30, 100) } else { (2, 8) };
    let place = Place::on(Cluster::start_with(&DURABLE), 2, &["--pace", "0"]);
    let nodes = [place.start(0), place.start(1)];
    let cluster = &place.redis;
    let load = Load::start(&place);
    load.goes_on(posts).await;
    for n in 0..moves {
        let from = cluster.owner(LOG);
        let to = cluster.begin_move(LOG);
        assert_ne!(from, to);
        load.goes_on(posts).await;
        // Half of the keys here and half there: ASK for one, TRYAGAIN for a script. Other keys in another order.
        for count in [1 + n % 3, 2] {
            cluster.migrate(LOG, to, count);
            load.goes_on(posts).await;
        }
        cluster.migrate(LOG, to, usize::MAX);
        load.goes_on(posts).await;
        cluster.finish_move(LOG, to);
        assert_eq!(cluster.owner(LOG), to);
        for node in &nodes {
            until_health(node, "connected").await;
        }
        load.goes_on(posts).await;
    }
    assert!(load.parked() > 0, "while the keys were torn apart posts went to the outbox");
    // All of it in one step: MOVED.
    cluster.move_slot(LOG);
    load.goes_on(posts).await;
    for node in &nodes {
        until_health(node, "connected").await;
    }

    let owner = cluster.holder();
    let parked = load.parked();
    owner.kill();
    for node in &nodes {
        until_health(node, "degraded").await;
    }
    load.goes_on(2 * posts).await;
    assert!(load.parked() > parked, "while its master is dead posts go to the outbox");
    owner.restart();
    cluster.wait();
    for node in &nodes {
        until_health(node, "connected").await;
    }
    load.goes_on(posts).await;
    load.ends_well(&place, &nodes).await;
}
