//! A master, its replica, and three sentinels that watch over them.

use std::fs;

use super::{Redis, program, until};
use tempfile::TempDir;

/// What the sentinels call the master.
pub(crate) const MASTER: &str = "the-log";

/// Two servers, three sentinels; two of them must agree that the master is gone.
#[derive(Debug)]
pub(crate) struct Sentinels {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
    _dirs: Vec<TempDir>,
}

impl Sentinels {
    /// Starts all and waits until they know each other.
    pub(crate) fn start() -> Sentinels {
        Sentinels::start_with(&[])
    }

    /// As [`Sentinels::start`], both servers with these settings of `redis.conf`. With `requirepass` give `masterauth`
    /// too.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Sentinels {
        let dirs: Vec<_> = (0..5).map(|_| TempDir::new().unwrap()).collect();
        let master = Redis::with(dirs[0].path(), settings);
        let of = format!("127.0.0.1 {}", master.port());
        let password = master.password.clone();
        let settings: Vec<_> = settings.iter().copied().chain([("replicaof", of.as_str())]).collect();
        let replica = Redis::with(dirs[1].path(), &settings);
        until("the replica is in step", || (replica.info("master_link_status").as_deref() == Some("up")).then_some(()));
        let sentinels: Vec<_> = dirs[2..].iter().map(|dir| sentinel(dir, &of, password.as_deref())).collect();
        let told = Sentinels { servers: vec![master, replica], sentinels, _dirs: dirs };
        for sentinel in &told.sentinels {
            until("the sentinels know each other", || {
                let says = sentinel.command(&["SENTINEL", "MASTER", MASTER]);
                (says.contains("num-other-sentinels\n2") && says.contains("num-slaves\n1")).then_some(())
            });
        }
        told
    }

    /// `redis+sentinel://` with all three.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port())).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The port of the master, as the first sentinel says.
    pub(crate) fn master_port(&self) -> u16 {
        let says = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        says.lines().nth(1).unwrap().parse().unwrap()
    }

    /// The server on this port.
    pub(crate) fn server(&self, port: u16) -> &Redis {
        self.servers.iter().find(|s| s.port() == port).expect("one of the two")
    }

    /// The server that is master, as the first sentinel says.
    pub(crate) fn master(&self) -> &Redis {
        self.server(self.master_port())
    }

    /// The server that is not.
    pub(crate) fn replica(&self) -> &Redis {
        let master = self.master_port();
        self.servers.iter().find(|s| s.port() != master).expect("one of the two")
    }

    /// The sentinels.
    pub(crate) fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// Kills the master and returns its port.
    pub(crate) fn kill_master(&self) -> u16 {
        let port = self.master_port();
        self.server(port).kill();
        port
    }

    /// Waits until every sentinel names another master than `old`, and it says so itself.
    pub(crate) fn wait_for_another(&self, old: u16) -> u16 {
        for sentinel in &self.sentinels {
            until("the sentinels agree on a new master", || {
                let says = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
                says.lines().nth(1).is_some_and(|port| port != old.to_string()).then_some(())
            });
        }
        let new = self.master_port();
        until("it is master", || (self.server(new).info("role").as_deref() == Some("master")).then_some(()));
        new
    }
}

fn sentinel(dir: &TempDir, master: &str, password: Option<&str>) -> Redis {
    let conf = dir.path().join("sentinel.conf");
    let mut text = format!(
        "sentinel monitor {MASTER} {master} 2\nsentinel down-after-milliseconds {MASTER} 500\n\
         sentinel failover-timeout {MASTER} 5000\n"
    );
    if let Some(password) = password {
        text.push_str(&format!("sentinel auth-pass {MASTER} {password}\n"));
    }
    fs::write(&conf, text).unwrap();
    let sentinel = Redis::launch(&program(), dir.path(), &[], &[conf.to_str().unwrap(), "--sentinel"]);
    // They tell each other of themselves every 2 s and ask the master every 10 s unless told otherwise.
    let says = sentinel.command(&["SENTINEL", "DEBUG", "publish-period", "100", "info-period", "200"]);
    assert_eq!(says, "OK");
    sentinel
}
