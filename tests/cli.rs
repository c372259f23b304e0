//! The built program from outside: what it prints, and its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn penstock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock")).args(arguments).output().expect("the program starts")
}

fn example(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "dpdk-config", name].iter().collect();
    path.to_string_lossy().into_owned()
}

/// `run` has its log in the form for people here; a test below reads the other one.
fn with_file<'a>(command: &'a str, path: &'a str) -> Vec<&'a str> {
    match command {
        "run" => vec!["run", "--log-format", "text", "-c", path],
        other => vec![other, "-c", path],
    }
}

fn file(directory: &Path, text: &str) -> String {
    let path = directory.join("penstock.toml");
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, fragments: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("error: ") && !text.contains("error: error:"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for fragment in fragments {
        assert!(text.contains(fragment), "{fragment:?} is not in:\n{text}");
    }
    assert_eq!(stdout(output), "");
}

#[test]
fn help_teaches() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let output = penstock(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        let text = stdout(&output);
        for fragment in
            ["run", "check", "doctor", "Try first", "EAL arguments", " -- run -c FILE", "Exit codes", "3  the config"]
        {
            assert!(text.contains(fragment), "{fragment:?} is not in:\n{text}");
        }
    }
    assert!(stdout(&penstock(&["run", "--help"])).contains("--config <FILE>"));
}

#[test]
fn version_names_the_commit_and_dpdk() {
    for argument in ["--version", "-V"] {
        let output = penstock(&[argument]);
        let text = stdout(&output);
        assert!(output.status.success(), "{text}");
        let with = if cfg!(feature = "dpdk") { "with DPDK" } else { "without DPDK" };
        let version = concat!("penstock ", env!("CARGO_PKG_VERSION"), " (commit ");
        assert!(text.starts_with(version) && text.contains(with) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn check_prints_what_a_file_amounts_to() {
    let output = penstock(&["check", "-c", &example("static-files.toml")]);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for fragment in [
        "net_tap0,iface=penstock0",
        "10.7.0.2/24, 10.7.0.3/24",
        "10.7.0.2:80, 10.7.0.2:8080, 10.7.0.3:8080",
        "MiB per worker (",
        " bytes a connection)",
        "6 routes",
        "www/index.html",
        "old.example.com",
        "/private/...",
        "GET,DELETE",
    ] {
        assert!(text.contains(fragment), "{fragment:?} is not in:\n{text}");
    }
    assert!(text.ends_with("\nconfig OK\n"), "{text}");
    // EAL arguments are accepted in front of every command.
    assert!(penstock(&["-l", "0", "--", "check", "--config", &example("minimal.toml")]).status.success());
}

#[test]
fn check_prints_the_memory_a_worker_reserves() {
    let config = penstock::control::load::load_file(Path::new(&example("static-files.toml"))).unwrap();
    let (worker, connection) = (penstock::worker::arena_size(&config), penstock::worker::bytes_per_connection(&config));
    let figures = format!("{}MiB per worker ({connection} bytes a connection)", worker.div_ceil(1 << 20));
    let text = stdout(&penstock(&["check", "-c", &example("static-files.toml")]));
    assert!(text.contains(&figures), "{figures:?} is not in:\n{text}");
    assert!(connection <= 16 * 1024, "the limit with default settings");
}

#[test]
fn the_configuration_in_the_readme_is_one() {
    let readme = include_str!("../README.md");
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let directory = tempfile::tempdir().unwrap();
    for block in blocks {
        let output = penstock(&["check", "-c", &file(directory.path(), block)]);
        assert!(output.status.success() && stdout(&output).ends_with("config OK\n"), "{}", stderr(&output));
    }
}

#[test]
fn exit_codes_are_those_of_the_readme() {
    let readme = include_str!("../README.md");
    let help = stdout(&penstock(&["--help"]));
    for code in 0..=5 {
        assert!(readme.contains(&format!("\n| {code} | ")) && help.contains(&format!("  {code}  ")), "{code}");
    }
}

#[test]
fn answers_that_no_ring_holds_are_found_by_check() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(example("minimal.toml")).unwrap();
    let fields = format!("headers = {{ X = [{0}, {0}, {0}] }}, body", format!("\"{}\"", "x".repeat(4000)));
    let path = file(directory.path(), &text.replace("body", &fields));
    for command in ["check", "run"] {
        assert_fails(
            &penstock(&with_file(command, &path)),
            3,
            &[&path, "route 1", "`tx_ring` (8192 bytes)", "raise tx_ring"],
        );
    }
    // The Allow field of a path with long method names.
    let methods = format!("method = [{0}A\", {0}B\", {0}C\"]\npath", format!("\"{}", "X".repeat(4000)));
    let path = file(directory.path(), &text.replace("path", &methods));
    assert_fails(&penstock(&["check", "-c", &path]), 3, &[&path, "405", "raise tx_ring", "method names"]);
}

#[test]
fn mistakes_in_a_file_end_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "[port]\naddress = \"10.7.0.2\"\n\n[[listner]]\nport = 80\n");
    for command in ["check", "run"] {
        let place = |at: &str| format!("{path}:{at}: ");
        let output = penstock(&with_file(command, &path));
        let fragments =
            ["3 problems", &place("2:11"), "| address = \"10.7.0.2\"", "  fix: add it", &place("4:3"), "`listener`?"];
        assert_fails(&output, 3, &fragments);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nowhere.toml").to_string_lossy().into_owned();
    for command in ["check", "run"] {
        assert_fails(&penstock(&with_file(command, &path)), 3, &[&path, "No such file", "fix: "]);
    }
}

#[test]
fn mistakes_on_the_command_line_end_with_2() {
    assert_fails(&penstock(&[]), 2, &["subcommand", "penstock --help"]);
    assert_fails(&penstock(&["chek", "-c", "f"]), 2, &["'chek'", "'check'"]);
    assert_fails(&penstock(&["run"]), 2, &["--config <FILE>"]);
    assert_fails(&penstock(&["run", "-c", "f", "--fast"]), 2, &["'--fast'"]);
    assert_fails(&penstock(&["check", "-c"]), 2, &["value is required"]);
    assert_fails(&penstock(&["-l", "0,1", "run", "-c", "f"]), 2, &["\"-l\"", "penstock -l 0,1 -- run -c FILE"]);
    assert_fails(&penstock(&["-l", "0,1", "--"]), 2, &["subcommand"]);
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn run_without_dpdk_says_how_to_get_it() {
    let output = penstock(&with_file("run", &example("minimal.toml")));
    assert_fails(&output, 4, &["DPDK", "--features dpdk"]);
}

#[test]
fn a_start_that_fails_is_one_json_event_and_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "[port]\naddress = \"10.7.0.2\"\n[log]\nlevel = \"loud\"\n");
    for arguments in [&["run", "-c", &path][..], &["run", "-c", &path, "--log-format", "json", "--log-level", "error"]]
    {
        let output = penstock(arguments);
        let lines: Vec<serde_json::Value> =
            stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [event] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            (&event["event"], &event["level"], &event["exit_code"]),
            (&"failed".into(), &"ERROR".into(), &3.into())
        );
        let message = event["message"].as_str().unwrap();
        assert!(message.contains(&format!("{path}:2:11: ")) && message.contains("\"warn\""), "{message}");
        assert_eq!(stderr(&output), format!("error: {message}\n"));
        assert_eq!(output.status.code(), Some(3));
    }
}

#[test]
fn log_options_are_checked_and_taught() {
    let level = penstock(&["run", "-c", "f", "--log-level", "trace"]);
    assert_fails(&level, 2, &["--log-level", "error, warn, info or debug"]);
    assert_fails(&penstock(&["run", "-c", "f", "--log-format", "xml"]), 2, &["auto, text or json"]);
    assert_fails(&penstock(&["log-level", "loud"]), 2, &["'loud'", "error, warn, info or debug"]);
    assert_fails(&penstock(&["log-level", "--socket", "/nonexistent.sock"]), 1, &["does not answer", "fix: "]);
    let help = stdout(&penstock(&["log-level", "--help"]));
    for fragment in
        ["[LEVEL]", "--json", "--socket", "penstock log-level debug", "warn   a limit was reached", "log.level"]
    {
        assert!(help.contains(fragment), "{fragment:?} is not in:\n{help}");
    }
}

#[test]
fn mistakes_in_searches_and_soaks_have_a_fix() {
    let plan = ["http://10.7.0.2/", "--device", "net_tap0", "--source", "10.7.0.1/24"];
    let metrics = ["--target-metrics", "http://127.0.0.1:1/metrics"];
    let load = |command: &'static str, more: &[&'static str]| {
        penstock(&[&["load", command][..], &plan, more].concat().into_iter().collect::<Vec<_>>())
    };
    for (more, code, fragments) in [
        (&["--from", "2k", "--to", "1k"][..], 104, &["--from is above --to", "lower rate"][..]),
        (&["--rate", "5k"], 104, &["chooses rates itself", "--step-duration"]),
        (&["--stage", "5k:10s"], 104, &["chooses rates itself"]),
        (&["--csv", "a.csv"], 104, &["a search has no --csv", "--json"]),
        (&["--threshold", "http_req_duration: p(99)<fast"], 104, &["the command line", "fast"]),
        (&["--from", "1k->2k"], 2, &["--from", "one rate"]),
        (&["--from", "0"], 2, &["--from", "one rate"]),
        (&["--from", "1K"], 2, &["--from", "1k/s"]),
        (&["--precision", "0.1%"], 2, &["--precision", "0.5% to 50%"]),
        (&["--step-duration", "10ms"], 2, &["--step-duration", "1s to 1h"]),
    ] {
        assert_fails(&load("capacity", more), code, fragments);
    }
    assert_fails(&load("soak", &["--rate", "1k"]), 2, &["--target-metrics"]);
    for (more, code, fragments) in [
        (&["--rate", "1k"][..], 4, &["127.0.0.1:1/metrics cannot be read", "cannot connect", "curl"][..]),
        (&["--rate", "1k", "--watch", "a{b}"], 2, &["--watch", "NAME{label"]),
        (&["--rate", "1k", "--balance", "9"], 2, &["--balance", "NAME{label"]),
        (&["--rate", "1k", "--sample", "1ms"], 2, &["--sample", "100ms to 1h"]),
        (&["--rate", "1k", "--growth", "200%"], 2, &["--growth"]),
        (&["--duration", "1h"], 104, &["rate"]),
    ] {
        assert_fails(&load("soak", &[&metrics[..], more].concat()), code, fragments);
    }
    let https = ["load", "soak", "--target-metrics", "https://a/", "http://10.7.0.2/"];
    assert_fails(&penstock(&https), 2, &["--target-metrics", "http://127.0.0.1:9902/metrics"]);
}

#[test]
fn help_of_searches_and_soaks_shows_what_applies() {
    let capacity = stdout(&penstock(&["load", "capacity", "--help"]));
    for fragment in ["--from", "--precision", "Examples:", "load capacity --plan", "Exit codes:", "[default: 1s]"] {
        assert!(capacity.contains(fragment), "{fragment:?} is not in:\n{capacity}");
    }
    for fragment in ["--rate", "--spike", "--junit"] {
        assert!(!capacity.contains(&format!("  {fragment}")), "{fragment:?} is in:\n{capacity}");
    }
    let soak = stdout(&penstock(&["load", "soak", "--help"]));
    for fragment in ["--target-metrics", "--watch", "--rate", "Examples:", "Exit codes:", "[default: 8h]"] {
        assert!(soak.contains(fragment), "{fragment:?} is not in:\n{soak}");
    }
}

#[test]
fn published_schemas_of_searches_and_soaks_are_what_is_printed() {
    for (flag, name) in [("--capacity", "load-capacity.schema.json"), ("--soak", "load-soak.schema.json")] {
        let printed = stdout(&penstock(&["schema", flag]));
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "docs", name].iter().collect();
        let fresh = std::fs::read_to_string(path).unwrap() == printed;
        assert!(fresh, "refresh it: penstock schema {flag} > docs/{name}");
        assert_fails(&penstock(&["schema", flag, "--plan"]), 2, &["cannot be used with"]);
    }
}
