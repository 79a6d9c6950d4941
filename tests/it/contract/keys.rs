//! `/api/keys`: who may use it, what it takes, what it says.

use serde_json::{Value, json};

use crate::harness::{Answer, Server};

async fn create(server: &Server, body: &Value) -> Answer {
    server.ask(server.client().post(server.url("/api/keys")).json(body)).await
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_when_it_is_made_and_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let body = json!({"worker": "gpu-box", "bots": ["antiphon", "antiphon"]});
    let made = create(&server, &body).await;
    assert_eq!((made.status, names(&made.body)), (201, vec!["bots", "created_at", "id", "key", "worker"]));
    assert_eq!(made.body["bots"], json!(["antiphon"]), "each once");
    let again = create(&server, &body).await;
    assert_eq!(again.status, 201);
    assert_ne!(made.body["key"], again.body["key"], "another key, for the same worker");

    let (_, list) = server.get("/api/keys").await;
    let expected: Vec<_> = [&made.body, &again.body]
        .map(|made| json!({"id": made["id"], "worker": "gpu-box", "bots": ["antiphon"], "created_at": made["created_at"]}))
        .into();
    assert_eq!(list, json!({"keys": expected}), "oldest first");
    let url = server.url(&format!("/api/keys/{}", made.body["id"].as_str().unwrap()));
    for what in ["revoked", "the same again"] {
        let answer = server.ask(server.client().delete(&url)).await;
        assert_eq!((answer.status, answer.body), (204, json!("")), "{what}");
    }
    assert_eq!(server.get("/api/keys").await.1["keys"], json!([expected[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_makes_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let bot = "antiphon";
    let cases = [
        (json!({}), "wrong-type"),
        (json!({"worker": "w"}), "wrong-type"),
        (json!({"worker": "w", "bots": bot}), "wrong-type"),
        (json!({"worker": "w", "bots": [bot], "key": "mine"}), "wrong-type"),
        (json!({"worker": 7, "bots": [bot]}), "wrong-type"),
        (json!({"worker": "", "bots": [bot]}), "bad-worker"),
        (json!({"worker": "a/b", "bots": [bot]}), "bad-worker"),
        (json!({"worker": "a b", "bots": [bot]}), "bad-worker"),
        (json!({"worker": "ä", "bots": [bot]}), "bad-worker"),
        (json!({"worker": "w".repeat(65), "bots": [bot]}), "bad-worker"),
        (json!({"worker": "w", "bots": []}), "bad-bots"),
        (json!({"worker": "w", "bots": [""]}), "bad-bots"),
        (json!({"worker": "w", "bots": ["Dr Bot"]}), "bad-bots"),
        (json!({"worker": "w", "bots": vec![bot; 65]}), "bad-bots"),
        (json!({"worker": "w", "bots": [bot, "nobody"]}), "unknown-bot"),
    ];
    for (body, code) in cases {
        create(&server, &body).await.refused(&body.to_string(), 400, code);
    }
    let plain = server.client().post(server.url("/api/keys")).body("worker=w");
    server.ask(plain).await.refused("a form", 415, "not-json");
    for id in ["0123456789ab", "x", "%20", "0195f7a2-6c00-7000-8000-000000000000"] {
        let url = server.url(&format!("/api/keys/{id}"));
        server.ask(server.client().delete(url)).await.refused(id, 404, "no-such-key");
    }
    assert_eq!(server.get("/api/keys").await.1, json!({"keys": []}));
    // The last, because the server ends a connection on which it did not read everything.
    let long = json!({"worker": "w", "bots": ["x".repeat(20_000)]});
    create(&server, &long).await.refused("long", 413, "body-too-large");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_the_operator_on_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    let exposed = ["--listen", "0.0.0.0:0", "--expose", "--allow-host", "chat.example"];
    let server = Server::start_with(&dir.path().join("data"), &exposed);
    let local = format!("http://127.0.0.1:{}/api/keys", server.address.rsplit_once(':').unwrap().1);
    let body = json!({"worker": "w", "bots": ["antiphon"]});
    let made = server.ask(server.client().post(&local).json(&body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let one = format!("{local}/{}", made.body["id"].as_str().unwrap());
    let marks = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("forwarded", "for=127.0.0.1"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "127.0.0.1"),
        ("cf-connecting-ip", "127.0.0.1"),
        ("host", "chat.example"),
    ];
    for (name, value) in marks {
        let requests =
            [server.client().post(&local).json(&body), server.client().get(&local), server.client().delete(&one)];
        for request in requests {
            server.ask(request.header(name, value)).await.refused(name, 403, "this-machine-only");
        }
    }
    // A key opens no door to keys.
    let key = format!("Bearer {}", made.body["key"].as_str().unwrap());
    let request = server.client().get(&local).header("authorization", key).header("x-forwarded-for", "192.0.2.1");
    server.ask(request).await.refused("with a key", 403, "this-machine-only");
    let foreign = server.client().delete(&one).header("origin", "https://evil.example");
    server.ask(foreign).await.refused("a page of another site", 403, "foreign-origin");
    assert_eq!(server.ask(server.client().get(&local)).await.body["keys"].as_array().unwrap().len(), 1);
}
