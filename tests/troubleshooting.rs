//! docs/troubleshooting.md and its tests name each other: a line that no test brings about fails here, without root and
//! without DPDK. tests/blackbox/test_troubleshooting.py runs them; src/control/doctor/tests.rs holds the doctor's table.

const PAGE: &str = include_str!("../docs/troubleshooting.md");
const TESTS: &str = include_str!("blackbox/test_troubleshooting.py");

/// The first column of every table after the doctor's.
fn seen() -> Vec<&'static str> {
    let sections = PAGE.split("\n## ").skip(2);
    let rows = sections.flat_map(str::lines).filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" | ").next()).filter(|cell| *cell != "Seen").collect()
}

#[test]
fn every_line_is_named_by_a_test() {
    let seen = seen();
    assert!(seen.len() > 40, "{seen:?}");
    for cell in seen {
        assert!(
            TESTS.contains(&format!("\"{cell}\": ")),
            "no test in tests/blackbox/test_troubleshooting.py for: {cell}"
        );
    }
}

#[test]
fn nothing_is_said_outside_the_tables() {
    for section in PAGE.split("\n## ").skip(2) {
        let (_, table) = section.split_once("\n| Seen | Cause | Fix |\n").expect("a table in each section");
        let stray = table.lines().find(|line| line.starts_with("- ") || line.starts_with("* "));
        assert!(stray.is_none(), "advice that no test holds: {stray:?}");
    }
}
