//! The command line: EAL arguments, then a command.
//!
//! Owns the arguments and the help. Refuses to do the work: `control` loads, `runtime` runs.

mod load_commands;
mod selftest;
#[cfg(feature = "dpdk")]
mod stamp;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::control::log::{self, Logs};
use crate::control::{capture, doctor, json_schema, load, pcap, socket, status, summary, top};
use crate::failure::{Exit, Failure};
use crate::report;
use crate::runtime::{self, RunOptions};
use crate::telemetry::tap::{Drops, Filter};

/// Whether DPDK is in decides what `run` can do, so it belongs to every report.
#[cfg(feature = "dpdk")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PENSTOCK_GIT_SHA"), ", with DPDK)");
#[cfg(not(feature = "dpdk"))]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PENSTOCK_GIT_SHA"), ", without DPDK)");

const EXAMPLES: &str = "\
Try first:
  penstock check -c dpdk-config/minimal.toml   says what a file amounts to, starts nothing
  penstock doctor -c dpdk-config/tap.toml      says what on this machine is in the way
  penstock run -c dpdk-config/tap.toml         on a tap device; the file says how to reach it
  penstock status                              what the running gateway does; penstock top: second by second
  penstock log-level debug                     it says more from now on; docs/logs.md has every event
  penstock pcap | tcpdump -n -r -              its frames, live; tcpdump on the interface may see none

DPDK's EAL arguments go before `--`, unchanged; without `--` they are planned:
  penstock -l 0,1 --in-memory --vdev net_tap0,iface=penstock0 -- run -c FILE
  penstock -- run -c FILE                      no arguments: DPDK's own defaults

Exit codes:
  0  ended as asked           3  the configuration file
  1  failed while running     4  the machine: EAL, devices, memory, permissions
  2  the command line         5  an address or port to listen on

docs/configuration.md describes every key of the configuration file.";

const LEVELS: &str = "\
Levels, each with those above it:
  error  the program ends, or a driver failed
  warn   a limit was reached, the network is at fault, the link is down
  info   start, end, changes of state
  debug  what strangers send, and other ordinary refusals

Examples:
  penstock log-level               shows it
  penstock log-level debug         sets it; a restart begins with log.level of the configuration again
  penstock log-level warn -s PID   where several gateways run";

/// A kernel-bypass HTTP API gateway on DPDK
#[derive(Parser, Debug)]
#[command(name = "penstock", version = VERSION, after_help = EXAMPLES, max_term_width = 120, arg_required_else_help = false)]
#[command(override_usage = "penstock <COMMAND>\n       penstock <EAL ARGUMENTS> -- <COMMAND>")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    #[command(override_usage = "penstock [EAL ARGUMENTS --] run -c FILE")]
    Run(RunArguments),
    /// Check a configuration file and print what it amounts to
    Check(ConfigArgument),
    /// Show the state of a running gateway
    Status(StatusArguments),
    /// Watch a running gateway: rates, latency, workers, drops
    Top(TopArguments),
    /// Capture a running gateway's frames, live, as pcapng: all conditions given have to be met
    Pcap(PcapArguments),
    /// Show or set what a running gateway logs, until it ends; no restart, no lost connection
    #[command(name = "log-level", after_help = LEVELS)]
    LogLevel(LogLevelArguments),
    /// Examine the machine: what keeps the gateway from starting or serving well, and what fixes it
    Doctor(DoctorArguments),
    /// Generate load at a constant rate, and judge what came back
    Load(Box<load_commands::LoadArguments>),
    /// Measure this machine: gateway and load generator in one process, without a network card
    #[command(override_usage = "penstock [EAL ARGUMENTS --] selftest [OPTIONS]")]
    Selftest(selftest::SelftestArguments),
    /// Print the configuration's JSON Schema (draft 2020-12), for editors and generators
    Schema(SchemaArguments),
}

#[derive(clap::Args, Debug)]
struct SocketArgument {
    /// Its admin socket, or its process id; needed where several run
    #[arg(short, long, value_name = "PATH|PID")]
    socket: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct StatusArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct TopArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// Time between two looks: 100ms to 1h
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Looks, then end; without it, until the gateway ends
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
}

#[derive(clap::Args, Debug)]
struct PcapArguments {
    #[command(flatten)]
    socket: SocketArgument,
    /// Write to this file; `-`, and without it: to standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// An address of either end
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// A TCP or UDP port of either end
    #[arg(long, value_name = "PORT", value_parser = capture::parse_port)]
    port: Option<u16>,
    /// The gateway's end
    #[arg(long, value_name = "ADDRESS:PORT|*:PORT", value_parser = capture::parse_listener)]
    listener: Option<(Option<IpAddr>, u16)>,
    /// Only frames dropped for this reason, a label of penstock_dropped_frames_total, or for any
    #[arg(long, value_name = "REASON|any", value_parser = capture::parse_drops)]
    drop_reason: Option<Drops>,
    /// End after so many frames
    #[arg(long, value_name = "NUMBER", value_parser = capture::parse_count)]
    count: Option<u64>,
    /// End after this time, such as 10s
    #[arg(long, value_name = "DURATION", value_parser = load::units::parse_duration)]
    duration: Option<Duration>,
    /// Keep the first bytes of each frame
    #[arg(long, value_name = "BYTES", default_value_t = capture::SNAPLEN, value_parser = capture::parse_snaplen)]
    snaplen: usize,
}

#[derive(clap::Args, Debug)]
struct LogLevelArguments {
    /// The level from now on; without it the present one is shown
    #[arg(value_parser = parse_level, value_name = "LEVEL")]
    level: Option<LogLevel>,
    #[command(flatten)]
    socket: SocketArgument,
    /// Print one JSON object: level, and former when it was set
    #[arg(long)]
    json: bool,
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::named(text).ok_or_else(|| "it is error, warn, info or debug".into())
}

fn parse_format(text: &str) -> Result<LogFormat, String> {
    LogFormat::named(text).ok_or_else(|| "it is auto, text or json".into())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = load::units::parse_duration(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if range.contains(&interval) { Ok(interval) } else { Err("it is from 100ms to 1h".into()) }
}

#[derive(clap::Args, Debug)]
struct SchemaArguments {
    /// That of load plans instead
    #[arg(long)]
    plan: bool,
    /// The schema of `load run --json` results instead
    #[arg(long, conflicts_with = "plan")]
    result: bool,
    /// The schema of `load capacity --json` instead
    #[arg(long, conflicts_with_all = ["plan", "result"])]
    capacity: bool,
    /// The schema of `load soak --json` instead
    #[arg(long, conflicts_with_all = ["plan", "result", "capacity"])]
    soak: bool,
}

#[derive(clap::Args, Debug)]
struct RunArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Become this user, without capabilities, once the device runs and before the first frame is read
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// Form of the log on standard output: auto, text or json; instead of log.format
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    log_format: Option<LogFormat>,
    /// Events of this level and worse are logged: error, warn, info or debug; instead of log.level
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    log_level: Option<LogLevel>,
}

#[derive(clap::Args, Debug)]
struct ConfigArgument {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(clap::Args, Debug)]
struct DoctorArguments {
    /// Configuration file (TOML); without it only the machine is examined
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object instead of text; docs/troubleshooting.md describes it
    #[arg(long)]
    json: bool,
}

/// Does what the command line asks; `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let (eal_args, parsed) = parse(arguments)?;
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match arguments.command {
        Command::Run(arguments) => serve(eal_args, arguments),
        Command::Check(argument) => {
            let config = load::load_file(&argument.config)?;
            print(&summary::summary(&argument.config, &config))
        }
        Command::Status(arguments) => show_status(&arguments),
        Command::Top(arguments) => {
            let socket = socket::choose(arguments.socket.socket.as_deref())?;
            top::run(&socket, arguments.interval, arguments.count)
        }
        Command::Pcap(arguments) => show_frames(arguments),
        Command::LogLevel(LogLevelArguments { level, socket, json }) => {
            let answer = log::level::ask(&socket::choose(socket.socket.as_deref())?, level)?;
            print(&if json { answer.json() } else { answer.text() })
        }
        Command::Load(arguments) => load_commands::run(*arguments, eal_args),
        Command::Selftest(arguments) => selftest::run(&arguments, eal_args),
        Command::Schema(SchemaArguments { plan: true, .. }) => print(&json_schema::plan_text()),
        Command::Schema(SchemaArguments { result: true, .. }) => print(&report::schema()),
        Command::Schema(SchemaArguments { capacity: true, .. }) => print(&report::capacity::schema()),
        Command::Schema(SchemaArguments { soak: true, .. }) => print(&report::soak::schema()),
        Command::Schema(_) => print(&json_schema::text()),
        Command::Doctor(arguments) => examine(&arguments),
    }
}

/// Tells a failure that ends the program, in words.
pub fn complain(failure: &Failure) {
    log::complain(failure);
}

/// Runs the gateway; its log tells of a failure too.
fn serve(eal_args: Option<Vec<String>>, arguments: RunArguments) -> Result<(), Failure> {
    let config = load::load_file(&arguments.file.config);
    let configured = config.as_ref().map(|config| config.log).unwrap_or_default();
    let logs = Logs::start(LogConfig {
        format: arguments.log_format.unwrap_or(configured.format),
        level: arguments.log_level.unwrap_or(configured.level),
    })?;
    let outcome = config.and_then(|config| {
        // EAL arguments can change what is needed, and only EAL understands them.
        if eal_args.is_none() {
            doctor::fatal(&config)?;
        }
        runtime::run(RunOptions { eal_args, config, user: arguments.user, logs: logs.clone() })
    });
    if let Err(failure) = &outcome {
        logs.fail(failure);
    }
    logs.flush();
    outcome
}

/// Reads a command line and does nothing; gives its EAL arguments.
///
/// # Errors
/// What [`run`] would refuse it with before it does anything.
pub fn check(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Vec<String>>, Failure> {
    let (eal_args, parsed) = parse(arguments)?;
    match parsed {
        Err(error) if error.use_stderr() => Err(refusal(&error)),
        _ => Ok(eal_args),
    }
}

type Parsed = (Option<Vec<String>>, Result<Arguments, clap::Error>);

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    let (eal_args, own) = split(arguments.into_iter().skip(1).collect())?;
    let program = OsString::from("penstock");
    Ok((eal_args, Arguments::try_parse_from([program].into_iter().chain(own))))
}

/// Prints what the doctor finds.
fn examine(arguments: &DoctorArguments) -> Result<(), Failure> {
    let report = doctor::report(arguments.config.as_deref());
    let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print(&if arguments.json { report.json() } else { report.text(color) })?;
    match report.count(doctor::Severity::Fatal) {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Environment, "the gateway cannot start here, see the fatal findings")
            .fix("what the findings name; then run the doctor again")),
    }
}

fn show_status(arguments: &StatusArguments) -> Result<(), Failure> {
    let socket = socket::choose(arguments.socket.socket.as_deref())?;
    let status = status::Status::ask(&socket)?;
    if !arguments.json {
        return print(&status::table(&status));
    }
    let json = serde_json::to_string_pretty(&status);
    print(&format!("{}\n", json.map_err(|error| Failure::new(Exit::Runtime, error.to_string()))?))
}

fn show_frames(arguments: PcapArguments) -> Result<(), Failure> {
    let PcapArguments { socket, write, host, port, listener, drop_reason, count, duration, snaplen } = arguments;
    let socket = socket::choose(socket.socket.as_deref())?;
    let filter = Filter { host, port, listener, drops: drop_reason };
    pcap::run(&socket, &capture::Request { filter, snaplen, count, duration }, write.as_deref())
}

/// EAL arguments, when there are some, and our own.
///
/// DPDK programs take everything before the first `--` as EAL arguments; so does penstock when the first argument is an
/// option that is not its own.
fn split(mut arguments: Vec<OsString>) -> Result<(Option<Vec<String>>, Vec<OsString>), Failure> {
    let first = arguments.first().map(|first| first.to_string_lossy().into_owned()).unwrap_or_default();
    if !first.starts_with('-') || matches!(first.as_str(), "-h" | "--help" | "-V" | "--version") {
        return Ok((None, arguments));
    }
    let Some(end) = arguments.iter().position(|argument| argument == "--") else {
        let what = format!("{first:?} comes before the command, where EAL arguments go, and there is no `--` after it");
        return Err(Failure::new(Exit::Usage, what)
            .fix("penstock run -c FILE\npenstock -l 0,1 -- run -c FILE\npenstock --help explains both"));
    };
    let own = arguments.split_off(end + 1);
    arguments.pop();
    let eal: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    match eal {
        Ok(eal) => Ok((Some(eal), own)),
        Err(wrong) => Err(Failure::new(Exit::Usage, format!("an EAL argument is not UTF-8: {wrong:?}"))
            .fix("EAL arguments are plain text")),
    }
}

/// Help and version are answers; anything else is a failure in the program's own form.
fn usage(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print(&format!("{}\n", error.render().to_string().trim_end()))
        }
        _ => Err(refusal(error)),
    }
}

fn refusal(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.trim_end();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let text = text.strip_suffix("For more information, try '--help'.").unwrap_or(text).trim_end();
    Failure::new(Exit::Usage, text).fix("penstock --help has examples")
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Runtime, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn eal_arguments_end_at_the_first_double_dash() {
        let cases: [(&str, Option<&str>, &str); 9] = [
            ("run -c f", None, "run -c f"),
            ("", None, ""),
            ("--help", None, "--help"),
            ("-V", None, "-V"),
            ("--version -- run", None, "--version -- run"),
            ("-l 0,1 --vdev net_tap0 -- run -c f", Some("-l 0,1 --vdev net_tap0"), "run -c f"),
            ("-- run -c f", Some(""), "run -c f"),
            ("-c 0x3 -- check -c f -- x", Some("-c 0x3"), "check -c f -- x"),
            ("run -c f -- x", None, "run -c f -- x"),
        ];
        for (line, eal, own) in cases {
            let (found, rest) = split(words(line)).unwrap();
            assert_eq!(found.map(|args| args.join(" ")).as_deref(), eal, "{line}");
            assert_eq!(rest, words(own), "{line}");
        }
    }

    #[test]
    fn an_option_before_the_command_needs_the_double_dash() {
        for line in ["-c f", "-l 0,1 run -c f", "--config=f"] {
            let failure = split(words(line)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains("no `--` after it"), "{failure}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn eal_arguments_are_text() {
        use std::os::unix::ffi::OsStringExt;
        let line = vec![OsString::from_vec(b"-\xff".to_vec()), "--".into(), "run".into()];
        assert_eq!(split(line).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
