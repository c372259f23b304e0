//! From counters that move to events.
//!
//! Owns which counter is worth a line, what fixes its cause, and how often it is said: at most once in 10 seconds for each
//! reason, with what happened since. Refuses to read a clock, and to run more than a pass over plain words: the main thread
//! looks once a second, workers notice nothing.

use super::events;
use crate::config::LogLevel;
use crate::telemetry::Counter;
use crate::time::Instant;
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use core::time::Duration;

/// Between two looks.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Between two events for the same reason.
pub const QUIET: Duration = Duration::from_secs(10);

/// What an event says of a counter.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `limit_reached`.
    Limit,
    /// `network_fault`.
    Fault,
    /// `address_conflict`.
    Conflict,
    /// `counter_moved`.
    Moved,
    /// `log_lost`.
    Lost,
}

impl Kind {
    /// The event's name.
    pub fn event(self) -> &'static str {
        match self {
            Kind::Limit => "limit_reached",
            Kind::Fault => "network_fault",
            Kind::Conflict => "address_conflict",
            Kind::Moved => "counter_moved",
            Kind::Lost => "log_lost",
        }
    }

    fn level(self) -> LogLevel {
        if self == Kind::Moved { LogLevel::Debug } else { LogLevel::Warn }
    }
}

/// A counter that is watched.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Which event.
    pub kind: Kind,
    /// The value of the metric's label, or its name without prefix and suffix.
    pub reason: &'static str,
    /// Where `/metrics` counts it.
    pub metric: &'static str,
    /// What to change, or where to look.
    pub fix: &'static str,
}

/// DPDK's basic counters of the device that tell of loss.
const DEVICE: [(&str, Subject); 4] = [
    (
        "imissed",
        device(
            Kind::Limit,
            "rx_missed",
            "penstock_port_rx_missed_total",
            "workers are too slow for what arrives: raise workers.count; scripts/tune.sh isolates their CPUs",
        ),
    ),
    (
        "ierrors",
        device(
            Kind::Fault,
            "rx_errors",
            "penstock_port_rx_errors_total",
            "check cable and switch port; penstock_port_xstats_total tells more",
        ),
    ),
    (
        "oerrors",
        device(
            Kind::Fault,
            "tx_errors",
            "penstock_port_tx_errors_total",
            "check that the link is up; penstock_port_xstats_total tells more",
        ),
    ),
    ("rx_nombuf", device(Kind::Limit, "rx_no_frame", "penstock_port_rx_no_frame_total", NO_FRAME)),
];

const fn device(kind: Kind, reason: &'static str, metric: &'static str, fix: &'static str) -> Subject {
    Subject { kind, reason, metric, fix }
}

const NO_FRAME: &str = "the frame pool is empty: compare penstock_mempool_used_frames with penstock_mempool_frames, and report it with penstock status --json";
const DRIVER: &str = "the driver refuses frames: see dpdk_error events, and report it with penstock status --json";
const TWO_CLAIM: &str = "two hosts claim one neighbour's address: find the second with arping on that link, unless one took over from the other";
const LOST: Subject = device(Kind::Lost, "log_lines", "penstock_log_lost_lines_total", "");

/// What a counter that moves means; None: traffic, or told by another counter.
pub fn judge(counter: Counter) -> Option<Subject> {
    use Counter::*;
    let (kind, fix) = match counter {
        DropConnectionLimit => (Kind::Limit, "raise workers.connections, or lower http.idle_timeout"),
        DropSourceLimit => (
            Kind::Limit,
            "raise tcp.connections_per_source, or find who it is: penstock pcap --drop-reason source_limit",
        ),
        BulkNone => (Kind::Limit, "raise tcp.bulk_rings, or lower http.write_timeout"),
        DropActiveLimit | ParkedLate => (Kind::Limit, "raise workers.active, or lower http.head_timeout"),
        DropHalfOpenLimit => {
            (Kind::Limit, "raise tcp.half_open, or find who floods: penstock pcap --drop-reason half_open_limit")
        }
        SynCookieFlood => (
            Kind::Limit,
            "raise tcp.half_open and workers.connections, or find who floods: penstock pcap -w FILE --duration 1s",
        ),
        DropFlowTable => (Kind::Limit, "raise workers.connections"),
        DropBacklog => (
            Kind::Limit,
            "the device sends too slowly: see network_fault tx_errors, and raise workers.count for more queues",
        ),
        DropFrameAlloc => (Kind::Limit, NO_FRAME),
        DropNeighborLimit | NeighborRefused | NeighborEvicted => {
            (Kind::Limit, "too many hosts on the link: lengthen the prefix of port.address and use port.gateway")
        }
        DropUnresolved => (
            Kind::Limit,
            "frames wait for neighbours that do not answer: check port.gateway, port.vlan and the prefix of port.address",
        ),
        DropRstLimit => (Kind::Limit, "ports are scanned: see who does with penstock pcap --drop-reason rst_limit"),
        DropIcmpLimit => (Kind::Limit, "many pings: see who sends them with penstock pcap --drop-reason icmp_limit"),
        TimeWaitRecycled => (Kind::Limit, "raise tcp.time_wait_entries, or lower tcp.time_wait"),
        HttpHeadBuffers => {
            (Kind::Limit, "lower http.head_timeout, so that slow clients leave sooner, or http.head_size")
        }
        DropIpChecksum | DropTcpChecksum => (
            Kind::Fault,
            "frames are damaged on the way, or their sender leaves checksums to a device that adds none: ethtool -K INTERFACE tx off there",
        ),
        DropChain => (Kind::Fault, "frames are larger than port.mtu: give all hosts of the link the same MTU"),
        DropUnreachable => {
            (Kind::Fault, "a neighbour does not answer: check port.gateway, port.vlan and the prefix of port.address")
        }
        DropUnroutable => (Kind::Fault, "set port.gateway, or correct the prefix of port.address"),
        DropDriver => (Kind::Fault, DRIVER),
        NeighborContested => (Kind::Fault, TWO_CLAIM),
        DropAddressConflict => (
            Kind::Conflict,
            "give one of the two another address; who it is: penstock pcap --drop-reason address_conflict",
        ),
        DropRunt | DropEtherType | DropNotForUs | DropVlan | DropIpHeader | DropIpOptions | DropFragment
        | DropProtocol | DropTcpHeader | DropIcmp | DropIcmpError | TooBigRefused | TooBigLost | BlackHole
        | DropArp | DropNeighbor | DropNoConnection | DropTimeWait | DropUnexpectedSyn | DropUnexpectedRst
        | DropAckRange | DropOutOfWindow | DropPaws | ChallengeWithheld | SynCookieInvalid | ConnDisplaced
        | ConnTimedOut | TxStall | HttpMalformed | HttpVersion | HttpHeadTimeout | HttpBodyTimeout
        | HttpBodyTooLarge | HttpTargetTooLong | HttpHeadTooLarge | HttpExpectation | HttpNotImplemented
        | HttpWriteTimeout => (Kind::Moved, ""),
        RxFrames | RxBytes | TxFrames | TxBytes | Turns | TurnsBusy | ArpRequestsRx | ArpRepliesRx | ArpRequestsTx
        | ArpRepliesTx | NdSolicitsRx | NdAdvertsRx | NdSolicitsTx | NdAdvertsTx | IcmpEchoRx | IcmpEchoTx
        | TooBigLowered | TooBigUnchanged | TooBigElsewhere | NeighborUpheld | NeighborMoved | ConnParked
        | ConnWoken | BulkTaken | ConnAccepted | ConnConnected | ConnSyn | ConnClosed | ConnReset | ConnAborted
        | RstTx | TimeWaitEntered | TimeWaitReused | SynCookieSent | SynCookieAccepted | ChallengeAck
        | SegmentResent | SegmentTrimmed | HttpRequests | Http1xx | HttpIdleClosed | HttpRequestLimit => return None,
    };
    let (metric, _, label, _) = counter.describe();
    let bare = || metric.trim_start_matches("penstock_").trim_end_matches("_total");
    Some(Subject { kind, reason: if label.is_empty() { bare() } else { label }, metric, fix })
}

/// Everything that is watched.
pub fn subjects() -> impl Iterator<Item = Subject> {
    let counters = Counter::ALL.iter().filter_map(|counter| judge(*counter));
    counters.chain(DEVICE.map(|(_, subject)| subject))
}

/// An event about a counter.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Notice {
    /// What it is about.
    pub subject: Subject,
    /// Since the last one for this reason.
    pub count: u64,
    /// Since the start.
    pub total: u64,
    /// Since the last one, or since the watch began.
    pub period: Duration,
}

impl Notice {
    /// Says it.
    pub fn say(&self) {
        let Notice { subject: Subject { kind, reason, metric, fix }, count, total, period } = *self;
        let seconds = period.as_secs_f64();
        match kind {
            Kind::Limit => events::limit_reached(reason, metric, count, total, seconds, fix),
            Kind::Fault => events::network_fault(reason, metric, count, total, seconds, fix),
            Kind::Conflict => events::address_conflict(reason, metric, count, total, seconds, fix),
            Kind::Moved => events::counter_moved(reason, metric, count, total, seconds),
            Kind::Lost => events::log_lost(count, total, seconds),
        }
    }
}

/// A number that only grows, and what was said of it.
#[derive(Copy, Clone, Debug)]
struct Watched {
    said: u64,
    at: Instant,
    /// Said before; the first time need not wait.
    quiet: bool,
}

impl Watched {
    fn begin(now: Instant) -> Watched {
        Watched { said: 0, at: now, quiet: false }
    }

    fn look(&mut self, now: Instant, subject: Subject, total: u64, level: LogLevel) -> Option<Notice> {
        if total <= self.said || subject.kind.level() > level || (self.quiet && now < self.at + QUIET) {
            return None;
        }
        let notice = Notice { subject, count: total - self.said, total, period: now.since(self.at) };
        *self = Watched { said: total, at: now, quiet: true };
        Some(notice)
    }
}

/// How many lines somebody else may have written until it is renewed, which costs who writes no clock.
pub struct Budget(AtomicI64);

impl Budget {
    /// As many as one likes, until the first renewal.
    pub const fn unlimited() -> Budget {
        Budget(AtomicI64::new(i64::MAX))
    }

    /// Whether one more is allowed.
    pub fn take(&self) -> bool {
        self.0.fetch_sub(1, Relaxed) > 0
    }

    /// Allows so many from now on. Returns how many were refused.
    pub fn renew(&self, lines: u32) -> u64 {
        self.0.swap(lines.into(), Relaxed).min(0).unsigned_abs()
    }
}

/// A change of the link that is to be said.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LinkNotice {
    /// How it is now.
    pub up: bool,
    /// Changes since the last one.
    pub changes: u64,
}

/// The link, as looked at once a second.
#[derive(Copy, Clone, Debug)]
struct Link {
    up: Option<bool>,
    changes: u64,
    next: Option<Instant>,
}

impl Link {
    fn look(&mut self, now: Instant, up: Option<bool>) -> Option<LinkNotice> {
        // Nobody can tell: it is what it was.
        let up = up.or(self.up)?;
        // At the start a link that is up is no news.
        self.changes += u64::from(up != self.up.unwrap_or(true));
        self.up = Some(up);
        if self.changes == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + QUIET);
        Some(LinkNotice { up, changes: core::mem::take(&mut self.changes) })
    }
}

/// What a look finds: sums over the workers, and the device.
pub struct Sight<'a> {
    /// A counter's sum.
    pub sum: &'a dyn Fn(Counter) -> u64,
    /// The device's basic counters by DPDK's names.
    pub stats: &'a [(String, u64)],
    /// The link is up; None: nobody can tell.
    pub link_up: Option<bool>,
    /// Lines of the log that were lost.
    pub lost: u64,
}

/// What has been said.
pub struct Watch {
    next: Instant,
    counters: [Watched; Counter::ALL.len()],
    device: [Watched; DEVICE.len()],
    lost: Watched,
    link: Link,
}

impl Watch {
    /// Begins with counters at 0.
    pub fn new(now: Instant) -> Watch {
        let watched = Watched::begin(now);
        let link = Link { up: None, changes: 0, next: None };
        Watch {
            next: now,
            counters: [watched; Counter::ALL.len()],
            device: [watched; DEVICE.len()],
            lost: watched,
            link,
        }
    }

    /// Whether it is time to look.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Looks. What events of `level` would not show is not said, and counted until they are.
    pub fn look(&mut self, now: Instant, sight: &Sight, level: LogLevel) -> (Vec<Notice>, Option<LinkNotice>) {
        self.next = now + INTERVAL;
        let mut notices = Vec::new();
        for (counter, watched) in Counter::ALL.iter().zip(&mut self.counters) {
            let Some(subject) = judge(*counter) else { continue };
            notices.extend(watched.look(now, subject, (sight.sum)(*counter), level));
        }
        for ((name, subject), watched) in DEVICE.iter().zip(&mut self.device) {
            let total = sight.stats.iter().find(|(own, _)| own == name).map_or(0, |(_, value)| *value);
            notices.extend(watched.look(now, *subject, total, level));
        }
        notices.extend(self.lost.look(now, LOST, sight.lost, level));
        (notices, self.link.look(now, sight.link_up))
    }
}
