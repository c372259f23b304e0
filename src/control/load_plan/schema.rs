//! Every key of a load plan, once.
//!
//! Owns names, types, ranges, defaults and meanings, for files and flags alike: a flag is a key that is written elsewhere.
//! Tests compare docs/load.md with it, and the defaults with those of the program.

use crate::control::load::schema::{Kind, PORT, Schema, key};
use crate::limits;
use crate::loadgen::plan::PIPELINE_MAX;

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
/// The longest stage, in milliseconds: a week.
const STAGE_MAX: u64 = 7 * 24 * HOUR;
const KIB: u64 = 1024;

/// The most connections of a plan.
pub const CONNECTIONS_MAX: u64 = 1 << 24;
/// The largest request content, in bytes.
pub const BODY_MAX: u64 = 1 << 30;
/// The longest name of a stage, class or run, in bytes.
pub const NAME_MAX: usize = 64;

/// The whole file.
pub static ROOT: Schema = Schema {
    name: "the plan",
    keys: &[
        key("load", Kind::Table(&LOAD), "given as flags", "Where to, how many, and how fast."),
        key(
            "port",
            Kind::Table(&PORT),
            "given as flags",
            "The device and our place in the network, as in a gateway's file.",
        ),
        key("stages", Kind::Tables(&STAGE), "`load.rate`", "The course of the run, in order; at most 64."),
        key(
            "requests",
            Kind::Tables(&REQUEST),
            "one GET of the URL",
            "What is asked; at most 64, and at most 64 pairs of a stage and a request.",
        ),
        key("thresholds", Kind::Thresholds(&THRESHOLD), "none", "What must hold, by metric, in k6's grammar."),
        key("workers", Kind::Table(&WORKERS), "defaults", "Cores and memory."),
        key("tcp", Kind::Table(&TCP), "defaults", "Buffers of connections."),
    ],
};

/// `[load]`.
pub static LOAD: Schema = Schema {
    name: "[load]",
    keys: &[
        key(
            "url",
            Kind::Text,
            "given as a flag",
            "`http://HOST[:PORT][/PATH]`. A name is resolved once, at the start, by the system.",
        ),
        key(
            "rate",
            Kind::Rate,
            "[[stages]]",
            "Requests per second of all workers together: 0.1/s to 100M/s, `\"FROM->TO\"` for a ramp, or `\"max\"`: whenever a \
             connection is free (closed loop).",
        ),
        key("duration", Kind::Duration(1, STAGE_MAX), "\"30s\"", "How long, with `rate`; warm-up not counted."),
        key(
            "arrivals",
            Kind::Choice(&["constant", "poisson"]),
            "\"constant\"",
            "At equal distances, or as a Poisson process, which is what many independent users make.",
        ),
        key(
            "warm_up",
            Kind::Duration(1, STAGE_MAX),
            "none",
            "A stage before the others, at the rate the first one starts with, whose requests are not judged.",
        ),
        key(
            "spike",
            Kind::Texts,
            "none",
            "`\"RATE:START:DURATION\"`: another rate from START on for DURATION, with `rate` and `duration`.",
        ),
        key(
            "connections",
            Kind::Integer(1, CONNECTIONS_MAX),
            "100",
            "Connections of all workers together: held open, or in use at one time.",
        ),
        key(
            "requests_per_connection",
            Kind::Integer(0, u32::MAX as u64),
            "0",
            "Then it is closed and another opened. 0: no limit; 1: a connection for each request.",
        ),
        key(
            "pipeline",
            Kind::Integer(1, PIPELINE_MAX as u64),
            "1",
            "Requests that wait for their answer on one connection.",
        ),
        key(
            "timeout",
            Kind::Duration(1, HOUR),
            "\"10s\"",
            "From sending a request to the end of its answer. Over it: failed, and its connection is reset.",
        ),
        key("connect_timeout", Kind::Duration(1, HOUR), "\"5s\"", "From the SYN to the end of the handshake."),
        key(
            "source_ports",
            Kind::Text,
            "\"1024-65535\"",
            "Our ports, from 1024. A connection needs an address and port of its own.",
        ),
        key(
            "seed",
            Kind::Integer(0, i64::MAX as u64),
            "1",
            "Chooses Poisson gaps and classes; the same seed, the same run.",
        ),
        key("name", Kind::Text, "the URL", "What results call this run; at most 64 bytes."),
    ],
};

/// `[[stages]]`.
pub static STAGE: Schema = Schema {
    name: "[[stages]]",
    keys: &[
        key("name", Kind::Text, "\"stage N\"", "Unique; at most 64 bytes, without `{`, `}`, `:` and `,`."),
        key(
            "rate",
            Kind::Rate,
            "required",
            "As `load.rate`; also 0, a stage of rest. `\"max\"` must then be the rate of every stage.",
        ),
        key("duration", Kind::Duration(1, STAGE_MAX), "required", "How long."),
        key("warm_up", Kind::Flag, "false", "Its requests are sent and not judged."),
    ],
};

/// `[[requests]]`.
pub static REQUEST: Schema = Schema {
    name: "[[requests]]",
    keys: &[
        key("name", Kind::Text, "\"request N\"", "Unique; at most 64 bytes, without `{`, `}`, `:` and `,`."),
        key("weight", Kind::Integer(1, 1_000_000), "1", "Its share of all requests, over the sum of weights."),
        key("method", Kind::Text, "\"GET\"", "A token of RFC 9110, 9.1; not CONNECT."),
        key("path", Kind::Text, "that of the URL", "Path and query, beginning with `/`."),
        key(
            "headers",
            Kind::Fields,
            "none",
            "Header fields in file order, besides Host, User-Agent and Content-Length, of which the first two may be replaced.",
        ),
        key("body", Kind::Text, "no content", "The content."),
        key("body_file", Kind::Text, "no content", "A file that holds it, relative to the plan; read once at start."),
        key("body_size", Kind::Size(0, BODY_MAX), "no content", "So many bytes of letters, instead."),
        key(
            "expect_status",
            Kind::Statuses,
            "200-399",
            "Status codes that are accepted: `200`, `\"200-299,404\"`. Other answers count as failed.",
        ),
        key(
            "expect_size",
            Kind::Size(0, 1 << 40),
            "any",
            "Bytes of content an answer must have, without chunked coding.",
        ),
        key("expect_sha256", Kind::Text, "any", "SHA-256 of the content, in hexadecimal."),
    ],
};

/// A condition of `[thresholds]`, written as a table.
pub static THRESHOLD: Schema = Schema {
    name: "threshold",
    keys: &[
        key("threshold", Kind::Text, "required", "The condition, such as `p(99.9)<1ms`."),
        key("abort_on_fail", Kind::Flag, "false", "The run ends as soon as it does not hold."),
        key(
            "delay",
            Kind::Duration(0, STAGE_MAX),
            "\"0ns\"",
            "From the end of warm-up until `abort_on_fail` may act; k6's delayAbortEval.",
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
            "one",
            "Workers, one core and queue pair each. More than one needs a device that tells its RSS key and table.",
        ),
        key(
            "hugepages",
            Kind::Choice(&["auto", "require", "off"]),
            "\"auto\"",
            "Hugepages for packets and connections: use them where reserved, refuse to start without, or use none.",
        ),
    ],
};

/// `[tcp]`.
pub static TCP: Schema = Schema {
    name: "[tcp]",
    keys: &[
        key(
            "rx_ring",
            Kind::PowerOfTwo(2 * KIB, limits::RING_MAX as u64),
            "\"8KiB\"",
            "Receive buffer of a connection: the largest window it offers.",
        ),
        key(
            "tx_ring",
            Kind::PowerOfTwo(2 * KIB, limits::RING_MAX as u64),
            "\"4KiB\"",
            "Transmit buffer of a connection; a request's header section has to fit in.",
        ),
    ],
};
