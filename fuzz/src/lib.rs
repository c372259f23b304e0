//! Every parser of bytes that come from outside, as functions that panic where a property does not hold.
//!
//! Owns the list of targets; README.md says which parser each covers. Refuses to choose inputs: a fuzzer, or the driver in
//! `main.rs`, does.

mod bed;
mod capture;
mod config;
mod doctor;
mod frames;
mod http;
mod input;
mod load;
mod routes;
mod scrape;
mod session;
mod status;
mod values;
mod worker;

/// Something to try inputs on.
pub struct Target {
    /// Its name, and that of its folder in `seeds`.
    pub name: &'static str,
    /// What an input is.
    pub says: &'static str,
    /// Panics when the input shows a mistake.
    pub run: fn(&[u8]),
}

/// All of them.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    Target { name: "http_head", says: "a request head, cut anywhere; httparse agrees on accepted ones", run: http::head },
    Target { name: "http_chunked", says: "a chunked body in pieces; httparse agrees on accepted ones", run: http::chunked },
    Target { name: "http_target", says: "a request target: one host, one canonical path", run: http::target },
    Target { name: "routes", says: "routes and a request, against a model that tries every route", run: routes::routes },
    Target { name: "session", says: "a connection's bytes through TCP, cut in two ways", run: session::session },
    Target { name: "frame", says: "a frame, classified; the simulator's reader agrees", run: frames::classify },
    Target { name: "worker", says: "frames into a whole worker; none is lost, all come to an end", run: worker::worker },
    Target { name: "config", says: "a configuration file, and all that is made of a valid one", run: config::config },
    Target { name: "values", says: "sizes, durations, ports, listeners, drop reasons", run: values::values },
    Target { name: "command_line", says: "arguments, one a line; EAL's go to EAL unchanged", run: values::command_line },
    Target { name: "capture_query", says: "the query of a capture on the admin socket", run: values::capture_query },
    Target { name: "capture_filter", says: "a capture's conditions and a frame; another reader agrees", run: capture::filter },
    Target { name: "pcapng_stream", says: "a stream of pcapng blocks in pieces", run: capture::pcapng_stream },
    Target { name: "pcapng_written", says: "frames written as pcapng, read by another reader", run: capture::pcapng_written },
    Target { name: "status", says: "JSON as the state of a gateway, for penstock status and top", run: status::status },
    Target { name: "load_plan", says: "a load plan; heads of requests are whole for httparse", run: load::plan },
    Target { name: "load_values", says: "rates, stages, statuses, URLs, thresholds of load runs", run: load::values },
    Target { name: "answer", says: "the head of an answer, cut anywhere", run: load::answer },
    Target { name: "exposition", says: "a choice of series, and metrics in Prometheus' text format", run: scrape::exposition },
    Target { name: "doctor", says: "files of /proc and /sys, and port.device", run: doctor::doctor },
];
