//! Plans from flags and files: every key, every mistake with its place, what wins, the bytes that are sent.

use super::*;
use crate::config::{AdminSocket, Hugepages};
use crate::control::load::table::rows;
use crate::loadgen::plan::{Aggregation, Arrivals, Check, Comparison, Metric, Stage};
use clap::Parser;
use core::time::Duration;
use proptest::prelude::*;
use std::fs;

mod mistakes;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    arguments: LoadRunArguments,
}

fn arguments(words: &[&str]) -> LoadRunArguments {
    Program::try_parse_from(["test"].iter().chain(words)).unwrap_or_else(|error| panic!("{error}")).arguments
}

/// A URL, an address and a rate, then these words.
fn flags(words: &[&str]) -> Result<Loaded, Failure> {
    let smallest = ["http://10.7.0.1/", "--source", "10.7.0.2/24"];
    let rate: &[&str] = if words.contains(&"--rate") || words.contains(&"--stage") { &[] } else { &["--rate", "1k"] };
    from_arguments(&arguments(&[&smallest, rate, words].concat()))
}

const MINIMAL: &str = "[load]\nurl = \"http://10.7.0.1/\"\nrate = \"1k/s\"\n[port]\naddress = \"10.7.0.2/24\"\n";

fn file(text: &str) -> Result<Loaded, Failure> {
    from_text("plan.toml", text, Path::new(""), &LoadRunArguments::default())
}

fn head(loaded: &Loaded, class: usize) -> String {
    String::from_utf8(loaded.plan.classes[class].head.to_vec()).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_smallest_plan_has_every_default_from_flags_and_from_a_file() {
    let loaded = flags(&[]).unwrap();
    let Plan { target, arrivals, stages, classes, thresholds, source_ports, .. } = &loaded.plan;
    assert_eq!((target.url.as_str(), target.address), ("http://10.7.0.1/", "10.7.0.1:80".parse().unwrap()));
    assert_eq!(*arrivals, Arrivals::Constant);
    let main = Stage { name: "main".into(), duration: ms(30_000), from: 1000.0, to: 1000.0, warmup: false };
    assert_eq!(*stages, [main]);
    assert_eq!((classes.len(), classes[0].weight, classes[0].head_only), (1, 1, false));
    assert_eq!(classes[0].check, Check::default());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(head(&loaded, 0), format!("GET / HTTP/1.1\r\nHost: 10.7.0.1\r\nUser-Agent: penstock/{version}\r\n\r\n"));
    assert_eq!((thresholds.len(), source_ports.clone()), (0, 1024..=65535));
    let plan = &loaded.plan;
    assert_eq!((plan.connections, plan.requests_per_connection, plan.pipeline, plan.seed), (100, 0, 1, 1));
    assert_eq!((plan.timeout, plan.connect_timeout), (ms(10_000), ms(5000)));
    assert_eq!(loaded.name, "http://10.7.0.1/");
    let config = &loaded.config;
    assert_eq!((config.workers.count, config.workers.connections, config.workers.idle.sleep), (None, 100, false));
    assert_eq!((config.tcp.rx_ring, config.tcp.tx_ring, config.tcp.half_open), (8192, 4096, 100));
    assert_eq!((config.metrics.address, &config.admin.socket), (None, &AdminSocket::Off));
    assert!(config.listeners.is_empty() && config.routes.is_empty());
    assert_eq!(file(MINIMAL).unwrap(), loaded, "the same, however it is written");
}

#[test]
fn defaults_of_the_schema_are_those_of_the_program() {
    let mut text = String::from("[port]\naddress = \"10.7.0.2/24\"\n");
    for schema in [&schema::LOAD, &schema::TCP, &schema::WORKERS] {
        text += &format!("{}\n", schema.name);
        if schema.name == "[load]" {
            text += "url = \"http://10.7.0.1/\"\nrate = \"1k/s\"\n";
        }
        for key in schema.keys.iter().filter(|key| key.default.starts_with(|c: char| c == '"' || c.is_ascii_digit())) {
            text += &format!("{} = {}\n", key.name, key.default);
        }
    }
    text += "[[requests]]\nname = \"request 1\"\nweight = 1\nmethod = \"GET\"\nexpect_status = \"200-399\"\n";
    let mut loaded = file(&text).unwrap_or_else(|failure| panic!("{failure}\n{text}"));
    assert_eq!(std::mem::take(&mut loaded.plan.classes[0].check.status), [200..=399]);
    assert_eq!(loaded.plan, file(MINIMAL).unwrap().plan);
    assert_eq!(loaded.config, file(MINIMAL).unwrap().config);
}

const EVERY_KEY: &str = r#"
[load]
url = "http://[fd00:7::9]:8080/base?q=1"
arrivals = "poisson"
warm_up = "3s"
connections = 5000
requests_per_connection = 16
pipeline = 8
timeout = "2s"
connect_timeout = "300ms"
source_ports = "2000-9999"
seed = 77
name = "nightly run"
[port]
device = "net_tap0,iface=penstock0"
address = ["10.7.0.2/24", "fd00:7::2/64"]
gateway = "10.7.0.1"
vlan = 7
mtu = 1400
[workers]
count = 2
hugepages = "off"
[tcp]
rx_ring = "32KiB"
tx_ring = 2048
[[stages]]
name = "up"
rate = "100->2.5k/s"
duration = "10s"
[[stages]]
rate = 0.5
duration = "1m"
[[stages]]
rate = 0
duration = "1ms"
warm_up = true
[[requests]]
name = "login"
weight = 3
method = "POST"
path = "/login"
headers = { B = "2", Accept = ["a", "b"], host = "name.example", User-Agent = "x" }
body = "user=é"
expect_status = "200-299, 404"
expect_size = "1KiB"
expect_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
[[requests]]
method = "HEAD"
expect_status = [200, "301-302"]
[thresholds]
http_req_failed = "rate<0.01"
"http_req_duration{class:login}" = ["p(99.9)<1ms", { threshold = "avg<200", abort_on_fail = true, delay = "5s" }]
"http_reqs{stage:up}" = { threshold = "count>1000" }
"#;

#[test]
fn every_key_is_read() {
    let loaded = file(EVERY_KEY).unwrap_or_else(|failure| panic!("{failure}"));
    let plan = &loaded.plan;
    assert_eq!(plan.target.address, "[fd00:7::9]:8080".parse().unwrap());
    let stage =
        |name: &str, ms_long, from, to, warmup| Stage { name: name.into(), duration: ms(ms_long), from, to, warmup };
    assert_eq!(plan.arrivals, Arrivals::Poisson);
    let stages = [
        stage("warm-up", 3000, 100.0, 100.0, true),
        stage("up", 10_000, 100.0, 2500.0, false),
        stage("stage 2", 60_000, 0.5, 0.5, false),
        stage("stage 3", 1, 0.0, 0.0, true),
    ];
    assert_eq!(plan.stages, stages);
    assert_eq!((plan.connections, plan.requests_per_connection, plan.pipeline, plan.seed), (5000, 16, 8, 77));
    assert_eq!((plan.timeout, plan.connect_timeout, plan.source_ports.clone()), (ms(2000), ms(300), 2000..=9999));
    let [login, second] = &plan.classes[..] else { panic!("{:?}", plan.classes) };
    assert_eq!((login.name.as_str(), login.weight, login.head_only), ("login", 3, false));
    assert_eq!((&*login.body, login.check.size), ("user=é".as_bytes(), Some(1024)));
    assert_eq!(login.check.status, [200..=299, 404..=404]);
    assert_eq!(login.check.sha256.map(|digest| (digest[0], digest[1], digest[31])), Some((0, 1, 31)));
    let expected = "POST /login HTTP/1.1\r\nHost: name.example\r\nB: 2\r\nAccept: a\r\nAccept: b\r\nUser-Agent: x\r\n\
                    Content-Length: 7\r\n\r\n";
    assert_eq!(head(&loaded, 0), expected);
    assert_eq!((second.name.as_str(), second.weight, second.head_only), ("request 2", 1, true));
    assert!(head(&loaded, 1).starts_with("HEAD /base?q=1 HTTP/1.1\r\nHost: [fd00:7::9]:8080\r\nUser-Agent: penstock/"));
    assert_eq!(second.check.status, [200..=200, 301..=302]);
    assert_eq!(loaded.name, "nightly run");
    let config = &loaded.config;
    assert_eq!((config.port.vlan, config.port.mtu, config.port.addresses.len()), (Some(7), Some(1400), 2));
    assert_eq!((config.workers.count, config.workers.connections), (Some(2), 2500));
    assert_eq!((config.workers.hugepages, config.tcp.rx_ring, config.tcp.tx_ring), (Hugepages::Off, 32_768, 2048));
    assert_eq!(config.tcp.handshake_timeout, ms(300));
}

#[test]
fn thresholds_are_read() {
    let thresholds = file(EVERY_KEY).unwrap().plan.thresholds;
    let texts: Vec<&str> = thresholds.iter().map(|threshold| threshold.text.as_str()).collect();
    let expected = [
        "http_req_failed: rate<0.01",
        "http_req_duration{class:login}: p(99.9)<1ms",
        "http_req_duration{class:login}: avg<200",
        "http_reqs{stage:up}: count>1000",
    ];
    assert_eq!(texts, expected, "in file order");
    let [failed, first, second, count] = &thresholds[..] else { panic!() };
    assert_eq!((first.metric, first.aggregation), (Metric::Duration, Aggregation::Percentile(99.9)));
    assert_eq!((first.comparison, first.value, first.class.as_deref()), (Comparison::Less, 1e6, Some("login")));
    assert_eq!((first.abort, second.abort, second.abort_delay, second.value), (false, true, ms(5000), 200e6));
    assert_eq!((failed.metric, failed.value, count.stage.as_deref()), (Metric::Failed, 0.01, Some("up")));
    let aborting = flags(&["--threshold", "http_reqs:rate>5", "--threshold", "http_reqs:count>5", "--abort-on-fail"]);
    let aborting = aborting.unwrap().plan.thresholds;
    assert!(aborting.len() == 2 && aborting.iter().all(|threshold| threshold.abort));
}

const EVERY_FLAG: &str = "--rate 10k/s -d 10s --arrivals poisson --spike 50k:2s:1s --spike 60k:5s:1s --warm-up 1s -c 400 \
    --keepalive 100 --pipeline 4 --timeout 1s --connect-timeout 9s --seed 007 -X PUT -H A:b -H A:c --body-size 30B \
    --expect-status 204 --expect-size 0 --device net_tap0 --source 10.8.0.2/24 --source-ports 1024-2047 \
    --gateway 10.7.0.9 --vlan 5 --mtu 1000 --workers 2 --name nightly --json - --csv c --hgrm d --hdr-log e --junit f \
    --influx g --html h --quiet";

#[test]
fn every_flag_is_a_key() {
    let words: Vec<&str> = EVERY_FLAG.split_whitespace().collect();
    let loaded = flags(&words).unwrap_or_else(|failure| panic!("{failure}"));
    let plan = &loaded.plan;
    let course: Vec<_> =
        plan.stages.iter().map(|s| (s.name.as_str(), s.duration.as_millis(), s.from, s.warmup)).collect();
    let expected = [
        ("warm-up", 1000, 10e3, true),
        ("main", 2000, 10e3, false),
        ("spike 1", 1000, 50e3, false),
        ("after spike 1", 2000, 10e3, false),
        ("spike 2", 1000, 60e3, false),
        ("after spike 2", 4000, 10e3, false),
    ];
    assert_eq!(course, expected);
    assert_eq!((plan.connections, plan.requests_per_connection, plan.pipeline, plan.seed), (400, 100, 4, 7));
    assert_eq!((plan.connect_timeout, plan.source_ports.clone()), (ms(9000), 1024..=2047));
    let class = &plan.classes[0];
    assert_eq!(&*class.body, b"abcdefghijklmnopqrstuvwxyzabcd");
    assert_eq!(class.check, Check { status: vec![204..=204], size: Some(0), sha256: None });
    assert!(head(&loaded, 0).ends_with("\r\nA: b\r\nA: c\r\nContent-Length: 30\r\n\r\n"), "{}", head(&loaded, 0));
    let outputs = &loaded.outputs;
    assert_eq!((&outputs.json, &outputs.csv), (&Some(Output::Stdout), &Some(Output::File("c".into()))));
    assert!(outputs.quiet && outputs.html == Some(Output::File("h".into())));
    let config = &loaded.config;
    assert_eq!(
        (config.port.device.as_deref(), config.port.vlan, config.port.mtu),
        (Some("net_tap0"), Some(5), Some(1000))
    );
    assert_eq!((config.workers.count, config.workers.connections, loaded.name.as_str()), (Some(2), 200, "nightly"));
}

#[test]
fn flags_win_over_the_file() {
    let with = |words: &[&str]| {
        from_text("plan.toml", EVERY_KEY, Path::new(""), &arguments(words))
            .unwrap_or_else(|failure| panic!("{failure}"))
    };
    assert_eq!(with(&[]), file(EVERY_KEY).unwrap());
    assert_eq!(with(&["--connections", "77"]).plan.connections, 77);
    assert_eq!(with(&["http://10.7.0.77/"]).plan.target.address, "10.7.0.77:80".parse().unwrap());
    // A rate takes the place of stages, and stages that of a rate; the warm-up stays. A threshold on a stage that is gone
    // is a mistake, see there.
    let stageless = EVERY_KEY.replace("\"http_reqs{stage:up}\"", "http_reqs");
    let faster = from_text("t", &stageless, Path::new(""), &arguments(&["--rate", "7k", "--duration", "1s"])).unwrap();
    let course: Vec<_> = faster.plan.stages.iter().map(|s| (s.name.as_str(), s.duration, s.to)).collect();
    assert_eq!(course, [("warm-up", ms(3000), 7e3), ("main", ms(1000), 7e3)]);
    let stages = ["--stage", "a:5->6k:2s", "--stage", "7:1s"];
    let staged = from_text("t", MINIMAL, Path::new(""), &arguments(&stages)).unwrap();
    let course: Vec<_> = staged.plan.stages.iter().map(|s| (s.name.as_str(), s.duration, s.from, s.to)).collect();
    assert_eq!(course, [("a", ms(2000), 5.0, 6e3), ("stage 2", ms(1000), 7.0, 7.0)]);
    // What is said of requests is said of all of them.
    let all = with(&["-H", "ACCEPT: c", "-H", "New: d", "--body", "x", "--method", "PUT", "--expect-status", "500"]);
    assert!(
        head(&all, 0).contains("\r\nB: 2\r\nUser-Agent: x\r\nACCEPT: c\r\nNew: d\r\nContent-Length: 1\r\n"),
        "{}",
        head(&all, 0)
    );
    assert!(head(&all, 1).contains("\r\nACCEPT: c\r\nNew: d\r\nContent-Length: 1\r\n"), "{}", head(&all, 1));
    assert!(all.plan.classes.iter().all(|class| class.check.status == [500..=500]));
    let bodies = with(&["--body-size", "3"]);
    assert_eq!(&*bodies.plan.classes[0].body, b"abc", "another kind of content takes the place of the file's");
    let judged = with(&["--threshold", "http_req_failed: rate<0.5", "--threshold", "checks: rate>0.5"]);
    let texts: Vec<&str> = judged.plan.thresholds.iter().map(|threshold| threshold.text.as_str()).collect();
    assert!(texts.contains(&"http_req_failed: rate<0.01") && texts.contains(&"http_req_failed: rate<0.5"), "{texts:?}");
    assert!(texts.contains(&"checks: rate>0.5"), "{texts:?}");
}

#[test]
fn closed_loops_and_single_requests() {
    let closed = flags(&["--rate", "max", "--warm-up", "1s", "--new-connections"]).unwrap();
    assert_eq!((closed.plan.arrivals, closed.plan.stages.len()), (Arrivals::Closed, 2));
    assert_eq!(closed.plan.requests_per_connection, 1);
    assert!(head(&closed, 0).ends_with("\r\nConnection: close\r\n\r\n"), "{}", head(&closed, 0));
    let stages = flags(&["--stage", "max:1s", "--stage", "b:max:2s"]).unwrap();
    assert_eq!(stages.plan.arrivals, Arrivals::Closed);
    // RFC 9110, 8.6: a method that means content announces that there is none.
    assert!(head(&flags(&["--method", "POST"]).unwrap(), 0).contains("\r\nContent-Length: 0\r\n"));
    assert!(!head(&flags(&["--method", "DELETE"]).unwrap(), 0).contains("Content-Length"));
}

#[test]
fn bodies_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b.bin"), [0, 255]).unwrap();
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, format!("{MINIMAL}[[requests]]\nbody_file = \"b.bin\"\n")).unwrap();
    let words = ["--plan", plan.to_str().unwrap()];
    assert_eq!(&*from_arguments(&arguments(&words)).unwrap().plan.classes[0].body, [0, 255]);
    let other = dir.path().join("b.bin");
    assert_eq!(&*flags(&["--body-file", other.to_str().unwrap()]).unwrap().plan.classes[0].body, [0, 255]);
    let missing = flags(&["--body-file", "nowhere.bin"]).unwrap_err();
    assert_eq!(missing.exit, Exit::Plan);
    assert!(
        missing.what.contains("the command line: cannot read") && missing.what.contains("nowhere.bin"),
        "{missing}"
    );
    let missing = from_arguments(&arguments(&["--plan", "nowhere.toml"])).unwrap_err();
    assert_eq!(missing.exit, Exit::Plan);
    assert!(
        missing.to_string().contains("cannot read the plan nowhere.toml")
            && missing.to_string().contains("--plan FILE")
    );
}

#[test]
fn the_hash_is_of_what_is_said() {
    let hash = |words: &[&str]| flags(words).unwrap().hash;
    let plain = hash(&[]);
    assert!(plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(plain, hash(&["--rate", "1000", "--timeout", "10000ms", "--json", "x", "--name", "y"]));
    let others =
        [["--rate", "1001"], ["--seed", "2"], ["--body", "a"], ["--body", "b"], ["--threshold", "checks:rate>0"]];
    let hashes: std::collections::HashSet<String> = others.iter().map(|words| hash(words)).chain([plain]).collect();
    assert_eq!(hashes.len(), 6);
}

#[test]
fn names_are_resolved_by_the_system() {
    // Every system knows this name (RFC 6761, 6.3), and no DPDK port reaches it.
    let mut words = arguments(&["http://localhost/", "--source", "10.7.0.2/24", "--rate", "1"]);
    let failure = from_arguments(&words).unwrap_err().to_string();
    assert!(failure.contains("cannot be reached over a DPDK port"), "{failure}");
    words.url = Some("http://name.invalid/".into());
    let failure = from_arguments(&words).unwrap_err().to_string();
    assert!(
        failure.contains("cannot resolve \"name.invalid\"") && failure.contains("fix: write an address"),
        "{failure}"
    );
}

#[test]
fn every_example_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("dpdk-config/load");
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        from_arguments(&arguments(&["--plan", path.to_str().unwrap()])).unwrap_or_else(|failure| panic!("{failure}"));
        found += 1;
    }
    assert!(found >= 4, "{found}");
}

#[test]
fn the_documentation_has_every_key_and_flag() {
    let doc = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load.md")).unwrap();
    for schema in [
        &schema::ROOT,
        &schema::LOAD,
        &schema::STAGE,
        &schema::REQUEST,
        &schema::THRESHOLD,
        &schema::WORKERS,
        &schema::TCP,
    ] {
        let table = rows(schema).join("\n");
        assert!(doc.contains(&table), "docs/load.md must have this table of {}:\n{table}", schema.name);
    }
    use clap::CommandFactory;
    Program::command().debug_assert();
    for flag in Program::command().get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(flag == "help" || doc.contains(&format!("`--{flag}")), "docs/load.md must name --{flag}");
    }
    let examples: Vec<&str> = doc.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        file(example).unwrap_or_else(|failure| panic!("{failure}\n{example}"));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String, word: String, header: String, at in 0..EVERY_KEY.len(), cut in 0..30usize, put in "[\\[\\]{}=\".,#\n /a-z0-9\u{e9}-]{0,6}") {
        let _ = file(&text);
        let arguments = LoadRunArguments {
            url: Some(word.clone()),
            rate: Some(word.clone()),
            connections: Some(word.clone()),
            stage: vec![word.clone()],
            threshold: vec![word.clone(), header.clone()],
            header: vec![header],
            source: vec![word.clone()],
            body: Some(word),
            ..LoadRunArguments::default()
        };
        let _ = from_text("t", &text, Path::new(""), &arguments);
        let at = (0..=at).rev().find(|at| EVERY_KEY.is_char_boundary(*at)).unwrap();
        let end = (at + cut..=EVERY_KEY.len()).find(|end| EVERY_KEY.is_char_boundary(*end)).unwrap_or(EVERY_KEY.len());
        let mutated = format!("{}{put}{}", &EVERY_KEY[..at], &EVERY_KEY[end.max(at)..]);
        match file(&mutated) {
            Ok(loaded) => {
                let Plan { stages, classes, .. } = &loaded.plan;
                prop_assert!(!stages.is_empty() && !classes.is_empty() && stages.len() * classes.len() <= 64);
                for class in classes {
                    let head = String::from_utf8_lossy(&class.head);
                    prop_assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1);
                }
            }
            Err(failure) => prop_assert!(failure.exit == Exit::Plan && failure.what.contains("plan.toml"), "{}", failure),
        }
    }
}
