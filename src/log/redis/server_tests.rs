//! Tests of the servers that tests use: what they promise, seen once.

use super::server::{Cluster, Redis, Reply, Sentinels, Wire, newer_servers, until};

#[test]
fn a_durable_server_comes_back_on_its_port_with_what_it_acknowledged() {
    let dir = tempfile::TempDir::new().unwrap();
    let redis = Redis::durable(dir.path());
    assert_eq!(redis.command(&["SET", "a", "1"]), "OK");
    redis.restart();
    assert_eq!(redis.command(&["GET", "a"]), "1");
    assert_eq!(redis.command(&["GET"]), "(error) ERR wrong number of arguments for 'get' command");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
}

#[test]
fn a_stopped_server_answers_once_it_goes_on() {
    let redis = Redis::start_with(&[("requirepass", "secret")]);
    let mut client = redis.client();
    redis.stop();
    let asked = std::thread::spawn(move || client.ask(&["PING"]).unwrap());
    redis.go_on();
    assert_eq!(asked.join().unwrap(), Reply::Text("PONG".into()));
}

#[test]
fn other_servers_that_are_here_start_too() {
    for program in newer_servers() {
        assert_eq!(Redis::run(&program, &[]).command(&["PING"]), "PONG", "{}", program.display());
    }
}

#[test]
fn a_wire_loses_an_answer_that_the_server_gave() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    let open = || super::server::Client::open(wire.port(), None).unwrap();
    let mut client = open();
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::Text("PONG".into()));
    wire.swallow_next_answer("INCR");
    assert_eq!(client.ask(&["GET", "n"]).unwrap(), Reply::Nil, "not this one");
    client.ask(&["INCR", "n"]).unwrap_err();
    assert_eq!((wire.swallowed(), redis.command(&["GET", "n"]).as_str()), (1, "1"));
    assert_eq!(open().ask(&["INCR", "n"]).unwrap(), Reply::Number(2), "only one is lost");
    wire.refuse();
    assert!(super::server::Client::open(wire.port(), None).and_then(|mut c| c.ask(&["PING"])).is_err());
    wire.pass();
    assert_eq!(open().ask(&["GET", "n"]).unwrap(), Reply::Text("2".into()));
}

#[test]
fn a_held_request_arrives_after_its_client_has_gone() {
    let redis = Redis::start();
    let wire = Wire::to(redis.port());
    wire.hold_requests("INCR");
    let mut client = super::server::Client::open(wire.port(), None).unwrap();
    let waits = std::thread::spawn(move || client.ask(&["INCR", "n"]));
    until("it is held", || (wire.held() == 1).then_some(()));
    wire.cut();
    waits.join().unwrap().unwrap_err();
    assert_eq!(redis.command(&["GET", "n"]), "(nil)");
    assert_eq!(wire.let_go(), [Reply::Number(1)]);
    assert_eq!(redis.command(&["GET", "n"]), "1");
    assert_eq!(wire.held(), 0);
}

#[test]
fn a_slot_that_moves_is_asked_for_elsewhere_and_then_moved() {
    let cluster = Cluster::start();
    let (one, other) = ("{antiphon:0}:a", "{antiphon:0}:b");
    let from = &cluster.nodes()[cluster.owner(one)];
    from.command(&["MSET", one, "1", other, "2"]);
    let to = cluster.begin_move(one);
    cluster.migrate(one, to, 1);
    let mixed = from.command(&["MGET", one, other]);
    assert!(mixed.starts_with("(error) TRYAGAIN"), "{mixed}");
    cluster.migrate(one, to, 100);
    let gone = from.command(&["GET", one]);
    assert!(gone.starts_with("(error) ASK"), "{gone}");
    cluster.finish_move(one, to);
    let moved = from.command(&["GET", one]);
    assert!(moved.starts_with("(error) MOVED"), "{moved}");
    assert_eq!((cluster.owner(one), cluster.nodes()[to].command(&["GET", other]).as_str()), (to, "2"));
    assert_ne!(cluster.move_slot(one), to);
}

#[test]
fn sentinels_choose_the_replica_when_the_master_dies() {
    let sentinels = Sentinels::start();
    let first = sentinels.master_port();
    sentinels.master().command(&["SET", "a", "1"]);
    until("the replica has it", || (sentinels.replica().command(&["GET", "a"]) == "1").then_some(()));
    sentinels.kill_master();
    assert_ne!(sentinels.wait_for_another(first), first);
    assert_eq!(sentinels.master().command(&["GET", "a"]), "1");
}
