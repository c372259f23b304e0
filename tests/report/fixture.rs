//! False runs: what workers would have recorded of a target that behaves as a seed says.
//!
//! Owns the target's model. Refuses to judge.

use std::sync::Arc;
use std::time::Duration;

use penstock::loadgen::plan::*;
use penstock::loadgen::record::{Interval, Outcome, Recording, histogram};
use penstock::report::stats::Random;
use penstock::report::{Collector, Ending, Health, Label, Run, Stamp};
use penstock::time::Instant;

/// A run to be made.
#[derive(Clone)]
pub struct Script {
    pub plan: Plan,
    pub workers: usize,
    pub seed: u64,
    /// The median latency, in nanoseconds.
    pub median_ns: f64,
    /// How much one interval's level differs from another's, and how much of that stays for the next.
    pub level: (f64, f64),
    /// Share of requests that fail.
    pub failed: f64,
    /// The generator's own lag at p50, in nanoseconds.
    pub lag_ns: f64,
    /// Share of due requests that are really sent.
    pub sent: f64,
    /// Share of turns with work.
    pub busy: f64,
    /// Requests of an interval that waited for a connection.
    pub waited: u64,
    pub host: &'static str,
    /// From this second on the target takes three times as long.
    pub slow_from: f64,
}

pub fn class(name: &str, weight: u32) -> Class {
    let head: Arc<[u8]> = Arc::from(format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    Class { name: name.into(), weight, head_only: false, head, body: Arc::from(&b""[..]), check: Check::default() }
}

pub fn stage(name: &str, seconds: f64, from: f64, to: f64, warmup: bool) -> Stage {
    Stage { name: name.into(), duration: Duration::from_secs_f64(seconds), from, to, warmup }
}

pub fn plan(stages: Vec<Stage>, classes: Vec<Class>) -> Plan {
    Plan {
        target: Target { url: "http://10.7.0.1/".into(), address: "10.7.0.1:80".parse().unwrap() },
        arrivals: Arrivals::Constant,
        stages,
        classes,
        connections: 400,
        requests_per_connection: 0,
        pipeline: 1,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        source_ports: 1024..=65535,
        seed: 7,
        thresholds: Vec::new(),
    }
}

pub fn threshold(metric: Metric, aggregation: Aggregation, comparison: Comparison, value: f64) -> Threshold {
    Threshold {
        text: format!("{metric:?} {aggregation:?} {comparison:?} {value}"),
        metric,
        stage: None,
        class: None,
        aggregation,
        comparison,
        value,
        abort: false,
        abort_delay: Duration::ZERO,
    }
}

impl Script {
    /// 20 s of 2,000 requests per second after 2 s of warm-up, by two workers, of a quiet target.
    pub fn new(seed: u64) -> Script {
        let stages = vec![stage("warm", 2.0, 1000.0, 1000.0, true), stage("steady", 20.0, 2000.0, 2000.0, false)];
        Script {
            plan: plan(stages, vec![class("small", 3), class("large", 1)]),
            workers: 2,
            seed,
            median_ns: 250_000.0,
            level: (0.05, 0.3),
            failed: 0.0,
            lag_ns: 4_000.0,
            sent: 1.0,
            busy: 0.4,
            waited: 0,
            host: "alpha",
            slow_from: f64::INFINITY,
        }
    }

    pub fn stamp(&self) -> Stamp {
        Stamp {
            host: self.host.into(),
            version: "0.1.0".into(),
            git_sha: "33dbfb0".into(),
            build_id: "c0ffee".into(),
            cpu: "Processor of the test <&>".into(),
            cores: 8,
            kernel: "6.18.0".into(),
            dpdk: "22.11.11".into(),
            eal: "-l 0,1,2 --in-memory".into(),
            device: "net_memif0 (net_memif)".into(),
        }
    }

    pub fn collector(&self, name: &str) -> Collector {
        let label = Label { name: name.into(), started: "2026-05-04T03:02:01.5Z".into() };
        Collector::new(&self.plan, self.stamp(), label, self.workers)
    }

    pub fn health(&self) -> Vec<Health> {
        let health = |n: usize| {
            let mut turns = histogram();
            (0..2_000).for_each(|i| turns.record(3_000 + i * 17).unwrap());
            Health { lcore: n as u32 + 1, turns, tx_refused: 0, rx_missed: 0, rx_dropped: 0, mempool_exhausted: 0 }
        };
        (0..self.workers).map(health).collect()
    }

    /// All intervals by worker, and the workers' recordings.
    pub fn play(&self) -> (Vec<Vec<Interval>>, Vec<Recording>) {
        let shape = penstock::report::shape::Shape::from(&self.plan);
        let seconds = shape.seconds();
        let mut level = vec![0.0_f64];
        let mut shared = Random::new(self.seed ^ 0xabcd);
        for _ in 1..=seconds.ceil() as usize {
            let last = *level.last().unwrap();
            let noise = normal(&mut shared) * self.level.0 * (1.0 - self.level.1 * self.level.1).sqrt();
            level.push(self.level.1 * last + noise);
        }
        let mut recordings = vec![Recording::new(&self.plan); self.workers];
        let mut intervals = vec![Vec::new(); self.workers];
        for worker in 0..self.workers {
            let mut random = Random::new(self.seed.wrapping_mul(31) + worker as u64);
            let mut credit = 0.0;
            for (second, level) in level[..seconds.ceil() as usize].iter().enumerate() {
                let (from, to) = (second as f64, (second as f64 + 1.0).min(seconds));
                credit += shape.due(from, to) / self.workers as f64 * self.sent;
                let requests = credit as u64;
                credit -= requests as f64;
                let stage = shape.spans().position(|(_, end, _)| to <= end).unwrap();
                let slow = if from >= self.slow_from { 3.0 } else { 1.0 };
                let scale = self.median_ns * level.exp() * slow;
                let made = self.interval((from, to), stage, (requests, scale), &mut random, &mut recordings[worker]);
                intervals[worker].push(made);
            }
        }
        (intervals, recordings)
    }

    fn interval(
        &self,
        (from, to): (f64, f64),
        stage: usize,
        (requests, scale): (u64, f64),
        random: &mut Random,
        recording: &mut Recording,
    ) -> Interval {
        let mut interval = Interval::new();
        // Each worker's turns end a little off the second.
        let jitter = |random: &mut Random| random.below(40_000) as u64;
        interval.start = Instant::from_nanos((from * 1e9) as u64 + jitter(random));
        interval.end = Instant::from_nanos((to * 1e9) as u64 + jitter(random));
        interval.stage = stage as u16;
        (interval.open, interval.busy_ns) = (200, ((to - from) * 1e9 * self.busy) as u64);
        let judged = !self.plan.stages[stage].warmup;
        for n in 0..requests {
            let class = usize::from(n % 4 == 3) % self.plan.classes.len();
            let service = (scale * (normal(random) * 0.4).exp()) as u64 + 1;
            let lag = (self.lag_ns * (normal(random) * 0.3).exp()) as u64;
            let outcome = if chance(random) < self.failed { Outcome::Timeout } else { Outcome::Ok };
            let cell = &mut recording.cells[stage * self.plan.classes.len() + class];
            cell.latency.record(service + lag).unwrap();
            interval.latency.record(service + lag).unwrap();
            interval.lag.record(lag).unwrap();
            if judged {
                recording.lag.record(lag).unwrap();
            }
            for counts in [&mut cell.counts, &mut interval.counts] {
                counts.outcomes[outcome as usize] += 1;
                counts.statuses[1] += u64::from(outcome == Outcome::Ok);
                (counts.sent, counts.bytes_in, counts.bytes_out) =
                    (counts.sent + 1, counts.bytes_in + 180, counts.bytes_out + 60);
            }
            if outcome == Outcome::Ok {
                cell.service.record(service).unwrap();
                interval.service.record(service).unwrap();
            }
        }
        if from == 0.0 {
            for n in 0..200 {
                interval.connect.record(90_000 + n * 50).unwrap();
                recording.connect.record(90_000 + n * 50).unwrap();
            }
            interval.counts.connected = 200;
            recording.cells[0].counts.connected = 200;
        }
        interval.counts.waited = self.waited;
        recording.cells[stage * self.plan.classes.len()].counts.waited += self.waited;
        interval
    }

    pub fn ending(&self) -> Ending {
        Ending { elapsed: self.plan.stages.iter().map(|stage| stage.duration).sum(), aborted: None }
    }

    /// The whole run.
    pub fn run(&self, name: &str) -> Run {
        let (intervals, recordings) = self.play();
        let mut collector = self.collector(name);
        feed(&mut collector, &intervals, 0..intervals[0].len());
        collector.finish(&recordings, &self.health(), self.ending())
    }
}

/// Gives the collector some seconds of all workers, in order.
pub fn feed(collector: &mut Collector, intervals: &[Vec<Interval>], seconds: std::ops::Range<usize>) {
    for second in seconds {
        for (worker, own) in intervals.iter().enumerate() {
            if let Some(interval) = own.get(second) {
                collector.add_interval(worker, interval);
            }
        }
    }
}

fn chance(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Box and Muller.
pub fn normal(random: &mut Random) -> f64 {
    (-2.0 * (1.0 - chance(random)).ln()).sqrt() * (core::f64::consts::TAU * chance(random)).cos()
}
