//! Who calls the work API: this machine itself, or the holder of a key; and what each may do.
//!
//! Promises: a key that is presented is always checked, on this machine too; no key is called bad while the valid ones are
//! not known (503 instead); an error says nothing about the message that was asked for.
//! Not here: making keys (`keys`), what is done with a message (`node`).

use std::sync::Arc;

use antiphon_schemas::BotName;
use axum::http::{HeaderMap, StatusCode, header};

use super::{App, Peer, Problem, guard};
use crate::{node, projection::keys::Key};

/// Who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A program on the machine of the server: may answer for every bot, under every name.
    Local,
    /// The holder of this key.
    Key(Arc<Key>),
}

/// Who sent this request.
///
/// # Errors
/// 401 `no-key` from elsewhere without a key, 401 `bad-key` for one that is not good, 503 while that is not known.
pub(super) fn caller(app: &App, peer: Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = shown.next() else {
        if guard::from_loopback(peer, headers) {
            return Ok(Caller::Local);
        }
        app.node().keys()?;
        let detail = "send a worker's key as `authorization: Bearer ak_…`; the operator makes one with \
                      `antiphon key create` on the machine of the server";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "no-key", detail));
    };
    let token = match shown.next() {
        None => first.to_str().ok().and_then(bearer),
        Some(_) => None,
    };
    let sha256 = token.and_then(node::key_sha256).unwrap_or_default();
    match app.node().key(&sha256)? {
        Some(key) => Ok(Caller::Key(key)),
        None => Err(bad_key()),
    }
}

/// 401 for a key that is not good, or no longer.
pub(super) fn bad_key() -> Problem {
    let detail = "this is not a key, or it was revoked; the operator makes one with `antiphon key create` on the machine of \
                  the server";
    Problem::new(StatusCode::UNAUTHORIZED, "bad-key", detail)
}

/// The token of `Bearer TOKEN`; the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

impl Caller {
    /// Refuses a name that is not the caller's: a key's worker may call itself so, or `worker/anything`.
    ///
    /// # Errors
    /// 403 `not-your-name`.
    pub(super) fn check_name(&self, worker: &str) -> Result<(), Problem> {
        let Caller::Key(key) = self else { return Ok(()) };
        match worker.strip_prefix(&*key.worker) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(()),
            _ => {
                let name = &key.worker;
                let detail = format!("the key is for the worker `{name}`; call yourself `{name}` or `{name}/…`");
                Err(Problem::new(StatusCode::FORBIDDEN, "not-your-name", detail))
            }
        }
    }

    /// Refuses a bot for which the caller may not answer.
    ///
    /// # Errors
    /// 403 `not-your-bot`.
    pub(super) fn check_bot(&self, bot: &BotName) -> Result<(), Problem> {
        match self.bots() {
            Some(bots) if !bots.contains(bot) => {
                let detail = "the key is not for this bot; GET /api/work/bots lists its bots";
                Err(Problem::new(StatusCode::FORBIDDEN, "not-your-bot", detail))
            }
            _ => Ok(()),
        }
    }

    /// The bots for which the caller may answer; `None`: all.
    pub(super) fn bots(&self) -> Option<&[BotName]> {
        match self {
            Caller::Local => None,
            Caller::Key(key) => Some(&key.bots),
        }
    }

    /// Waits until the caller's key is no longer valid; never returns if there is none.
    pub(super) async fn revoked(&self, app: &App) {
        let Caller::Key(key) = self else { return std::future::pending().await };
        let mut changed = app.node().keys_changed();
        loop {
            changed.borrow_and_update();
            // While it is not known, the key stays what it was.
            if let Ok(None) = app.node().key(&key.sha256) {
                return;
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use antiphon_schemas::Epoch;
    use axum::response::IntoResponse;

    use super::*;
    use crate::{
        clock::Clock,
        decide::{BotRule, Policy},
        http::{Hosts, Limits},
        log::memory::MemoryLog,
        node::{Node, Settings, start},
        projection,
        tasks::Tasks,
    };
    use tokio_util::sync::CancellationToken;

    /// A test that waits longer has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn bot(name: &str) -> BotName {
        BotName::new(name).unwrap()
    }

    /// A surface on a log in memory.
    pub(in crate::http) async fn app() -> App {
        let (clock, _) = Clock::manual(1_000);
        let rule = |name| BotRule { name: bot(name), rooms: vec![], answers_all: false };
        let policy = Policy {
            queue_max: 10,
            attempts_max: 1,
            max_age_ms: 1_000,
            lease_ms: 1_000,
            retry_base_ms: 1,
            retry_max_ms: 1,
            bots: vec![rule("helper"), rule("echo"), rule("other")],
        };
        let settings = Settings {
            name: "here".into(),
            log: Arc::new(MemoryLog::new(Epoch(7), clock.clone())),
            outbox: None,
            clock,
            policy,
            limits: projection::Limits { recent_messages: 1, rooms: 1 },
            data: None,
        };
        let (tasks, hosts) = (Tasks::new(), Hosts { exposed: true, allowed: Arc::default() });
        let limits = Limits { text_bytes_max: 1, subscribers_max: 1, hosts };
        let node = start(settings, &tasks).await.unwrap();
        App::new(node, limits, vec![], CancellationToken::new(), None, tasks)
    }

    async fn made(node: &Node) -> (Arc<Key>, String) {
        node.create_key("gpu-box".into(), vec![bot("helper"), bot("echo")]).await.unwrap()
    }

    /// Who calls from this address with these headers, beside the host.
    fn ask(app: &App, peer: &str, fields: &[(&'static str, &str)]) -> Result<Caller, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:8080".parse().unwrap());
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        caller(app, Peer(peer.parse().unwrap()), &headers)
    }

    async fn is_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
    }

    const HERE: &str = "127.0.0.1:5";
    const THERE: &str = "192.0.2.1:5";

    #[tokio::test]
    async fn a_key_is_checked_wherever_it_comes_from_and_only_this_machine_needs_none() {
        let app = app().await;
        let (key, secret) = made(app.node()).await;
        let authorization = |value: &str| vec![("authorization", value.to_owned().leak() as &str)];
        assert!(matches!(ask(&app, HERE, &[]), Ok(Caller::Local)));
        for peer in [HERE, THERE] {
            for good in ["Bearer ", "bearer ", "BEARER  "] {
                let found = ask(&app, peer, &authorization(&format!("{good}{secret}")));
                assert!(matches!(&found, Ok(Caller::Key(found)) if *found == key), "{good}: {found:?}");
            }
        }
        let refused = |found: Result<Caller, Problem>, code: &str| {
            let problem = found.unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("\"{code}\"")), "{problem:?}");
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        };
        refused(ask(&app, THERE, &[]), "no-key");
        refused(ask(&app, HERE, &[("x-forwarded-for", "127.0.0.1")]), "no-key");
        let other = format!("Bearer ak_{}", "0".repeat(64));
        let wrong = [
            other.as_str(),
            "",
            "Bearer",
            "Bearer ",
            &secret,
            &format!("Basic {secret}"),
            &format!("Bearer {}", &secret[..66]),
            &format!("Bearer {secret},"),
            &format!("Bearer {}", secret.to_uppercase()),
            &format!("Bearer {}", key.sha256),
            &format!("Bearer {}", key.id),
        ];
        for value in wrong {
            for peer in [HERE, THERE] {
                refused(ask(&app, peer, &authorization(value)), "bad-key");
            }
        }
        let good = format!("Bearer {secret}");
        refused(ask(&app, HERE, &[("authorization", &good), ("authorization", &other)]), "bad-key");
        app.node().revoke_key(&key.id).await.unwrap();
        refused(ask(&app, HERE, &authorization(&good)), "bad-key");
        app.node().stop().await;
    }

    #[tokio::test]
    async fn a_key_is_for_its_worker_and_its_bots() {
        let app = app().await;
        let caller = Caller::Key(made(app.node()).await.0);
        let code = |result: Result<(), Problem>| result.map_err(|problem| format!("{problem:?}"));
        for good in ["gpu-box", "gpu-box/1", "gpu-box/a/b"] {
            assert_eq!(code(caller.check_name(good)), Ok(()), "{good}");
        }
        for bad in ["", "gpu", "gpu-box2", "gpu-box.1", "GPU-BOX", "other/gpu-box", "/gpu-box"] {
            assert!(code(caller.check_name(bad)).unwrap_err().contains("not-your-name"), "{bad}");
            assert_eq!(code(Caller::Local.check_name(bad)), Ok(()));
        }
        assert_eq!(code(caller.check_bot(&bot("echo"))), Ok(()));
        assert!(code(caller.check_bot(&bot("other"))).unwrap_err().contains("not-your-bot"));
        assert_eq!(code(Caller::Local.check_bot(&bot("other"))), Ok(()));
        assert_eq!((caller.bots(), Caller::Local.bots()), (Some(&[bot("helper"), bot("echo")][..]), None));
        app.node().stop().await;
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_its_own_key_is_revoked() {
        let app = app().await;
        let ((mine, _), (other, _)) = (made(app.node()).await, made(app.node()).await);
        let caller = Caller::Key(mine.clone());
        let mut waiting = Box::pin(caller.revoked(&app));
        let mut local = Box::pin(Caller::Local.revoked(&app));
        app.node().revoke_key(&other.id).await.unwrap();
        assert!(is_pending(&mut waiting).await, "that was another one");
        app.node().revoke_key(&mine.id).await.unwrap();
        tokio::time::timeout(PATIENCE, waiting).await.expect("it ends");
        tokio::time::timeout(PATIENCE, caller.revoked(&app)).await.expect("who comes later, too");
        assert!(is_pending(&mut local).await, "this machine has no key that could be revoked");
        app.node().stop().await;
    }
}
