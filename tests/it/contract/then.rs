//! A room as it was: by position and by time, as `antiphon replay show --at` tells it, and never more than may be seen now.

use serde_json::{Value, json};

use crate::{
    harness::{Server, antiphon},
    openapi::fits,
};

const BOT: &str = "[[bots]]\nname = \"ada\"\nmodel = \"remote\"\n";

/// A conversation by hand: answered, failed, cancelled, hidden, in two rooms. Returns the position of its end.
async fn talk(server: &Server) -> u64 {
    let mut ids = Vec::new();
    for n in 0..4 {
        server.post("elsewhere", &format!("aside {n}"), json!({"to": []})).await;
        ids.push(server.post("lobby", &format!("question {n}"), json!({})).await["id"].as_str().unwrap().to_owned());
    }
    let call = async |path: &str, body: Value| {
        let (status, answer) = server.send_json(path, &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    for n in 0..3 {
        let wish = json!({"worker": "box", "bots": ["ada"], "claim_key": n.to_string()});
        let work = call("/api/work/claim", wish).await;
        let said = |what: &str| format!("/api/work/{}/{what}", work["message"]["id"].as_str().unwrap());
        let fence = &work["fence"];
        match n {
            0 => drop(call(&said("complete"), json!({"fence": fence, "text": "an answer", "finish": "stop"})).await),
            1 => drop(call(&said("fail"), json!({"fence": fence, "reason": "no: never", "retryable": false})).await),
            _ => {}
        }
    }
    call(&format!("/api/messages/{}/cancel", ids[3]), json!({})).await;
    let url = server.url(&format!("/api/messages/{}", ids[0]));
    let hidden = server.ask(server.client().delete(url)).await.body;
    hidden["position"].as_str().unwrap()[20..].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_as_it_was_is_what_replay_shows_of_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), BOT, &[]);
    let (_, document) = server.get("/openapi.json").await;
    let tail = talk(&server).await;
    let epoch = server.post("lobby", "the end", json!({"to": []})).await["position"].as_str().unwrap()[..20].to_owned();
    let (_, rooms) = server.get("/api/rooms/lobby/messages").await;
    let whole = rooms["messages"].as_array().unwrap();
    let mut held = 0;
    for seq in 1..=tail + 1 {
        let data = dir.path().join("data");
        let mut show = antiphon();
        show.args(["replay", "show", "lobby", "--json", "-n", "50", "--at", &seq.to_string(), "--log"]).arg(&data);
        let shown: Value = serde_json::from_slice(&show.output().unwrap().stdout).unwrap();
        let (status, then) = server.get(&format!("/api/rooms/lobby/messages?at={epoch}{seq:016}")).await;
        assert_eq!(status, 200, "{then}");
        fits(&document, "MessagesThen", &then);
        assert_eq!(then["messages"], shown["messages"], "at {seq}");
        assert_eq!(then["position"].as_str().unwrap()[20..].parse::<u64>().unwrap(), shown["position"], "at {seq}");
        let claimed: Vec<_> =
            shown["unanswered"].as_array().unwrap().iter().filter(|one| one["state"] == "claimed").collect();
        let told = then["in_flight"].as_array().unwrap();
        assert_eq!(told.len(), claimed.len(), "at {seq}");
        for (told, claimed) in told.iter().zip(claimed) {
            assert_eq!([&told["message_id"], &told["worker"]], [&claimed["message_id"], &claimed["worker"]]);
            held += 1;
        }
        assert_eq!((&then["first_at"], &then["last_at"]), (&whole[0]["at"], &whole[whole.len() - 1]["at"]));
    }
    assert!(held > 3);

    // The same by time, as a page's scrub bar asks.
    let at = whole[2]["at"].as_str().unwrap();
    for moment in [at.to_owned(), at.replace('Z', "%2B00:00"), at.replace('Z', "+00:00")] {
        let (status, then) = server.get(&format!("/api/rooms/lobby/messages?at={moment}")).await;
        assert_eq!((status.as_u16(), then["at"].as_str() <= Some(at)), (200, true), "{moment} {then}");
        assert!(then["messages"].as_array().unwrap().len() >= 3, "{then}");
    }
    let (_, before) = server.get("/api/rooms/lobby/messages?at=1000").await;
    assert_eq!((&before["messages"], &before["at"], &before["first_at"]), (&json!([]), &Value::Null, &whole[0]["at"]));
    let (status, unknown) = server.get("/api/rooms/nobody-was-here/messages?at=2099-01-01T00:00:00Z").await;
    assert_eq!((status.as_u16(), &unknown["messages"], &unknown["last_at"]), (200, &json!([]), &Value::Null));
    let older = format!("/api/rooms/lobby/messages?at={at}&before={}&limit=1", whole[2]["position"].as_str().unwrap());
    assert_eq!(server.get(&older).await.1["messages"][0]["id"], whole[1]["id"]);

    let other = format!("{:016x}-00-{:016}", 1, 3);
    for (query, status, code) in [
        ("at=yesterday", 400, "bad-moment"),
        (&format!("at={at}&after=0"), 400, "at-looks-back"),
        (&format!("at={at}&kind=bot"), 400, "at-looks-back"),
        (&format!("at={at}&limit=0"), 400, "bad-limit"),
        (&format!("at={other}"), 409, "other-epoch"),
    ] {
        let url = server.url(&format!("/api/rooms/lobby/messages?{query}"));
        server.ask(server.client().get(url)).await.refused(query, status, code);
    }
}
