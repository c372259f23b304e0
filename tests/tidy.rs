//! The house rules as a test: layer edges, where `unsafe`, FFI and smoltcp may stand, sizes, clocks, output, dependencies, and
//! documents that name what exists.
//!
//! Owns the rules as data and one function for each. Refuses to parse Rust: `tidy/scan.rs` tells code from comments, and that
//! is enough. A violation reads `file:line: rule: what to do`.

#[path = "tidy/scan.rs"]
mod scan;

use scan::{Source, words};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The words every layer may use. Among themselves they may use what `EDGES` says.
const L0: &[&str] = &["config", "failure", "limits", "mem", "port", "telemetry", "time"];

/// Top-level module, its layer, whether it may use all of L0, and what else it may use by `crate::`. ARCHITECTURE.md shows
/// the same table, and a test compares the two.
const EDGES: &[(&str, &str, bool, &[&str])] = &[
    ("config", "L0", false, &[]),
    ("failure", "L0", false, &[]),
    ("limits", "L0", false, &["port"]),
    ("mem", "L0", false, &["config", "failure", "limits"]),
    ("port", "L0", false, &[]),
    ("telemetry", "L0", false, &["port"]),
    ("time", "L0", false, &[]),
    ("dpdk", "L1", true, &[]),
    ("net", "L1", true, &[]),
    ("http", "L2", true, &[]),
    ("worker", "L3", true, &["http", "net"]),
    ("gateway", "L4", true, &["http", "worker"]),
    ("loadgen", "L4", true, &["http", "net", "worker"]),
    ("report", "L5", true, &["loadgen"]),
    ("runtime", "L5", true, &["control", "dpdk", "gateway", "loadgen", "net", "report", "worker"]),
    ("control", "L5", true, &["gateway", "loadgen", "worker"]),
    ("cli", "L5", true, &["control", "report", "runtime"]),
    ("sim", "sim", true, &["gateway", "http", "loadgen", "net", "worker"]),
];
/// Modules whose tests may use `sim` as well.
const SIM_IN_TESTS: &[&str] = &["gateway", "loadgen", "net", "worker"];
/// What the program's `main.rs` may use of the library.
const MAIN_USES: &[&str] = &["cli", "failure"];

/// Folders and files that may hold `unsafe`.
const UNSAFE_IN: &[&str] = &["dpdk-sys/", "src/dpdk", "src/mem"];
/// Files that may name dpdk-sys or declare `extern` functions.
const FFI_IN: &[&str] = &["dpdk-sys/", "src/dpdk"];
/// Files that may name anything of smoltcp; in `src/mem` tests only.
const SMOLTCP_IN: &[&str] = &["src/net/tcb", "src/sim"];
/// Files that may name `smoltcp::wire`, as all tests in `src/net` may.
const SMOLTCP_WIRE_IN: &[&str] = &["src/net/icmp", "src/net/link", "src/net/neighbor"];
/// Files that may read a clock.
const CLOCKS_IN: &[&str] = &["benches/", "src/cli", "src/control", "src/dpdk", "src/runtime", "tests/"];
/// Files that may write to the terminal, EAL's log among them, as all tests may to say what they skip.
const OUTPUT_IN: &[&str] = &["benches/", "src/cli", "src/control", "src/dpdk/log", "src/main", "src/runtime", "tests/"];

/// What reads a clock, what writes to the terminal, and what says that something is missing.
const CLOCK_WORDS: &[&str] =
    &["Instant::now", "SystemTime::now", "clock_gettime", "gettimeofday", "_rdtsc", "__rdtscp"];
const OUTPUT_WORDS: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];
const UNFINISHED_WORDS: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Lines of a file, at most; aim for 400.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function that hold code, at most; aim for 30.
const FUNCTION_LINES_MAX: usize = 70;

/// Collects what is wrong with one file.
struct Report<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Report<'_> {
    fn add(&mut self, line: usize, rule: &str, what: impl AsRef<str>) {
        self.found.push(format!("{}:{line}: {rule}: {}", self.path, what.as_ref()));
    }
}

fn check_source(source: &Source) -> Vec<String> {
    let mut report = Report { path: &source.path, found: Vec::new() };
    layers(source, &mut report);
    unsafe_code(source, &mut report);
    ffi(source, &mut report);
    smoltcp(source, &mut report);
    effects(source, &mut report);
    unfinished(source, &mut report);
    sizes(source, &mut report);
    report.found
}

fn within(path: &str, places: &[&str]) -> bool {
    // `src/mem` covers src/mem.rs and src/mem/, not src/memory.rs.
    places.iter().any(|place| {
        path.strip_prefix(place).is_some_and(|rest| place.ends_with('/') || rest.starts_with(['/', '.', '_']))
    })
}

/// The top-level module a file under `src/` belongs to, and how deep its own module is; `lib` and `main` have depth 0.
fn module_of(path: &str) -> Option<(&str, usize)> {
    let parts: Vec<&str> = path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').collect();
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    Some((parts[0], if parts == ["lib"] || parts == ["main"] { 0 } else { depth }))
}

fn may_use(module: &str, used: &str, test: bool) -> bool {
    if module == used || module == "lib" {
        return true;
    }
    let edge = EDGES.iter().find(|(name, ..)| *name == module);
    edge.is_some_and(|(.., l0, more)| (*l0 && L0.contains(&used)) || more.contains(&used))
        || (test && used == "sim" && SIM_IN_TESTS.contains(&module))
}

fn layers(source: &Source, report: &mut Report) {
    let Some((module, depth)) = module_of(&source.path) else { return };
    if module == "main" {
        for (at, used) in source.paths("penstock") {
            if !MAIN_USES.contains(&used.as_str()) {
                let what = format!("main.rs may use {} only, not `penstock::{used}`", MAIN_USES.join(" and "));
                report.add(source.line(at), "layer", what);
            }
        }
        return;
    }
    if module != "lib" && !EDGES.iter().any(|(name, ..)| *name == module) {
        report.add(
            1,
            "layer",
            format!("`{module}` has no layer: add it to EDGES in tests/tidy.rs and to ARCHITECTURE.md"),
        );
        return;
    }
    let mut used = source.paths("crate");
    used.extend(source.super_paths(depth.max(1)));
    for (at, used) in used {
        let known = EDGES.iter().any(|(name, ..)| *name == used);
        if used == "*" || used == "self" {
            report.add(source.line(at), "layer", "name the modules: `use crate::module::..`");
        } else if known && !may_use(module, &used, source.is_test(at)) {
            let what =
                format!("`{module}` may not use `crate::{used}`: move the code, or pass what it needs as an argument");
            report.add(source.line(at), "layer", what);
        }
    }
}

fn unsafe_code(source: &Source, report: &mut Report) {
    let allocator = within(&source.path, &["benches/", "tests/"]) && source.words("GlobalAlloc").next().is_some();
    for at in source.words("unsafe") {
        let line = source.line(at);
        if !within(&source.path, UNSAFE_IN) && !allocator {
            report.add(line, "unsafe", format!("only {} may hold unsafe code", UNSAFE_IN.join(", ")));
        }
        let next = source.code[at + "unsafe".len()..].trim_start();
        if (next.starts_with('{') || next.starts_with("impl")) && !has_safety_line(source, line) {
            report.add(line, "safety", "write a `// SAFETY:` line above that says why this is sound");
        }
    }
}

/// Whether the comment next to or above the statement on `line` says SAFETY.
fn has_safety_line(source: &Source, line: usize) -> bool {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    let says = |i: usize| comments.get(i).is_some_and(|comment| comment.contains("SAFETY:"));
    let mut above = line - 1;
    while !says(above) && above > 0 {
        above -= 1;
        let (code, comment) = (code[above].trim_end(), comments[above].trim());
        let statement_ends = code.ends_with([';', '{', '}']);
        if statement_ends || (code.trim().is_empty() && comment.is_empty()) {
            return false;
        }
    }
    says(above)
}

fn ffi(source: &Source, report: &mut Report) {
    if within(&source.path, FFI_IN) {
        return;
    }
    for at in source.words("dpdk_sys") {
        report.add(source.line(at), "ffi", "only src/dpdk may name dpdk_sys: go through `Port` and `Frame`");
    }
    for at in source.words("extern") {
        if !source.code[at + "extern".len()..].trim_start().starts_with("crate") {
            report.add(source.line(at), "ffi", "only dpdk-sys and src/dpdk may declare extern functions");
        }
    }
}

fn smoltcp(source: &Source, report: &mut Report) {
    let path = source.path.as_str();
    for (at, part) in source.paths("smoltcp") {
        let test = source.is_test(at);
        let wire = within(path, SMOLTCP_WIRE_IN) || (test && within(path, &["src/net"]));
        let all = within(path, SMOLTCP_IN) || (test && within(path, &["src/mem"]));
        let allowed = all || (wire && part == "wire");
        if !allowed {
            let what = format!(
                "`smoltcp::{part}` may not be named here: sockets live in src/net/tcb.rs, wire formats in link"
            );
            report.add(source.line(at), "smoltcp", what);
        }
    }
}

fn effects(source: &Source, report: &mut Report) {
    for at in CLOCK_WORDS.iter().flat_map(|word| source.words(word)) {
        if !within(&source.path, CLOCKS_IN) {
            report.add(source.line(at), "clock", "take `now` as an argument: only the runtime reads a clock");
        }
    }
    for at in OUTPUT_WORDS.iter().flat_map(|word| macro_calls(source, word)) {
        if !within(&source.path, OUTPUT_IN) && !source.is_test(at) {
            report.add(source.line(at), "output", "count it or return a Failure: only the program's edge prints");
        }
    }
}

/// Offsets of a macro call such as `name!`.
fn macro_calls<'a>(source: &'a Source, call: &'a str) -> impl Iterator<Item = usize> + 'a {
    source.words(call.trim_end_matches('!')).filter(move |at| source.code[*at..].starts_with(call))
}

fn unfinished(source: &Source, report: &mut Report) {
    for at in UNFINISHED_WORDS.iter().flat_map(|word| macro_calls(source, word)) {
        report.add(source.line(at), "unfinished", "finish it, or leave it out");
    }
    for at in unfinished_marks().iter().flat_map(|mark| words(&source.comments, mark).collect::<Vec<_>>()) {
        report.add(source.line(at), "unfinished", "do it now, or describe the limit as it is");
    }
}

/// Built from halves, so that this file does not contain them.
fn unfinished_marks() -> [String; 3] {
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat())
}

fn sizes(source: &Source, report: &mut Report) {
    if !source.text.starts_with("//!") {
        report.add(1, "header", "begin with `//!`: what this file owns and what it refuses");
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        report.add(
            lines,
            "size",
            format!("{lines} lines, at most {FILE_LINES_MAX}: split the file by what its parts own"),
        );
    }
    for function in source.functions() {
        if function.code_lines > FUNCTION_LINES_MAX {
            let (name, n) = (&function.name, function.code_lines);
            let what = format!("`{name}` has {n} code lines, at most {FUNCTION_LINES_MAX}: split it");
            report.add(function.line, "size", what);
        }
    }
}

/// Paths that exist on one machine only, outside the tree and outside what every Debian has.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut report = Report { path, found: Vec::new() };
    let roots = [["/wo", "rk"], ["/ro", "ot"], ["/ho", "me"], ["/tmp/", "wt"]].map(|halves| halves.concat());
    for (i, line) in text.lines().enumerate() {
        for root in &roots {
            let named = line.match_indices(root.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + root.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || ".-_/~*}>)".contains(c))
                    && !after.is_some_and(|c| c.is_alphanumeric() || "-_.".contains(c))
            });
            if named {
                report.add(i + 1, "machine path", "write a path below the repository, or a variable");
            }
        }
    }
    report.found
}

/// Scripts named in a document's shell blocks, and targets of its relative links, that do not exist.
fn dead_references(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut report = Report { path, found: Vec::new() };
    let folder = path.rfind('/').map_or("", |slash| &path[..=slash]);
    let mut block = None;
    for (i, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.trim().to_string()) };
            continue;
        }
        let shell = matches!(block.as_deref(), Some("" | "sh" | "bash" | "shell" | "console"));
        for word in line.split_whitespace().filter(|_| shell) {
            let word = word.trim_start_matches("./");
            if (word.starts_with("scripts/") || word.starts_with(".ci/")) && !exists(word) {
                report.add(i + 1, "script", format!("`{word}` does not exist"));
            }
        }
        for link in
            line.split("](").skip(1).filter(|_| block.is_none()).filter_map(|rest| rest.split([')', '#']).next())
        {
            if !link.is_empty() && !link.contains("://") && !exists(&format!("{folder}{link}")) {
                report.add(i + 1, "link", format!("`{link}` does not exist"));
            }
        }
    }
    report.found
}

/// The layer table of ARCHITECTURE.md, one `layer module: what it may use` for each row.
fn documented_edges(text: &str) -> BTreeSet<String> {
    let layers: BTreeSet<&str> = EDGES.iter().map(|(_, layer, ..)| *layer).collect();
    let rows = text.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.filter(|cells| cells.len() == 4 && layers.contains(cells[0]));
    rows.map(|cells| format!("{} {}: {}", cells[0], cells[1], cells[3]).replace('`', "")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Rust files below `folder`, as paths from the repository's root, sorted.
fn rust_files(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Where a module declared in `path` as a file of its own may be, without the extension.
fn child(path: &str, module: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let stem = ["/mod", "/lib", "/main"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
    format!("{stem}/{module}")
}

/// Every source file of the project, with test modules in files of their own marked as such.
fn sources() -> Vec<Source> {
    let paths: Vec<String> = ["src", "dpdk-sys/src", "tests", "benches"].into_iter().flat_map(rust_files).collect();
    let sources: Vec<Source> = paths.iter().map(|path| Source::new(path, &read(path), false)).collect();
    let tests: Vec<String> =
        sources.iter().flat_map(|s| s.test_modules().into_iter().map(|m| child(&s.path, &m))).collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    sources.into_iter().map(|s| if within(&s.path, &tests) { Source::new(&s.path, &s.text, true) } else { s }).collect()
}

/// Tracked files that are text, with their content; None where git or its index is absent.
fn tracked_texts() -> Option<Vec<(String, String)>> {
    let output = Command::new("git").current_dir(root()).args(["ls-files", "-z"]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let names = String::from_utf8(output.stdout).ok()?;
    let names = names.split('\0').filter(|name| !name.is_empty());
    Some(names.filter_map(|n| Some((n.to_string(), std::fs::read_to_string(root().join(n)).ok()?))).collect())
}

/// The crates a manifest depends on, in any of its sections.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.starts_with(|c: char| c.is_ascii_lowercase()) {
            names.extend(line.split([' ', '=', '.']).next().map(str::to_string));
        }
    }
    names
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations\n{}\n", violations.len(), violations.join("\n"));
}

#[test]
fn sources_obey_the_rules() {
    let sources = sources();
    assert!(sources.iter().any(|s| s.path == "src/lib.rs") && sources.len() > 10, "the walk finds the sources");
    assert_none(&sources.iter().flat_map(check_source).collect::<Vec<_>>());
}

#[test]
fn architecture_shows_the_layers_as_enforced() {
    let layer = |name: &str| EDGES.iter().find(|(n, ..)| *n == name).map(|(_, layer, ..)| *layer);
    for (module, own, _, uses) in EDGES {
        let upward = uses.iter().find(|used| *own != "sim" && (layer(used) == Some("sim") || layer(used) > Some(*own)));
        assert_eq!(upward, None, "{module} is {own} and may not use a higher layer");
    }
    let expected: BTreeSet<String> = EDGES
        .iter()
        .map(|(module, layer, l0, more)| {
            let uses: Vec<&str> = l0.then_some("L0").into_iter().chain(more.iter().copied()).collect();
            format!("{layer} {module}: {}", if uses.is_empty() { "nothing".into() } else { uses.join(", ") })
        })
        .collect();
    assert_eq!(documented_edges(&read("ARCHITECTURE.md")), expected, "ARCHITECTURE.md (left) and EDGES (right) differ");
}

#[test]
fn documents_name_what_exists() {
    let Some(texts) = tracked_texts() else {
        eprintln!("skipped: git cannot list the tracked files here");
        return;
    };
    let exists = |path: &str| root().join(path).exists();
    let documents = texts.iter().filter(|(path, _)| path.ends_with(".md"));
    let mut found: Vec<String> = documents.flat_map(|(path, text)| dead_references(path, text, &exists)).collect();
    found.extend(texts.iter().flat_map(|(path, text)| machine_paths(path, text)));
    assert_none(&found);
}

#[test]
fn dependencies_are_used_and_explained() {
    let (own, sources, decisions) = (read("Cargo.toml"), sources(), read("docs/decisions.md"));
    let mut found = Vec::new();
    for name in dependencies(&own) {
        let ident = name.replace('-', "_");
        if !sources.iter().any(|source| source.words(&ident).next().is_some()) {
            found.push(format!("Cargo.toml: dependency: nothing uses `{name}`: remove it"));
        }
    }
    for name in dependencies(&own).into_iter().chain(dependencies(&read("dpdk-sys/Cargo.toml"))) {
        if !decisions.contains(&format!("`{name}`")) {
            found.push(format!("docs/decisions.md: dependency: say why `{name}` was chosen"));
        }
    }
    assert_none(&found);
}

#[path = "tidy/rules.rs"]
mod rules;
