//! Keys: the work of one bot is nobody's business who answers for another; and what happens in the moment of a revocation.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::remote;
use crate::harness::{Answer, Events, Server};

/// A worker's key, as the operator made it.
struct Key {
    id: String,
    secret: String,
}

impl Key {
    async fn create(server: &Server, worker: &str, bots: &[&str]) -> Key {
        let (status, made) = server.send_json("/api/keys", &json!({"worker": worker, "bots": bots})).await;
        assert_eq!(status, 201, "{made}");
        let of = |name: &str| made[name].as_str().unwrap().to_owned();
        Key { id: of("id"), secret: of("key") }
    }

    async fn revoke(&self, server: &Server) {
        let request = server.client().delete(server.url(&format!("/api/keys/{}", self.id)));
        assert_eq!(server.ask(request).await.status, 204);
    }

    /// A call of the work API with it.
    fn post(&self, server: &Server, path: &str, body: &Value) -> RequestBuilder {
        self.with(server.client().post(server.url(&format!("/api/work/{path}"))).json(body))
    }

    async fn call(&self, server: &Server, path: &str, body: Value) -> Answer {
        server.ask(self.post(server, path, &body)).await
    }

    fn with(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("authorization", format!("Bearer {}", self.secret))
    }

    /// Follows what becomes of its worker's claims.
    async fn events(&self, server: &Server, worker: &str) -> Events {
        let request = server.client().get(server.url(&format!("/api/work/events?worker={worker}")));
        let response = self.with(request).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Events::of(response)
    }
}

fn wish(worker: &str, bot: &str, key: &str, wait_ms: u64) -> Value {
    json!({"worker": worker, "bots": [bot], "claim_key": key, "wait_ms": wait_ms})
}

fn start(dir: &std::path::Path) -> Server {
    Server::configured(dir, &remote(&["ada", "bob"], ""), &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_bot_can_neither_see_nor_claim_nor_end_another_ones_work() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let (of_ada, of_bob) =
        (Key::create(&server, "box-a", &["ada"]).await, Key::create(&server, "box-b", &["bob"]).await);
    server.post("lobby", "For bob alone.", json!({"to": ["bob"]})).await;

    let refused = of_ada.call(&server, "claim", wish("box-a", "bob", "k-1", 0)).await;
    refused.refused("claim", 403, "not-your-bot");
    let both = json!({"worker": "box-a", "bots": ["ada", "bob"], "claim_key": "k-2", "wait_ms": 0});
    of_ada.call(&server, "claim", both).await.refused("one of two bots", 403, "not-your-bot");
    assert_eq!(of_ada.call(&server, "claim", wish("box-a", "ada", "k-3", 0)).await.status, 204, "nothing for ada");
    of_ada.call(&server, "claim", wish("box-b", "ada", "k-4", 0)).await.refused("name", 403, "not-your-name");

    let claimed = of_bob.call(&server, "claim", wish("box-b/1", "bob", "k-1", 0)).await;
    assert_eq!(claimed.status, 200, "{}", claimed.body);
    let (id, fence) = (claimed.body["message"]["id"].as_str().unwrap(), &claimed.body["fence"]);
    for (what, body) in [
        ("deltas", json!({"fence": fence, "index": 0, "text": "I am bob"})),
        ("heartbeat", json!({"fence": fence})),
        ("complete", json!({"fence": fence, "text": "I am bob", "finish": "stop"})),
        ("fail", json!({"fence": fence, "reason": "mischief: done", "retryable": false})),
        ("release", json!({"fence": fence})),
    ] {
        // The right fence of somebody else's claim.
        let refused = of_ada.call(&server, &format!("{id}/{what}"), body).await;
        refused.refused(what, 403, "not-your-bot");
        assert!(!refused.body.to_string().contains("bob alone"), "{}", refused.body);
    }
    let listed = server.ask(of_ada.with(server.client().get(server.url("/api/work/bots")))).await;
    let names: Vec<_> = listed.body["bots"].as_array().unwrap().iter().map(|bot| &bot["name"]).collect();
    assert_eq!(names, ["ada"]);
    let request = of_ada.with(server.client().get(server.url("/api/work/events?worker=box-b/1")));
    server.ask(request).await.refused("events of another one", 403, "not-your-name");

    // Nothing of all this has touched it.
    let done = json!({"fence": fence, "text": "It is me.", "finish": "stop"});
    assert_eq!(of_bob.call(&server, &format!("{id}/complete"), done).await.status, 200);
    assert_eq!(server.all("lobby").await[1]["text"], "It is me.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_a_claim_that_waits_and_a_stream_that_is_open_and_answers_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let key = Key::create(&server, "box", &["ada"]).await;
    let other = Key::create(&server, "box", &["ada"]).await;
    let posted = server.post("lobby", "Hello?", json!({"to": ["ada"]})).await;
    let claimed = key.call(&server, "claim", wish("box", "ada", "k-1", 0)).await;
    assert_eq!(claimed.body["message"]["id"], posted["id"]);
    let mut events = key.events(&server, "box").await;
    events.until("claims").await;
    let waiting = tokio::spawn(key.post(&server, "claim", &wish("box", "ada", "k-2", 30_000)).send());
    // Another call on another connection is answered: the claim before it is likely to wait by now, and must be refused if
    // it is not.
    assert_eq!(key.call(&server, "claim", wish("box", "ada", "k-3", 0)).await.status, 204);

    key.revoke(&server).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 401);
    assert!(events.try_next().await.is_none(), "the stream ends");
    let (id, fence) = (posted["id"].as_str().unwrap(), &claimed.body["fence"]);
    let done = json!({"fence": fence, "text": "too late", "finish": "stop"});
    key.call(&server, &format!("{id}/complete"), done).await.refused("revoked", 401, "bad-key");
    let (_, message) = server.get(&format!("/api/messages/{id}")).await;
    assert_eq!(message["status"], "claimed", "nobody answered");
    // The worker's other key is as good as before.
    let done = json!({"fence": fence, "text": "in time", "finish": "stop"});
    assert_eq!(other.call(&server, &format!("{id}/complete"), done).await.status, 200);
}

/// An address of this machine by which others could reach it, if it has one. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Reserved for documentation: only the choice of a route is asked for.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_elsewhere_nothing_works_without_a_key_and_everything_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let exposed = ["--listen", "0.0.0.0:0", "--expose"];
    let mut server = Server::configured(dir.path(), &remote(&["ada", "bob"], ""), &exposed);
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    server.address = format!("127.0.0.1:{port}");
    let key = Key::create(&server, "box", &["ada"]).await;
    // By an address of this machine that others could use, or else as a proxy would pass it on.
    let elsewhere = own_address().map_or(server.address.clone(), |ip| format!("{ip}:{port}"));
    let forwarded = elsewhere == server.address;
    println!("from {elsewhere}{}", if forwarded { ", by a proxy" } else { "" });
    let from_there = |request: RequestBuilder| match forwarded {
        true => request.header("x-forwarded-for", "198.51.100.7"),
        false => request,
    };
    let id = uuid::Uuid::new_v4();
    let fence = "0000000000000000-00-0000000000000001";
    let calls = [
        ("claim".to_owned(), wish("box", "ada", "k-1", 0)),
        (format!("{id}/deltas"), json!({"fence": fence, "index": 0, "text": "x"})),
        (format!("{id}/heartbeat"), json!({"fence": fence})),
        (format!("{id}/complete"), json!({"fence": fence, "text": "x", "finish": "stop"})),
        (format!("{id}/fail"), json!({"fence": fence, "reason": "a: b", "retryable": true})),
        (format!("{id}/release"), json!({"fence": fence})),
    ];
    for (path, body) in &calls {
        let request = || from_there(server.client().post(format!("http://{elsewhere}/api/work/{path}")).json(body));
        let refused = server.ask(request()).await;
        refused.refused(path, 401, "no-key");
        assert!(refused.header("www-authenticate").starts_with("Bearer"), "{path}");
        let wrong = request().header("authorization", "Bearer ak_wrong");
        server.ask(wrong).await.refused(path, 401, "bad-key");
        assert!([204, 404].contains(&server.ask(key.with(request())).await.status), "{path} with the key");
    }
    for path in ["bots", "events?worker=box"] {
        let request = || from_there(server.client().get(format!("http://{elsewhere}/api/work/{path}")));
        server.ask(request()).await.refused(path, 401, "no-key");
        assert_eq!(key.with(request()).send().await.unwrap().status(), 200, "{path}");
    }
    // Keys are made on the server's machine only, whatever one has.
    let more = json!({"worker": "box", "bots": ["bob"]});
    let request = from_there(server.client().post(format!("http://{elsewhere}/api/keys")).json(&more));
    server.ask(key.with(request)).await.refused("keys", 403, "this-machine-only");
}
