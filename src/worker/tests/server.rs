//! The server of these tests, the work that it gives, and the models that answer.

use super::*;

/// A server of one bot: hands out the work that is put in, takes everything that is said.
pub(super) struct Server {
    pub(super) fake: Fake,
    pub(super) state: Arc<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) work: StdMutex<VecDeque<Work>>,
    /// The open streams of events.
    pub(super) streams: StdMutex<Vec<mpsc::UnboundedSender<String>>>,
    pub(super) more: tokio::sync::Notify,
}

impl Server {
    /// `first(what, request, n)` is asked before the usual answer is given to the n-th request of that kind.
    pub(super) async fn start(
        first: impl Fn(&str, &Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Server {
        let state = Arc::new(State::default());
        let (inner, first) = (state.clone(), Arc::new(first));
        let counts = Arc::new(StdMutex::new(BTreeMap::<String, usize>::new()));
        let fake = Fake::start_async(move |request, _| {
            let (state, what) = (inner.clone(), what(&request).to_owned());
            let n = {
                let mut counts = counts.lock().unwrap();
                let n = counts.entry(what.clone()).or_default();
                *n += 1;
                *n - 1
            };
            let told = first(&what, &request, n);
            Box::pin(async move {
                match told {
                    Some(answer) => answer,
                    None => state.usual(&what, &request).await,
                }
            })
        })
        .await;
        Server { fake, state }
    }

    pub(super) fn put(&self, work: Work) {
        self.state.work.lock().unwrap().push_back(work);
        self.state.more.notify_one();
    }

    pub(super) fn tell(&self, event: &str, data: serde_json::Value) {
        let streams = self.state.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().for_each(|stream| drop(stream.send(format!("event: {event}\ndata: {data}\n\n"))));
    }

    /// Waits for the n-th request of a kind, from 1.
    pub(super) async fn asked(&self, kind: &str, n: usize) -> Request {
        let requests = self.fake.asked(|all| all.iter().filter(|r| what(r) == kind).count() >= n).await;
        requests.into_iter().filter(|r| what(r) == kind).nth(n - 1).unwrap()
    }

    pub(super) fn count(&self, kind: &str) -> usize {
        self.fake.requests().iter().filter(|r| what(r) == kind).count()
    }

    pub(super) fn settings(&self, bots: Vec<Chosen>) -> Settings {
        Settings {
            client: self.fake.client(),
            server: "the fake".into(),
            name: "box".into(),
            bots,
            clocks: Clocks::default(),
            options: BTreeMap::new(),
            slots: 1,
            grace: PATIENCE,
        }
    }

    /// A worker on `model`, and its slots; the tasks beside them end with the set.
    pub(super) fn worker(&self, model: Arc<dyn Model>, slots: usize) -> (Arc<Shared>, WorkerPool, JoinSet<()>) {
        let chosen = Chosen { name: BotName::new("helper").unwrap(), model, breaker: Breaker::new(1) };
        let shared = Arc::new(Shared::new(self.settings(vec![chosen]), profiles_of(&["helper"])).unwrap());
        let mut beside = JoinSet::new();
        beside.spawn(events::follow(shared.clone()));
        (shared.clone(), WorkerPool::of((0..slots).map(|_| RemoteSource::new(shared.clone()))), beside)
    }
}

impl State {
    pub(super) async fn usual(&self, what: &str, request: &Request) -> Answer {
        match what {
            "claim" => loop {
                let more = self.more.notified();
                if let Some(work) = self.work.lock().unwrap().pop_front() {
                    return Answer::json(200, json!(work));
                }
                if request.json()["wait_ms"] == 0 {
                    return Answer::Whole(204, "text/plain", String::new());
                }
                more.await;
            },
            "events" => {
                let (tx, rx) = mpsc::unbounded_channel();
                self.streams.lock().unwrap().push(tx);
                Answer::Open(rx)
            }
            "deltas" => Answer::json(200, json!({"next_index": request.json()["index"].as_u64().unwrap() + 1})),
            "heartbeat" => Answer::json(200, json!({"lease_ms": 60_000})),
            "complete" => {
                let id = request.path.split('/').nth(3);
                Answer::json(
                    200,
                    json!({"id": id, "reply_id": id, "position": fence(9), "at": "2026-11-22T08:27:00.125Z"}),
                )
            }
            "bots" => Answer::json(200, json!(profiles_of(&["helper"]))),
            _ => Answer::json(200, json!({})),
        }
    }
}

/// The last part of the path: `claim`, `deltas` …
pub(super) fn what(request: &Request) -> &str {
    let path = request.path.split('?').next().unwrap();
    path.rsplit('/').next().unwrap()
}

pub(super) fn fence(seq: u64) -> Position {
    Position(Cursor::new(Epoch(1), Seq(seq)))
}

pub(super) fn profiles_of(names: &[&str]) -> BotProfiles {
    let profile = |name: &&str| Profile {
        name: BotName::new(name).unwrap(),
        persona: String::new(),
        context_messages: 20,
        options: BTreeMap::new(),
        filters: Filters::default(),
        answer: Default::default(),
    };
    BotProfiles { bots: names.iter().map(profile).collect() }
}

/// Work number `seq`.
pub(super) fn work(seq: u64) -> Work {
    let mut message = Message::clone(&bench::message("anna", AuthorKind::Human, "what is antiphon?"));
    message.id = MessageId(uuid::Uuid::from_u128(seq.into()));
    Work {
        reply_id: MessageId(uuid::Uuid::from_u128(1_000 + u128::from(seq))),
        message: Arc::new(message),
        fence: fence(seq),
        attempt: 1,
        lease_ms: 60_000,
        context: Vec::new(),
        bot: profiles_of(&["helper"]).bots.remove(0),
    }
}

pub(super) fn model(spec: &str, url: Option<&str>) -> Arc<dyn Model> {
    let endpoints = Endpoints::new(url, url, None).unwrap();
    spec.parse::<ModelSpec>().unwrap().build(&endpoints, &http_client(), Duration::ZERO, antiphon_bot::Known::default())
}

pub(super) fn builtin() -> Arc<dyn Model> {
    model("builtin", None)
}

/// A model that says two words and then nothing more.
pub(super) async fn hanging() -> FakeModel {
    FakeModel::answering("m", |_| vec![Step::Head, Step::Text("Hel".into()), Step::Hang]).await
}

pub(super) fn text(request: &Request) -> String {
    request.json()["text"].as_str().unwrap().to_owned()
}
