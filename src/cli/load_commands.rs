//! `penstock load`: runs, and what is done with their results.
//!
//! Owns the commands, progress on the terminal, and exit codes. Refuses to generate load (`runtime` does), to judge and to
//! write results (`report` does).

mod capacity;
mod soak;

use super::print;
use crate::control::load_plan::{self, LoadRunArguments};
use crate::failure::{Exit, Failure};
use crate::report::{self, Run, compare, merge};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  penstock load run http://10.7.0.2/ --device net_tap0,iface=load0 --source 10.7.0.1/24 --rate 50k --duration 30s
  penstock load run --plan plan.toml --json new.json --html new.html
  penstock load compare old.json new.json            is new worse? exit code 99 if so
  penstock load merge a.json b.json -o all.json      one result from several machines
  penstock load capacity --plan plan.toml            the highest rate that meets the thresholds
  penstock load soak --help                          hours of load, and whether the target grows

Exit codes of `load run`:
  0    PASS: the thresholds hold                     10   INVALID: the generator broke its own schedule
  99   FAIL: a threshold does not hold               104  the plan
  105  ended early: no connection, interrupted, abort on fail

docs/load.md describes plans, docs/load-results.md results.";

/// Arguments of `penstock load`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct LoadArguments {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(clap::Subcommand, Debug)]
enum LoadCommand {
    /// Follow a schedule of requests, and say how they fared
    #[command(override_usage = "penstock [EAL ARGUMENTS --] load run [OPTIONS] [URL]")]
    Run(Box<LoadRunArguments>),
    /// Find the highest rate that meets the thresholds
    Capacity(Box<capacity::CapacityArguments>),
    /// Hold a rate for hours, and say whether the target grows
    Soak(Box<soak::SoakArguments>),
    /// Say whether one result is worse than another, with a significance test
    Compare(CompareArguments),
    /// Join the results of several machines, exactly
    Merge(MergeArguments),
}

#[derive(clap::Args, Debug)]
struct CompareArguments {
    /// The result to compare with
    before: PathBuf,
    /// The result in question
    after: PathBuf,
    /// Changes up to this share are none
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    tolerance: f64,
}

#[derive(clap::Args, Debug)]
struct MergeArguments {
    /// Results of one plan, from runs at the same time
    #[arg(required = true, num_args = 1..)]
    results: Vec<PathBuf>,
    /// Where the joint result goes; without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Join results of different plans
    #[arg(long)]
    force: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Result<f64, _> = text.trim_end_matches('%').trim().parse();
    match number {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value / 100.0),
        _ => Err("it is from 0% to 100%".into()),
    }
}

/// Does what the command line asks.
pub fn run(arguments: LoadArguments, eal_args: Option<Vec<String>>) -> Result<(), Failure> {
    match arguments.command {
        LoadCommand::Run(arguments) => run_plan(&arguments, eal_args),
        LoadCommand::Capacity(arguments) => capacity::run(&arguments, eal_args),
        LoadCommand::Soak(arguments) => soak::run(&arguments, eal_args),
        LoadCommand::Compare(arguments) => compare_results(&arguments),
        LoadCommand::Merge(arguments) => merge_results(&arguments),
    }
}

/// A result in which something is wrong is a failure to whoever looks at exit codes, and was said already.
fn outcome(run: &Run) -> Result<(), Failure> {
    let (exit, what) = match run.verdict.exit_code {
        0 => return Ok(()),
        10 => {
            (Exit::Invalid, "INVALID: the generator broke its own schedule, so the result says nothing of the target")
        }
        99 => (Exit::Slo, "FAIL: a threshold does not hold"),
        _ => (Exit::Aborted, "the run was ended early"),
    };
    Err(Failure::new(exit, what))
}

fn compare_results(arguments: &CompareArguments) -> Result<(), Failure> {
    let (before, after) = (report::read(&arguments.before)?, report::read(&arguments.after)?);
    let options = compare::Options { tolerance: arguments.tolerance, ..compare::Options::default() };
    let comparison = report::compare(&before, &after, options)
        .map_err(|error| Failure::new(Exit::Runtime, format!("the results cannot be compared: {error}")))?;
    print(&comparison.table())?;
    if comparison.is_worse() {
        return Err(Failure::new(Exit::Slo, format!("{} is worse", arguments.after.display())));
    }
    Ok(())
}

fn merge_results(arguments: &MergeArguments) -> Result<(), Failure> {
    let runs = arguments.results.iter().map(|path| report::read(path)).collect::<Result<Vec<_>, _>>()?;
    let merged = merge::merge(&runs, arguments.force)
        .map_err(|error| Failure::new(Exit::Runtime, format!("the results cannot be joined: {error}")))?;
    let output = arguments.output.clone().unwrap_or_else(|| "-".into());
    let to_stdout = output.as_os_str() == "-";
    report::write_all(&merged, &report::Outputs { json: Some(output), ..report::Outputs::default() })?;
    if !to_stdout {
        print(&report::table(&merged, false))?;
    }
    outcome(&merged)
}

/// Writes a document that is asked for; `-` is standard output.
fn write(path: Option<&PathBuf>, make: impl FnOnce() -> Result<String, String>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let failure = |error: String| Failure::new(Exit::Runtime, format!("cannot write {}: {error}", path.display()));
    let text = make().map_err(failure)?;
    if path.as_os_str() == "-" {
        return print(&text);
    }
    std::fs::write(path, text)
        .map_err(|error| failure(error.to_string()).fix("a folder that exists and may be written to"))
}

#[cfg(not(feature = "dpdk"))]
fn run_plan(arguments: &LoadRunArguments, _: Option<Vec<String>>) -> Result<(), Failure> {
    load_plan::from_arguments(arguments)?;
    Err(crate::runtime::without_dpdk())
}

#[cfg(feature = "dpdk")]
fn run_plan(arguments: &LoadRunArguments, eal_args: Option<Vec<String>>) -> Result<(), Failure> {
    use crate::runtime::load::{Field, FieldOptions, Job};
    use std::io::IsTerminal as _;
    let loaded = load_plan::from_arguments(arguments)?;
    let outputs = outputs(&loaded.outputs);
    let stamp = super::stamp::stamp();
    let mut field = Field::open(FieldOptions { eal_args, config: loaded.config, gateway: None, stamp })?;
    let mut watcher = Watcher::new(loaded.outputs.quiet);
    let job = Job {
        plan: std::sync::Arc::new(loaded.plan),
        name: loaded.name,
        watch: &mut |view| watcher.see(view),
        tick: &mut |_| {},
    };
    let run = field.run(job);
    watcher.end();
    field.close()?;
    let run = run?;
    report::write_all(&run, &outputs)?;
    let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The table would end up inside what was asked for there.
    if !uses_stdout(&outputs) {
        print(&report::table(&run, color))?;
    }
    outcome(&run)
}

#[cfg(feature = "dpdk")]
fn outputs(wanted: &load_plan::Outputs) -> report::Outputs {
    let path = |output: &Option<load_plan::Output>| {
        output.as_ref().map(|output| match output {
            load_plan::Output::Stdout => PathBuf::from("-"),
            load_plan::Output::File(path) => path.clone(),
        })
    };
    report::Outputs {
        json: path(&wanted.json),
        csv: path(&wanted.csv),
        hgrm: path(&wanted.hgrm),
        hdr_log: path(&wanted.hdr_log),
        junit: path(&wanted.junit),
        influx: path(&wanted.influx),
        html: path(&wanted.html),
    }
}

#[cfg(feature = "dpdk")]
fn uses_stdout(outputs: &report::Outputs) -> bool {
    let report::Outputs { json, csv, hgrm, hdr_log, junit, influx, html } = outputs;
    let all = [json, csv, hgrm, hdr_log, junit, influx, html];
    all.iter().any(|path| path.as_ref().is_some_and(|path| path.as_os_str() == "-"))
}

/// Progress on standard error: a view in place on a terminal, else a line for each interval.
#[cfg(feature = "dpdk")]
struct Watcher {
    quiet: bool,
    /// None: not a terminal.
    screen: Option<report::live::Screen>,
    /// What was said last of the preparation.
    open: Option<u32>,
}

#[cfg(feature = "dpdk")]
impl Watcher {
    fn new(quiet: bool) -> Watcher {
        use std::io::IsTerminal as _;
        let screen = std::io::stderr().is_terminal().then(report::live::Screen::default);
        Watcher { quiet, screen, open: None }
    }

    fn see(&mut self, view: &crate::runtime::load::View<'_>) {
        use crate::runtime::load::View;
        if self.quiet {
            return;
        }
        let text = match (view, &mut self.screen) {
            (View::Preparing { open, wanted }, _) => {
                // A line for each tenth.
                let step = (wanted / 10).max(1);
                if self.open.is_some_and(|said| open / step == said / step) {
                    return;
                }
                self.open = Some(*open);
                format!("connections: {open} of {wanted}\n")
            }
            (View::Running(live), Some(screen)) => screen.frame(live, width()),
            (View::Running(live), None) => format!("{}\n", live.line()),
            (View::Stopping, Some(_)) => return,
            (View::Stopping, None) => "waiting for the last answers\n".into(),
        };
        say(&text);
    }

    fn end(&mut self) {
        if let Some(screen) = self.screen.as_mut().filter(|_| !self.quiet) {
            say(&screen.clear());
        }
    }
}

/// A closed standard error is no reason to stop.
#[cfg(feature = "dpdk")]
fn say(text: &str) {
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Columns of the terminal.
#[cfg(feature = "dpdk")]
fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20))
}
