//! HTTP: the surface for browsers, apps and monitors.
//!
//! Promises:
//! - every error is `application/problem+json` with a stable code and a sentence that says what to do (`problem`);
//! - a post is acknowledged once it is durable and visible to everyone;
//! - every body, page, stream and connection has a limit, and reaching it gets a clear response;
//! - pages of other sites cannot post, cancel or read here: JSON bodies, origin and host are checked (`guard`).
//!
//! Not here: what may happen (`decide`), state (`node`). Axum and status codes are used only here.
//! Start with [`router`]; the table of routes with their documentation is `openapi`.

mod auth;
mod bots;
mod checkpoint;
mod events;
mod guard;
mod input;
mod keys;
mod linger;
mod listen;
mod messages;
mod metrics;
mod monitor;
mod openapi;
mod page;
mod panics;
mod problem;
mod socket;
mod state;
mod work;
mod work_events;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use antiphon_kit::{Consumer, Profile};
use antiphon_schemas::BotName;
use axum::{
    Router, middleware,
    routing::{delete, get, post},
};
pub use guard::Hosts;
pub use listen::{Listening, serve};
pub use problem::Problem;
use tokio_util::sync::CancellationToken;

use self::metrics::HttpMetrics;
use crate::{audit::notary::Notary, node::Node, tasks::Tasks};

/// Bounds and rules of the surface.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest text of a post.
    pub text_bytes_max: usize,
    /// Open event streams.
    pub subscribers_max: usize,
    /// The names to which the server answers.
    pub hosts: Hosts,
}

/// A bot, for the monitor.
#[derive(Clone)]
pub struct BotStatus {
    /// Who it is and how it answers.
    pub profile: Arc<Profile>,
    /// Its colour.
    pub color: Option<Arc<str>>,
    /// Its model.
    pub model: String,
    /// Says whether it is paused; absent if only workers answer for it.
    pub consumer: Option<Arc<dyn Consumer>>,
}

/// What handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    node: Node,
    limits: Limits,
    bots: Vec<BotStatus>,
    metrics: HttpMetrics,
    subscribers: Arc<AtomicUsize>,
    waiting: work::Waiting,
    /// Cancelled when the server begins to stop: nobody waits for work any longer.
    stop: CancellationToken,
    readiness: monitor::Readiness,
    /// Absent if nothing is signed here.
    notary: Option<Notary>,
    tasks: Tasks,
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl App {
    /// The surface of a node; claims that wait for work are sent away when `stop` is cancelled. Once a critical one of `tasks`
    /// has died, the health routes say so.
    pub fn new(
        node: Node,
        limits: Limits,
        bots: Vec<BotStatus>,
        stop: CancellationToken,
        notary: Option<Notary>,
        tasks: Tasks,
    ) -> App {
        App(Arc::new(Shared {
            node,
            limits,
            bots,
            metrics: HttpMetrics::default(),
            subscribers: Arc::default(),
            waiting: work::Waiting::default(),
            stop,
            readiness: monitor::Readiness::default(),
            notary,
            tasks,
        }))
    }

    fn node(&self) -> &Node {
        &self.0.node
    }

    fn bot(&self, name: &BotName) -> Option<&BotStatus> {
        self.0.bots.iter().find(|bot| bot.profile.name == *name)
    }
}

/// One of a bounded number of places, for as long as it lives.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// A place, if fewer than `max` are taken.
    fn acquire(count: &Arc<AtomicUsize>, max: usize) -> Option<Permit> {
        let permit = Permit(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All routes.
pub fn router(app: App) -> Router {
    layered(routes(), app)
}

fn routes() -> Router<App> {
    Router::new()
        .route("/api/rooms", get(monitor::rooms))
        .route("/api/events", get(events::rooms::follow))
        .route("/api/rooms/{room}/messages", get(messages::list).post(messages::post))
        .route("/api/rooms/{room}/events", get(events::follow))
        .route("/api/rooms/{room}/bots", get(bots::of_room))
        .route("/api/messages/{id}", get(messages::one).delete(messages::redact))
        .route("/api/messages/{id}/timeline", get(messages::timeline))
        .route("/api/messages/{id}/cancel", post(messages::cancel))
        .route("/api/messages/{id}/retry", post(messages::retry))
        .route("/api/messages/{id}/erase", post(messages::erase))
        .route("/api/queues", get(monitor::queues))
        .route("/api/workers", get(monitor::workers))
        .route("/api/monitor/events", get(monitor::follow))
        .route(work::CLAIM, post(work::claim))
        .route("/api/work/bots", get(work::profiles))
        .route("/api/work/events", get(work_events::follow))
        .route("/api/work/{id}/deltas", post(work::deltas))
        .route("/api/work/{id}/heartbeat", post(work::heartbeat))
        .route("/api/work/{id}/complete", post(work::complete))
        .route("/api/work/{id}/fail", post(work::fail))
        .route("/api/work/{id}/release", post(work::release))
        .route("/api/state/kept", get(state::kept))
        .route("/api/state/snapshot", get(state::snapshot))
        .route("/api/state/rooms", get(state::rooms))
        .route("/api/state/rooms/{room}", get(state::room))
        .route("/api/state/index", get(state::index))
        .route("/api/keys", get(keys::list).post(keys::create))
        .route("/api/keys/{id}", delete(keys::revoke))
        .route("/api/checkpoint", get(checkpoint::latest))
        .route("/api/checkpoint/key", get(checkpoint::key))
        .route("/api/store/accept-empty", post(monitor::accept_empty))
        .route("/health/live", get(monitor::live))
        .route("/health/ready", get(monitor::ready))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(page::room))
        .route("/r/{room}", get(page::room))
        .route("/monitor", get(page::monitor))
        .route("/web/{*path}", get(page::file))
        .route("/favicon.ico", get(page::icon))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(page::nowhere)
}

/// What every request goes through; the last layer sees it first.
fn layered(routes: Router<App>, app: App) -> Router {
    routes
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn(linger::read_on))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .with_state(app)
}
