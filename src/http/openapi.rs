//! `GET /openapi.json`: OpenAPI 3.1, made from one table of routes and the schemas of the wire types.

use antiphon_schemas::wire;
use axum::Json;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// A route: method, path, summary, parameters of the query, body, answers (`""`: one without a body).
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<&'static str>,
    answers: &'static [(u16, &'static str, &'static str)],
    problems: &'static [(u16, &'static str)],
}

const NO_PROBLEMS: &[(u16, &str)] = &[];
const UNAVAILABLE: (u16, &str) =
    (503, "log-away, log-failed, log-full, log-busy, index-failed, behind, busy, stopping: try again");
const NO_MESSAGE: (u16, &str) = (404, "no-such-message");

const NO_KEY: (u16, &str) = (401, "no-key, bad-key");
const NOT_YOURS: (u16, &str) = (403, "not-your-bot, not-your-name, foreign-host, host-not-allowed, foreign-origin");
const OVER: (u16, &str) = (409, "stale-fence, ended: stop working on it");
const SAY_AGAIN: (u16, &str) = (
    503,
    "log-away, log-failed, log-full, log-busy, index-failed, behind, busy, stopping: repeat the request, here or at another node",
);

const ROUTES: &[Route] = &[
    Route {
        method: "post",
        path: "/api/rooms/{room}/messages",
        summary: "Post a message. The server replies once it is durable; repeating the same id and content returns 200 with the same body.",
        query: &[],
        body: Some("PostMessage"),
        answers: &[
            (201, "Posted", "posted"),
            (200, "Posted", "it was posted before"),
            (
                202,
                "Parked",
                "the store is unavailable: kept on this node's disk, appended to the log later under the same id",
            ),
        ],
        problems: &[
            (
                400,
                "bad-json, wrong-type, empty-text, text-too-long, bad-text, bad-name, bad-color, bad-priority, bad-said-at, bad-room, one-bot-only, unknown-bot, reply-to-elsewhere",
            ),
            (403, "import-only, foreign-host, host-not-allowed, foreign-origin"),
            (408, "body-too-slow"),
            (409, "id-taken"),
            (413, "body-too-large"),
            (415, "not-json"),
            (
                503,
                "queue-full, log-away, log-failed, log-full, log-busy, index-failed, busy, stopping: try again with the same id",
            ),
        ],
    },
    Route {
        method: "get",
        path: "/api/rooms/{room}/messages",
        summary: "A room's messages, oldest first; the newest ones if neither after nor before is given.",
        query: &[
            ("after", "only newer ones: a position, or 0"),
            ("before", "only older ones: a position, or 0"),
            ("limit", "1-500, default 50"),
            ("at_least", "wait up to 5 s until the view has reached this position"),
            ("kind", "human or bot"),
            ("at", "the room as it was: a time (RFC 3339, or ms since 1970) or a position; with before and limit"),
        ],
        body: None,
        answers: &[(200, "Messages|MessagesThen", "the messages; with at, as they were then")],
        problems: &[
            (400, "bad-room, bad-position, bad-limit, bad-kind, bad-moment, at-looks-back, unknown-parameter"),
            (409, "other-epoch"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "get",
        path: "/api/rooms/{room}/events",
        summary: "Follow a room over SSE: snapshot, then every event. Last-Event-ID or after resumes.",
        query: &[
            ("after", "resume after a position; 0 replays the room"),
            ("limit", "messages in the snapshot: 1-500, default 100"),
        ],
        body: None,
        answers: &[(200, "text/event-stream", "the feed; x-events describes the data of each event")],
        // Overload is said in band, with 200 and `busy`.
        problems: &[(400, "bad-room, bad-position, bad-limit, unknown-parameter")],
    },
    Route {
        method: "get",
        path: "/api/events",
        summary: "Follow several rooms over one SSE stream; each behaves like its own stream, and the event `room` says which room's events follow.",
        query: &[
            (
                "rooms",
                "1-16 names separated by commas; name@position resumes that room, a name alone starts with a snapshot",
            ),
            ("limit", "messages in each snapshot: 1-500, default 100"),
        ],
        body: None,
        answers: &[(200, "text/event-stream", "the feeds; x-events describes the data of each event")],
        problems: &[(400, "bad-room, bad-rooms, bad-limit, unknown-parameter")],
    },
    Route {
        method: "get",
        path: "/api/messages/{id}",
        summary: "One message or reply.",
        query: &[],
        body: None,
        answers: &[(200, "Message", "the message")],
        problems: &[(400, "bad-id"), NO_MESSAGE, UNAVAILABLE],
    },
    Route {
        method: "delete",
        path: "/api/messages/{id}",
        summary: "Hide a message: its text disappears from feeds, history and prompts; open work on it is cancelled.",
        query: &[],
        body: None,
        answers: &[(200, "Changed", "hidden")],
        problems: &[(400, "bad-id"), (403, "foreign-host, host-not-allowed, foreign-origin"), NO_MESSAGE, UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/messages/{id}/timeline",
        summary: "Every event about a message, with the milliseconds between them.",
        query: &[],
        body: None,
        answers: &[(200, "Timeline", "the steps")],
        problems: &[(400, "bad-id"), NO_MESSAGE, UNAVAILABLE],
    },
    Route {
        method: "post",
        path: "/api/messages/{id}/cancel",
        summary: "Cancel the request for an answer. Repeating it returns 200.",
        query: &[],
        body: None,
        answers: &[(200, "Changed", "cancelled")],
        problems: &[
            (400, "bad-id"),
            (403, "foreign-host, host-not-allowed, foreign-origin"),
            NO_MESSAGE,
            (409, "already-ended"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "post",
        path: "/api/messages/{id}/retry",
        summary: "Ask again, after a message failed, died, was cancelled or was answered; another reply follows, and both stay.",
        query: &[],
        body: None,
        answers: &[(200, "Changed", "waiting again")],
        problems: &[
            (400, "bad-id, unknown-bot"),
            (403, "foreign-host, host-not-allowed, foreign-origin"),
            NO_MESSAGE,
            (409, "not-failed, redacted"),
            (503, "queue-full and as elsewhere"),
        ],
    },
    Route {
        method: "post",
        path: "/api/messages/{id}/erase",
        summary: "Remove a message's text and its author's name from the log for good; only from this machine. The message is hidden, and open work on it is cancelled. Repeating it has the same result.",
        query: &[],
        body: None,
        answers: &[
            (200, "Changed", "its bytes are no longer in the log"),
            (202, "Changed", "hidden from everyone, but still in the log's bytes: the server keeps trying; ask again"),
        ],
        problems: &[
            (400, "bad-id"),
            (403, "this-machine-only, foreign-host, host-not-allowed, foreign-origin"),
            NO_MESSAGE,
            UNAVAILABLE,
        ],
    },
    Route {
        method: "get",
        path: "/api/rooms",
        summary: "The rooms by name, 500 at a time.",
        query: &[("after", "the last room of the previous page")],
        body: None,
        answers: &[(200, "Rooms", "the rooms")],
        problems: &[(400, "bad-room, unknown-parameter"), UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/rooms/{room}/bots",
        summary: "Who can be asked in a room, whether they answer at the moment, and how long a text may be.",
        query: &[],
        body: None,
        answers: &[(200, "RoomBots", "the bots, in the order of the configuration")],
        problems: &[(400, "bad-room"), UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/queues",
        summary: "Every bot's queue.",
        query: &[],
        body: None,
        answers: &[(200, "Queues", "the queues")],
        problems: NO_PROBLEMS,
    },
    Route {
        method: "get",
        path: "/api/workers",
        summary: "The workers: what each holds, and this node's recent sightings, which are not in the log.",
        query: &[],
        body: None,
        answers: &[(200, "Workers", "by name")],
        problems: &[UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/monitor/events",
        summary: "Follow queues, open and ended messages, workers and health over SSE: the whole state, then changes, at most every 250 ms. Events have no ids: a client that reconnects starts over.",
        query: &[],
        body: None,
        answers: &[(200, "text/event-stream", "x-monitor-events describes the data of each event")],
        // Overload is said in band, with 200 and `busy`.
        problems: &[(400, "unknown-parameter")],
    },
    Route {
        method: "post",
        path: super::work::CLAIM,
        summary: "Wait for a message for some bots and claim it. Repeating a claim_key returns the same claim, on any node.",
        query: &[],
        body: Some("ClaimWork"),
        answers: &[
            (200, "Work", "a message to answer"),
            (204, "", "no message arrived in time: ask again with a new key"),
        ],
        problems: &[
            (400, "bad-json, wrong-type, bad-worker, bad-bots, unknown-bot, bad-claim-key, bad-wait, bad-models"),
            NO_KEY,
            (403, "not-your-name, not-your-bot, foreign-host, host-not-allowed, foreign-origin"),
            (409, "claim-over"),
            (413, "body-too-large"),
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "get",
        path: "/api/work/bots",
        summary: "The bots whose messages you may claim, with their settings.",
        query: &[],
        body: None,
        answers: &[(200, "BotProfiles", "the bots")],
        problems: &[NO_KEY, UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/work/events",
        summary: "Follow a worker's claims over SSE: those it holds, then each one that ends.",
        query: &[("worker", "the worker's name, as in its claims")],
        body: None,
        answers: &[(200, "text/event-stream", "the events; x-work-events describes the data of each event")],
        // Overload is said in band, with 200 and `busy`.
        problems: &[(400, "bad-worker, unknown-parameter"), NO_KEY, (403, "not-your-name"), UNAVAILABLE],
    },
    Route {
        method: "post",
        path: "/api/work/{id}/deltas",
        summary: "The next delta of a reply. One that was accepted before is ignored; one that comes too early can include what is missing.",
        query: &[],
        body: Some("WorkDelta"),
        answers: &[(200, "DeltaTaken", "taken")],
        problems: &[
            (400, "bad-json, wrong-type, bad-id, empty-text, bad-text"),
            NO_KEY,
            NOT_YOURS,
            NO_MESSAGE,
            (409, "stale-fence, ended: stop; delta-gap: `expected` is wanted; text-mismatch"),
            (413, "body-too-large, reply-too-long"),
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "post",
        path: "/api/work/{id}/heartbeat",
        summary: "Renew the claim, and report what the worker is doing.",
        query: &[],
        body: Some("WorkHeartbeat"),
        answers: &[(200, "Alive", "it lives")],
        problems: &[
            (400, "bad-json, wrong-type, bad-id, bad-stage"),
            NO_KEY,
            NOT_YOURS,
            NO_MESSAGE,
            OVER,
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "post",
        path: "/api/work/{id}/complete",
        summary: "Send the answer. Repeating it with the same fence returns 200 with the same body.",
        query: &[],
        body: Some("CompleteWork"),
        answers: &[(200, "WorkCompleted", "it is in the log")],
        problems: &[
            (400, "bad-json, wrong-type, bad-id, empty-text, bad-text, bad-finish, bad-made"),
            NO_KEY,
            NOT_YOURS,
            NO_MESSAGE,
            (409, "stale-fence, ended: stop; text-mismatch"),
            (413, "body-too-large, reply-too-long"),
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "post",
        path: "/api/work/{id}/fail",
        summary: "Report that this attempt produced no answer.",
        query: &[],
        body: Some("FailWork"),
        answers: &[(200, "Changed", "noted")],
        problems: &[
            (400, "bad-json, wrong-type, bad-id, bad-reason, bad-away"),
            NO_KEY,
            NOT_YOURS,
            NO_MESSAGE,
            OVER,
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "post",
        path: "/api/work/{id}/release",
        summary: "Give a message back: it waits again, and this attempt does not count.",
        query: &[],
        body: Some("ReleaseWork"),
        answers: &[(200, "Changed", "it waits again")],
        problems: &[
            (400, "bad-json, wrong-type, bad-id"),
            NO_KEY,
            NOT_YOURS,
            NO_MESSAGE,
            OVER,
            (415, "not-json"),
            SAY_AGAIN,
        ],
    },
    Route {
        method: "get",
        path: "/health/live",
        summary: "The process responds, and none of its critical tasks has died.",
        query: &[],
        body: None,
        answers: &[(200, "Health", "live"), (503, "Health", "a critical task has died; the process is about to exit")],
        problems: NO_PROBLEMS,
    },
    Route {
        method: "get",
        path: "/health/ready",
        summary: "The log accepts appends, and live events arrive.",
        query: &[],
        body: None,
        answers: &[(200, "Health", "ready"), (503, "Health", "not ready, and why")],
        problems: NO_PROBLEMS,
    },
    Route {
        method: "get",
        path: "/api/state/kept",
        summary: "The server's folded state: open messages, keys, counts; for `antiphon replay diff`, only from this machine.",
        query: &[],
        body: None,
        answers: &[(200, "StateKept", "at one position")],
        problems: &[(403, "this-machine-only, foreign-host, host-not-allowed"), UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/state/snapshot",
        summary: "The same, from the snapshot on its disk; only from this machine.",
        query: &[],
        body: None,
        answers: &[(200, "StateKept", "at one position"), (204, "", "there is none yet")],
        problems: &[(403, "this-machine-only, foreign-host, host-not-allowed"), UNAVAILABLE],
    },
    Route {
        method: "get",
        path: "/api/state/rooms",
        summary: "The rooms in memory; only from this machine.",
        query: &[],
        body: None,
        answers: &[(200, "StateRooms", "by name")],
        problems: &[(403, "this-machine-only, foreign-host, host-not-allowed")],
    },
    Route {
        method: "get",
        path: "/api/state/rooms/{room}",
        summary: "The recent view of a room in memory; only from this machine.",
        query: &[],
        body: None,
        answers: &[(200, "StateRoom", "at one position; without a floor, the room is not in memory")],
        problems: &[(400, "bad-room"), (403, "this-machine-only, foreign-host, host-not-allowed")],
    },
    Route {
        method: "get",
        path: "/api/state/index",
        summary: "Records of the index, by id; only from this machine.",
        query: &[("after", "the last id of the previous page")],
        body: None,
        answers: &[(200, "StateIndex", "at one position")],
        problems: &[
            (400, "bad-id, bad-query, unknown-parameter"),
            (403, "this-machine-only, foreign-host, host-not-allowed"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "get",
        path: "/api/keys",
        summary: "The valid keys of workers, oldest first; only from this machine.",
        query: &[],
        body: None,
        answers: &[(200, "WorkerKeys", "the keys, without their secrets")],
        problems: &[(403, "this-machine-only, foreign-host, host-not-allowed"), UNAVAILABLE],
    },
    Route {
        method: "post",
        path: "/api/keys",
        summary: "Create a key for a worker on another machine; only from this machine. The key is shown only in this response.",
        query: &[],
        body: Some("CreateKey"),
        answers: &[(201, "CreatedKey", "created, and valid on every node")],
        problems: &[
            (400, "bad-json, wrong-type, bad-worker, bad-bots, unknown-bot"),
            (403, "this-machine-only, foreign-host, host-not-allowed, foreign-origin"),
            (408, "body-too-slow"),
            (409, "too-many-keys"),
            (413, "body-too-large"),
            (415, "not-json"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "delete",
        path: "/api/keys/{id}",
        summary: "Revoke a key on every node, for good; only from this machine. Repeating it returns 204.",
        query: &[],
        body: None,
        answers: &[(204, "", "revoked")],
        problems: &[
            (403, "this-machine-only, foreign-host, host-not-allowed, foreign-origin"),
            (404, "no-such-key"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "get",
        path: "/api/checkpoint",
        summary: "The newest checkpoint of the log signed by this node: a C2SP signed note. Keep a copy elsewhere; antiphon replay verify checks the log against it.",
        query: &[],
        body: None,
        answers: &[(200, "text/plain", "the note"), (204, "", "nothing has been signed yet, or this log is in memory")],
        problems: NO_PROBLEMS,
    },
    Route {
        method: "get",
        path: "/api/checkpoint/key",
        summary: "The verifier key of this node's notary.",
        query: &[],
        body: None,
        answers: &[
            (200, "text/plain", "name+id+key, and a newline"),
            (204, "", "this log is in memory: nothing is signed"),
        ],
        problems: NO_PROBLEMS,
    },
    Route {
        method: "post",
        path: "/api/store/accept-empty",
        summary: "Accept an empty store as a new log, although this node knows an older history; only from this machine. The node offers what it knows to the new log.",
        query: &[],
        body: None,
        answers: &[(200, "Health", "the store is used again")],
        problems: &[
            (403, "this-machine-only, foreign-host, host-not-allowed, foreign-origin"),
            (409, "store-not-empty"),
            UNAVAILABLE,
        ],
    },
    Route {
        method: "get",
        path: "/metrics",
        summary: "Numbers for Prometheus.",
        query: &[],
        body: None,
        answers: &[(200, "application/openmetrics-text", "the numbers")],
        problems: NO_PROBLEMS,
    },
];

/// The document.
pub(super) async fn document() -> Json<Value> {
    Json(build())
}

fn build() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator: SchemaGenerator = settings.into_generator();
    macro_rules! add { ($($type:ty),*) => { $(generator.subschema_for::<$type>();)* } }
    add!(
        wire::PostMessage,
        wire::Posted,
        wire::Parked,
        wire::Message,
        wire::Messages,
        wire::MessagesThen,
        wire::Rooms,
        wire::Queues,
        wire::bots::RoomBots,
        wire::Timeline,
        wire::Changed,
        wire::Problem
    );
    add!(
        super::monitor::Health,
        wire::feed::Snapshot,
        wire::feed::Claimed,
        wire::feed::Released,
        wire::feed::Failed,
        wire::feed::Dead
    );
    add!(
        wire::feed::State,
        wire::feed::About,
        wire::feed::Completed,
        wire::feed::Started,
        wire::feed::Delta,
        wire::feed::Reset,
        wire::feed::Progress
    );
    add!(wire::state::StateKept, wire::state::StateRooms, wire::state::StateRoom, wire::state::StateIndex);
    add!(wire::monitor::Workers, wire::monitor::MonitorSnapshot, wire::monitor::MonitorUpdate);
    add!(wire::work::CreateKey, wire::work::CreatedKey, wire::work::WorkerKeys);
    add!(wire::feed::ReplySnapshot, wire::feed::Heartbeat, wire::feed::Busy, wire::feed::Restart, wire::feed::OfRoom);
    add!(
        wire::work::ClaimWork,
        wire::work::Work,
        wire::work::BotProfiles,
        wire::work::WorkDelta,
        wire::work::DeltaTaken,
        wire::work::WorkHeartbeat,
        wire::work::Alive,
        wire::work::CompleteWork,
        wire::work::WorkCompleted,
        wire::work::FailWork,
        wire::work::ReleaseWork,
        wire::work::HeldClaims,
        wire::work::ClaimEnded
    );
    let schemas = generator.take_definitions(true);
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Antiphon",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "People post in rooms, bots answer, browsers show the words as they are written.",
            "license": { "name": "MIT OR Apache-2.0" }
        },
        "paths": paths,
        "components": { "schemas": schemas },
        "x-events": {
            "snapshot": "Snapshot", "message.posted": "Message", "reply.posted": "Message", "message.claimed": "Claimed",
            "message.released": "Released", "message.failed": "Failed", "message.dead": "Dead", "message.cancelled": "About",
            "message.redacted": "About", "message.erased": "About", "message.completed": "Completed", "reply.started": "Started", "reply.delta": "Delta",
            "reply.reset": "Reset", "reply.progress": "Progress", "reply.snapshot": "ReplySnapshot", "heartbeat": "Heartbeat",
            "busy": "Busy", "reset": "Restart", "room": "OfRoom"
        },
        "x-monitor-events": {
            "snapshot": "MonitorSnapshot", "update": "MonitorUpdate", "heartbeat": "Heartbeat", "busy": "Busy"
        },
        "x-work-events": {
            "claims": "HeldClaims", "ended": "ClaimEnded", "heartbeat": "Heartbeat", "busy": "Busy"
        }
    })
}

fn operation(route: &Route) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let in_path = ["room", "id"].into_iter().filter(|name| route.path.contains(&format!("{{{name}}}")));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.iter().map(|(name, about)| {
        json!({ "name": name, "in": "query", "required": false, "description": about, "schema": { "type": "string" } })
    });
    let mut answers = Map::new();
    for (status, kind, about) in route.answers {
        if kind.is_empty() {
            answers.insert(status.to_string(), json!({ "description": about }));
            continue;
        }
        let content = match kind.contains('/') {
            true => json!({ *kind: { "schema": { "type": "string" } } }),
            false => {
                let mut kinds: Vec<_> = kind.split('|').map(reference).collect();
                let schema = if kinds.len() == 1 { kinds.remove(0) } else { json!({ "anyOf": kinds }) };
                json!({ "application/json": { "schema": schema } })
            }
        };
        answers.insert(status.to_string(), json!({ "description": about, "content": content }));
    }
    for (status, codes) in route.problems {
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        answers.insert(status.to_string(), json!({ "description": codes, "content": content }));
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": format!("{}{}", route.method, route.path.replace(['/', '{', '}', '.'], "_")),
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": answers,
    });
    if let Some(body) = route.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": reference(body) } } });
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = build();
        let text = document.to_string();
        let named = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
        let events =
            ["x-events", "x-work-events", "x-monitor-events"].map(|list| document[list].as_object().unwrap().values());
        let events = events.into_iter().flatten().map(|v| v.as_str().unwrap());
        for name in named.chain(events) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
