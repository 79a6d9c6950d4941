//! What whoever watches is shown: everything at first, then every change, the same to all.
//!
//! Method: the test is a remote worker and two monitors; each event is held against the OpenAPI document.

use serde_json::{Value, json};

use crate::{
    harness::{Events, Server},
    openapi::fits,
};

const BOTS: &str = "retry_base_ms = 60000\n[[bots]]\nname = \"ada\"\nmodel = \"remote\"\n";

/// A monitor that lays updates over what it was given first.
struct Screen {
    events: Events,
    document: Value,
    shown: Value,
}

/// The key of the items of each list.
const LISTS: [(&str, &str); 4] =
    [("queues", "bot"), ("open", "message_id"), ("ended", "message_id"), ("workers", "worker")];

impl Screen {
    async fn on(server: &Server) -> Screen {
        let mut events = Events::at(server, "/api/monitor/events").await;
        let (_, document) = server.get("/openapi.json").await;
        let first = events.next().await;
        assert_eq!((&*first.name, &first.id), ("snapshot", &None), "no id: who comes back begins anew");
        let shown: Value = serde_json::from_str(&first.data).unwrap();
        fits(&document, "MonitorSnapshot", &shown);
        Screen { events, document, shown }
    }

    /// Takes what comes until this holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) {
        while !holds(&self.shown) {
            let event = self.events.next().await;
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!((&*event.name, &event.id), ("update", &None), "waiting for {what}");
            fits(&self.document, "MonitorUpdate", &data);
            for field in ["position", "at", "open_total", "health"] {
                if let Some(value) = data.get(field) {
                    self.shown[field] = value.clone();
                }
            }
            for (list, key) in LISTS {
                let items = self.shown[list].as_array_mut().unwrap();
                let new = data[list].as_array().unwrap();
                items.retain(|known| !new.iter().any(|item| item[key] == known[key]));
                items.extend(new.iter().cloned());
            }
            let gone = data["gone"].as_array().unwrap();
            self.shown["open"].as_array_mut().unwrap().retain(|open| !gone.contains(&open["message_id"]));
        }
    }

    /// The item of a list with this key.
    fn item(&self, list: &str, value: &Value) -> Value {
        item(&self.shown, list, value)
    }
}

fn item(shown: &Value, list: &str, value: &Value) -> Value {
    let key = LISTS.iter().find(|(name, _)| *name == list).unwrap().1;
    shown[list].as_array().unwrap().iter().find(|item| item[key] == *value).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_monitors_follow_a_message_from_its_post_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), BOTS, &[]);
    let mut screens = [Screen::on(&server).await, Screen::on(&server).await];
    let call = async |path: String, body: Value| {
        let (status, answer) = server.send_json(&path, &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let posted = server.post("lobby", "What is a fugue?", json!({"priority": 7})).await;
    let id = &posted["id"];
    for screen in &mut screens {
        screen.until("it waits", |shown| item(shown, "open", id)["state"] == "waiting").await;
        let open = screen.item("open", id);
        assert_eq!([&open["text"], &open["author"], &open["room"]], ["What is a fugue?", "ann", "lobby"]);
        assert_eq!((&open["priority"], &open["ahead"], &open["position"]), (&json!(7), &json!(0), &posted["position"]));
        assert_eq!((&open["asked_at"], &open["since"]), (&posted["at"], &posted["position"]));
        let queue = screen.item("queues", &json!("ada"));
        assert_eq!([&queue["waiting"], &queue["posted"]], [&json!(1), &json!(1)]);
        assert_eq!((&queue["oldest_at"], &queue["model"]), (&posted["at"], &json!("remote")));
    }
    let wish = json!({"worker": "gpu-2", "bots": ["ada"], "claim_key": "1", "models": [{"name": "m", "warm": true}]});
    let work = call("/api/work/claim".into(), wish).await;
    let say = |what: &str| format!("/api/work/{}/{what}", id.as_str().unwrap());
    let fence = &work["fence"];
    let beat = json!({"fence": fence, "stage": "loading-model", "progress": 0.5});
    call(say("heartbeat"), beat).await;
    for screen in &mut screens {
        screen.until("it loads", |shown| item(shown, "open", id)["state"] == "loading-model").await;
        let open = screen.item("open", id);
        assert_eq!([&open["progress"], &open["attempt"], &open["ahead"]], [&json!(0.5), &json!(1), &Value::Null]);
        assert_eq!([&open["worker"], &open["fence"]], [&json!("gpu-2"), fence]);
    }
    for (index, text) in ["A fugue", " is", " a chase"].iter().enumerate() {
        call(say("deltas"), json!({"fence": fence, "index": index, "text": text})).await;
    }
    for screen in &mut screens {
        screen.until("it is written", |shown| item(shown, "open", id)["deltas"] == 3).await;
        assert_eq!(screen.item("open", id)["state"], "writing");
        let worker = screen.item("workers", &json!("gpu-2"));
        assert_eq!(
            [&worker["kind"], &worker["models"], &worker["bots"]],
            [&json!("remote"), &json!(["m"]), &json!(["ada"])]
        );
        assert_eq!([&worker["holds"][0]["message_id"], &worker["holds"][0]["stage"]], [id, &json!("writing")]);
    }
    let (status, workers) = server.get("/api/workers").await;
    fits(&screens[0].document, "Workers", &workers);
    assert_eq!((status.as_u16(), &workers["workers"][0]["holds"][0]["deltas"]), (200, &json!(3)));
    call(say("complete"), json!({"fence": fence, "text": "A fugue is a chase", "finish": "stop", "model": "m"})).await;
    for screen in &mut screens {
        let at_its_end = |shown: &Value| item(shown, "ended", id) != Value::Null && shown["open_total"] == 0;
        screen.until("its end", at_its_end).await;
        let ended = screen.item("ended", id);
        assert_eq!([&ended["status"], &ended["reply"], &ended["worker"]], ["answered", "A fugue is a chase", "gpu-2"]);
        assert_eq!((&ended["model"], &ended["reply_id"]), (&json!("m"), &work["reply_id"]));
        assert_eq!(screen.shown["open"], json!([]));
        let queue = screen.item("queues", &json!("ada"));
        assert_eq!([&queue["answered"], &queue["total_ms"]["max"]], [&json!(1), &ended["total_ms"]]);
    }

    // A try that fails, a cancel, a text that is taken back.
    let other = server.post("dev", "And a canon?", json!({})).await;
    let wish = json!({"worker": "gpu-2", "bots": ["ada"], "claim_key": "2"});
    let fence = call("/api/work/claim".into(), wish).await["fence"].clone();
    let path = |what: &str| format!("/api/work/{}/{what}", other["id"].as_str().unwrap());
    call(path("fail"), json!({"fence": fence, "reason": "no: memory", "retryable": true})).await;
    for screen in &mut screens {
        screen.until("the retry", |shown| item(shown, "open", &other["id"])["state"] == "retrying").await;
        let open = screen.item("open", &other["id"]);
        assert_eq!((&open["reason"], open["retry_at"].is_string()), (&json!("no: memory"), true));
    }
    call(format!("/api/messages/{}/cancel", other["id"].as_str().unwrap()), json!({})).await;
    let url = server.url(&format!("/api/messages/{}", id.as_str().unwrap()));
    assert_eq!(server.ask(server.client().delete(url)).await.status, 200);
    for screen in &mut screens {
        let hidden = |shown: &Value| {
            item(shown, "ended", id)["text"] == "" && item(shown, "ended", &other["id"])["status"] == "cancelled"
        };
        screen.until("it is hidden", hidden).await;
    }
    // Who starts anew is told of the same log, and of nothing else.
    drop(screens);
    assert!(server.terminate().success());
    let server = Server::configured(dir.path(), BOTS, &[]);
    let screen = Screen::on(&server).await;
    let ends: Vec<_> =
        screen.shown["ended"].as_array().unwrap().iter().map(|e| (&e["message_id"], &e["status"])).collect();
    assert_eq!(ends, [(id, &json!("answered")), (&other["id"], &json!("cancelled"))]);
    assert_eq!((&screen.item("ended", id)["text"], &screen.shown["workers"]), (&json!(""), &json!([])));
    let queue = screen.item("queues", &json!("ada"));
    assert_eq!([&queue["posted"], &queue["answered"], &queue["failed"], &queue["retried"]], [2, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_is_a_subscriber_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), "subscribers_max = 1\n", &[]);
    let url = server.url("/api/monitor/events");
    let first = server.client().get(&url).send().await.unwrap();
    let header = |name: &str| first.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(
        (header("cache-control").as_str(), header("x-accel-buffering").as_str()),
        ("no-store, no-transform", "no")
    );
    let (_, busy) = Events::at(&server, "/api/monitor/events").await.until("busy").await;
    assert!(busy["retry_ms"].as_u64().unwrap() > 0);
    let asked = server.client().get(format!("{url}?after=0"));
    server.ask(asked).await.refused("resumed", 400, "unknown-parameter");
}
