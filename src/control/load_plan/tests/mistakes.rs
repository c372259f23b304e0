//! One mistake each: where it is reported, what is said, and what is suggested.

use super::*;

fn message(result: Result<Loaded, Failure>) -> String {
    match result {
        Ok(loaded) => panic!("loaded: {loaded:?}"),
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Plan, "{failure}");
            failure.to_string()
        }
    }
}

#[test]
fn mistakes_on_the_command_line_point_into_it() {
    let expected = "error: the command line: `pipeline` is out of range\n   | http://10.7.0.1/ --rate 1k --pipeline 65 --source 10.7.0.2/24\n   \
                    |                                       ^^\n  fix: pipeline is from 1 to 64";
    assert_eq!(message(flags(&["--pipeline", "65"])), expected);
    let threshold = message(flags(&["--threshold", "http_req_duration: p95<1ms"]));
    let marked = "--threshold 'http_req_duration: p95<1ms'\n   | ".to_string() + &" ".repeat(80);
    assert!(threshold.contains("has no aggregation \"p95\"") && threshold.contains("^^^\n"), "{threshold}");
    assert!(!threshold.contains(&(marked + " ^")), "{threshold}");
}

#[test]
fn values_of_flags() {
    for (words, what, fix) in [
        (&["--rate", "100K"][..], "not a rate: \"100K\"", "\"100k/s\""),
        (&["--rate", "0.05"], "rate is out of range", "0.1/s"),
        (&["--rate", "200M"], "rate is out of range", "100M/s"),
        (&["--rate", "0"], "zero all the time", "0.1/s"),
        (&["--duration", "10"], "not a duration", "\"10s\""),
        (&["--duration", "200h"], "`duration` is out of range", "1ms to 168h"),
        (&["--duration", "0s"], "`duration` is out of range", "1ms to 168h"),
        (&["--connections", "0"], "`connections` is out of range", "1 to 16777216"),
        (&["--connections", "16777217"], "`connections` is out of range", "1 to 16777216"),
        (&["--connections", "many"], "`connections` must be a whole number", "connections = 100"),
        (&["--connections", "100000"], "100000 connections from 1 addresses", "--source"),
        (&["--workers", "64", "--connections", "63"], "63 connections for more workers", "fewer workers"),
        (&["--arrivals", "uniform"], "`arrivals` cannot be \"uniform\"", "poisson"),
        (&["--rate", "max", "--arrivals", "poisson"], "`arrivals` with the rate \"max\"", "remove"),
        (&["--stage", "5"], "not a stage", "NAME:RATE:DURATION"),
        (&["--stage", "a:5:1x"], "`duration` is not a duration", "units"),
        (&["--stage", "a:5:1s", "--stage", "a:5:1s"], "two stages have the name \"a\"", "its own"),
        (&["--stage", "5:1s", "--stage", "max:1s"], "some stages have the rate \"max\"", "every stage"),
        (&["--stage", "a:5:1s", "--rate", "5"], "`load.rate` and stages", "keep one"),
        (&["--stage", "a,b:5:1s"], "not a name", "comma"),
        (&["--spike", "5k:1s"], "not a spike", "RATE:START:DURATION"),
        (&["--spike", "5k:29s:1s"], "not within the rest", "1ms or more"),
        (&["--spike", "5k:9s:1s", "--spike", "5k:9s:1s"], "not within the rest", "in order"),
        (&["--spike", "5k:1s:1s", "--rate", "1->2"], "between constant rates", "stages"),
        (&["--spike", "5k:1s:1s", "--rate", "max"], "closed loop", "rate"),
        (&["--spike", "max:1s:1s"], "between constant rates", "stages"),
        (&["--method", "get"], "case-sensitive", "GET"),
        (&["--method", "G ET"], "not a method", "examples"),
        (&["--method", "CONNECT"], "tunnel", "another"),
        (&["-H", "Accept"], "not a header field", "NAME: VALUE"),
        (&["-H", "A b: c"], "not a header field name", "RFC 9110"),
        (&["-H", ": c"], "not a header field name", "RFC 9110"),
        (&["-H", "A: b\r\nX: y"], "control character", "remove"),
        (&["-H", "Content-Length: 5"], "Content-Length cannot be set", "remove"),
        (&["-H", "Transfer-Encoding: chunked"], "cannot be set", "remove"),
        (&["-H", "Host: a", "-H", "host: b"], "Host is there twice", "write one"),
        (&["-H", "Host: a b"], "has space", "write one"),
        (&["--body", "a", "--body-size", "5"], "the content is given twice", "keep one"),
        (&["--body-size", "2GiB"], "`body_size` is out of range", "1GiB"),
        (&["--expect-status", "200-"], "not a status or range", "200-299,404"),
        (&["--expect-status", "299-200"], "not a status or range", "200-299,404"),
        (&["--expect-status", "700"], "not a status or range", "100 to 599"),
        (&["--expect-sha256", "12"], "not a SHA-256", "64 hexadecimal"),
        (&["--method", "HEAD", "--expect-size", "5"], "HEAD has no content", "GET"),
        (&["--requests-per-connection", "2", "--pipeline", "3"], "serves 2 requests", "lower pipeline"),
        (&["--source-ports", "80-90"], "not a range of ports", "1024"),
        (&["--source-ports", "9000-8000"], "not a range of ports", "1024"),
        (&["--source", "10.8.0.2"], "no prefix length", "10.8.0.2/24"),
        (&["--gateway", "10.9.0.1"], "not within the prefix", "correct the prefix"),
        (&["--device", "eth0"], "neither a DPDK vdev", "net_af_packet0,iface=eth0"),
        (&["--threshold", "http_req_duration"], "not a threshold", "METRIC: CONDITION"),
        (&["--threshold", "http_reqs{class:x}: rate>1"], "there is no request \"x\"", "known: request 1"),
        (&["--threshold", "http_reqs{stage:x}: rate>1"], "there is no stage \"x\"", "known: main"),
        (&["--warm-up", "1s", "--threshold", "http_reqs{stage:warm-up}: rate>1"], "not judged", "known: main"),
        (&["--csv", "a", "--html", "a"], "--csv and --html write to the same place", "its own"),
    ] {
        let message = message(flags(words));
        assert!(message.contains(what) && message.contains("fix: ") && message.contains(fix), "{words:?}: {message}");
        assert!(message.contains("the command line"), "{words:?}: {message}");
    }
    assert!(flags(&["--duration", "168h", "--connections", "64512"]).is_ok());
    let stages: Vec<String> = (0..65).map(|n| format!("s{n}:5:1s")).collect();
    let words: Vec<&str> = stages.iter().flat_map(|stage| ["--stage", stage]).collect();
    assert!(message(flags(&words)).contains("65 stages"));
    assert!(flags(&words[2..]).is_ok());
    let long = format!("X: {}", "y".repeat(5000));
    assert!(message(flags(&["-H", &long])).contains("raise tx_ring of [tcp] to 8192"));
}

#[test]
fn targets_that_cannot_be_reached() {
    for (url, source, what, fix) in [
        ("https://10.7.0.1/", "10.7.0.2/24", "TLS is not built", "http://"),
        ("http://10.9.0.1/", "10.7.0.2/24", "on none of our networks", "--gateway"),
        ("http://[fd00::1]/", "10.7.0.2/24", "none to send from", "--source fd00:7::1/64"),
        ("http://10.7.0.2/", "10.7.0.2/24", "our own address", "--source"),
        ("http://127.0.0.1/", "10.7.0.2/24", "cannot be reached over a DPDK port", "loopback"),
        ("http://224.0.0.1/", "10.7.0.2/24", "cannot be reached over a DPDK port", "network"),
    ] {
        let message = message(from_arguments(&arguments(&[url, "--source", source, "--rate", "1"])));
        assert!(message.contains(what) && message.contains(fix), "{url}: {message}");
    }
    assert!(
        from_arguments(&arguments(&[
            "http://10.9.0.1/",
            "--source",
            "10.7.0.2/24",
            "--rate",
            "1",
            "--gateway",
            "10.7.0.9"
        ]))
        .is_ok()
    );
    let nothing = message(from_arguments(&LoadRunArguments::default()));
    for what in ["there is no URL", "there is no address to send from", "there is no rate"] {
        assert!(nothing.contains(what), "{nothing}");
    }
}

#[test]
fn mistakes_in_files_have_a_line_and_a_column() {
    for (more, at, what, fix) in [
        ("[load]", "6:2", "duplicate key", "keep one"),
        ("[laod]", "6:2", "unknown key `laod` in the plan", "did you mean `load`?"),
        ("[[stages]]\nrate = 5\nduration = \"1s\"", "3:8", "`load.rate` and stages", "keep one"),
        ("[[requests]]\nexpect_status = true", "7:17", "`expect_status` must be a string", "..."),
        ("[[requests]]\nexpect_status = [200, \"2x\"]", "7:24", "not a status", "404"),
        ("[[requests]]\npath = \"x\"", "7:8", "does not begin with `/`", "\"/x\""),
        ("[[requests]]\npath = \"/a b\"", "7:8", "the path has space", "percent-encode"),
        ("[[requests]]\nweight = 0", "7:10", "`weight` is out of range", "1 to"),
        ("[[requests]]\nname = \"a\"\n[[requests]]\nname = \"a\"", "9:8", "two requests have the name", "its own"),
        ("[[requests]]\nbody = \"a\"\nbody_file = \"b\"", "8:13", "given twice", "keep one"),
        ("[thresholds]\nhttp_req_durations = \"p(9)<1\"", "7:1", "unknown metric", "did you mean `http_req_duration`?"),
        ("[thresholds]\nhttp_req_duration = \"p(9)<1x\"", "7:27", "not a duration", "units"),
        ("[thresholds]\n\"http_reqs{class:none}\" = \"rate>1\"", "7:18", "no request \"none\"", "known: request 1"),
        ("[thresholds]\nhttp_reqs = 5", "7:13", "a string or a table", "write"),
        ("[thresholds]\nhttp_reqs = { abort_on_fail = true }", "7:13", "no `threshold`", "add"),
        ("[thresholds]\nhttp_reqs = { threshold = \"rate>1\", delay = 5 }", "7:45", "must be a duration", "unit"),
        ("[thresholds]\nhttp_reqs = { threshold = \"rate>1\", abort_on_fail = 1 }", "7:53", "true or false", "true"),
        ("[tcp]\ntx_ring = 3000", "7:11", "a power of two", "4KiB"),
        ("thresholds = 5", "6:1", "unknown key `thresholds` in [port]", "known keys"),
    ] {
        let message = message(file(&format!("{MINIMAL}{more}\n")));
        assert!(message.contains(&format!("plan.toml:{at}: ")), "{more}: {message}");
        assert!(message.contains(what) && message.contains(fix), "{more}: {message}");
    }
    let whole = message(file(&MINIMAL.replace("rate = \"1k/s\"\n", "thresholds = 5\n")));
    assert!(
        whole.contains("unknown key `thresholds` in [load]") && whole.contains("plan.toml: there is no rate"),
        "{whole}"
    );
    let pairs = (0..33)
        .fold(MINIMAL.to_string(), |text, _| text + "[[requests]]\n")
        .replace("[load]", "[load]\nwarm_up = \"1s\"");
    assert!(message(file(&pairs)).contains("2 stages times 33 requests are 66 pairs"));
}
