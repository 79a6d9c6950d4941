//! The code under test: decide, append, apply.

use super::*;

/// The code under test: decide, append, apply.
pub(crate) struct World {
    pub(crate) projections: Projections,
    pub(crate) policy: Policy,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) now_ms: u64,
    jitter: u64,
    /// The next claim's reply gets this id and the number of entries.
    pub(crate) replies_from: u128,
}

/// What a wish came to: the events appended, nothing to do, or refused.
pub(crate) type Came = Result<Option<Decision>, Refusal>;

impl World {
    pub(crate) fn now(&self) -> LogTime {
        LogTime::from_log_ms(self.now_ms)
    }

    pub(crate) fn new() -> World {
        let projections = Projections::resume(EPOCH, LIMITS, SnapshotData::default());
        World { projections, policy: policy(), entries: vec![], now_ms: 1_000_000, jitter: 0, replies_from: 1_000 }
    }

    pub(crate) fn act(&mut self, step: &Step) -> Came {
        let came = self.decide(step);
        if let Ok(Some(Decision::Append { room, events, .. })) = &came {
            events.iter().for_each(|event| self.append(room, event));
        }
        came
    }

    fn decide(&mut self, step: &Step) -> Came {
        let (state, policy, facts) = (&self.projections, &self.policy, Prefetched::none());
        let ages = Ages { now: self.now(), judged: true, behind: &HashMap::new() };
        self.jitter += 37;
        match step {
            Step::Post { message, room: n, bot: asked, priority } => {
                let post = Post {
                    room: room(*n),
                    id: id(*message),
                    fresh: false,
                    // Some are imported.
                    author: Author {
                        name: "ann".into(),
                        kind: [AuthorKind::Human, AuthorKind::Bot][message % 2],
                        color: None,
                    },
                    text: format!("message {message}").into(),
                    to: Some(asked.map(bot).into_iter().collect()),
                    priority: *priority,
                    reply_to: None,
                    said_at_ms: None,
                };
                post::post(state, &facts, policy, &post).map(Some)
            }
            Step::Claim { bot: n } => {
                let reply_id = MessageId(Uuid::from_u128(self.replies_from + self.entries.len() as u128));
                let wish = ClaimRequest {
                    bots: [bot(*n)].into(),
                    worker: "w".into(),
                    incarnation: None,
                    reply_id,
                    keyed: false,
                };
                work::claim(state, &Prefetched::none(), policy, &wish, ages, &HashSet::new())
            }
            Step::End { message, stale, how } => {
                let live = state.queue.claim(&id(*message)).map(|claim| claim.fence);
                // A stale fence is one that this message had, or never had.
                let fence = if *stale { Seq(live.map_or(1, |fence| fence.0 - 1)) } else { live.unwrap_or_default() };
                let end = match how {
                    How::Completed => End::Completed {
                        author: Author { name: "ann-bot".into(), kind: AuthorKind::Bot, color: None },
                        text: "words".into(),
                        made: Made { total_ms: 3, first_token_ms: Some(1), ..Made::default() },
                    },
                    How::Failed | How::FailedForGood => {
                        End::Failed { reason: "model-broke".into(), retryable: *how == How::Failed }
                    }
                    How::Released(reason) => End::Released(reason),
                };
                let held = Held { message_id: id(*message), fence };
                work::end(state, &facts, policy, held, &end, self.now(), self.jitter).map(Some)
            }
            Step::Due { message } => Ok(work::due(state, policy, id(*message), ages, LogTime::default())),
            Step::Change { message, change } => change::change(state, &facts, policy, id(*message), *change).map(Some),
            Step::EraseReply { nth } => {
                let replies = self.entries.iter().filter_map(|entry| match &entry.event {
                    Event::ReplyPosted(e) => Some(e.id),
                    _ => None,
                });
                let replies: Vec<_> = replies.collect();
                let Some(reply) = nth.checked_rem(replies.len()).map(|at| replies[at]) else { return Ok(None) };
                change::change(state, &facts, policy, reply, Change::Erase).map(Some)
            }
            Step::Wait { ms } => {
                self.now_ms += ms;
                Ok(None)
            }
        }
    }

    pub(crate) fn append(&mut self, room: &RoomName, event: &Event) {
        let seq = self.projections.position.next();
        let header = Header {
            seq,
            at_ms: self.now_ms,
            request: RequestId(Uuid::from_u128(seq.0.into())),
            kind: event.kind().into(),
            room: Some(room.clone()),
            subjects: event.subjects(),
            version: VERSION,
        };
        let body = Entry::body_of(event, [0; 16]).unwrap();
        self.push(Arc::new(Entry { header, body, event: event.clone() }));
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.projections.apply(&entry);
        self.entries.push(entry);
    }
}
