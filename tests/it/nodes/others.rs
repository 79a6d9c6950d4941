//! The same on every other server that is here: Valkey, newer Redis.

use std::process::Command;

use crate::redis::newer_servers;

/// This program runs its own tests of nodes again, in their short form, with that server in place of the usual one.
#[test]
fn the_nodes_do_on_other_servers_what_they_do_on_the_usual_one() {
    let servers = newer_servers();
    if servers.is_empty() {
        println!("no Valkey and no other Redis is here (ANTIPHON_REDIS_SERVERS names none): nothing to run");
    }
    for server in servers {
        println!("the tests of nodes on {}:", server.display());
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["nodes::", "--skip", "nodes::others", "--test-threads", "2"]);
        tests.env("ANTIPHON_REDIS_SERVER", &server).env_remove("ANTIPHON_REDIS_SERVERS").env_remove("ANTIPHON_SOAK");
        let output = tests.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}:\n{said}\n{}", server.display(), String::from_utf8_lossy(&output.stderr));
        let ran = said.lines().find(|line| line.starts_with("test result:")).unwrap();
        assert!(!ran.contains(" 0 passed"), "{ran}");
        println!("{ran}");
    }
}
