//! Posting: durable once, whoever repeats it and however often; and whom a post asks.

use antiphon_schemas::MessageId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Server, body};

const ROOM: &str = "/api/rooms/lobby/messages";

fn fresh_id() -> MessageId {
    MessageId(Uuid::now_v7())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_post_again_is_the_same_message_and_another_one_under_its_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let earlier = server.post("lobby", "earlier", json!({"to": []})).await;
    let post = |extra: Value| {
        let mut post = body("hello", json!({"to": []}));
        extra.as_object().unwrap().iter().for_each(|(key, value)| post[key] = value.clone());
        post
    };
    for (own, others) in [
        (json!({}), vec![json!({"to": ["antiphon"]}), json!({"reply_to": earlier["id"]})]),
        (json!({"to": ["antiphon"]}), vec![json!({"to": []}), json!({"to": null})]),
        (json!({"to": null}), vec![json!({"to": []}), json!({"to": ["antiphon"]})]),
        (json!({"reply_to": earlier["id"]}), vec![json!({"reply_to": null})]),
    ] {
        let mut own = post(own);
        own["id"] = json!(fresh_id());
        let first = server.ask(server.client().post(server.url(ROOM)).json(&own)).await;
        assert_eq!((first.status, first.header("content-type")), (201, "application/json"), "{own}");
        let fields: Vec<_> = first.body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["at", "id", "position", "room"]);
        assert_eq!((&first.body["id"], &first.body["room"]), (&own["id"], &json!("lobby")));

        // What does not belong to the content may differ.
        own["priority"] = json!(9);
        own["author"]["color"] = json!("red");
        let again = server.ask(server.client().post(server.url(ROOM)).json(&own)).await;
        assert_eq!((again.status, &again.body), (200, &first.body), "{own}");

        let more = [json!({"text": "hallo"}), json!({"author": {"name": "bob"}})];
        for other in others.into_iter().chain(more) {
            let mut post = own.clone();
            other.as_object().unwrap().iter().for_each(|(key, value)| post[key] = value.clone());
            let answer = server.ask(server.client().post(server.url(ROOM)).json(&post)).await;
            answer.refused(&other.to_string(), 409, "id-taken");
        }
        let other = server.url("/api/rooms/other/messages");
        server.ask(server.client().post(other).json(&own)).await.refused("another room", 409, "id-taken");
        // Ids are compared as ids, not as strings.
        own["id"] = json!(own["id"].as_str().unwrap().to_uppercase());
        let again = server.ask(server.client().post(server.url(ROOM)).json(&own)).await;
        assert_eq!((again.status, &again.body), (200, &first.body));
    }
    // The id of a reply is taken, too.
    let asked = server.post("lobby", "Are you there?", json!({})).await;
    server.until_status("lobby", asked["id"].as_str().unwrap(), "answered").await;
    let all = server.all("lobby").await;
    let reply = all.iter().find(|m| m["reply_to"] == asked["id"] && m["author"]["kind"] == "bot").unwrap();
    let taken = json!({"id": reply["id"], "text": reply["text"], "author": {"name": "antiphon"}, "to": []});
    server.ask(server.client().post(server.url(ROOM)).json(&taken)).await.refused("a reply's id", 409, "id-taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_is_known_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let own = body("hello", json!({"to": [], "id": fresh_id()}));
    let mut bodies = Vec::new();
    for expected in [201, 200, 200] {
        let server = Server::start(&data);
        let (status, posted) = server.send_json(ROOM, &own).await;
        assert_eq!(status, expected);
        bodies.push(posted);
        assert_eq!(server.send_json(ROOM, &body("hallo", json!({"to": [], "id": own["id"]}))).await.0, 409);
        server.kill();
    }
    assert!(bodies.iter().all(|b| *b == bodies[0]), "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_with_the_same_id_at_once_make_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let clients = [antiphon_bot::http_client(), antiphon_bot::http_client()];
    for n in 0..200 {
        let same = n % 2 == 0;
        let id = json!(fresh_id());
        let other = if same { n } else { -n };
        let posts = [n, other].map(|n| body(&format!("message {n}"), json!({"to": [], "id": id})));
        let send = |i: usize| server.ask(clients[i].post(server.url(ROOM)).json(&posts[i]));
        let (a, b) = tokio::join!(send(0), send(1));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, if same { [200, 201] } else { [201, 409] }, "{n}");
        assert!(!same || a.body == b.body);
    }
    let all = server.all("lobby").await;
    assert_eq!(all.len(), 200);
    let ids: std::collections::HashSet<_> = all.iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 200, "each id once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_asks_the_rooms_bot_nobody_or_the_one_it_names() {
    let bots = r#"
        [[bots]]
        name = "all"
        [[bots]]
        name = "helper"
        answers = "addressed"
        rooms = ["help-*", "desk"]
        [[bots]]
        name = "second"
    "#;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), bots, &["--model", "builtin"]);
    let imported = json!({"name": "ann", "kind": "bot"});
    for (room, extra, asked) in [
        ("lobby", json!({}), Some("all")),
        ("lobby", json!({"to": null}), Some("all")),
        ("lobby", json!({"to": []}), None),
        ("lobby", json!({"to": ["second"]}), Some("second")),
        ("help-1", json!({}), Some("all")),
        ("help-1", json!({"to": ["helper"]}), Some("helper")),
        ("desk", json!({"to": ["helper"]}), Some("helper")),
        ("lobby", json!({"author": imported}), None),
        ("lobby", json!({"author": imported, "to": ["all"]}), Some("all")),
    ] {
        let posted = server.post(room, "Hello there", extra.clone()).await;
        let id = posted["id"].as_str().unwrap();
        let (_, message) = server.get(&format!("/api/messages/{id}")).await;
        assert_eq!(message["author"]["kind"], if extra["author"].is_null() { "human" } else { "bot" });
        let Some(bot) = asked else {
            assert_eq!((&message["status"], &message["bot"]), (&json!("none"), &Value::Null), "{extra}");
            continue;
        };
        assert_eq!(message["bot"], bot, "{room} {extra}");
        server.until_status(room, id, "answered").await;
        let all = server.all(room).await;
        let reply = all.iter().find(|m| m["reply_to"] == posted["id"]).unwrap();
        assert_eq!((&reply["author"]["name"], &reply["author"]["kind"]), (&json!(bot), &json!("bot")));
        assert_eq!((&reply["status"], &reply["bot"]), (&json!("none"), &Value::Null), "bots do not answer bots");
    }
    for (room, to, code) in [
        ("lobby", json!(["all", "second"]), "one-bot-only"),
        ("lobby", json!(["all", "all"]), "one-bot-only"),
        ("lobby", json!(["nobody"]), "unknown-bot"),
        ("lobby", json!(["helper"]), "unknown-bot"),
        ("lobby", json!(["ALL"]), "unknown-bot"),
    ] {
        let url = server.url(&format!("/api/rooms/{room}/messages"));
        let answer = server.ask(server.client().post(url).json(&body("x", json!({"to": to})))).await;
        answer.refused(&to.to_string(), 400, code);
    }
    // What a proxy passes on comes from elsewhere.
    for header in ["x-forwarded-for", "forwarded"] {
        for extra in [json!({"author": imported}), json!({"said_at": "2004-12-25T09:15:00Z"})] {
            let post = server.client().post(server.url(ROOM)).json(&body("x", extra));
            server.ask(post.header(header, "10.1.2.3")).await.refused(header, 403, "import-only");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_long_ago_is_shown_so_and_stands_where_the_log_took_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut events = server.events("lobby").await;
    let now = server.post("lobby", "now", json!({"to": []})).await;
    // An age that is no reason to give the question up, too.
    let old = server.post("lobby", "long ago", json!({"said_at": "2004-12-25T10:15:00+01:00"})).await;
    assert!(old["at"].as_str() >= now["at"].as_str(), "{old}");
    let answered = server.until_status("lobby", old["id"].as_str().unwrap(), "answered").await;
    assert_eq!((&answered["said_at"], &answered["at"]), (&json!("2004-12-25T09:15:00.000Z"), &old["at"]));
    let all = server.all("lobby").await;
    let texts: Vec<_> = all.iter().take(2).map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!((texts, all[0].get("said_at")), (vec!["now", "long ago"], None));
    events.until("message.posted").await;
    let (_, live) = events.until("message.posted").await;
    assert_eq!((&live["said_at"], &live["at"]), (&answered["said_at"], &old["at"]));
    // The same again is the same, with or without its time.
    let again = json!({"id": old["id"], "text": "long ago", "author": {"name": "ann"}});
    assert_eq!(server.send_json(ROOM, &again).await.1["position"], old["position"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_comes_back_as_it_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let longest = "ä".repeat(8 * 1024);
    let texts =
        ["\u{1}a\u{7f}\u{85}", "\r\n\t", "a\nb\n\ndata: c\n", "\u{202e}\u{feff}\u{10ffff}", "\"\\/</script>", &longest];
    let mut events = server.events("lobby").await;
    for text in texts.iter().filter(|text| !text.trim().is_empty()) {
        let names = ["x".repeat(128), "Ænne \u{1f980}".into()];
        for name in &names {
            let author = json!({"name": name, "color": "hsl(1 2% 3%)"});
            let posted = server.post("lobby", text, json!({"to": [], "author": author})).await;
            let (_, message) = server.get(&format!("/api/messages/{}", posted["id"].as_str().unwrap())).await;
            let (_, event) = events.until("message.posted").await;
            assert_eq!(message, event);
            let expected = json!({"id": posted["id"], "room": "lobby", "text": text, "at": posted["at"],
                "author": {"name": name, "kind": "human", "color": "hsl(1 2% 3%)"},
                "reply_to": null, "position": posted["position"], "status": "none"});
            assert_eq!(message, expected);
        }
    }
}
