//! Runs one target: under libFuzzer with the feature of that name, otherwise by a simple driver.
//!
//! Owns the choice of the target, by PENSTOCK_FUZZ_TARGET. Refuses to be called by hand: scripts/fuzz.sh does.

#![cfg_attr(feature = "libfuzzer", no_main)]

use penstock_fuzz::{TARGETS, Target};

fn target() -> &'static Target {
    let name = std::env::var("PENSTOCK_FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        eprintln!("PENSTOCK_FUZZ_TARGET={name:?} is no target; scripts/fuzz.sh --list shows them");
        std::process::exit(2);
    })
}

#[cfg(feature = "libfuzzer")]
mod guided {
    use std::sync::LazyLock;

    static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| super::target().run);
    libfuzzer_sys::fuzz_target!(|input: &[u8]| RUN(input));
}

#[cfg(not(feature = "libfuzzer"))]
mod blind;

#[cfg(not(feature = "libfuzzer"))]
fn main() {
    blind::main(target());
}
