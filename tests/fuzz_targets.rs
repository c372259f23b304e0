//! Every parser has a fuzz target: fuzz/README.md says which, and this test that it does.
//!
//! Owns what a parser looks like from outside. Refuses to run targets: scripts/fuzz.sh does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What code that takes bytes or text apart cannot do without.
const SIGNS: [&str; 12] = [
    ".parse(",
    ".parse::<",
    "fn parse",
    "from_be_bytes",
    "from_ne_bytes",
    "from_le_bytes",
    "split_once(",
    "from_slice(",
    "from_str",
    "first_chunk",
    "strip_prefix(",
    "split_whitespace",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(path) } else { vec![path] }).collect()
}

/// Files of src/ that parse, but for tests and the simulator, which is one.
fn parsers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(root().join("src")) {
        let name = path.strip_prefix(root()).expect("below the root").to_str().expect("a name").to_string();
        if !name.ends_with(".rs") || name.contains("/tests") || name.starts_with("src/sim/") {
            continue;
        }
        let text = read(&name);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if SIGNS.iter().any(|sign| code.contains(sign)) {
            found.insert(name);
        }
    }
    found
}

/// What stands in backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// Parsers and targets of each row.
fn rows(section: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let rows = section.lines().filter(|line| line.starts_with("| `src/"));
    let cells = rows.map(|line| line.split('|').map(quoted).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].clone(), cells[2].clone())).collect()
}

fn targets() -> BTreeSet<String> {
    let text = read("fuzz/src/lib.rs");
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Target { name: \"")?.split('"').next());
    names.map(str::to_string).collect()
}

#[test]
fn every_parser_has_a_target_or_a_reason() {
    let text = read("fuzz/README.md");
    let (with, without) = text.split_once("## Parsers without a target").expect("both tables");
    let (with, without) = (rows(with), rows(without));
    let mut named: Vec<String> = with.iter().chain(&without).flat_map(|(files, _)| files.clone()).collect();
    for file in &named {
        assert!(root().join(file).is_file(), "fuzz/README.md: {file} does not exist");
    }
    named.sort();
    let twice: Vec<&[String]> = named.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(twice.is_empty(), "fuzz/README.md names {twice:?} twice");
    let missing: Vec<String> = parsers().into_iter().filter(|file| !named.contains(file)).collect();
    assert!(missing.is_empty(), "fuzz/README.md has no row for {missing:?}: name a target, or say why there is none");
    let used: BTreeSet<String> = with.iter().flat_map(|(_, targets)| targets.clone()).collect();
    assert_eq!(used, targets(), "targets of fuzz/README.md (left) and fuzz/src/lib.rs (right) differ");
}

#[test]
fn every_target_has_seeds() {
    let folders = std::fs::read_dir(root().join("fuzz/seeds")).expect("seeds").map(|entry| entry.expect("an entry"));
    let folders: BTreeSet<String> = folders.map(|entry| entry.file_name().to_str().expect("a name").into()).collect();
    assert_eq!(folders, targets(), "folders of fuzz/seeds (left) and targets (right) differ");
    for target in targets() {
        let seeds = files(root().join("fuzz/seeds").join(&target));
        assert!(
            !seeds.is_empty() && seeds.iter().all(|seed| seed.metadata().expect("a seed").len() <= 8192),
            "{target}"
        );
    }
}
