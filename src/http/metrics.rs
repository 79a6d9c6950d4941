//! `GET /metrics`: numbers for Prometheus.
//!
//! What is counted from the log (entries, answers, latencies) comes from the projection, so it survives restarts and
//! is the same on every node; what belongs to this process (requests, subscribers) is counted here.
//! No room or author names as labels: their number has no bound.

use std::{fmt, sync::atomic::Ordering, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use super::{App, Problem, panics};
use crate::projection::counts::{self, BUCKETS_MS};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
    status: u16,
}

/// Counters of this process.
#[derive(Debug)]
pub(super) struct HttpMetrics {
    requests: Family<RouteLabels, Counter>,
    post_seconds: Histogram,
}

impl Default for HttpMetrics {
    fn default() -> HttpMetrics {
        let ends = [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
        HttpMetrics { requests: Family::default(), post_seconds: Histogram::new(ends) }
    }
}

/// Counts a request by route and status, and how long posts took.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let labels = (request.method().as_str().to_owned(), route.to_owned());
    let (method, route) = labels;
    let response = panics::caught(&method, &route, next.run(request)).await;
    if method == "POST" && route == "/api/rooms/{room}/messages" {
        app.0.metrics.post_seconds.observe(started.elapsed().as_secs_f64());
    }
    let labels = RouteLabels { method, route, status: response.status().as_u16() };
    app.0.metrics.requests.get_or_create(&labels).inc();
    response
}

pub(super) async fn scrape(State(app): State<App>) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("antiphon");
    registry.register("http_requests", "Requests by route and status", app.0.metrics.requests.clone());
    registry.register(
        "http_post_seconds",
        "From a post's arrival to its acknowledgement",
        app.0.metrics.post_seconds.clone(),
    );
    registry.register_collector(Box::new(FromState(app.clone())));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| {
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "metrics-failed", "no metrics could be written")
    })?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

struct FromState(App);

impl fmt::Debug for FromState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromState")
    }
}

impl Collector for FromState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let app = &self.0;
        let node = app.node();
        let (counts, depths, writing, connected, parked, refused) = {
            let state = node.state();
            let queue = &state.projections.queue;
            let depths: Vec<_> =
                node.policy().bots.iter().map(|b| (b.name.to_string(), queue.depth(&b.name))).collect();
            let connected = state.condition.trouble().is_none();
            let (parked, refused) = (state.parked, state.refused);
            (state.projections.counts.clone(), depths, state.writing.len(), connected, parked, refused)
        };
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(metric)
        };
        gauge("log_position", "Last durable position of the log", node.tail().0)?;
        gauge("view_position", "Last position applied to the view", node.position().0)?;
        gauge("index_position", "Last position that the index shows", node.indexed().0)?;
        gauge("store_connected", "1 while the store can be used, else 0", u64::from(connected))?;
        gauge("outbox_parked", "Posts on this node's disk that wait for the store", parked as u64)?;
        gauge("outbox_refused", "Posts from there that the log refused", refused as u64)?;
        gauge("subscribers", "Open event streams", app.0.subscribers.load(Ordering::Relaxed) as u64)?;
        gauge("replies_in_flight", "Replies being written", writing as u64)?;
        let help = "How far the log's clock is ahead of this machine's";
        let metric = encoder.encode_descriptor("clock_skew_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(node.skew().wall_ms as f64 / 1_000.0).encode(metric)?;
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(metric)
        };
        if let Some(notary) = &app.0.notary {
            let shown = notary.shown().borrow().clone();
            gauge("notary_refuses", "1 if the log is not what the notary signed, else 0", u64::from(shown.refuses))?;
            if let Some(signed) = shown.latest {
                let age_ms = node.clock().now_ms().saturating_sub(signed.at_ms);
                gauge("checkpoint_size", "Entries that the newest checkpoint covers", signed.checkpoint.size)?;
                gauge("checkpoint_age_seconds", "Since it was signed; grows while nothing arrives", age_ms / 1_000)?;
            }
        }
        let mut family = encoder.encode_descriptor("log_entries", "Entries by kind", None, MetricType::Counter)?;
        for (kind, count) in &counts.entries {
            ConstCounter::new(*count).encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        let mut family =
            encoder.encode_descriptor("queue_messages", "Open messages by bot and state", None, MetricType::Gauge)?;
        for (bot, depth) in &depths {
            for (state, n) in [("waiting", depth.waiting), ("retrying", depth.retrying), ("claimed", depth.claimed)] {
                let labels = [("bot", bot.as_str()), ("state", state)];
                ConstGauge::new(n as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family =
            encoder.encode_descriptor("bot_failures", "Failed attempts by bot", None, MetricType::Counter)?;
        for (bot, numbers) in &counts.bots {
            ConstCounter::new(numbers.failed).encode(family.encode_family(&[("bot", bot.as_str())])?)?;
        }
        type Pick = fn(&counts::BotCounts) -> &counts::Histogram;
        let histograms: [(&str, &str, Pick); 2] = [
            ("reply_first_token_seconds", "From claim to first word", |b| &b.first_token),
            ("reply_seconds", "From claim to end", |b| &b.total),
        ];
        for (name, help, pick) in histograms {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (bot, numbers) in &counts.bots {
                let histogram = pick(numbers);
                let ends = BUCKETS_MS.iter().map(|ms| *ms as f64 / 1_000.0).chain([f64::MAX]);
                let buckets: Vec<_> = ends.zip(histogram.counts).collect();
                let labels = [("bot", bot.as_str())];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(
                    histogram.sum_ms as f64 / 1_000.0,
                    histogram.count(),
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }
}
