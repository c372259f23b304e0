//! The generator: the program of a client worker.
//!
//! Owns which connection sends which request when, and what is recorded of it. Refuses to skip an arrival: what cannot be
//! sent in time is sent late, and its latency counts from when it was due. Refuses to read a clock: the turn's time is the
//! time of everything in the turn.
//!
//! A run prepares (opens its connections), runs (follows the schedule), and stops (waits for the answers under way).

use super::idle::IdleList;
use super::plan::{Arrivals, Plan};
use super::record::{Outcome, Recording};
use super::recorder::{Ended, IntervalQueues, Recorder};
use super::schedule::{Arrival, Schedule};
use crate::net::source::Sources;
use crate::net::stack::{ConnId, ConnectError};
use crate::time::Instant;
use crate::worker::client::{Answer, Ask, Caller, Fault, Order, Pending, Request};
use core::time::Duration;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;

/// Handshakes under way at most while connections are kept: enough for a fast start, few enough for any listen queue. It
/// begins with a few, which find the neighbour, and grows with those that succeed.
const OPENING_MAX: u32 = 64;
const OPENING_MIN: u32 = 2;
/// 4-tuples tried in one turn at most.
const DRAWS_MAX: u32 = 64;
/// Between a refused connection and the next try: the first time, and at most.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Connections refused in a row after which preparing ends with those there are.
const FAILURES_MAX: u32 = 8;
/// Requests recorded as not sent in one turn at most.
const UNSENT_MAX: usize = 1024;

/// What a generator is made of.
pub struct GeneratorParts {
    /// The checked plan.
    pub plan: Arc<Plan>,
    /// This worker's number, and how many there are.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// 4-tuples of this worker.
    pub sources: Sources,
    /// Slots of this worker's connections.
    pub slots: usize,
    /// Where intervals go.
    pub queues: IntervalQueues,
    /// The length of an interval.
    pub interval: Duration,
}

/// Where a run is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Connections are opened.
    Preparing,
    /// The schedule is followed.
    Running,
    /// Nothing new is taken from the schedule.
    Stopping,
    /// Stock has been taken: nothing is begun any more.
    Halted,
}

/// A request that waits for a handshake.
#[derive(Copy, Clone, Debug)]
struct Bound {
    ask: Ask,
    /// How much later than possible its connection was begun, in nanoseconds.
    lag: u64,
}

/// One worker's share of a load run.
pub struct Generator {
    plan: Arc<Plan>,
    schedule: Schedule,
    sources: Sources,
    recorder: Recorder,
    phase: Phase,
    /// When the schedule starts, or started.
    start: Instant,
    /// When stopping began.
    stopped: Instant,
    /// Connections to hold.
    wanted: u32,
    opening: u32,
    open: u32,
    /// Connections ever established.
    opened: u32,
    /// Connections refused since one was established.
    failures: u32,
    idle: IdleList,
    /// By slot: requests sent, the request that waits for the handshake, the content's digest so far.
    asked: Box<[u32]>,
    bound: Box<[Option<Bound>]>,
    digests: Box<[Sha256]>,
    /// Established connections with a bound request.
    assigned: VecDeque<ConnId>,
    /// The request of the connection about to be begun.
    to_bind: Option<Bound>,
    to_close: Option<ConnId>,
    /// No connection can be begun before this.
    retry_at: Instant,
    retry: Duration,
    draws: u32,
    drawn_at: Instant,
    /// The last turn in which a request was due and no connection free.
    starved: Instant,
    /// The request now due has waited for a connection.
    waiting: bool,
    /// Requests taken from the schedule that have not ended.
    under_way: u64,
    last_fault: Option<Fault>,
}

impl Generator {
    /// A generator that prepares.
    pub fn new(parts: GeneratorParts) -> Generator {
        let GeneratorParts { plan, worker, workers, sources, slots, queues, interval } = parts;
        let workers_u32 = workers as u32;
        let wanted = plan.connections / workers_u32 + u32::from((worker as u32) < plan.connections % workers_u32);
        let digests = if plan.classes.iter().any(|class| class.check.sha256.is_some()) { slots } else { 0 };
        Generator {
            schedule: Schedule::new(&plan, worker, workers),
            sources,
            recorder: Recorder::new(&plan, queues, interval),
            phase: Phase::Preparing,
            start: Instant::FAR,
            stopped: Instant::FAR,
            wanted: wanted.max(1),
            opening: 0,
            open: 0,
            opened: 0,
            failures: 0,
            idle: IdleList::new(slots),
            asked: vec![0; slots].into(),
            bound: vec![None; slots].into(),
            digests: vec![Sha256::new(); digests].into(),
            assigned: VecDeque::with_capacity(slots),
            to_bind: None,
            to_close: None,
            retry_at: Instant::ZERO,
            retry: RETRY_MIN,
            draws: 0,
            drawn_at: Instant::FAR,
            starved: Instant::ZERO,
            waiting: false,
            under_way: 0,
            last_fault: None,
            plan,
        }
    }

    /// Slots for connections of a worker that holds so many: those being closed need theirs for a round trip longer.
    pub fn slots(plan: &Plan, workers: usize) -> usize {
        let held = plan.connections.div_ceil(workers as u32) as usize;
        let closing = if plan.requests_per_connection == 1 { held } else { held / 4 };
        (held + closing).max(held + 64)
    }

    /// Whether the connections are there, as far as they will be: the schedule may start.
    pub fn is_prepared(&self) -> bool {
        self.one_each() || (self.opening == 0 && (self.open >= self.wanted || self.failures >= FAILURES_MAX))
    }

    /// Connections established.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Connections to hold.
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Why the last connection or request failed.
    pub fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }

    /// Starts the schedule at a time not yet past.
    pub fn start(&mut self, at: Instant) {
        self.phase = Phase::Running;
        self.start = at;
    }

    /// Sends nothing new.
    pub fn stop(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Stopping | Phase::Halted) {
            self.phase = Phase::Stopping;
            self.stopped = now;
        }
    }

    /// Begins nothing any more, so that what is under way now is what [`Generator::finish`] is told of: a connection begun
    /// later could take the slot of one whose request is not counted yet.
    pub fn halt(&mut self, now: Instant) {
        self.stop(now);
        self.phase = Phase::Halted;
    }

    /// A turn that did something took so many nanoseconds.
    #[inline]
    pub fn note_busy(&mut self, ns: u64) {
        if self.phase != Phase::Preparing {
            self.recorder.busy(ns);
        }
    }

    /// Whether everything sent is answered or given up.
    pub fn is_over(&self, now: Instant) -> bool {
        self.phase == Phase::Stopping && (self.under_way == 0 || now > self.stopped + self.plan.timeout)
    }

    /// Ends the recording; `pending`: what is still under way, whose latency is at least the time until now.
    pub fn finish(mut self, pending: &[Pending], now: Instant) -> Recording {
        for pending in pending {
            self.end(&pending.ask, Some(pending.sent), Outcome::Unanswered, now);
        }
        let bound: Vec<Bound> = self.bound.iter().flatten().copied().chain(self.to_bind).collect();
        for Bound { ask, .. } in bound {
            self.end(&ask, None, Outcome::NotSent, now);
        }
        while self.unsent(now) {}
        let stage = self.schedule.stage(self.elapsed(now));
        // Answers that came after the end count in the last interval.
        let elapsed = Instant::from_nanos(self.elapsed(now).min(self.schedule.end()));
        self.recorder.finish(elapsed, stage)
    }

    fn one_each(&self) -> bool {
        self.plan.requests_per_connection == 1
    }

    /// Whether a connection has carried as many requests as the plan wants of one.
    fn is_spent(&self, id: ConnId) -> bool {
        let limit = self.plan.requests_per_connection;
        limit > 0 && self.asked[id.slot as usize] >= limit
    }

    fn elapsed(&self, now: Instant) -> u64 {
        now.nanos().saturating_sub(self.start.nanos())
    }

    fn stage_now(&self, now: Instant) -> u16 {
        self.schedule.stage(self.elapsed(now))
    }

    /// The next order while the schedule is followed.
    #[inline]
    fn run(&mut self, now: Instant) -> Option<Order> {
        let elapsed = self.elapsed(now);
        // The last interval takes in what is sent just after the end, and stays open for answers.
        let end = self.schedule.end();
        if self.recorder.is_full(Instant::from_nanos(elapsed)) && elapsed < end {
            let stage = self.schedule.stage(elapsed);
            self.recorder.roll(Instant::from_nanos(elapsed), stage, self.open);
        }
        if elapsed >= end && !self.is_due(elapsed) {
            self.stop(now);
            return None;
        }
        if let Some(order) = self.ask_bound() {
            return Some(order);
        }
        if now < self.start {
            return self.open_more(now);
        }
        if self.to_bind.is_some() {
            return self.connect(now);
        }
        match self.schedule.due(elapsed) {
            Some(arrival) => self.serve(&arrival, now),
            None => self.open_more(now),
        }
    }

    /// Sends a request on the connection that was opened for it.
    #[inline]
    fn ask_bound(&mut self) -> Option<Order> {
        let id = self.assigned.pop_front()?;
        let Bound { ask, lag } = self.bound[id.slot as usize].take()?;
        Some(self.ask(id, ask, lag))
    }

    /// The next order while the schedule is over: what was taken from it is still sent.
    fn wind_down(&mut self, now: Instant) -> Option<Order> {
        if let Some(order) = self.ask_bound() {
            return Some(order);
        }
        for _ in 0..UNSENT_MAX {
            if !self.unsent(now) {
                break;
            }
        }
        if self.to_bind.is_some() { self.connect(now) } else { None }
    }

    /// Whether an arrival is due for which there may be time in this turn. At the end of the schedule what no connection
    /// was free for is not sent any more.
    fn is_due(&mut self, elapsed: u64) -> bool {
        let end = self.schedule.end();
        !self.waiting && elapsed < end + end / 1000 && self.schedule.due(end).is_some()
    }

    /// Finds a connection for a request that is due.
    #[inline]
    fn serve(&mut self, arrival: &Arrival, now: Instant) -> Option<Order> {
        let due = self.start + Duration::from_nanos(arrival.at);
        let ask = Ask { due, class: arrival.class, tag: arrival.stage };
        if let Some(id) = self.idle.pop() {
            return Some(self.take(id, ask, now));
        }
        if self.one_each() && self.open + self.opening < self.wanted && (self.opened > 0 || self.opening < OPENING_MIN)
        {
            self.schedule.take();
            self.under_way += 1;
            let lag = self.lag(due, now);
            self.to_bind = Some(Bound { ask, lag });
            return self.connect(now);
        }
        self.starved = now;
        self.waiting = true;
        self.open_more(now)
    }

    /// Sends the request that is due.
    #[inline]
    fn take(&mut self, id: ConnId, ask: Ask, now: Instant) -> Order {
        self.schedule.take();
        self.under_way += 1;
        let lag = self.lag(ask.due, now);
        self.ask(id, ask, lag)
    }

    /// How much later than possible something is done that is due. It was possible as soon as a connection was free, which
    /// was after the last turn that found none.
    fn lag(&self, due: Instant, now: Instant) -> u64 {
        now.nanos().saturating_sub(due.max(self.starved).nanos())
    }

    /// Sends a request, `lag` nanoseconds later than possible.
    #[inline]
    fn ask(&mut self, id: ConnId, ask: Ask, lag: u64) -> Order {
        let late = core::mem::take(&mut self.waiting) || self.starved > ask.due;
        // A closed loop asks when a connection is free, by its nature.
        let waited = late && self.plan.arrivals != Arrivals::Closed;
        let class = &self.plan.classes[usize::from(ask.class)];
        let bytes = (class.head.len() + class.body.len()) as u64;
        self.recorder.sent(ask.tag, ask.class, lag, waited, bytes);
        if self.plan.requests_per_connection > 0 {
            let asked = &mut self.asked[id.slot as usize];
            *asked += 1;
            if *asked == self.plan.requests_per_connection && *asked > 1 {
                self.to_close = Some(id);
            }
        }
        Order::Ask(id, ask)
    }

    /// Opens a connection if one is missing.
    fn open_more(&mut self, now: Instant) -> Option<Order> {
        let missing = !self.one_each() && self.open + self.opening < self.wanted;
        if !missing || self.opening >= self.opened.clamp(OPENING_MIN, OPENING_MAX) || now < self.retry_at {
            return None;
        }
        self.connect(now)
    }

    fn connect(&mut self, now: Instant) -> Option<Order> {
        if self.drawn_at != now {
            (self.drawn_at, self.draws) = (now, 0);
        }
        if self.draws >= DRAWS_MAX {
            return None;
        }
        self.draws += 1;
        Some(Order::Connect(self.sources.draw()))
    }

    /// Records one arrival that is due and will not be sent; false: there is none.
    fn unsent(&mut self, now: Instant) -> bool {
        let until = self.stopped.nanos().saturating_sub(self.start.nanos()).min(self.schedule.end());
        let Some(arrival) = self.schedule.due(until).filter(|arrival| arrival.at < until) else { return false };
        if self.plan.arrivals == Arrivals::Closed {
            return false;
        }
        self.schedule.take();
        self.under_way += 1;
        let due = self.start + Duration::from_nanos(arrival.at);
        self.end(&Ask { due, class: arrival.class, tag: arrival.stage }, None, Outcome::NotSent, now);
        true
    }

    /// Records the end of a request.
    #[inline]
    fn end(&mut self, ask: &Ask, sent: Option<Instant>, outcome: Outcome, now: Instant) {
        self.record(ask, sent, outcome, 0, 0, now);
    }

    #[inline]
    fn record(&mut self, ask: &Ask, sent: Option<Instant>, outcome: Outcome, status: u16, bytes: u64, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.recorder.ended(&Ended {
            stage: ask.tag,
            class: ask.class,
            outcome,
            latency: now.nanos().saturating_sub(ask.due.nanos()),
            service: sent.map_or(0, |sent| now.nanos().saturating_sub(sent.nanos())),
            status,
            bytes,
        });
    }

    /// What an answer is worth.
    fn judge(&mut self, id: ConnId, class: u16, answer: &Answer) -> Outcome {
        let check = &self.plan.classes[usize::from(class)].check;
        let digest = check.sha256.map(|wanted| {
            let digest = self.digests.get_mut(id.slot as usize).map(Digest::finalize_reset);
            digest.is_some_and(|digest| digest[..] == wanted)
        });
        if !check.accepts(answer.head.status) {
            Outcome::Status
        } else if check.size.is_some_and(|size| size != answer.content) || digest == Some(false) {
            Outcome::Content
        } else {
            Outcome::Ok
        }
    }
}

impl Caller for Generator {
    #[inline]
    fn next(&mut self, now: Instant) -> Option<Order> {
        if let Some(id) = self.to_close.take() {
            return Some(Order::Close(id));
        }
        match self.phase {
            Phase::Running => self.run(now),
            Phase::Preparing if self.one_each() || self.failures >= FAILURES_MAX => None,
            Phase::Preparing => self.open_more(now),
            Phase::Stopping => self.wind_down(now),
            Phase::Halted => None,
        }
    }

    #[inline]
    fn request(&self, class: u16) -> Request<'_> {
        let class = &self.plan.classes[usize::from(class)];
        Request { head: &class.head, body: &class.body, head_only: class.head_only }
    }

    #[inline]
    fn watches(&self, class: u16) -> bool {
        !self.digests.is_empty() && self.plan.classes[usize::from(class)].check.sha256.is_some()
    }

    fn timeout(&self) -> Duration {
        self.plan.timeout
    }

    #[inline]
    fn upcoming(&self) -> Option<ConnId> {
        self.idle.peek()
    }

    fn connecting(&mut self, result: Result<ConnId, ConnectError>) {
        match result {
            Ok(id) => {
                self.opening += 1;
                self.asked[id.slot as usize] = 0;
                self.bound[id.slot as usize] = self.to_bind.take();
            }
            // Another 4-tuple, in this turn.
            Err(ConnectError::InUse) => {}
            // In another turn.
            Err(ConnectError::Full | ConnectError::Unaddressable) => self.draws = DRAWS_MAX,
        }
    }

    fn connected(&mut self, id: ConnId, took: Duration, now: Instant) {
        self.opening -= 1;
        self.open += 1;
        self.opened = self.opened.saturating_add(1);
        (self.retry, self.failures) = (RETRY_MIN, 0);
        let stage = self.stage_now(now);
        self.recorder.connected(took.as_nanos() as u64, stage);
        if self.bound[id.slot as usize].is_some() {
            self.assigned.push_back(id);
        } else {
            self.idle.push(id);
        }
    }

    fn refused(&mut self, id: ConnId, fault: Fault, now: Instant) {
        self.opening -= 1;
        self.failures = self.failures.saturating_add(1);
        self.last_fault = Some(fault);
        self.retry_at = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        let stage = self.stage_now(now);
        self.recorder.connect_failed(stage);
        if let Some(Bound { ask, .. }) = self.bound[id.slot as usize].take() {
            let outcome = if fault == Fault::Timeout { Outcome::ConnectTimeout } else { Outcome::Refused };
            self.end(&ask, None, outcome, now);
        }
    }

    #[inline]
    fn ready(&mut self, id: ConnId) {
        if !self.is_spent(id) {
            self.idle.push(id);
        }
    }

    /// The shortest way from an answer to the next request, when one is due and no other connection is free.
    #[inline]
    fn follow(&mut self, id: ConnId, now: Instant) -> Option<Ask> {
        let elapsed = self.elapsed(now);
        let usual = self.phase == Phase::Running
            && self.plan.requests_per_connection == 0
            && self.idle.is_empty()
            && now >= self.start
            && elapsed < self.schedule.end();
        let arrival = if usual { self.schedule.due(elapsed) } else { None };
        let Some(arrival) = arrival else {
            self.ready(id);
            return None;
        };
        let due = self.start + Duration::from_nanos(arrival.at);
        let ask = Ask { due, class: arrival.class, tag: arrival.stage };
        self.take(id, ask, now);
        Some(ask)
    }

    fn content(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(digest) = self.digests.get_mut(id.slot as usize) {
            digest.update(bytes);
        }
    }

    #[inline]
    fn answered(&mut self, id: ConnId, pending: &Pending, answer: &Answer, now: Instant) {
        let outcome = self.judge(id, pending.ask.class, answer);
        self.record(&pending.ask, Some(pending.sent), outcome, answer.head.status, answer.bytes, now);
    }

    fn failed(&mut self, id: ConnId, pending: &Pending, fault: Fault, now: Instant) {
        if let Some(digest) = self.digests.get_mut(id.slot as usize) {
            digest.reset();
        }
        self.last_fault = Some(fault);
        let outcome = match fault {
            Fault::Protocol => Outcome::Protocol,
            Fault::Timeout => Outcome::Timeout,
            Fault::Reset => Outcome::Reset,
            Fault::Closed => Outcome::Closed,
        };
        self.end(&pending.ask, Some(pending.sent), outcome, now);
    }

    fn gone(&mut self, id: ConnId, fault: Option<Fault>, now: Instant) {
        self.open -= 1;
        self.idle.remove(id);
        if self.to_close == Some(id) {
            self.to_close = None;
        }
        // A spent connection may have asked to be closed, and the answer need not say that it will be (RFC 9112, 9.6).
        if fault.is_some_and(|fault| fault != Fault::Closed || !self.is_spent(id)) {
            let stage = self.stage_now(now);
            self.recorder.closed_idle(stage);
        }
    }
}
