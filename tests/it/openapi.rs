//! The document at `/openapi.json` says what the server really does: its routes, its answers and its events.

use antiphon_bot::fake::{Fake, Step};
use serde_json::{Value, json};

use crate::harness::{Server, body, fake_settings};

/// Words of JSON Schema that say nothing about whether a value fits, as far as this check goes.
const NOTES: &[&str] = &["description", "title", "default", "format", "pattern", "minimum", "maximum"];

/// Why a value does not fit a schema; only words that our schemas use, and an error for any other.
fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let Some(words) = schema.as_object() else { return (schema != true).then(|| format!("{at}: never fits")) };
    for (word, says) in words {
        let found = match word.as_str() {
            note if NOTES.contains(&note) => None,
            "$ref" => {
                let pointer = says.as_str().unwrap().strip_prefix('#').unwrap();
                let schema = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
                misfit(document, schema, value, at)
            }
            "type" => {
                let kinds = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                (!kinds.iter().any(is)).then(|| format!("{at}: {value} is not {says}"))
            }
            "const" => (value != says).then(|| format!("{at}: {value} is not {says}")),
            "enum" => (!says.as_array().unwrap().contains(value)).then(|| format!("{at}: {value} is not of {says}")),
            "anyOf" | "oneOf" => {
                let fits = |s: &&Value| misfit(document, s, value, at).is_none();
                let fitting = says.as_array().unwrap().iter().filter(fits).count();
                (fitting == 0 || word == "oneOf" && fitting > 1).then(|| format!("{at}: {value} fits {fitting}"))
            }
            "required" => {
                let missing = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap()).is_none();
                says.as_array().unwrap().iter().find(missing).map(|name| format!("{at}: no {name}"))
            }
            "properties" => says
                .as_object()
                .unwrap()
                .iter()
                .find_map(|(name, schema)| misfit(document, schema, value.get(name)?, &format!("{at}.{name}"))),
            "additionalProperties" => value.as_object().and_then(|object| {
                let known = schema["properties"].as_object();
                let mut other = object.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                other.find_map(|(name, value)| misfit(document, says, value, &format!("{at}.{name}")))
            }),
            "items" => value.as_array().and_then(|items| {
                items.iter().enumerate().find_map(|(i, item)| misfit(document, says, item, &format!("{at}[{i}]")))
            }),
            other => panic!("{at}: this check does not know `{other}`"),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// A value may hold nothing that its schema does not name, or readers would never learn of it.
fn unnamed(document: &Value, name: &str, value: &Value) -> Option<String> {
    let schema = &document["components"]["schemas"][name];
    let names = schema["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
    value.as_object()?.keys().find(|key| !names.contains_key(*key)).map(|key| format!("{name} does not name {key}"))
}

#[track_caller]
pub(crate) fn fits(document: &Value, name: &str, value: &Value) {
    let schema = json!({"$ref": format!("#/components/schemas/{name}")});
    assert_eq!(misfit(document, &schema, value, name).or_else(|| unnamed(document, name, value)), None, "{value}");
}

fn with_parameters(path: &str) -> String {
    path.replace("{room}", "lobby").replace("{id}", "0195f7a2-6c00-7000-8000-000000000000")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_document_answers_and_no_other_method_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let (_, document) = server.get("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let operations = operations.as_object().unwrap();
        let mut documented: Vec<_> = operations.keys().map(|method| method.to_uppercase()).collect();
        for operation in operations.values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(operation["summary"].as_str().unwrap().ends_with(|c: char| c == '.' || c.is_alphanumeric()));
        }
        if operations.contains_key("get") {
            documented.push("HEAD".into());
        }
        let answer = server.ask_raw("PATCH", &with_parameters(path), "").await;
        let mut allowed: Vec<_> = answer.header("allow").split(',').map(|m| m.trim().to_owned()).collect();
        documented.sort();
        allowed.sort();
        assert_eq!((answer.status, allowed), (405, documented), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_events_fit_their_schemas() {
    let fake = Fake::answering("fake", |request| {
        let asked =
            |word| request.json["messages"].as_array().unwrap().last().unwrap()["content"] == format!("ann: {word}");
        let breaks = vec![Step::Head, Step::Text("half".into()), Step::Error("broken".into())];
        match request.number {
            _ if asked("hang") => vec![Step::Head, Step::Text("so".into()), Step::Hang],
            _ if asked("refuse") => vec![Step::Status(400, json!({"error": "no"}))],
            n if asked("break") && n < 3 => breaks,
            _ => Step::answer(&["all is ", "well"]),
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = fake_settings(&fake.url(), "retry_base_ms = 1\nretry_max_ms = 2\n");
    let server = Server::configured(dir.path(), &settings, &[]);
    let (_, document) = server.get("/openapi.json").await;
    let mut events = server.events("lobby").await;
    let mut ids = Vec::new();
    for (text, end) in [("break", "message.completed"), ("refuse", "message.failed"), ("hang", "reply.delta")] {
        let post = body(text, json!({"author": {"name": "ann", "color": "red"}, "priority": 7}));
        fits(&document, "PostMessage", &post);
        let (_, posted) = server.send_json("/api/rooms/lobby/messages", &post).await;
        fits(&document, "Posted", &posted);
        ids.push(posted["id"].as_str().unwrap().to_owned());
        events.until(end).await;
    }
    server.post("lobby", "waits", json!({"reply_to": ids[0]})).await;
    let mut open = server.events("lobby").await;
    let (_, snapshot) = open.until("snapshot").await;
    assert_eq!(snapshot["in_flight"].as_array().unwrap().len(), 1);
    for (path, name) in [
        ("/api/rooms/lobby/messages".to_owned(), "Messages"),
        (format!("/api/messages/{}", ids[0]), "Message"),
        (format!("/api/messages/{}/timeline", ids[0]), "Timeline"),
        ("/api/rooms".into(), "Rooms"),
        ("/api/queues".into(), "Queues"),
        ("/health/live".into(), "Health"),
        ("/health/ready".into(), "Health"),
        ("/nope".into(), "Problem"),
    ] {
        fits(&document, name, &server.get(&path).await.1);
    }
    let key = json!({"worker": "gpu-box", "bots": ["antiphon"]});
    fits(&document, "CreateKey", &key);
    fits(&document, "CreatedKey", &server.send_json("/api/keys", &key).await.1);
    fits(&document, "WorkerKeys", &server.get("/api/keys").await.1);
    let (_, changed) = server.send_json(&format!("/api/messages/{}/cancel", ids[2]), &json!({})).await;
    fits(&document, "Changed", &changed);
    let url = server.url(&format!("/api/messages/{}", ids[1]));
    fits(&document, "Changed", &server.ask(server.client().delete(url)).await.body);
    let (status, erased) = server.send_json(&format!("/api/messages/{}/erase", ids[0]), &json!({})).await;
    assert_eq!(status, 200);
    fits(&document, "Changed", &erased);
    server.post("lobby", "the end", json!({"to": []})).await;

    // Everything that was said live and everything that is said on a replay.
    let (mut seen, mut replay) =
        (std::collections::BTreeSet::new(), crate::harness::Events::open(&server, "lobby", Some("0")).await);
    for events in [&mut open, &mut replay] {
        loop {
            let event = events.next().await;
            let data: Value = serde_json::from_str(&event.data).unwrap();
            let name = document["x-events"][&event.name].as_str().unwrap_or_else(|| panic!("no {}", event.name));
            fits(&document, name, &data);
            let end = data["text"] == "the end";
            seen.insert(event.name);
            if end {
                break;
            }
        }
    }
    for name in [
        "message.posted",
        "message.claimed",
        "message.failed",
        "message.released",
        "message.cancelled",
        "message.redacted",
        "message.erased",
        "message.completed",
        "reply.posted",
        "reply.started",
    ] {
        assert!(seen.contains(name), "{name} was not among {seen:?}");
    }
}

#[test]
fn the_check_itself_finds_what_does_not_fit() {
    let document = json!({"components": {"schemas": {"A": {"type": "object", "required": ["a"],
        "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "b": {"items": {"enum": ["x"]}}}}}}});
    let schema = json!({"$ref": "#/components/schemas/A"});
    let misfit = |value: Value| misfit(&document, &schema, &value, "A").is_some();
    assert!(!misfit(json!({"a": null})) && !misfit(json!({"a": "", "b": ["x", "x"]})));
    for wrong in [json!([]), json!({}), json!({"a": 1}), json!({"a": "", "b": ["x", "y"]})] {
        assert!(misfit(wrong.clone()), "{wrong}");
    }
    assert!(unnamed(&document, "A", &json!({"a": "", "c": 1})).is_some());
}
