//! A Redis Cluster of three masters, whose slots can be moved.

use std::path::Path;

use super::{Redis, free_port, program, until};
use tempfile::TempDir;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Three masters that share the slots.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Redis>,
    _dirs: Vec<TempDir>,
}

impl Cluster {
    /// Starts three and waits until each says that the cluster is well.
    pub(crate) fn start() -> Cluster {
        Cluster::start_with(&[])
    }

    /// As [`Cluster::start`], each with these settings of `redis.conf`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Cluster {
        let dirs: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
        let nodes: Vec<_> = dirs.iter().map(|dir| node(dir.path(), settings)).collect();
        let ports = (0..).zip(&nodes);
        for (i, node) in ports.clone() {
            let (first, last) = (SLOTS / 3 * i, if i == 2 { SLOTS - 1 } else { SLOTS / 3 * (i + 1) - 1 });
            expect_ok(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            expect_ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        for (_, node) in ports.skip(1) {
            let bus = node.command(&["CONFIG", "GET", "cluster-port"]);
            let bus = bus.lines().nth(1).unwrap();
            expect_ok(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]);
        }
        let cluster = Cluster { nodes, _dirs: dirs };
        cluster.wait();
        cluster
    }

    /// Waits until every node sees all slots served.
    pub(crate) fn wait(&self) {
        for node in &self.nodes {
            until("the cluster is well", || {
                let info = node.command(&["CLUSTER", "INFO"]);
                let known = info.contains("cluster_known_nodes:3\r") && info.contains("cluster_slots_ok:16384\r");
                (known && info.contains("cluster_state:ok\r")).then_some(())
            });
        }
    }

    /// `redis+cluster://` with all three.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub(crate) fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The number of the node that has this key's slot, as that node says.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let slot: u16 = self.slot(key).parse().unwrap();
        let has = |node: &Redis| {
            let nodes = node.command(&["CLUSTER", "NODES"]);
            let line = nodes.lines().find(|line| line.contains("myself")).unwrap();
            line.split(' ').skip(8).filter(|w| !w.starts_with('[')).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&slot)
            })
        };
        until("some node has the slot", || self.nodes.iter().position(has))
    }

    /// Moves the slot of `key` with all that is in it to the next master, which it returns.
    pub(crate) fn move_slot(&self, key: &str) -> usize {
        let to = self.begin_move(key);
        self.migrate(key, to, usize::MAX);
        self.finish_move(key, to);
        to
    }

    /// Opens the slot of `key` for a move to the next master, which it returns: from now on what is not there is asked
    /// for at the other (ASK), and a command with some keys here and some there is refused (TRYAGAIN).
    pub(crate) fn begin_move(&self, key: &str) -> usize {
        let (slot, from) = (self.slot(key), self.owner(key));
        let to = (from + 1) % self.nodes.len();
        expect_ok(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        expect_ok(&self.nodes[from], &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
        to
    }

    /// Moves at most `count` of the keys of an opened slot.
    pub(crate) fn migrate(&self, key: &str, to: usize, count: usize) {
        let (slot, from) = (self.slot(key), &self.nodes[self.owner(key)]);
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, &count.min(1_000).to_string()]);
        for key in keys.lines() {
            let port = self.nodes[to].port().to_string();
            let moved = from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            // Between the list and the move somebody may have deleted it.
            assert!(moved == "OK" || moved == "NOKEY", "{key}: {moved}");
        }
    }

    /// Gives an opened and emptied slot to its new owner; every node hears of it.
    pub(crate) fn finish_move(&self, key: &str, to: usize) {
        let (slot, id) = (self.slot(key), self.id(to));
        expect_ok(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        for node in &self.nodes {
            expect_ok(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    fn slot(&self, key: &str) -> String {
        self.nodes[0].command(&["CLUSTER", "KEYSLOT", key])
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"])
    }
}

fn node(dir: &Path, settings: &[(&str, &str)]) -> Redis {
    let bus = free_port().to_string();
    let cluster = [("cluster-enabled", "yes"), ("cluster-port", bus.as_str()), ("cluster-node-timeout", "2000")];
    let settings = [&cluster, settings].concat();
    Redis::launch(&program(), dir, &settings, &[])
}

fn expect_ok(node: &Redis, command: &[&str]) {
    assert_eq!(node.command(command), "OK", "{command:?}");
}
