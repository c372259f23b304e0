//! What became of each request.
//!
//! Owns the histograms and counts of one worker: by stage and class for the whole run, and by interval for the run's
//! course. Refuses to allocate after start, and to read them: `report` merges workers.

use super::plan::Plan;
use crate::time::Instant;
use hdrhistogram::{Counter, Histogram};

/// The longest duration recorded, in nanoseconds: one hour. Longer ones count as this.
pub const DURATION_MAX: u64 = 3_600_000_000_000;
/// Decimal digits that durations keep: a value is off by at most 0.05 %.
pub const DIGITS: u8 = 3;

/// What became of a request.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Answered, and every check passed.
    Ok,
    /// Answered with a status that is not accepted.
    Status,
    /// Answered with other content than the check wants: size or SHA-256.
    Content,
    /// Answered with something that is not HTTP/1.1.
    Protocol,
    /// Not answered in time.
    Timeout,
    /// The connection was reset before the answer's end.
    Reset,
    /// The connection was closed before the answer's end.
    Closed,
    /// Its connection was refused: RST instead of SYN-ACK.
    Refused,
    /// Its connection's handshake took too long.
    ConnectTimeout,
    /// Due and not sent when the run ended: no connection was free. Its latency is a lower bound, until the end.
    NotSent,
    /// Sent and neither answered nor failed when the run ended. Its latency is a lower bound, until the end.
    Unanswered,
}

impl Outcome {
    /// All of them, in order.
    pub const ALL: [Outcome; 11] = [
        Outcome::Ok,
        Outcome::Status,
        Outcome::Content,
        Outcome::Protocol,
        Outcome::Timeout,
        Outcome::Reset,
        Outcome::Closed,
        Outcome::Refused,
        Outcome::ConnectTimeout,
        Outcome::NotSent,
        Outcome::Unanswered,
    ];

    /// The name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Status => "status",
            Outcome::Content => "content",
            Outcome::Protocol => "protocol",
            Outcome::Timeout => "timeout",
            Outcome::Reset => "reset",
            Outcome::Closed => "closed",
            Outcome::Refused => "refused",
            Outcome::ConnectTimeout => "connect_timeout",
            Outcome::NotSent => "not_sent",
            Outcome::Unanswered => "unanswered",
        }
    }

    /// Whether the whole answer arrived.
    pub fn is_answered(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::Status | Outcome::Content)
    }
}

/// Numbers of requests and connections.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Answers by status class: 1xx (as a final status never), 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
    /// Requests whose first byte was queued.
    pub sent: u64,
    /// Requests sent later than they were due because no connection was free.
    pub waited: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Connections that could not be made: refused or too late.
    pub connect_failed: u64,
    /// Connections closed or reset by the target while no request was under way.
    pub closed_idle: u64,
    /// Bytes of answers, heads included, TCP and IP headers not.
    pub bytes_in: u64,
    /// Bytes of requests.
    pub bytes_out: u64,
}

impl Counts {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Counts) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(own, more)| *own += more);
        self.statuses.iter_mut().zip(other.statuses).for_each(|(own, more)| *own += more);
        self.sent += other.sent;
        self.waited += other.waited;
        self.connected += other.connected;
        self.connect_failed += other.connect_failed;
        self.closed_idle += other.closed_idle;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }

    /// What was added since these numbers were `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Counts) -> Counts {
        self.outcomes.iter_mut().zip(earlier.outcomes).for_each(|(own, before)| *own -= before);
        self.statuses.iter_mut().zip(earlier.statuses).for_each(|(own, before)| *own -= before);
        self.sent -= earlier.sent;
        self.waited -= earlier.waited;
        self.connected -= earlier.connected;
        self.connect_failed -= earlier.connect_failed;
        self.closed_idle -= earlier.closed_idle;
        self.bytes_in -= earlier.bytes_in;
        self.bytes_out -= earlier.bytes_out;
        self
    }

    /// Requests with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Requests that ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// The requests of one stage and class, by intended start, over the whole run.
#[derive(Clone, Debug)]
pub struct Cell {
    /// From the intended start to the end, of every request, failed ones included; in nanoseconds.
    pub latency: Histogram<u64>,
    /// From the sending to the end of the answer, of answered requests; in nanoseconds.
    pub service: Histogram<u64>,
    /// Numbers of requests; those of connections are in the first class's cell of the stage under way.
    pub counts: Counts,
}

impl Cell {
    fn new() -> Cell {
        Cell { latency: histogram(), service: histogram(), counts: Counts::default() }
    }
}

/// What ended between two times.
#[derive(Clone, Debug)]
pub struct Interval {
    /// From; since the start of the schedule.
    pub start: Instant,
    /// To.
    pub end: Instant,
    /// The stage under way at the end.
    pub stage: u16,
    /// As in [`Cell`].
    pub latency: Histogram<u32>,
    /// As in [`Cell`].
    pub service: Histogram<u32>,
    /// From SYN to the end of the handshake, in nanoseconds.
    pub connect: Histogram<u32>,
    /// How much later a request was sent than it could have been: due, and a connection free. The generator's own fault.
    pub lag: Histogram<u32>,
    /// Numbers.
    pub counts: Counts,
    /// Connections established at the end.
    pub open: u32,
    /// Time of turns that did something, in nanoseconds.
    pub busy_ns: u64,
}

impl Interval {
    /// An empty interval.
    pub fn new() -> Interval {
        Interval {
            start: Instant::ZERO,
            end: Instant::ZERO,
            stage: 0,
            latency: histogram(),
            service: histogram(),
            connect: histogram(),
            lag: histogram(),
            counts: Counts::default(),
            open: 0,
            busy_ns: 0,
        }
    }
}

impl Default for Interval {
    fn default() -> Self {
        Interval::new()
    }
}

/// What a worker gives back at the end.
#[derive(Clone, Debug)]
pub struct Recording {
    /// By stage, then class: cell `stage * classes + class`.
    pub cells: Vec<Cell>,
    /// From SYN to the end of the handshake, of all stages, in nanoseconds.
    pub connect: Histogram<u64>,
    /// As in [`Interval`], of all stages but warm-up.
    pub lag: Histogram<u64>,
}

impl Recording {
    /// An empty recording with a cell for each stage and class.
    pub fn new(plan: &Plan) -> Recording {
        let cells = plan.stages.len() * plan.classes.len();
        Recording { cells: (0..cells).map(|_| Cell::new()).collect(), connect: histogram(), lag: histogram() }
    }
}

/// An empty histogram for durations up to [`DURATION_MAX`].
pub fn histogram<C: Counter>() -> Histogram<C> {
    let bounded = Histogram::new_with_bounds(1, DURATION_MAX, DIGITS);
    // The bounds are constants within what the crate accepts.
    bounded.unwrap_or_else(|_| unreachable!("1, an hour and 3 digits make a histogram"))
}
