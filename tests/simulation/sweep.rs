//! Many seeds, and a census of what they made happen.
//!
//! PENSTOCK_SEEDS=N for more of them, PENSTOCK_FIRST_SEED=N to begin elsewhere, PENSTOCK_JOBS=N for so many at a time;
//! scripts/simulate.sh sets all three.

use crate::one::{number, run_seed};
use penstock::loadgen::record::Outcome;
use penstock::sim::verdict::Report;
use penstock::telemetry::Counter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Seeds of a test run: code that is not optimised takes twenty times as long, and its assertions need fewer.
const SEEDS: u64 = if cfg!(debug_assertions) { 60 } else { 1000 };
/// Fewer seeds prove nothing about what never happens.
const CENSUS_SEEDS: u64 = 1000;
/// Seeds after which a sweep with failures ends.
const FAILURES_MAX: usize = 5;

/// What hardly a run makes happen, and why.
const UNSEEN: &[(Counter, &str)] = &[
    (Counter::DropDriver, "the runtime counts it for a driver that refuses frames"),
    (Counter::DropNeighborLimit, "takes 4,096 neighbours; the tests of net::neighbor fill the table"),
    (Counter::DropSourceLimit, "a source that is refused fails by design; scripts tests/tcp/limit-source*.pkt have it"),
    (Counter::TooBigLost, "takes 64 reports within a turn of another worker; the tests of net::neighbor have them"),
    (Counter::NeighborContested, "nobody here takes another's address; the tests of net::link forge answers"),
    (Counter::NeighborUpheld, "as above"),
    (Counter::NeighborMoved, "as above"),
    (Counter::NeighborEvicted, "takes 4,096 neighbours; the tests of net::neighbor fill the table"),
    (Counter::NeighborRefused, "takes 100 new neighbours in a second; the tests of net::link have them"),
    (
        Counter::ParkedLate,
        "takes a parked connection's deadline while every place is busy; park-deadline-late.pkt has it",
    ),
    (Counter::DropFlowTable, "takes many equal hashes under a secret; the tests of net::flow fill a bucket"),
    (Counter::HttpHeadBuffers, "takes 65 large heads at once on one worker; a scenario of its own has them"),
];

/// What a sweep came to.
#[derive(Default)]
struct Census {
    runs: u64,
    clients: usize,
    answered: usize,
    excused: usize,
    frames: u64,
    asked: u64,
    outcomes: [u64; Outcome::ALL.len()],
    counters: Vec<u64>,
    /// In how many runs each counter moved.
    seen: Vec<u64>,
    failures: Vec<(u64, String)>,
}

impl Census {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.clients += report.clients;
        self.answered += report.answered;
        self.excused += report.excused;
        self.frames += report.frames;
        for load in &report.loads {
            self.asked += load.counts.ended();
            self.outcomes.iter_mut().zip(load.counts.outcomes).for_each(|(sum, n)| *sum += n);
        }
        self.counters.resize(Counter::ALL.len(), 0);
        self.counters.iter_mut().zip(&report.counters).for_each(|(sum, n)| *sum += n);
        self.seen.resize(Counter::ALL.len(), 0);
        self.seen.iter_mut().zip(&report.counters).for_each(|(sum, n)| *sum += u64::from(*n > 0));
    }

    fn print(&self) {
        let Census { runs, clients, answered, excused, frames, asked, .. } = self;
        println!(
            "{runs} runs: {clients} clients with {answered} answers, {excused} excused; {asked} requests of load runs"
        );
        for (outcome, n) in Outcome::ALL.iter().zip(self.outcomes) {
            println!("{n:>12} {}", outcome.name());
        }
        println!("{frames} frames; counters, and in how many runs they moved:");
        for (i, (n, seen)) in self.counters.iter().zip(&self.seen).enumerate() {
            println!("{n:>12} {seen:>8} {:?}", Counter::ALL[i]);
        }
    }

    /// What the list of the unseen gets wrong.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (counter, seen) in Counter::ALL.iter().zip(&self.seen) {
            match UNSEEN.iter().find(|(unseen, _)| unseen == counter) {
                None if *seen == 0 => faults.push(format!("{counter:?} never happened")),
                // Now and then a seed has what the sweep cannot count on.
                Some((_, reason)) if seen * 100 > self.runs => {
                    faults.push(format!("{counter:?} happens, though {reason:?}"));
                }
                _ => {}
            }
        }
        faults
    }
}

/// Runs the seeds, so many at a time.
fn sweep_over(first: u64, seeds: u64, jobs: u64) -> Census {
    let (next, census, began) = (AtomicU64::new(first), Mutex::new(Census::default()), Instant::now());
    let progress = number("PENSTOCK_PROGRESS").unwrap_or(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let result = run_seed(seed);
                    let mut census = census.lock().unwrap();
                    match result {
                        Ok(report) => census.add(&report),
                        Err(told) => {
                            println!("seed {seed}: {told}\n");
                            census.failures.push((seed, told));
                            if census.failures.len() >= FAILURES_MAX {
                                next.store(first + seeds, Relaxed);
                            }
                        }
                    }
                    if progress > 0 && census.runs.is_multiple_of(progress) {
                        let (runs, failed) = (census.runs, census.failures.len());
                        println!("{runs} of {seeds} runs, {failed} failed, {:.0} s", began.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    census.into_inner().unwrap()
}

#[test]
fn sweep() {
    let first = number("PENSTOCK_FIRST_SEED").unwrap_or(1);
    let seeds = number("PENSTOCK_SEEDS").unwrap_or(SEEDS);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let census = sweep_over(first, seeds, number("PENSTOCK_JOBS").unwrap_or(cores).max(1));
    census.print();
    let failed: Vec<u64> = census.failures.iter().map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    assert!(census.excused * 20 <= census.clients, "{} of {} clients excused", census.excused, census.clients);
    if seeds >= CENSUS_SEEDS {
        let faults = census.faults();
        assert!(faults.is_empty(), "the census: {faults:#?}");
    }
}

#[test]
fn the_census_names_what_is_missing_and_what_is_not() {
    let mut census = Census { runs: 1000, seen: vec![1; Counter::ALL.len()], ..Census::default() };
    UNSEEN.iter().for_each(|(counter, _)| census.seen[*counter as usize] = 10);
    assert_eq!(census.faults(), [""; 0]);
    census.seen[Counter::RxFrames as usize] = 0;
    census.seen[UNSEEN[0].0 as usize] = 11;
    let faults = census.faults().join("\n");
    assert!(faults.contains("RxFrames never happened") && faults.contains(&format!("{:?} happens", UNSEEN[0].0)));
}
