//! A driver without coverage, for machines without a C++ compiler.
//!
//! Owns replaying files, and mutating them from a seed. Takes a few of libFuzzer's own arguments, so that one script drives
//! both: `-runs=N`, `-max_total_time=SECONDS`, `-seed=N`, `-artifact_prefix=PATH`; the rest are files and folders to
//! begin with. Refuses to learn from what it tries.

use penstock_fuzz::Target;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest input, in bytes.
const LEN_MAX: usize = 4096;
/// What parsers like to trip over.
const WORDS: [&[u8]; 14] = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"=",
    b"/",
    b"%2f",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"\xff",
    b"\xc3",
    b"[]",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Runs a target as the arguments say; ends with status 77, as libFuzzer does, when an input fails.
pub fn main(target: &Target) {
    let (options, paths): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| option(name).and_then(|value| value.parse::<u64>().ok());
    let prefix = option("-artifact_prefix").unwrap_or("./").to_string();
    let seeds: Vec<Vec<u8>> = paths.iter().flat_map(|path| files(Path::new(path))).filter_map(read).collect();
    for seed in &seeds {
        attempt(target, seed, &prefix);
    }
    let until = number("-max_total_time").filter(|s| *s > 0).map(|s| Instant::now() + Duration::from_secs(s));
    let runs = number("-runs").or(until.map(|_| u64::MAX)).unwrap_or(0);
    let mut random = Random(number("-seed").unwrap_or(1));
    let mut done = 0;
    while done < runs && until.is_none_or(|until| Instant::now() < until) {
        attempt(target, &mutated(&seeds, &mut random), &prefix);
        done += 1;
    }
    println!("Done {} runs", done + seeds.len() as u64);
}

/// A file, or the files in a folder, sorted.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_path_buf()];
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn read(path: PathBuf) -> Option<Vec<u8>> {
    fs::read(&path).map_err(|error| eprintln!("cannot read {}: {error}", path.display())).ok()
}

fn attempt(target: &Target, input: &[u8], prefix: &str) {
    if panic::catch_unwind(|| (target.run)(input)).is_ok() {
        return;
    }
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let path = format!("{prefix}crash-{hash:016x}");
    match fs::write(&path, input) {
        Ok(()) => eprintln!("Test unit written to {path}"),
        Err(error) => eprintln!("cannot write {path}: {error}; the input is {input:?}"),
    }
    std::process::exit(77);
}

/// A seed, or two, with a few changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    let mut bytes = pick(random);
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(1 + bytes.len() / 4)).min(bytes.len());
        match random.below(8) {
            0 => _ = bytes.drain(at..to),
            1 => _ = bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied()),
            2 => {
                let copy = bytes[at..to].to_vec();
                let place = random.below(bytes.len() + 1);
                bytes.splice(place..place, copy);
            }
            3 => {
                let other = pick(random);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => bytes.insert(at, random.next() as u8),
            _ if at < bytes.len() && random.below(2) == 0 => bytes[at] ^= 1 << random.below(8),
            _ if at < bytes.len() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
    bytes.truncate(LEN_MAX);
    bytes
}
