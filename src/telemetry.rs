//! Counters: plain words that one worker writes and anyone may read.
//!
//! Owns the list of everything that is counted, with its Prometheus name, label and help; docs/metrics.md describes all.
//! Refuses to render, aggregate or log: a control thread does that from [`Counters::read`]. Incrementing is a relaxed
//! load and store of the worker's own cache lines, never a locked instruction; only the owning worker may write.

pub mod histogram;
pub mod requests;
pub mod tap;
pub mod turns;

use histogram::{Histogram, Reading};
use requests::Requests;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($variant:ident: $name:literal $label:literal = $value:literal, $help:literal;)*) => {
        /// One counted thing. Counters that share a `name` are one Prometheus metric told apart by a label.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Counter { $(#[doc = $help] $variant,)* }

        impl Counter {
            /// Every counter, in declaration order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// Metric name, label name (may be empty), label value, help text.
            pub const fn describe(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $(Counter::$variant => ($name, $label, $value, $help),)* }
            }
        }
    };
}

counters! {
    // Port
    RxFrames: "penstock_rx_frames_total" "" = "", "Frames received from the port";
    RxBytes: "penstock_rx_bytes_total" "" = "", "Bytes of received frames";
    TxFrames: "penstock_tx_frames_total" "" = "", "Frames handed to the port";
    TxBytes: "penstock_tx_bytes_total" "" = "", "Bytes of frames handed to the port";
    Turns: "penstock_worker_turns_total" "" = "", "Turns of the worker loop";
    TurnsBusy: "penstock_worker_busy_turns_total" "" = "", "Turns that received, sent or expired something";
    // Frames dropped on receive
    DropRunt: "penstock_dropped_frames_total" "reason" = "runt", "Shorter than its headers";
    DropEtherType: "penstock_dropped_frames_total" "reason" = "ethertype", "Neither IPv4, IPv6 nor ARP";
    DropNotForUs: "penstock_dropped_frames_total" "reason" = "not_for_us", "Ethernet or IP destination is not ours";
    DropVlan: "penstock_dropped_frames_total" "reason" = "vlan", "VLAN tag other than the configured one";
    DropIpHeader: "penstock_dropped_frames_total" "reason" = "ip_header", "Invalid IP version, header length, total length or address";
    DropIpChecksum: "penstock_dropped_frames_total" "reason" = "ip_checksum", "Wrong IPv4 header checksum";
    DropIpOptions: "penstock_dropped_frames_total" "reason" = "ip_options", "IPv4 source route or IPv6 extension header that is not accepted";
    DropFragment: "penstock_dropped_frames_total" "reason" = "fragment", "IP fragment";
    DropProtocol: "penstock_dropped_frames_total" "reason" = "protocol", "Neither TCP nor ICMP";
    DropTcpHeader: "penstock_dropped_frames_total" "reason" = "tcp_header", "Invalid TCP header length, flags, port or option";
    DropTcpChecksum: "penstock_dropped_frames_total" "reason" = "tcp_checksum", "Wrong TCP checksum";
    DropIcmp: "penstock_dropped_frames_total" "reason" = "icmp", "Malformed or unhandled ICMP message";
    DropIcmpLimit: "penstock_dropped_frames_total" "reason" = "icmp_limit", "ICMP answer withheld by the rate limit";
    DropIcmpError: "penstock_dropped_frames_total" "reason" = "icmp_error", "ICMP error about a packet of ours that is no reason to act: unreachable, time exceeded and others (RFC 5927)";
    DropArp: "penstock_dropped_frames_total" "reason" = "arp", "Malformed or irrelevant ARP packet";
    DropAddressConflict: "penstock_dropped_frames_total" "reason" = "address_conflict", "Another host claims one of our addresses";
    DropNeighbor: "penstock_dropped_frames_total" "reason" = "neighbor_discovery", "Malformed or irrelevant neighbour discovery message";
    DropNeighborLimit: "penstock_dropped_frames_total" "reason" = "neighbor_limit", "Neighbour table full";
    DropChain: "penstock_dropped_frames_total" "reason" = "chain", "Chained frame larger than the linearisation buffer";
    DropNoConnection: "penstock_dropped_frames_total" "reason" = "no_connection", "TCP segment for no connection and no listener";
    DropRstLimit: "penstock_dropped_frames_total" "reason" = "rst_limit", "RST for a closed port withheld by the rate limit";
    DropConnectionLimit: "penstock_dropped_frames_total" "reason" = "connection_limit", "SYN while every connection slot is in use";
    DropActiveLimit: "penstock_dropped_frames_total" "reason" = "active_limit", "Segment whose connection needs socket and rings while all are in use";
    DropHalfOpenLimit: "penstock_dropped_frames_total" "reason" = "half_open_limit", "SYN while too many handshakes are under way";
    DropSourceLimit: "penstock_dropped_frames_total" "reason" = "source_limit", "SYN, or ACK of a SYN cookie, of a source that holds as many connections as it may";
    DropFlowTable: "penstock_dropped_frames_total" "reason" = "flow_table", "SYN whose flow table buckets are full";
    DropBacklog: "penstock_dropped_frames_total" "reason" = "tx_backlog", "Answer frame that found the transmit backlog full";
    DropFrameAlloc: "penstock_dropped_frames_total" "reason" = "no_frame", "No free frame in the pool for an answer";
    DropUnresolved: "penstock_dropped_frames_total" "reason" = "unresolved_full", "Frame to an unresolved neighbour while the waiting queue is full";
    DropUnreachable: "penstock_dropped_frames_total" "reason" = "unresolved_timeout", "Frame whose neighbour did not answer in time";
    DropTimeWait: "penstock_dropped_frames_total" "reason" = "time_wait", "Segment answered or ignored by a TIME-WAIT entry";
    DropUnexpectedSyn: "penstock_dropped_frames_total" "reason" = "unexpected_syn", "SYN on a connection that has one (RFC 5961, 4.2)";
    DropUnexpectedRst: "penstock_dropped_frames_total" "reason" = "unexpected_rst", "RST inside the receive window, but not the next sequence number (RFC 5961, 3.2)";
    DropAckRange: "penstock_dropped_frames_total" "reason" = "ack_range", "Acknowledges what was not sent yet, or long ago (RFC 5961, 5.2)";
    DropOutOfWindow: "penstock_dropped_frames_total" "reason" = "out_of_window", "Outside of the receive window: repeated, a keep-alive probe, or forged";
    DropPaws: "penstock_dropped_frames_total" "reason" = "paws", "Its timestamp is older than the last one: a segment of long ago (RFC 7323, 5)";
    DropUnroutable: "penstock_dropped_frames_total" "reason" = "no_route", "No on-link prefix or gateway for the destination";
    DropDriver: "penstock_dropped_frames_total" "reason" = "driver", "Frame the driver refused to send";
    // Link and ICMP
    ArpRequestsRx: "penstock_arp_total" "kind" = "request_rx", "ARP requests for our address";
    ArpRepliesRx: "penstock_arp_total" "kind" = "reply_rx", "ARP replies accepted";
    ArpRequestsTx: "penstock_arp_total" "kind" = "request_tx", "ARP requests sent";
    ArpRepliesTx: "penstock_arp_total" "kind" = "reply_tx", "ARP replies sent";
    NdSolicitsRx: "penstock_neighbor_discovery_total" "kind" = "solicit_rx", "Neighbour solicitations for our address";
    NdAdvertsRx: "penstock_neighbor_discovery_total" "kind" = "advert_rx", "Neighbour advertisements accepted";
    NdSolicitsTx: "penstock_neighbor_discovery_total" "kind" = "solicit_tx", "Neighbour solicitations sent";
    NdAdvertsTx: "penstock_neighbor_discovery_total" "kind" = "advert_tx", "Neighbour advertisements sent";
    IcmpEchoRx: "penstock_icmp_echo_total" "kind" = "request_rx", "Echo requests received";
    IcmpEchoTx: "penstock_icmp_echo_total" "kind" = "reply_tx", "Echo replies sent";
    TooBigLowered: "penstock_packet_too_big_total" "outcome" = "lowered", "Reports that lowered the path MTU of a connection";
    TooBigUnchanged: "penstock_packet_too_big_total" "outcome" = "unchanged", "Reports of a connection's packet that tell nothing new";
    TooBigRefused: "penstock_packet_too_big_total" "outcome" = "refused", "Reports of a connection's packet that is not under way, or with an impossible size";
    TooBigElsewhere: "penstock_packet_too_big_total" "outcome" = "elsewhere", "Reports of no connection of the worker that received them, left for the other workers";
    TooBigLost: "penstock_packet_too_big_total" "outcome" = "lost", "Reports left by other workers that were replaced before this one read them";
    BlackHole: "penstock_path_mtu_black_holes_total" "" = "", "Path MTUs lowered because a connection's large segments were lost again and again; a peer that vanished looks the same";
    NeighborContested: "penstock_neighbor_changes_total" "event" = "contested", "Another MAC claimed a known neighbour's address: the known one is asked first";
    NeighborUpheld: "penstock_neighbor_changes_total" "event" = "upheld", "The known MAC answered and keeps the address";
    NeighborMoved: "penstock_neighbor_changes_total" "event" = "moved", "The known MAC was silent and the other one has the address";
    NeighborEvicted: "penstock_neighbor_changes_total" "event" = "evicted", "Neighbours forgotten because the table was full";
    NeighborRefused: "penstock_neighbor_changes_total" "event" = "not_learnt", "Hosts that asked for us and were not learnt: too many new ones, or the table is full";
    // Connections
    ConnAccepted: "penstock_connections_accepted_total" "" = "", "Connections that completed the handshake";
    ConnConnected: "penstock_connections_established_total" "" = "", "Connections of our own that completed the handshake";
    ConnSyn: "penstock_handshakes_total" "" = "", "Handshakes begun";
    ConnClosed: "penstock_connections_closed_total" "reason" = "closed", "Closed by FIN in both directions";
    ConnReset: "penstock_connections_closed_total" "reason" = "reset", "Reset by the peer";
    ConnAborted: "penstock_connections_closed_total" "reason" = "aborted", "Reset by us";
    ConnTimedOut: "penstock_connections_closed_total" "reason" = "timeout", "The peer stopped answering: handshake, retransmission, persist or FIN-WAIT-2 deadline";
    RstTx: "penstock_rst_sent_total" "" = "", "RSTs sent for segments without a connection";
    TimeWaitEntered: "penstock_time_wait_total" "kind" = "entered", "TIME-WAIT entries made";
    TimeWaitRecycled: "penstock_time_wait_total" "kind" = "recycled", "Oldest TIME-WAIT entries ended early because the table was full";
    TimeWaitReused: "penstock_time_wait_total" "kind" = "reused", "TIME-WAIT entries ended by an acceptable new SYN (RFC 6191)";
    SynCookieSent: "penstock_syn_cookies_total" "kind" = "sent", "SYN-ACKs with a cookie, of which nothing is kept";
    SynCookieFlood: "penstock_syn_cookies_total" "kind" = "flood", "SYNs answered by a cookie because too many handshakes were under way";
    SynCookieAccepted: "penstock_syn_cookies_total" "kind" = "accepted", "ACKs that brought their cookie back and became connections";
    SynCookieInvalid: "penstock_syn_cookies_total" "kind" = "invalid", "ACKs for a listener without a valid cookie, while cookies are out";
    ChallengeAck: "penstock_challenge_acks_total" "" = "", "ACKs sent to segments that TIME-WAIT or a connection does not expect";
    ChallengeWithheld: "penstock_challenge_acks_withheld_total" "" = "", "ACKs not sent because of their rate limit";
    SegmentResent: "penstock_retransmitted_segments_total" "" = "", "Segments of open connections sent again: lost, taken for lost, or sent to find out";
    SegmentTrimmed: "penstock_trimmed_segments_total" "" = "", "Segments of which only the part inside the receive window was taken";
    ConnParked: "penstock_parking_total" "kind" = "parked", "Idle connections that gave back their socket and rings";
    ConnDisplaced: "penstock_parking_total" "kind" = "displaced", "Connections parked early because another needed socket and rings";
    ConnWoken: "penstock_parking_total" "kind" = "woken", "Parked connections that got socket and rings again";
    ParkedLate: "penstock_parking_total" "kind" = "deadline_late", "Times that a parked connection's deadline was put off because no socket and rings were free";
    BulkTaken: "penstock_bulk_rings_total" "kind" = "taken", "Larger transmit rings given to connections";
    BulkNone: "penstock_bulk_rings_total" "kind" = "none_free", "Bodies sent through the small ring because no larger one was free";
    TxStall: "penstock_tx_stalls_total" "" = "", "Connections put off because the transmit backlog was full";
    // HTTP
    HttpRequests: "penstock_http_request_heads_total" "" = "", "Request heads read and routed";
    Http1xx: "penstock_http_interim_responses_total" "" = "", "Interim responses sent: 100 Continue";
    HttpMalformed: "penstock_http_rejected_total" "reason" = "malformed", "Answered 400 and closed: ambiguous or invalid framing or syntax";
    HttpVersion: "penstock_http_rejected_total" "reason" = "version", "Answered 505 and closed: unsupported HTTP version";
    HttpHeadTimeout: "penstock_http_rejected_total" "reason" = "head_timeout", "Answered 408: the head did not arrive in time";
    HttpBodyTimeout: "penstock_http_rejected_total" "reason" = "body_timeout", "Answered 408: the body stopped arriving";
    HttpBodyTooLarge: "penstock_http_rejected_total" "reason" = "body_too_large", "Answered 413: body over the limit";
    HttpTargetTooLong: "penstock_http_rejected_total" "reason" = "target_too_long", "Answered 414: request line over the limit";
    HttpHeadTooLarge: "penstock_http_rejected_total" "reason" = "head_too_large", "Answered 431: header section or field count over the limit";
    HttpExpectation: "penstock_http_rejected_total" "reason" = "expectation", "Answered 417: unknown expectation";
    HttpNotImplemented: "penstock_http_rejected_total" "reason" = "not_implemented", "Answered 501: transfer coding or method not implemented";
    HttpHeadBuffers: "penstock_http_rejected_total" "reason" = "head_buffers", "Answered 503: every buffer for large heads is in use";
    HttpIdleClosed: "penstock_http_closed_total" "reason" = "idle", "Keep-alive connections closed by the idle limit";
    HttpRequestLimit: "penstock_http_closed_total" "reason" = "request_limit", "Connections closed after their last permitted request";
    HttpWriteTimeout: "penstock_http_closed_total" "reason" = "write_timeout", "Connections aborted because the client stopped reading";
}

macro_rules! gauges {
    ($($variant:ident: $state:literal, $help:literal;)*) => {
        /// Connections of a worker in one state: a number that goes up and down.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Gauge { $(#[doc = $help] $variant,)* }

        impl Gauge {
            /// Every gauge, in declaration order.
            pub const ALL: &'static [Gauge] = &[$(Gauge::$variant,)*];

            /// The state's name.
            pub const fn state(self) -> &'static str {
                match self { $(Gauge::$variant => $state,)* }
            }
        }
    };
}

gauges! {
    Handshake: "handshake", "From the SYN to the handshake's last ACK";
    Open: "open", "Established, or half closed by the peer";
    Parked: "parked", "Established and idle, without socket and rings";
    Closing: "closing", "Our FIN is sent, the end not reached";
    TimeWait: "time_wait", "In TIME-WAIT, without a slot";
}

/// One worker's counters. Writing is the owner's alone; reading is anyone's.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    words: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    times: Times,
    /// From the turn that saw a request's first byte to the turn that queued its answer's last byte.
    pub latency: Histogram,
    /// Answered requests.
    pub requests: Requests,
    /// Turns a live capture of this worker on and off.
    pub tap: tap::Switch,
}

#[derive(Debug, Default)]
struct Times {
    busy_ns: AtomicU64,
    idle_ns: AtomicU64,
    asleep_ns: AtomicU64,
    /// When the last turn began.
    beat_ns: AtomicU64,
    /// Their sum is that of busy and idle time.
    gaps: Histogram,
}

/// What a worker's time went to, at one time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TurnTimes {
    /// In turns that did something, in nanoseconds.
    pub busy_ns: u64,
    /// In turns that did nothing, in nanoseconds.
    pub idle_ns: u64,
    /// Between turns, asleep, in nanoseconds.
    pub asleep_ns: u64,
    /// When the last turn began, in nanoseconds of the workers' clock.
    pub beat_ns: u64,
    /// Times between the beginnings of successive turns.
    pub gaps: Reading,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            words: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            gauges: [const { AtomicU64::new(0) }; Gauge::ALL.len()],
            times: Times::default(),
            latency: Histogram::default(),
            requests: Requests::default(),
            tap: tap::Switch::default(),
        }
    }
}

impl Counters {
    /// Counters with room for the requests of so many listeners and routes.
    pub fn with_requests(listeners: usize, routes: usize) -> Counters {
        Counters { requests: Requests::new(listeners, routes), ..Counters::default() }
    }

    /// Adds `n`. Only the owning worker may call it: concurrent writers lose counts.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        add(&self.words[counter as usize], n);
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// The present value.
    pub fn read(&self, counter: Counter) -> u64 {
        self.words[counter as usize].load(Relaxed)
    }

    /// Sets a gauge. Only the owning worker may call it.
    #[inline]
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].store(value, Relaxed);
    }

    /// A gauge's value when it was last set.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].load(Relaxed)
    }

    /// What the worker's time went to.
    pub fn times(&self) -> TurnTimes {
        let Times { busy_ns, idle_ns, asleep_ns, beat_ns, gaps } = &self.times;
        let mut gaps = gaps.read();
        let (busy_ns, idle_ns) = (busy_ns.load(Relaxed), idle_ns.load(Relaxed));
        gaps.sum_ns = busy_ns.wrapping_add(idle_ns);
        let (asleep_ns, beat_ns) = (asleep_ns.load(Relaxed), beat_ns.load(Relaxed));
        TurnTimes { busy_ns, idle_ns, asleep_ns, beat_ns, gaps }
    }

    /// The sum over every counter of one metric, such as all dropped frames.
    pub fn read_metric(&self, name: &str) -> u64 {
        Counter::ALL.iter().filter(|c| c.describe().0 == name).map(|c| self.read(*c)).sum()
    }
}

/// Adds to a word with one writer.
#[inline]
fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Relaxed).wrapping_add(n), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_prometheus_conventions_and_are_unique() {
        let mut seen = HashSet::new();
        for counter in Counter::ALL {
            let (name, label, value, help) = counter.describe();
            assert!(name.starts_with("penstock_") && name.ends_with("_total"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert_eq!(label.is_empty(), value.is_empty(), "{name}");
            assert!(!help.is_empty(), "{name}");
            assert!(seen.insert((name, value)), "{name} {value} twice");
        }
    }

    #[test]
    fn counts_are_kept_apart() {
        let counters = Counters::default();
        counters.add(Counter::DropRunt, 2);
        counters.inc(Counter::DropArp);
        assert_eq!(counters.read(Counter::DropRunt), 2);
        assert_eq!(counters.read(Counter::RxFrames), 0);
        assert_eq!(counters.read_metric("penstock_dropped_frames_total"), 3);
    }
}
