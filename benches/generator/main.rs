//! The generator's turn, beside a gateway on a false wire, for instruction counts: `generator [--list] [--case NAME]
//! --requests N` runs that many requests in a closed loop, or with more due than can be answered.

#[path = "../../tests/load/pair.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod pair;

use pair::{Pair, class, plan};
use penstock::loadgen::plan::{Arrivals, Plan};
use penstock::telemetry::Counter;

const CASES: &[&str] = &["generator-1000", "generator-overload", "generator-per-request"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
    if args.iter().any(|a| a == "--list") {
        CASES.iter().for_each(|case| println!("{case}"));
        return;
    }
    let requests = value("--requests").and_then(|n| n.parse().ok()).unwrap_or(100_000);
    for name in CASES.iter().filter(|case| value("--case").is_none_or(|name| name == *case)) {
        println!("{{\"case\":\"{name}\",\"requests\":{}}}", run(case(name), requests));
    }
}

fn case(name: &str) -> Plan {
    let mut wanted = plan(0.0, 3600.0, 1_000);
    if name == "generator-overload" {
        return plan(50e6, 3600.0, 1_000);
    }
    wanted.arrivals = Arrivals::Closed;
    if name == "generator-per-request" {
        wanted.connections = 200;
        wanted.requests_per_connection = 1;
        wanted.classes = vec![class("get", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")];
    }
    wanted
}

fn run(plan: Plan, requests: u64) -> u64 {
    let mut pair = Pair::new(plan);
    pair.prepare();
    while pair.gateway_counters.read(Counter::HttpRequests) < requests {
        pair.step();
    }
    pair.gateway_counters.read(Counter::HttpRequests)
}
