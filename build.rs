//! Stamps the build with the commit it was made from.

use std::path::Path;
use std::process::Command;

fn main() {
    // The log grows with each commit; HEAD only names the branch.
    for file in [".git/HEAD", ".git/logs/HEAD"].into_iter().filter(|file| Path::new(file).exists()) {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PENSTOCK_GIT_SHA");
    let sha = std::env::var("PENSTOCK_GIT_SHA").ok().or_else(git_sha).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=PENSTOCK_GIT_SHA={sha}");
}

fn git_sha() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let sha = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !sha.is_empty()).then_some(sha)
}
