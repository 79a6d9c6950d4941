//! A circuit breaker: leaves a model that keeps failing alone.
//!
//! ```text
//! well ── FAILURES_MAX failures in a row ──▶ paused (30 s, doubling to 5 min, less up to a quarter of jitter)
//!  ▲                                           │ time is up
//!  └── the probe succeeds ── probing: one at a time ◀┘     the probe fails: paused again, twice as long
//! ```
//!
//! A model that could not have answered (nobody there, too much to do) is paused at once, for as long as it says, else from
//! 1 s doubling to 30 s, and that speaks not against it.
//!
//! Promises: [`Circuit`] is pure, time and jitter are passed in; of a paused model at most one request is under way,
//! after its pause; a probe that is dropped without a result makes room for the next.
//! Not here: which errors speak against a model ([`crate::ModelError::fault`]), who claims work.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::model::Away;

/// This many failures in a row are no accident.
pub const FAILURES_MAX: u32 = 5;
/// The first pause: time for a server to start again.
pub const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// The longest pause: how long a mended model may stay unnoticed.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The first pause of a model that is away: it may be back at once.
pub const AWAY_FIRST: Duration = Duration::from_secs(1);
/// The longest: a person waits for it to be back.
pub const AWAY_MAX: Duration = Duration::from_secs(30);

/// Whether work may be taken for a model now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Any number of requests.
    Ready,
    /// One request, to see whether the model is well again.
    OneProbe,
    /// None until then.
    Paused(Instant),
    /// None until the probe under way has ended.
    Probing,
}

/// The breaker's state, without clock and lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    pause_first: Duration,
    pause_max: Duration,
    /// Failures in a row since the last success; at least [`FAILURES_MAX`] means that the circuit is open.
    failures: u32,
    /// Pauses since the last success.
    pauses: u32,
    /// Pauses since the model is away.
    away: u32,
    until: Option<Instant>,
    probing: bool,
}

impl Default for Circuit {
    /// A well model, with pauses from [`PAUSE_FIRST`] to [`PAUSE_MAX`].
    fn default() -> Circuit {
        Circuit::new(PAUSE_FIRST, PAUSE_MAX)
    }
}

impl Circuit {
    /// A well model, with these pauses.
    pub fn new(pause_first: Duration, pause_max: Duration) -> Circuit {
        Circuit { pause_first, pause_max, failures: 0, pauses: 0, away: 0, until: None, probing: false }
    }

    /// Whether work may be taken now.
    pub fn readiness(&self, now: Instant) -> Readiness {
        match self.until {
            None => Readiness::Ready,
            Some(until) if now < until => Readiness::Paused(until),
            Some(_) if self.probing => Readiness::Probing,
            Some(_) => Readiness::OneProbe,
        }
    }

    /// Takes leave to ask the model, as far as [`Circuit::readiness`] gives it; the answer is what it was before.
    pub fn enter(&mut self, now: Instant) -> Readiness {
        let readiness = self.readiness(now);
        self.probing |= readiness == Readiness::OneProbe;
        readiness
    }

    /// The model answered, to this or to an earlier request: all is forgotten.
    pub fn succeeded(&mut self) {
        *self = Circuit::new(self.pause_first, self.pause_max);
    }

    /// The model failed. `jitter` in 0..1 shortens the pause by up to a quarter, so that many nodes do not probe at once.
    pub fn failed(&mut self, now: Instant, probe: bool, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        // Requests that were under way when the circuit opened say nothing new.
        let open = self.until.is_some() && self.away == 0;
        let opens = if open { probe } else { self.failures >= FAILURES_MAX };
        if !open && probe {
            // It is there again, if not well.
            (self.until, self.away, self.probing) = (None, 0, false);
        }
        if opens {
            let pause = self.pause_first.saturating_mul(2u32.saturating_pow(self.pauses)).min(self.pause_max);
            self.until = Some(now + pause.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)));
            self.pauses = self.pauses.saturating_add(1);
            self.probing = false;
        }
    }

    /// The model could not have answered; until when it is left alone now. `said`: for how long, as its server says; without
    /// that `jitter` shortens the pause as in [`Circuit::failed`].
    pub fn away(&mut self, now: Instant, probe: bool, said: Option<Duration>, jitter: f64) -> Instant {
        if let (Some(until), false) = (self.until, probe) {
            // What was under way when it went away says nothing new.
            return until;
        }
        let pause = AWAY_FIRST.saturating_mul(2u32.saturating_pow(self.away)).min(AWAY_MAX);
        let until = now + said.unwrap_or_else(|| pause.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)));
        self.away = self.away.saturating_add(1);
        (self.until, self.probing) = (Some(until), false);
        until
    }

    /// Whether it is paused because it is away.
    pub fn is_away(&self) -> bool {
        self.away > 0
    }

    /// The probe ended without a result, e.g. because it was cancelled.
    pub fn left(&mut self) {
        self.probing = false;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A handle on the breaker of one model; clones share it.
#[derive(Debug, Clone)]
pub struct Breaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A std mutex: held for a few instructions, never across an `.await`.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// Draws the jitter.
    seed: u64,
    last: String,
}

/// Leave for one request. Dropped without a result it counts as nothing.
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    probe: bool,
}

impl Breaker {
    /// A breaker for a model that is taken to be well. `seed`: any number that differs between nodes.
    pub fn new(seed: u64) -> Breaker {
        Breaker::with(Circuit::default(), seed)
    }

    /// The same from another beginning, e.g. with shorter pauses.
    pub fn with(circuit: Circuit, seed: u64) -> Breaker {
        let state = State { circuit, seed, last: String::new() };
        Breaker(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// Whether work may be taken now. With [`Readiness::OneProbe`] claim one message, not several.
    pub fn ready(&self) -> Readiness {
        self.state().circuit.readiness(Instant::now())
    }

    /// Waits until work may be taken: any number of messages, or one as a probe. Cancel-safe.
    pub async fn wait_ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            match self.ready() {
                Readiness::Ready | Readiness::OneProbe => return,
                Readiness::Paused(until) => tokio::select! { () = sleep_until(until) => {}, () = changed => {} },
                Readiness::Probing => changed.await,
            }
        }
    }

    /// Why no work is taken, for people; `None` when the model is taken to be well.
    pub fn paused(&self) -> Option<String> {
        let state = self.state();
        let next = match state.circuit.readiness(Instant::now()) {
            Readiness::Ready => return None,
            Readiness::OneProbe => "the next message tries it again".into(),
            Readiness::Probing => "it is being tried again".into(),
            Readiness::Paused(until) => {
                let left = until.saturating_duration_since(Instant::now());
                format!("next try in {} s", left.as_secs() + 1)
            }
        };
        if state.circuit.is_away() {
            return Some(format!("{}; {next}", state.last));
        }
        Some(format!("the model failed {} times in a row; {next}; last: {}", state.circuit.failures(), state.last))
    }

    /// Leave to ask the model; waits while a probe is under way.
    ///
    /// # Errors
    /// When the next try is due, if the model is paused.
    pub async fn enter(&self) -> Result<Permit, Instant> {
        loop {
            let changed = self.0.changed.notified();
            let readiness = self.state().circuit.enter(Instant::now());
            match readiness {
                Readiness::Ready => return Ok(Permit { breaker: self.clone(), probe: false }),
                Readiness::OneProbe => return Ok(Permit { breaker: self.clone(), probe: true }),
                Readiness::Paused(until) => return Err(until),
                Readiness::Probing => changed.await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The model answered.
    pub fn succeeded(self) {
        self.breaker.state().circuit.succeeded();
    }

    /// The model failed, and why.
    pub fn failed(self, why: &str) {
        let mut state = self.breaker.state();
        let jitter = state.jitter();
        state.last = why.into();
        state.circuit.failed(Instant::now(), self.probe, jitter);
    }

    /// The model could not have answered, and why; how long it is left alone now.
    pub fn away(self, why: &str, away: Away) -> Duration {
        let mut state = self.breaker.state();
        let (now, jitter) = (Instant::now(), state.jitter());
        state.last = why.into();
        let said = if let Away::For(wait) = away { Some(wait) } else { None };
        state.circuit.away(now, self.probe, said, jitter).saturating_duration_since(now)
    }
}

impl State {
    /// From 0 to 1.
    fn jitter(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state().circuit.left();
        }
        self.breaker.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_their_bound_and_one_success_forgets_them() {
        let mut circuit = Circuit::default();
        let mut now = Instant::now();
        for _ in 1..FAILURES_MAX {
            circuit.failed(now, false, 0.0);
            assert_eq!(circuit.readiness(now), Readiness::Ready);
        }
        circuit.failed(now, false, 0.0);
        for pause in [30, 60, 120, 240, 300, 300] {
            let until = now + SECOND * pause;
            assert_eq!(circuit.readiness(until - SECOND), Readiness::Paused(until));
            now = until;
            assert_eq!(circuit.enter(now), Readiness::OneProbe);
            assert_eq!(circuit.enter(now), Readiness::Probing);
            circuit.failed(now, true, 0.0);
        }
        circuit.succeeded();
        assert_eq!(circuit.readiness(now), Readiness::Ready);
        circuit.failed(now, false, 0.0);
        assert_eq!((circuit.readiness(now), circuit.failures()), (Readiness::Ready, 1));
    }

    #[test]
    fn a_success_between_failures_starts_the_count_anew() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..10 {
            (1..FAILURES_MAX).for_each(|_| circuit.failed(now, false, 0.5));
            circuit.succeeded();
        }
        assert_eq!(circuit, Circuit::default());
    }

    #[test]
    fn a_model_that_is_away_is_left_alone_at_once_and_that_does_not_speak_against_it() {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let until = circuit.away(now, circuit.is_away(), None, 0.0);
            assert_eq!((until, circuit.readiness(now)), (now + SECOND * pause, Readiness::Paused(until)));
            assert_eq!(circuit.away(now, false, None, 0.0), until, "what was under way says nothing new");
            now = until;
            assert_eq!(circuit.enter(now), Readiness::OneProbe);
        }
        assert_eq!(circuit.away(now, true, Some(SECOND * 20), 1.0), now + SECOND * 20, "as its server says");
        now += SECOND * 20;
        assert_eq!((circuit.enter(now), circuit.failures()), (Readiness::OneProbe, 0));
        circuit.failed(now, true, 0.0);
        assert_eq!((circuit.readiness(now), circuit.failures()), (Readiness::Ready, 1), "it is there, if not well");
        circuit.succeeded();
        assert_eq!(circuit, Circuit::default());
    }

    #[test]
    fn requests_that_fail_late_do_not_lengthen_the_pause() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        (0..FAILURES_MAX).for_each(|_| circuit.failed(now, false, 1.0));
        let until = now + PAUSE_FIRST.mul_f64(0.75);
        (0..100).for_each(|n| circuit.failed(now + SECOND * n, false, 0.0));
        assert_eq!(circuit.readiness(now), Readiness::Paused(until));
    }

    /// Shorter than a person notices, longer than the steps of a test take.
    const PAUSE: Duration = Duration::from_millis(300);

    async fn opened() -> Breaker {
        let breaker = Breaker::with(Circuit::new(PAUSE, PAUSE), 7);
        for _ in 0..FAILURES_MAX {
            breaker.enter().await.unwrap().failed("model-error: no");
        }
        breaker
    }

    #[tokio::test]
    async fn waiters_go_on_when_the_pause_is_over() {
        let start = Instant::now();
        let breaker = opened().await;
        assert!(breaker.enter().await.is_err());
        assert!(breaker.paused().unwrap().contains("5 times in a row"));
        breaker.wait_ready().await;
        assert!(start.elapsed() >= PAUSE.mul_f64(0.75));
        assert_eq!(breaker.ready(), Readiness::OneProbe);
        breaker.enter().await.unwrap().succeeded();
        assert_eq!((breaker.ready(), breaker.paused()), (Readiness::Ready, None));
    }

    #[tokio::test]
    async fn a_second_request_waits_for_the_probe_and_a_dropped_probe_makes_room() {
        let breaker = opened().await;
        breaker.wait_ready().await;
        let probe = breaker.enter().await.unwrap();
        let mut second = Box::pin(breaker.enter());
        assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err());
        assert_eq!(breaker.ready(), Readiness::Probing);
        drop(probe);
        let second = second.await.unwrap();
        assert!(second.probe && breaker.ready() == Readiness::Probing);
        drop(second);
        assert_eq!(breaker.ready(), Readiness::OneProbe, "the second was dropped, too");
    }
}
