//! The rules on bad and good snippets: each rule must be able to fail.

use super::*;

/// The rules a source breaks, each once, in the order found.
fn broken(path: &str, text: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for violation in check_source(&Source::new(path, &format!("//! Doc.\n{text}"), false)) {
        let rule = violation.split(": ").nth(1).unwrap().to_string();
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn assert_rules(cases: &[(&str, &str, &[&str])]) {
    for (path, text, rules) in cases {
        assert_eq!(broken(path, text), *rules, "{path}: {text}");
    }
}

#[test]
fn layers_are_enforced() {
    assert_rules(&[
        ("src/net/key.rs", "use crate::worker::Turn;", &["layer"]),
        ("src/net/key.rs", "use crate::{time, http};", &["layer"]),
        ("src/net/key.rs", "use crate::{time, port::Port};", &[]),
        ("src/net/stack/mod.rs", "fn f() { crate::dpdk::start() }", &["layer"]),
        ("src/net/stack/mod.rs", "use super::super::worker;", &["layer"]),
        ("src/net/stack/conn.rs", "use super::super::worker;", &[]),
        ("src/net/key.rs", "mod inner { use super::super::super::worker; }", &["layer"]),
        ("src/net/key.rs", "use crate::*;", &["layer"]),
        ("src/net/key.rs", "// crate::worker\nconst S: &str = \"crate::worker\";", &[]),
        ("src/net/key.rs", "use crate::sim::port::SimPort;", &["layer"]),
        ("src/net/key.rs", "#[cfg(test)]\nmod tests { use crate::sim::port::SimPort; }", &[]),
        ("src/http/mod.rs", "#[cfg(test)]\nmod tests { use crate::sim::port::SimPort; }", &["layer"]),
        ("src/http/mod.rs", "use crate::net;", &["layer"]),
        ("src/gateway/mod.rs", "use crate::net::key;", &["layer"]),
        ("src/runtime/mod.rs", "use crate::dpdk::Eal;", &[]),
        ("src/sim/mod.rs", "use crate::dpdk::Eal;", &["layer"]),
        ("src/time.rs", "use crate::limits;", &["layer"]),
        ("src/limits.rs", "const _: usize = super::port::BURST_MAX + super::net::X;", &["layer"]),
        ("src/attic.rs", "", &["layer"]),
        ("src/lib.rs", "pub use crate::net::key;", &[]),
        ("src/main.rs", "fn main() { penstock::cli::main() }", &[]),
        ("src/main.rs", "fn main() { penstock::runtime::run() }", &["layer"]),
    ]);
}

#[test]
fn unsafe_code_is_confined_and_explained() {
    let explained = "fn f() {\n    // SAFETY: it is.\n    let x =\n        unsafe { g() };\n}";
    let unexplained = "fn f() {\n    // SAFETY: it is.\n    let x = unsafe { g() };\n    unsafe { g() }\n}";
    assert_rules(&[
        ("src/mem/arena.rs", explained, &[]),
        ("src/dpdk/mbuf.rs", unexplained, &["safety"]),
        ("src/net/flow.rs", explained, &["unsafe"]),
        ("src/memory.rs", explained, &["layer", "unsafe"]),
        ("src/mem/arena.rs", "unsafe impl Send for X {}", &["safety"]),
        ("src/mem/arena.rs", "/// # Safety\n/// None.\nunsafe fn f() {}", &[]),
        ("src/mem/arena.rs", "// SAFETY: one.\n// two.\nunsafe impl Send for X {}", &[]),
        ("src/mem/arena.rs", "// SAFETY: far away.\n\nunsafe impl Send for X {}", &["safety"]),
        ("tests/alloc.rs", "// SAFETY: passes on.\nunsafe impl GlobalAlloc for A {}", &[]),
        ("tests/other.rs", "// SAFETY: passes on.\nunsafe impl Send for A {}", &["unsafe"]),
        ("src/net/mod.rs", "#![deny(unsafe_code)]", &[]),
    ]);
}

#[test]
fn foreign_code_is_confined() {
    assert_rules(&[
        ("src/runtime/mod.rs", "use dpdk_sys::rte_eal_init;", &["ffi"]),
        ("src/dpdk/eal.rs", "use dpdk_sys::rte_eal_init;", &[]),
        ("src/mem/mod.rs", "extern \"C\" fn f() {}", &["ffi"]),
        ("src/dpdk/lcore.rs", "extern \"C\" fn f() {}", &[]),
        ("src/lib.rs", "extern crate alloc;", &[]),
        ("src/net/tcb.rs", "use smoltcp::{iface::Interface, socket::tcp};", &[]),
        ("src/net/tcb/wire.rs", "use smoltcp::phy::Device;", &[]),
        ("src/net/link/arp.rs", "use smoltcp::wire::ArpRepr;", &[]),
        ("src/net/link/arp.rs", "use smoltcp::{wire, iface};", &["smoltcp"]),
        ("src/net/flow.rs", "use smoltcp::wire::TcpPacket;", &["smoltcp"]),
        ("src/net/ip.rs", "#[cfg(test)]\nmod tests { use smoltcp::wire::Ipv4Packet; }", &[]),
        ("src/worker/mod.rs", "#[cfg(test)]\nmod tests { use smoltcp::wire::Ipv4Packet; }", &["smoltcp"]),
        ("src/sim/client.rs", "use smoltcp::socket::tcp;", &[]),
    ]);
}

#[test]
fn clocks_output_and_unfinished_work_are_found() {
    let mark = format!("// {}: later", unfinished_marks()[0]);
    assert_rules(&[
        ("src/net/timer.rs", "fn f() { std::time::Instant::now(); }", &["clock"]),
        ("src/runtime/clock.rs", "fn f() { std::time::Instant::now(); }", &[]),
        ("src/net/timer.rs", "fn f() { println!(\"x\"); }", &["output"]),
        ("src/net/timer.rs", "#[cfg(test)]\nmod tests { fn f() { eprintln!(\"skipped\"); } }", &[]),
        ("src/cli.rs", "fn f() { eprintln!(\"x\"); }", &[]),
        ("src/dpdk/log.rs", "fn f() { eprintln!(\"x\"); }", &[]),
        ("src/dpdk/eal.rs", "fn f() { eprintln!(\"x\"); }", &["output"]),
        ("src/net/timer.rs", "fn f() { todo!() }", &["unfinished"]),
        ("src/cli.rs", "fn f() { dbg!(1); }", &["unfinished"]),
        ("src/net/timer.rs", &mark, &["unfinished"]),
    ]);
}

#[test]
fn sizes_are_enforced() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n\n    // c\n".repeat(lines - 2));
    assert_rules(&[
        ("src/net/key.rs", &function(FUNCTION_LINES_MAX), &[]),
        ("src/net/key.rs", &function(FUNCTION_LINES_MAX + 1), &["size"]),
        ("src/net/key.rs", &"\n".repeat(FILE_LINES_MAX - 1), &[]),
        ("src/net/key.rs", &"\n".repeat(FILE_LINES_MAX), &["size"]),
    ]);
    let headless = check_source(&Source::new("src/net/key.rs", "use core::net::IpAddr;\n", false));
    assert_eq!(headless, ["src/net/key.rs:1: header: begin with `//!`: what this file owns and what it refuses"]);
}

#[test]
fn documents_are_checked() {
    let (work, home) = (["/wo", "rk"].concat(), ["/ho", "me"].concat());
    for (text, n) in [
        (format!("cd {work}/main"), 1),
        (format!("FROM={home}/me"), 1),
        (format!("see src{work}er and net{work}"), 0),
        (format!("https://example.org{home}/page"), 0),
        ("/etc/penstock/worker".to_string(), 0),
    ] {
        assert_eq!(machine_paths("README.md", &text).len(), n, "{text}");
    }
    let exists = |path: &str| ["scripts/test.sh", "docs/a.md"].contains(&path);
    let text = "```sh\nscripts/test.sh\n./scripts/gone.sh --x\n```\n[a](a.md#part) [b](b.md) [c](https://c.d)\nscripts/prose.sh";
    let found = dead_references("docs/x.md", text, &exists);
    assert_eq!(
        found,
        ["docs/x.md:3: script: `scripts/gone.sh` does not exist", "docs/x.md:5: link: `b.md` does not exist"]
    );
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest =
        "[package]\nname = \"x\"\n[dependencies]\n# no\na-b = \"1\"\nc.workspace = true\n[dev-dependencies]\nd={ }\n";
    assert_eq!(dependencies(manifest), ["a-b", "c", "d"]);
}

#[test]
fn test_modules_in_files_of_their_own_are_found() {
    assert_eq!(child("src/net/flow.rs", "tests"), "src/net/flow/tests");
    assert_eq!(child("src/net/mod.rs", "tests"), "src/net/tests");
    assert!(within("src/net/flow/tests.rs", &["src/net/flow/tests"]));
}
