//! `penstock load soak`: a rate held for hours, while the target's own metrics are watched.
//!
//! Owns the arguments, and samples on their way from the target to the result. Refuses to judge: `report::soak` does.

use super::write;
use crate::cli::print;
use crate::control::load::units;
use crate::control::load_plan::{self, LoadRunArguments, Loaded};
use crate::control::scrape::Place;
use crate::failure::{Exit, Failure};
use crate::report::soak::exposition::{Choice, Reading, read};
use crate::report::soak::{self, BALANCED, Question, RESOURCES, Soak, Watch};
use std::time::Duration;

/// Before the rest, not judged: caches fill and pools grow.
const WARM_UP: &str = "1m";
/// What is run without a duration.
const DURATION: &str = "8h";
/// Between two samples.
const SAMPLE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Series that can be watched, and counters balanced.
const CHOICES_MAX: usize = 64;

const EXAMPLES: &str = "\
Watched by default, where the target exposes them: process_resident_memory_bytes, process_open_fds,
penstock_mempool_used_frames, penstock_connections (open and time_wait), and latency p99 by interval. Something grows when
the 99 % confidence interval of its slope lies above the bound: --growth of its median per hour, in runs below an hour in all.

Examples:
  penstock load soak http://10.7.0.2/ --rate 50k --duration 8h --target-metrics http://127.0.0.1:9902/metrics \\
    --device net_tap0,iface=load0 --source 10.7.0.1/24
  penstock load soak --plan plan.toml --rate 5k --duration 1h --target-metrics http://10.0.0.9:9113/metrics \\
    --watch 'nginx_connections_active' --watch 'go_goroutines{job=\"api\"}' --json soak.json

Exit codes:
  0    STEADY                                        10   INVALID: the generator's fault, or nothing could be judged
  99   GROWTH, or FAIL: restarted, a threshold       104  the plan
  105  ended early; what was seen until then is shown

docs/load-capacity.md explains slopes, bounds and verdicts.";

/// Arguments of `penstock load soak`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "penstock [EAL ARGUMENTS --] load soak --target-metrics URL [OPTIONS] [URL]")]
#[command(mut_arg("duration", |arg| arg.help("How long, with --rate [default: 8h]")))]
#[command(mut_arg("warm_up", |arg| arg.help("Before the rest, with --rate; not judged [default: 1m]")))]
#[command(mut_arg("json", |arg| arg.help("The soak's result as JSON; `-`, here and below: to standard output")))]
pub struct SoakArguments {
    /// Where the target's metrics are, in Prometheus' text format
    #[arg(long, value_name = "URL", value_parser = Place::parse, help_heading = "Watching")]
    target_metrics: Place,
    /// Time between two samples: 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = sample, help_heading = "Watching")]
    sample: Duration,
    /// Another series that must not grow: NAME or NAME{label="value"}, summed over all that fit; may be repeated
    #[arg(long, value_name = "SERIES", value_parser = Choice::parse, help_heading = "Watching")]
    watch: Vec<Choice>,
    /// A counter whose single series should grow alike; may be repeated
    #[arg(long, value_name = "SERIES", value_parser = Choice::parse, help_heading = "Watching")]
    balance: Vec<Choice>,
    /// Growth that is none: of the median, per hour
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = super::percent, help_heading = "Watching")]
    growth: f64,
    /// The same of latency
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = super::percent, help_heading = "Watching")]
    latency_growth: f64,
    #[command(flatten)]
    load: LoadRunArguments,
}

fn sample(text: &str) -> Result<Duration, String> {
    let duration = units::parse_duration(text)?;
    if SAMPLE.contains(&duration) { Ok(duration) } else { Err("it is from 100ms to 1h".into()) }
}

/// Runs, watches, prints, writes.
pub fn run(arguments: &SoakArguments, eal_args: Option<Vec<String>>) -> Result<(), Failure> {
    let (loaded, question) = plan(arguments)?;
    let place = &arguments.target_metrics;
    // Hours later it would be too late to say so.
    let text = place.ask(Duration::from_secs(5)).map_err(|why| {
        Failure::new(Exit::Environment, format!("the target's metrics at {} cannot be read: {why}", place.text))
            .fix(format!("see what is there: curl {}", place.text))
    })?;
    let watch = Watch::new(question);
    check_watched(arguments, &read(&text, &watch.series(), &[]), &watch)?;
    let json = arguments.load.json.clone();
    let soak = hold(arguments, loaded, watch, eal_args)?;
    write(json.as_ref(), || soak::json(&soak))?;
    if json.is_none_or(|path| path.as_os_str() != "-") {
        print(&soak::table(&soak))?;
    }
    outcome(&soak)
}

/// What was asked for by name has to be there.
fn check_watched(arguments: &SoakArguments, first: &Reading, watch: &Watch) -> Result<(), Failure> {
    let series = watch.series();
    let missing =
        series.iter().zip(&first.sums).find(|(choice, sum)| arguments.watch.contains(choice) && sum.is_none());
    let Some((choice, _)) = missing else { return Ok(()) };
    let place = &arguments.target_metrics.text;
    let name = choice.text.split('{').next().unwrap_or_default();
    Err(Failure::new(Exit::Plan, format!("the command line: --watch {}: {place} has no such series", choice.text))
        .fix(format!("see what it has: curl -s {place} | grep {name}")))
}

fn outcome(soak: &Soak) -> Result<(), Failure> {
    let (exit, what) = match soak.exit_code {
        0 => return Ok(()),
        10 => (Exit::Invalid, "INVALID: the soak says nothing of the target"),
        99 => (Exit::Slo, "the target does not stay as it is under this load"),
        _ => (Exit::Aborted, "the soak was ended early"),
    };
    Err(Failure::new(exit, format!("{}: {what}", soak.verdict.name()).replace("INVALID: INVALID", "INVALID")))
}

fn plan(arguments: &SoakArguments) -> Result<(Loaded, Question), Failure> {
    let choices = arguments.watch.len().max(arguments.balance.len());
    if choices > CHOICES_MAX {
        let what = format!("the command line: {choices} series are too many");
        return Err(Failure::new(Exit::Plan, what).fix(format!("name at most {CHOICES_MAX}")));
    }
    let mut load = arguments.load.clone();
    if load.rate.is_some() {
        load.duration = load.duration.or_else(|| Some(DURATION.into()));
        load.warm_up = load.warm_up.or_else(|| Some(WARM_UP.into()));
    }
    let loaded = load_plan::from_arguments(&load)?;
    let warm_up: Duration =
        loaded.plan.stages.iter().take_while(|stage| stage.warmup).map(|stage| stage.duration).sum();
    let known = |texts: &[&str]| texts.iter().filter_map(|text| Choice::parse(text).ok()).collect::<Vec<_>>();
    let balanced = known(&BALANCED).into_iter().chain(arguments.balance.iter().cloned()).collect();
    let question = Question {
        name: loaded.name.clone(),
        metrics_url: arguments.target_metrics.text.clone(),
        resources: known(&RESOURCES),
        others: arguments.watch.clone(),
        balanced,
        growth: arguments.growth,
        latency_growth: arguments.latency_growth,
        warm_up_s: warm_up.as_secs_f64(),
    };
    Ok((loaded, question))
}

#[cfg(not(feature = "dpdk"))]
fn hold(_: &SoakArguments, _: Loaded, _: Watch, _: Option<Vec<String>>) -> Result<Soak, Failure> {
    Err(crate::runtime::without_dpdk())
}

#[cfg(feature = "dpdk")]
fn hold(
    arguments: &SoakArguments,
    loaded: Loaded,
    mut watch: Watch,
    eal_args: Option<Vec<String>>,
) -> Result<Soak, Failure> {
    use super::{Watcher, outputs};
    use crate::control::scrape::Scraper;
    use crate::report::{self, Outputs};
    use crate::runtime::load::{Field, FieldOptions, Job};
    use std::time::Instant;
    let stamp = crate::cli::stamp::stamp();
    let Loaded { plan, config, outputs: wanted, name, .. } = loaded;
    let mut field = Field::open(FieldOptions { eal_args, config, gateway: None, stamp })?;
    let (series, balanced) = (watch.series(), watch.balanced());
    // Begun here, it keeps off the workers' CPUs as this thread does.
    let scraper =
        Scraper::start(arguments.target_metrics.clone(), arguments.sample, move |text| read(text, &series, &balanced));
    let scraper =
        scraper.map_err(|error| Failure::new(Exit::Environment, format!("no thread for samples: {error}")))?;
    let mut watcher = Watcher::new(wanted.quiet);
    let mut began = None;
    let run = field.run(Job {
        plan: std::sync::Arc::new(plan),
        name,
        watch: &mut |view| watcher.see(view),
        tick: &mut |_| {
            let began = *began.get_or_insert_with(Instant::now);
            while let Some(sample) = scraper.take() {
                if let Some(at) = sample.at.checked_duration_since(began) {
                    watch.add(at.as_secs_f64(), sample.result);
                }
            }
        },
    });
    watcher.end();
    drop(scraper);
    field.close()?;
    let run = run?;
    report::write_all(&run, &Outputs { json: None, ..outputs(&wanted) })?;
    Ok(watch.conclude(&run))
}
