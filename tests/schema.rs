//! `penstock schema`: the JSON Schema agrees with the loader about every example and refuses what the loader refuses.
//!
//! Owns the documents that are tried. Refuses to validate: `schema/validator.rs` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use penstock::control::load_plan::{self, LoadRunArguments};
use penstock::control::{json_schema, load};
use serde_json::{Value, json};

#[path = "schema/validator.rs"]
mod validator;

use validator::errors;

/// What the schema says against a TOML document.
fn refusals(text: &str) -> Vec<String> {
    refusals_of(&json_schema::document(), text)
}

/// As [`refusals`], of the schema of load plans.
fn plan_refusals(text: &str) -> Vec<String> {
    refusals_of(&json_schema::plan_document(), text)
}

fn refusals_of(document: &Value, text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    errors(document, document, &value, "")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn loads(text: &str) -> bool {
    load::load_str("test.toml", text, &root().join("dpdk-config")).is_ok()
}

#[test]
fn the_committed_copy_is_what_the_program_prints() {
    let path = root().join("docs/penstock.schema.json");
    let output = Command::new(env!("CARGO_BIN_EXE_penstock")).arg("schema").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, json_schema::text());
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == printed, "refresh it: penstock schema > docs/penstock.schema.json");
}

#[test]
fn the_committed_copy_of_load_plans_is_what_the_program_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_penstock")).args(["schema", "--plan"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let committed = std::fs::read_to_string(root().join("docs/load-plan.schema.json")).unwrap();
    let fresh = committed == String::from_utf8(output.stdout).unwrap();
    assert!(fresh, "refresh it: penstock schema --plan > docs/load-plan.schema.json");
}

fn plan_loads(text: &str) -> bool {
    load_plan::from_text("plan.toml", text, &root().join("dpdk-config/load"), &LoadRunArguments::default()).is_ok()
}

const PLAN: &str = r#"
load.url = "http://10.7.0.1/"
load.rate = "1k/s"
port = { address = "10.7.0.2/24" }
"#;

#[test]
fn load_plans_in_examples_and_documents_are_valid() {
    let folder = root().join("dpdk-config/load");
    let mut texts: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(texts.len() >= 4);
    let document = std::fs::read_to_string(root().join("docs/load.md")).unwrap();
    texts.extend(document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(String::from));
    assert!(texts.len() >= 5);
    for text in texts {
        assert_eq!(plan_refusals(&text), [""; 0], "{text}");
    }
}

#[test]
fn both_agree_about_load_plans() {
    for more in [
        "load.spike = \"5k:1s:1s\"",
        "load.connections = 16777216\nload.source_ports = \"1024-65535\"",
        "thresholds.checks = \"rate>0.5\"",
        "thresholds.http_reqs = [\"rate>5\", { threshold = \"count>5\", abort_on_fail = true, delay = \"0s\" }]",
        "requests = [{ expect_status = 200 }, { expect_status = [\"200-299,404\", 500], headers = { A = [\"b\"] } }]",
    ] {
        assert_eq!(plan_refusals(&format!("{PLAN}{more}\n")), [""; 0], "{more}");
        assert!(more.contains("16777216") || plan_loads(&format!("{PLAN}{more}\n")), "{more}");
    }
    for rate in ["5", "0.5", "\"5\"", "\"2.5M/s\"", "\"1k->2k/s\"", "\"max\""] {
        let text = PLAN.replace("\"1k/s\"", rate);
        assert_eq!(plan_refusals(&text), [""; 0], "{rate}");
        assert!(plan_loads(&text), "{rate}");
    }
    let wrong = ["true", "-1", "\"fast\"", "\"1K\"", "\"1k->\"", "\"1e5\""].map(|rate| PLAN.replace("\"1k/s\"", rate));
    let added = [
        "extra = 1",
        "load.pipeline = 65",
        "load.arrivals = \"uniform\"",
        "stages = []",
        "stages = [{ rate = 5 }]",
        "requests = [{ weight = 0 }]",
        "requests = [{ expect_status = 99 }]",
        "requests = [{ expect_status = \"ok\" }]",
        "thresholds.checks = 5",
        "thresholds.checks = { abort_on_fail = true }",
        "thresholds.checks = { threshold = \"rate>0.5\", abort_on_fail = \"yes\" }",
    ];
    for text in wrong.into_iter().chain(added.map(|more| format!("{PLAN}{more}\n"))) {
        assert_ne!(plan_refusals(&text), [""; 0], "{text}");
        assert!(!plan_loads(&text), "the loader accepts:\n{text}");
    }
}

#[test]
fn every_example_is_valid() {
    let folder = root().join("dpdk-config");
    let paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<&PathBuf> = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        assert_eq!(refusals(&std::fs::read_to_string(path).unwrap()), [""; 0], "{}", path.display());
    }
}

#[test]
fn examples_in_the_documents_are_valid() {
    let mut found = 0;
    for name in ["docs/configuration.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        for example in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            assert_eq!(refusals(example), [""; 0], "{name}");
            found += 1;
        }
    }
    assert!(found >= 2);
}

const MINIMAL: &str = r#"
port = { address = "10.7.0.2/24" }
listener = [{ port = 80 }]
route = [{ path = "/", respond = {} }]
"#;

#[test]
fn both_accept_every_way_to_write_a_value() {
    for more in [
        "http.body_size = 0",
        "http.body_size = \"64 KiB\"",
        "http.idle_timeout = \" 5m\"",
        "tcp.rx_ring = 2048",
        "tcp.rx_ring = \"2048B\"",
        "tcp.tx_ring = \"32KiB\"",
        "http.requests_per_connection = 9223372036854775807",
        "workers.hugepages = \"off\"",
    ] {
        let text = format!("{MINIMAL}{more}\n");
        assert_eq!(refusals(&text), [""; 0], "{more}");
        assert!(loads(&text), "{more}");
    }
}

#[test]
fn both_refuse_what_is_wrong() {
    let replacements = [
        ("listener = [{ port = 80 }]", "", "/: required"),
        ("listener = [{ port = 80 }]", "listener = []", "/listener: minItems"),
        ("port = 80", "port = 0", "/listener/0/port: minimum"),
        ("port = 80", "port = 65536", "/listener/0/port: maximum"),
        ("port = 80", "port = \"80\"", "/listener/0/port: type"),
        ("port = 80", "port = 80, adress = \"x\"", "/listener/0/adress: unknown"),
        ("\"10.7.0.2/24\"", "[]", "/port/address: anyOf"),
        ("\"10.7.0.2/24\"", "7", "/port/address: anyOf"),
        ("path = \"/\", ", "", "/route/0: oneOf"),
        ("path = \"/\"", "path = \"/\", exact = \"/\"", "/route/0: oneOf"),
        ("respond = {}", "respond = { status = 99 }", "/route/0/respond/status: minimum"),
        ("respond = {}", "respond = { headers = { A = 1 } }", "/route/0/respond/headers/A: anyOf"),
    ];
    let replaced = replacements.map(|(old, new, refusal)| (MINIMAL.replace(old, new), refusal));
    let added = [
        ("extra = 1", "/extra: unknown"),
        ("http = 5", "/http: type"),
        ("http.header_count = 1.5", "/http/header_count: type"),
        ("http.body_size = \"1TiB\"", "/http/body_size: anyOf"),
        ("http.body_size = \"1.5MiB\"", "/http/body_size: anyOf"),
        ("http.idle_timeout = 5", "/http/idle_timeout: type"),
        ("http.idle_timeout = \"1m30s\"", "/http/idle_timeout: pattern"),
        ("tcp.rx_ring = 3000", "/tcp/rx_ring: anyOf"),
        ("workers.hugepages = \"yes\"", "/workers/hugepages: enum"),
    ];
    let added = added.map(|(more, refusal)| (format!("{MINIMAL}{more}\n"), refusal));
    for (text, refusal) in replaced.into_iter().chain(added) {
        let found = refusals(&text);
        let expected = |found: &String| format!("/{}", found.trim_start_matches('/')).starts_with(refusal);
        assert!(found.iter().any(expected), "{refusal} is not in {found:?}:\n{text}");
        assert!(!loads(&text), "the loader accepts:\n{text}");
    }
}

#[test]
fn every_key_is_described_once() {
    let document = json_schema::document();
    let sections = document["$defs"].as_object().unwrap().values().chain([&document]);
    let properties: Vec<&Value> =
        sections.flat_map(|section| section["properties"].as_object().unwrap().values()).collect();
    assert!(properties.len() > 30);
    for property in properties {
        assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{property}");
    }
    assert_eq!(document["$defs"]["workers"]["properties"]["connections"]["default"], json!(16384));
    assert_eq!(document["$defs"]["http"]["properties"]["idle_timeout"]["default"], json!("75s"));
    assert_eq!(document["$defs"]["route"]["required"], json!(["respond"]));
}
