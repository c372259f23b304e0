//! `penstock selftest`: this machine's card.
//!
//! Owns its arguments, and where the card is kept. Refuses to measure: `runtime` does.

use super::print;
use crate::control::load::units;
use crate::failure::{Exit, Failure};
use crate::report::card::Card;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `penstock selftest`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Gateway and generator run in this process on one CPU each, joined by a memif: no network card, no root, hugepages only if
there are free ones. For 2 s a closed loop finds a rate, then an open loop offers 1.6 times that, so that the gateway is
the limit; the card says whether it was. A window of 20 ms counts when neither core was taken away for 1.28 ms or longer;
figures per busy second are medians of such windows, and fewer than 50 are no figure. Latency is measured at half of what
the first case answered, from the intended start of each request.

The card is kept and compared with the next one; --no-store only compares.")]
pub struct SelftestArguments {
    /// Length of each of the three cases, warm-up and search for a rate excluded: 2s to 10m
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = length)]
    duration: Duration,
    /// Connections held: 1 to 100000
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// The card as JSON
    #[arg(long)]
    json: bool,
    /// Compare with the kept card, and leave it
    #[arg(long)]
    no_store: bool,
    /// Where the card is kept
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
}

fn length(text: &str) -> Result<Duration, String> {
    let length = units::parse_duration(text)?;
    let range = Duration::from_secs(2)..=Duration::from_secs(600);
    if range.contains(&length) { Ok(length) } else { Err("it is from 2s to 10m".into()) }
}

/// Measures, prints, keeps.
pub fn run(arguments: &SelftestArguments, eal_args: Option<Vec<String>>) -> Result<(), Failure> {
    let path = arguments.card.clone().or_else(default_path);
    let before = path.as_deref().and_then(stored);
    let card = measure(arguments, eal_args)?;
    let json = serde_json::to_string_pretty(&card).map_err(|error| Failure::new(Exit::Runtime, error.to_string()))?;
    if arguments.json {
        print(&format!("{json}\n"))?;
    } else {
        print(&card.table(before.as_ref()))?;
    }
    if !arguments.no_store
        && let Some(path) = path
    {
        store(&path, &json)?;
        if !arguments.json {
            print(&format!("kept in {}\n", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(feature = "dpdk")]
fn measure(arguments: &SelftestArguments, eal_args: Option<Vec<String>>) -> Result<Card, Failure> {
    use crate::runtime::load::selftest::{self, SelftestOptions};
    let options = SelftestOptions {
        eal_args,
        connections: arguments.connections,
        length: arguments.duration,
        stamp: super::stamp::stamp(),
    };
    let quiet = arguments.json;
    selftest::run(options, |line| {
        if !quiet {
            eprintln!("{line}");
        }
    })
}

#[cfg(not(feature = "dpdk"))]
fn measure(_: &SelftestArguments, _: Option<Vec<String>>) -> Result<Card, Failure> {
    Err(crate::runtime::without_dpdk())
}

/// `$XDG_STATE_HOME/penstock/card.json`, usually below `~/.local/state`; None: nobody's home.
fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("penstock").join("card.json"))
}

/// The kept card; one that cannot be read is none.
fn stored(path: &Path) -> Option<Card> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

fn store(path: &Path, json: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let new = path.with_extension("json.new");
        std::fs::write(&new, json)?;
        std::fs::rename(&new, path)
    });
    written.map_err(|error| {
        Failure::new(Exit::Runtime, format!("the card cannot be kept in {}: {error}", path.display()))
            .fix("name another file: --card FILE, or do not keep it: --no-store")
    })
}
