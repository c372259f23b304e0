//! Every key of the configuration file, once.
//!
//! Owns names, types, ranges, defaults and meanings. The readers take ranges and suggestions from here, and a test
//! compares docs/configuration.md with it; defaults are those of `config`, which another test compares.

use crate::limits;

/// The keys of one section.
#[derive(Debug)]
pub struct Schema {
    /// As written in a file: `[port]`, `[[route]]`, `respond`.
    pub name: &'static str,
    /// In the order of the documentation.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// As written, or words such as "required".
    pub default: &'static str,
    /// What it sets, and what happens at the limit.
    pub meaning: &'static str,
}

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A string or a list of strings.
    Texts,
    /// A whole number in this range.
    Integer(u64, u64),
    /// Bytes in this range: a string with a unit, or a whole number.
    Size(u64, u64),
    /// Bytes in this range, a power of two.
    PowerOfTwo(u64, u64),
    /// A string with a unit, in this range of milliseconds.
    Duration(u64, u64),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A section.
    Table(&'static Schema),
    /// A section that may be repeated.
    Tables(&'static Schema),
    /// Header fields: a table of strings or lists of strings.
    Fields,
    /// True or false.
    Flag,
    /// Requests per second: a number, a string with a unit, two of them for a ramp, or `max`.
    Rate,
    /// Status codes and ranges of them: numbers, strings or a list of those.
    Statuses,
    /// Conditions by metric: strings, tables of this form, or a list of those.
    Thresholds(&'static Schema),
}

impl Schema {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

pub(in crate::control) const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, meaning }
}

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const KIB: u64 = 1024;
/// Retention beyond the maximum segment lifetime twice over (RFC 9293, 3.4.2: 2 minutes) serves nobody.
const TIME_WAIT_MAX: u64 = 240 * SECOND;

/// The whole file.
pub static ROOT: Schema = Schema {
    name: "the file",
    keys: &[
        key("port", Kind::Table(&PORT), "required", "The device and our place in the network."),
        key("workers", Kind::Table(&WORKERS), "defaults", "Cores and memory."),
        key("listener", Kind::Tables(&LISTENER), "required", "Where to accept connections; at least 1, at most 16."),
        key("http", Kind::Table(&HTTP), "defaults", "Limits on what a client may send."),
        key("tcp", Kind::Table(&TCP), "defaults", "TCP buffers and deadlines."),
        key("metrics", Kind::Table(&METRICS), "defaults", "Metrics and health for monitoring."),
        key("admin", Kind::Table(&ADMIN), "defaults", "The socket that `penstock status` and `penstock top` ask."),
        key("log", Kind::Table(&LOG), "defaults", "What the gateway says while it runs."),
        key("route", Kind::Tables(&ROUTE), "required", "What to answer; at least 1, at most 4096."),
    ],
};

/// `[port]`.
pub static PORT: Schema = Schema {
    name: "[port]",
    keys: &[
        key(
            "device",
            Kind::Text,
            "from EAL arguments",
            "A DPDK vdev with its arguments, or the PCI address of a network card bound to a DPDK driver.",
        ),
        key(
            "address",
            Kind::Texts,
            "required",
            "Our addresses, each with the length of its on-link prefix; 1 to 16 unicast IPv4 or IPv6 addresses.",
        ),
        key(
            "gateway",
            Kind::Texts,
            "none",
            "Default gateways, at most one for each address family, each within the prefix of an address or IPv6 \
             link-local. Without one only on-link clients are answered.",
        ),
        key("vlan", Kind::Integer(1, 4094), "untagged", "VLAN identifier of a tagged port. Other frames are dropped."),
        key(
            "mtu",
            Kind::Integer(limits::MTU_MIN as u64, limits::MTU_MAX as u64),
            "the device's",
            "Largest IP packet sent, in bytes; at least 1280 with an IPv6 address (RFC 8200, 5). Never more than 1500: \
             jumbo frames are not supported.",
        ),
    ],
};

/// `[workers]`.
pub static WORKERS: Schema = Schema {
    name: "[workers]",
    keys: &[
        key(
            "count",
            Kind::Integer(1, limits::WORKERS_MAX as u64),
            "planned",
            "Workers, one core and queue pair each. Planned from CPUs and queues when left out.",
        ),
        key(
            "connections",
            Kind::Integer(16, limits::CONNECTIONS_MAX as u64),
            "16384",
            "Connections per worker; their memory is reserved at start. A SYN beyond it is dropped and counted.",
        ),
        key(
            "active",
            Kind::Integer(16, limits::CONNECTIONS_MAX as u64),
            "connections",
            "Connections per worker that have socket and rings at the same time. With less than `connections` idle ones are \
             parked: each keeps under 512 bytes and wakes on its next request.",
        ),
        key(
            "hugepages",
            Kind::Choice(&["auto", "require", "off"]),
            "\"auto\"",
            "Hugepages for packets and connections: use them where reserved, refuse to start without, or use none.",
        ),
        key(
            "idle",
            Kind::Choice(&["sleep", "poll"]),
            "\"sleep\"",
            "What a worker does while no frame arrives: sleep between looks, or poll without end.",
        ),
        key(
            "idle_after",
            Kind::Duration(1, HOUR),
            "\"10ms\"",
            "From the last frame to the first sleep; until then the worker polls.",
        ),
        key(
            "idle_sleep",
            Kind::Duration(1, 100),
            "\"1ms\"",
            "The longest sleep, reached by doubling from 50 us. The first frame after a quiet time waits at most this long.",
        ),
        key(
            "drain_timeout",
            Kind::Duration(1, HOUR),
            "\"5s\"",
            "After TERM or INT, how long requests that have begun may take. What is left then is reset.",
        ),
    ],
};

/// `[[listener]]`.
pub static LISTENER: Schema = Schema {
    name: "[[listener]]",
    keys: &[
        key("port", Kind::Integer(1, 65535), "required", "TCP port."),
        key("address", Kind::Text, "all of [port]", "One of the port's addresses, without prefix length."),
    ],
};

/// `[http]`.
pub static HTTP: Schema = Schema {
    name: "[http]",
    keys: &[
        key(
            "request_line",
            Kind::Size(256, limits::HEAD_SIZE_MAX as u64),
            "\"8KiB\"",
            "Request line, CRLF excluded; at most `head_size`. Over it: 414, closed.",
        ),
        key(
            "head_size",
            Kind::Size(KIB, limits::HEAD_SIZE_MAX as u64),
            "\"32KiB\"",
            "Request line and header section together. Over it: 431, closed.",
        ),
        key(
            "header_count",
            Kind::Integer(1, limits::HEADER_COUNT_MAX as u64),
            "100",
            "Header fields of a request. Over it: 431, closed.",
        ),
        key(
            "body_size",
            Kind::Size(0, 1 << 40),
            "\"1MiB\"",
            "Request body; chunked ones are counted as they arrive. Over it: 413, closed.",
        ),
        key(
            "head_timeout",
            Kind::Duration(100, HOUR),
            "\"10s\"",
            "To the end of a request's head: from the connection's start for the first one, from its first byte for others. \
             Over it: 408, closed.",
        ),
        key(
            "body_timeout",
            Kind::Duration(100, HOUR),
            "\"30s\"",
            "Between two reads of a request body. Over it: 408, closed.",
        ),
        key("idle_timeout", Kind::Duration(100, HOUR), "\"75s\"", "Between two requests. Over it: closed."),
        key(
            "write_timeout",
            Kind::Duration(100, HOUR),
            "\"60s\"",
            "Without progress while the client reads a response. Over it: connection reset.",
        ),
        key(
            "requests_per_connection",
            Kind::Integer(0, i64::MAX as u64),
            "0",
            "The last one is answered with `Connection: close`. 0: no limit.",
        ),
    ],
};

/// `[tcp]`.
pub static TCP: Schema = Schema {
    name: "[tcp]",
    keys: &[
        key(
            "rx_ring",
            Kind::PowerOfTwo(limits::RING_MIN as u64, limits::RING_MAX as u64),
            "\"4KiB\"",
            "Receive buffer of a connection: the largest window it offers.",
        ),
        key(
            "tx_ring",
            Kind::PowerOfTwo(limits::RING_MIN as u64, limits::RING_MAX as u64),
            "\"8KiB\"",
            "Transmit buffer of a connection: the most it has in flight.",
        ),
        key(
            "bulk_tx_ring",
            Kind::Size(limits::RING_MIN as u64, limits::BULK_RING_MAX as u64),
            "\"512KiB\"",
            "Transmit buffer that a connection gets for an answer whose body is larger than `tx_ring`, until it is idle for \
             `park_after`. The most that is under way: bandwidth times round trip, twice that where frames get lost. \
             Not for connections whose segments carry less than 512 bytes.",
        ),
        key(
            "bulk_rings",
            Kind::Integer(0, limits::BULK_RINGS_MAX as u64),
            "64",
            "Such buffers per worker. When all are in use `tx_ring` has to do.",
        ),
        key(
            "half_open",
            Kind::Integer(1, limits::CONNECTIONS_MAX as u64),
            "4096",
            "Handshakes under way per worker. What happens to a SYN beyond it, `syn_cookies` says.",
        ),
        key(
            "syn_cookies",
            Kind::Choice(&["auto", "always", "off"]),
            "\"auto\"",
            "Answers to SYNs of which nothing is kept: beyond `half_open` handshakes, or half of `workers.active` if that is \
             less; always; or never, and a SYN beyond `half_open` is dropped and counted.",
        ),
        key(
            "timestamps",
            Kind::Flag,
            "false",
            "Timestamps (RFC 7323) where the client offers them: segments of long ago are told by them, and SYN cookies \
             bring window scale and selective acknowledgments back.",
        ),
        key(
            "connections_per_source",
            Kind::Integer(0, limits::CONNECTIONS_MAX as u64),
            "0",
            "Connections of one source per worker, handshakes included: of an IPv4 address, or of an IPv6 /64. Over it: reset \
             at once and counted. 0: no limit.",
        ),
        key(
            "handshake_timeout",
            Kind::Duration(SECOND, 300 * SECOND),
            "\"10s\"",
            "From SYN to the last ACK of the handshake. Over it: connection freed and counted.",
        ),
        key(
            "fin_timeout",
            Kind::Duration(SECOND, HOUR),
            "\"20s\"",
            "From our FIN, queued behind the last answer, to the end of the connection, as long as the client reads nothing. \
             Over it: reset if part of the answer is unread, freed and counted.",
        ),
        key(
            "rto_min",
            Kind::Duration(20, SECOND),
            "\"200ms\"",
            "The least retransmission timeout once a handshake is over, to within a whole part of a second. RFC 6298, 2.4 asks \
             for 1s; Linux takes 200ms.",
        ),
        key(
            "park_after",
            Kind::Duration(100, HOUR),
            "\"5s\"",
            "With `workers.active` less than `workers.connections`: a connection that is idle for so long, or up to twice as \
             long, is parked; sooner when another needs its place.",
        ),
        key(
            "time_wait",
            Kind::Duration(SECOND, TIME_WAIT_MAX),
            "\"1m\"",
            "TIME-WAIT; twice the maximum segment lifetime of RFC 9293, 3.4.2 would be 4m.",
        ),
        key(
            "time_wait_entries",
            Kind::Integer(16, limits::CONNECTIONS_MAX as u64),
            "32768",
            "TIME-WAIT entries per worker. Beyond it the oldest one ends early and is counted.",
        ),
    ],
};

/// `[metrics]`.
pub static METRICS: Schema = Schema {
    name: "[metrics]",
    keys: &[key(
        "address",
        Kind::Text,
        "\"127.0.0.1:9902\"",
        "Address and port of a kernel socket for `/metrics`, `/livez` and `/readyz`; `\"off\"`: none.",
    )],
};

/// `[admin]`.
pub static ADMIN: Schema = Schema {
    name: "[admin]",
    keys: &[key(
        "socket",
        Kind::Text,
        "\"auto\"",
        "Path of a Unix socket, absolute; `\"auto\"`: `PID.sock` in the runtime folder; `\"off\"`: none.",
    )],
};

/// `[log]`.
pub static LOG: Schema = Schema {
    name: "[log]",
    keys: &[
        key(
            "format",
            Kind::Choice(&["auto", "text", "json"]),
            "\"auto\"",
            "A line on standard output: `text`, `json`, or text on a terminal and JSON otherwise. `--log-format` overrides it.",
        ),
        key(
            "level",
            Kind::Choice(&["error", "warn", "info", "debug"]),
            "\"info\"",
            "Events of this level and worse are written. `--log-level` overrides it, `penstock log-level` changes it at run time.",
        ),
    ],
};

/// `[[route]]`.
pub static ROUTE: Schema = Schema {
    name: "[[route]]",
    keys: &[
        key("host", Kind::Text, "any host", "Host name or address of the request, without port, in any case."),
        key(
            "path",
            Kind::Text,
            "this or `exact`",
            "Path prefix by whole segments: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`.",
        ),
        key("exact", Kind::Text, "this or `path`", "The whole path, without query: `/a` matches `/a` only."),
        key(
            "method",
            Kind::Texts,
            "any method",
            "Methods, at most 16; `GET` also answers `HEAD`. Others: 405 with `Allow`; CONNECT and TRACE always 501.",
        ),
        key("respond", Kind::Table(&RESPOND), "required", "The answer."),
    ],
};

/// `respond` of a route.
pub static RESPOND: Schema = Schema {
    name: "respond",
    keys: &[
        key("status", Kind::Integer(200, 599), "200", "Status code. 204, 205 and 304 have no body."),
        key("body", Kind::Text, "empty", "The content, `text/plain; charset=utf-8` unless `headers` says otherwise."),
        key(
            "file",
            Kind::Text,
            "none",
            "A file with the content instead, read once at start, at most 1 GiB; relative to the configuration file. \
             Its extension gives the content type.",
        ),
        key(
            "headers",
            Kind::Fields,
            "none",
            "Further header fields, at most 32: a table of strings, or of lists of strings for repeated fields.",
        ),
    ],
};
