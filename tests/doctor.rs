//! `penstock doctor` on this machine, whatever it is like: form and exit codes. What it finds on broken machines is
//! tested beside it, on made-up ones, and by tests/blackbox/test_doctor.py on real ones.

use serde_json::Value;
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock")).arg("doctor").args(arguments).output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn count(report: &Value, severity: &str) -> u64 {
    let findings = report["findings"].as_array().expect("a list of findings");
    findings.iter().filter(|finding| finding["severity"] == severity).count() as u64
}

#[test]
fn text_and_json_agree_with_the_exit_code() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/dpdk-config/minimal.toml");
    for arguments in [&["-c", example][..], &[]] {
        let report = doctor(&[arguments, &["--json"]].concat());
        let (code, report) = (report.status.code(), json(&report));
        assert_eq!(code.map(i64::from), report["exit"].as_i64());
        assert_eq!(code, Some(if count(&report, "fatal") > 0 { 4 } else { 0 }));
        assert_eq!(report["fatal"].as_u64(), Some(count(&report, "fatal")));
        assert_eq!(report["warnings"].as_u64(), Some(count(&report, "warning")));
        let text = doctor(arguments);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.starts_with("configuration\n") && !text.contains('\x1b'), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.starts_with("verdict: ")), "{text}");
    }
}

#[test]
fn every_fatal_finding_and_warning_has_a_fix() {
    let report = json(&doctor(&["--json"]));
    for finding in report["findings"].as_array().unwrap() {
        let bad = finding["severity"] == "fatal" || finding["severity"] == "warning";
        assert!(!bad || finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{finding}");
    }
}

#[test]
fn a_broken_configuration_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("penstock.toml");
    std::fs::write(&path, "[port]\naddress = 7\n").unwrap();
    let output = doctor(&["--json", "-c", &path.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(4));
    let report = json(&output);
    let first = &report["findings"][0];
    assert_eq!((first["id"].as_str(), first["severity"].as_str()), (Some("config-invalid"), Some("fatal")), "{report}");
    assert!(first["what"].as_str().unwrap().contains("penstock.toml:2:11"), "{first}");
}

#[test]
fn without_a_file_only_the_machine_is_examined() {
    let report = json(&doctor(&["--json"]));
    let finding = report["findings"].as_array().unwrap().iter().find(|f| f["id"] == "config-none").unwrap();
    assert_eq!((finding["severity"].as_str(), report["config"].as_str()), (Some("note"), None), "{report}");
    assert!(finding["fix"].as_str().unwrap().contains("penstock doctor -c FILE"), "{finding}");
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn a_build_without_dpdk_cannot_start_and_says_how_to_get_it() {
    let report = json(&doctor(&["--json"]));
    let finding = report["findings"].as_array().unwrap().iter().find(|f| f["id"] == "build-without-dpdk");
    assert!(finding.unwrap()["fix"].as_str().unwrap().contains("--features dpdk"), "{report}");
}
