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
        "about 210MiB per worker (13KiB a connection)",
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
fn mistakes_in_a_file_end_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "[port]\naddress = \"10.7.0.2\"\n\n[[listner]]\nport = 80\n");
    for command in ["check", "run"] {
        let place = |at: &str| format!("{path}:{at}: ");
        let output = penstock(&[command, "-c", &path]);
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
        assert_fails(&penstock(&[command, "-c", &path]), 3, &[&path, "No such file", "fix: "]);
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
    let output = penstock(&["run", "-c", &example("minimal.toml")]);
    assert_fails(&output, 4, &["DPDK", "--features dpdk"]);
}
