//! `penstock load capacity`: the highest rate at which a target does what is asked of it.
//!
//! Owns the arguments and the steps' plans. Refuses to choose rates: `report::capacity` does.

use super::write;
use crate::cli::print;
use crate::control::load::units;
use crate::control::load_plan::rate::{self, Rate};
use crate::control::load_plan::{self, LoadRunArguments, Loaded};
use crate::failure::{Exit, Failure};
use crate::report::capacity::{self, Bounds, Capacity, DEFAULT_SLO, Question};
use std::path::PathBuf;
use std::time::Duration;

/// Before each step, not judged.
const WARM_UP: &str = "1s";
/// What a step may last.
const STEP: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

const EXAMPLES: &str = "\
The rate doubles from --from until a step does not meet every --threshold, then the bracket is halved until it is as narrow
as --precision. A step that does not pass is measured once more, and the second time counts. Each step is an open loop with
connections of its own and a warm-up. Where the generator cannot hold the schedule, that is reported as its own limit.

Examples:
  penstock load capacity http://10.7.0.2/ --device net_tap0,iface=load0 --source 10.7.0.1/24 --from 1k --to 200k
  penstock load capacity --plan plan.toml --threshold 'http_req_duration: p(99.9)<2ms' --precision 1% --step-duration 20s
  penstock load capacity --plan plan.toml --json capacity.json --html capacity.html

Exit codes:
  0    found, or at least so much: the table says what the limit was
  99   even --from does not meet the thresholds
  10   the generator could not even offer --from
  104  the plan                                      105  ended early

docs/load-capacity.md explains the search, the knee and the scalability law.";

/// Arguments of `penstock load capacity`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES, override_usage = "penstock [EAL ARGUMENTS --] load capacity [OPTIONS] [URL]")]
#[command(mut_arg("rate", |arg| arg.hide(true)), mut_arg("duration", |arg| arg.hide(true)))]
#[command(mut_arg("stage", |arg| arg.hide(true)), mut_arg("spike", |arg| arg.hide(true)))]
#[command(mut_arg("csv", |arg| arg.hide(true)), mut_arg("hgrm", |arg| arg.hide(true)))]
#[command(mut_arg("hdr_log", |arg| arg.hide(true)), mut_arg("junit", |arg| arg.hide(true)))]
#[command(mut_arg("influx", |arg| arg.hide(true)))]
#[command(mut_arg("warm_up", |arg| arg.help("Before each step; not judged [default: 1s]")))]
pub struct CapacityArguments {
    /// The rate to begin with, requests per second
    #[arg(long, value_name = "N[k|M]", default_value = "1k", value_parser = one_rate, help_heading = "Search")]
    from: f64,
    /// The highest rate to try
    #[arg(long, value_name = "N[k|M]", default_value = "10M", value_parser = one_rate, help_heading = "Search")]
    to: f64,
    /// How narrow the bracket has to be: 0.5% to 50%
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = precision, help_heading = "Search")]
    precision: f64,
    /// The judged part of each step: 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = step_duration, help_heading = "Search")]
    step_duration: Duration,
    #[command(flatten)]
    load: LoadRunArguments,
}

fn one_rate(text: &str) -> Result<f64, String> {
    match rate::parse(text) {
        Ok(Rate::Line(from, to)) if from == to && from > 0.0 => Ok(from),
        Ok(_) => Err("it is one rate, such as 10k".into()),
        Err(mistake) => Err(format!("{}; {}", mistake.what, mistake.fix)),
    }
}

fn precision(text: &str) -> Result<f64, String> {
    let share = super::percent(text).ok().filter(|share| (0.005..=0.5).contains(share));
    share.ok_or_else(|| "it is from 0.5% to 50%".into())
}

fn step_duration(text: &str) -> Result<Duration, String> {
    let duration = units::parse_duration(text)?;
    if STEP.contains(&duration) { Ok(duration) } else { Err("it is from 1s to 1h".into()) }
}

/// Searches, prints, writes.
pub fn run(arguments: &CapacityArguments, eal_args: Option<Vec<String>>) -> Result<(), Failure> {
    let (loaded, question) = plan(arguments)?;
    let (json, html) = (arguments.load.json.clone(), arguments.load.html.clone());
    let capacity = search(loaded, question, eal_args)?;
    write(json.as_ref(), || capacity::json(&capacity))?;
    write(html.as_ref(), || Ok(capacity::html(&capacity)))?;
    // The table would end up inside what was asked for there.
    if ![&json, &html].iter().any(|path| path.as_ref().is_some_and(|path| path.as_os_str() == "-")) {
        print(&capacity::table(&capacity))?;
    }
    outcome(&capacity)
}

fn outcome(capacity: &Capacity) -> Result<(), Failure> {
    let (exit, what) = match capacity.exit_code {
        0 => return Ok(()),
        10 => (Exit::Invalid, "INVALID: the generator was the limit at every rate"),
        99 => (Exit::Slo, "FAIL: the lowest rate does not meet the thresholds"),
        _ => (Exit::Aborted, "the search was ended early"),
    };
    Err(Failure::new(exit, what))
}

/// The plan of a step, whose rates are still to be set, and what the search is about.
fn plan(arguments: &CapacityArguments) -> Result<(Loaded, Question), Failure> {
    let bounds = Bounds { from: arguments.from, to: arguments.to, precision: arguments.precision };
    let wrong = |what: &str, fix: &str| Err(Failure::new(Exit::Plan, format!("the command line: {what}")).fix(fix));
    if bounds.from > bounds.to {
        return wrong("--from is above --to", "give the lower rate to --from");
    }
    let load = &arguments.load;
    if load.rate.is_some() || load.duration.is_some() || !load.stage.is_empty() || !load.spike.is_empty() {
        let fix =
            "leave out --rate, --duration, --stage and --spike; --from, --to and --step-duration bound the search";
        return wrong("the search chooses rates itself", fix);
    }
    let others: [(&str, &Option<PathBuf>); 5] = [
        ("--csv", &load.csv),
        ("--hgrm", &load.hgrm),
        ("--hdr-log", &load.hdr_log),
        ("--junit", &load.junit),
        ("--influx", &load.influx),
    ];
    if let Some((flag, _)) = others.iter().find(|(_, path)| path.is_some()) {
        return wrong(&format!("a search has no {flag}"), "--json and --html hold every step");
    }
    let mut load = load.clone();
    load.rate = Some("1".into());
    load.duration = Some(units::show_duration(arguments.step_duration));
    load.warm_up = load.warm_up.or_else(|| Some(WARM_UP.into()));
    let mut loaded = load_plan::from_arguments(&load)?;
    let slo_is_default = loaded.plan.thresholds.is_empty();
    if slo_is_default {
        load.threshold = DEFAULT_SLO.map(String::from).to_vec();
        loaded = load_plan::from_arguments(&load)?;
    }
    let question = Question {
        name: loaded.name.clone(),
        url: loaded.plan.target.url.clone(),
        bounds,
        step_s: arguments.step_duration.as_secs_f64(),
        connections: u64::from(loaded.plan.connections),
        slo: loaded.plan.thresholds.iter().map(|threshold| threshold.text.clone()).collect(),
        slo_is_default,
    };
    Ok((loaded, question))
}

#[cfg(not(feature = "dpdk"))]
fn search(_: Loaded, _: Question, _: Option<Vec<String>>) -> Result<Capacity, Failure> {
    Err(crate::runtime::without_dpdk())
}

#[cfg(feature = "dpdk")]
fn search(loaded: Loaded, question: Question, eal_args: Option<Vec<String>>) -> Result<Capacity, Failure> {
    use super::{Watcher, say};
    use crate::runtime::load::{Field, FieldOptions, Job};
    use std::io::IsTerminal as _;
    let Loaded { plan, config, outputs, name, .. } = loaded;
    let stamp = crate::cli::stamp::stamp();
    let mut field = Field::open(FieldOptions { eal_args, config, gateway: None, stamp })?;
    let quiet = outputs.quiet;
    let measure = |rate: f64, _again: bool| {
        let mut plan = plan.clone();
        plan.stages.iter_mut().for_each(|stage| (stage.from, stage.to) = (rate, rate));
        // Without a terminal a line a step is enough.
        let mut watcher = Watcher::new(quiet || !std::io::stderr().is_terminal());
        let run = field.run(Job {
            plan: std::sync::Arc::new(plan),
            name: name.clone(),
            watch: &mut |view| watcher.see(view),
            tick: &mut |_| {},
        });
        watcher.end();
        run
    };
    let seen = |step: &capacity::Measured| {
        if !quiet {
            say(&format!("{}\n", capacity::line(step)));
        }
    };
    let found = capacity::find(question, measure, seen);
    field.close()?;
    found
}
