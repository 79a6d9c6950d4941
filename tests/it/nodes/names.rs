//! Two processes under one node's name.

use super::{
    Place,
    load::{Load, until_degraded, until_health},
};
use crate::harness::soak;

/// They take the store from each other again and again; what is acknowledged is safe all the same.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_under_one_name_are_named_to_the_operator_and_lose_and_double_nothing() {
    let posts = if soak() { 1_000 } else { 40 };
    let place = Place::new(2, &["--pace", "0"]);
    let mut nodes = vec![place.start_named(0, "twin")];
    let load = Load::start(&place);
    until_health(&nodes[0], "connected").await;
    nodes.push(place.start_named(1, "twin"));
    for node in &nodes {
        let health = until_degraded(node, "as node `twin`").await;
        assert!(health["reason"].as_str().unwrap().contains("its own name"), "{health}");
    }
    load.goes_on(posts).await;
    // The operator mends it.
    assert!(nodes.pop().unwrap().terminate().success());
    nodes.push(place.start_named(1, "n1"));
    for node in &nodes {
        until_health(node, "connected").await;
    }
    load.goes_on(20).await;
    load.ends_well(&place, &nodes).await;
}
