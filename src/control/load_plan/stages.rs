//! When requests are due: `load.rate` with its duration and spikes, or `[[stages]]`.
//!
//! Owns how those become stages, and that all of them are of one kind. Refuses to compute arrivals.

use core::time::Duration;

use super::check_name;
use super::rate::{self, Mistake, Part, Rate};
use super::request::add;
use crate::control::load::reader::Section;
use crate::control::load::units;
use crate::loadgen::plan::{Arrivals, CELLS_MAX, Stage};

/// How long a run is when nothing says.
const DURATION: Duration = Duration::from_secs(30);

/// The stages in order; None if there is a mistake.
pub(super) fn stages(root: &Section, load: &Section) -> Option<(Arrivals, Vec<Stage>)> {
    let mut stages = if root.has("stages") { listed(root, load)? } else { single(load)? };
    let closed = stages.iter().filter(|(_, rate)| *rate == Rate::Max).count();
    if closed != 0 && closed != stages.len() {
        let fix = "give every stage a rate, or \"max\" to all of them";
        root.report.add(root.span_of("stages"), "some stages have the rate \"max\", others do not", fix);
        return None;
    }
    if let Some(duration) = load.duration("warm_up") {
        let from = match stages.first() {
            Some((_, Rate::Line(from, _))) => Rate::Line(*from, *from),
            _ => Rate::Max,
        };
        stages.insert(0, (stage("warm-up", duration, true), from));
    }
    if closed == 0 && stages.iter().all(|(_, rate)| *rate == Rate::Line(0.0, 0.0)) {
        let span = if load.has("rate") { load.span_of("rate") } else { root.span_of("stages") };
        root.report.add(span, "the rate is zero all the time", "write a rate from 0.1/s to 100M/s");
        return None;
    }
    let arrivals = match load.choice("arrivals") {
        Some(_) if closed > 0 => {
            let fix = "remove `arrivals`, or write a rate: in a closed loop answers decide when requests are due";
            load.report.add(load.span_of("arrivals"), "`arrivals` with the rate \"max\"", fix);
            Arrivals::Closed
        }
        _ if closed > 0 => Arrivals::Closed,
        Some("poisson") => Arrivals::Poisson,
        _ => Arrivals::Constant,
    };
    let with_rate = |(stage, rate)| match rate {
        Rate::Line(from, to) => Stage { from, to, ..stage },
        Rate::Max => stage,
    };
    let stages: Vec<Stage> = stages.into_iter().map(with_rate).collect();
    check_all(root, &stages).then_some((arrivals, stages))
}

fn stage(name: impl Into<String>, duration: Duration, warmup: bool) -> Stage {
    Stage { name: name.into(), duration, from: 0.0, to: 0.0, warmup }
}

fn check_all(root: &Section, stages: &[Stage]) -> bool {
    let before = root.report.count();
    let span = || root.span_of("stages");
    for (n, stage) in stages.iter().enumerate() {
        if stages[..n].iter().any(|other| other.name == stage.name) {
            root.report.add(span(), format!("two stages have the name {:?}", stage.name), "give each its own");
        }
    }
    if stages.len() > CELLS_MAX {
        root.report.add(span(), format!("{} stages", stages.len()), format!("write at most {CELLS_MAX}"));
    }
    if stages.iter().all(|stage| stage.warmup) {
        root.report.add(span(), "every stage is warm-up, so nothing would be judged", "add a stage without warm_up");
    }
    root.report.count() == before
}

fn read_rate(section: &Section) -> Option<Rate> {
    let text = section.word("rate")?;
    rate::parse(text.get_ref()).map_err(|mistake| add(section.report, &text, mistake)).ok()
}

fn listed(root: &Section, load: &Section) -> Option<Vec<(Stage, Rate)>> {
    for key in ["rate", "duration", "spike"].into_iter().filter(|key| load.has(key)) {
        let what = format!("`load.{key}` and stages, which have rates and durations of their own");
        root.report.add(load.span_of(key), what, "keep one of the two");
    }
    let before = root.report.count();
    let mut stages = Vec::new();
    for (n, section) in root.sections("stages").iter().enumerate() {
        for (key, example) in [("rate", "\"10k/s\""), ("duration", "\"30s\"")] {
            if section.lacks(key) {
                let what = format!("the stage has no `{key}`");
                section.report.add(section.span.clone(), what, format!("add: {key} = {example}"));
            }
        }
        let name = section.text("name").and_then(|name| check_name(section.report, &name));
        let name = name.unwrap_or_else(|| format!("stage {}", n + 1));
        let (rate, duration) = (read_rate(section), section.duration("duration"));
        let warmup = section.flag("warm_up").unwrap_or(false);
        stages.extend(rate.zip(duration).map(|(rate, duration)| (stage(name, duration, warmup), rate)));
    }
    (root.report.count() == before && !stages.is_empty()).then_some(stages)
}

fn single(load: &Section) -> Option<Vec<(Stage, Rate)>> {
    if !load.has("rate") {
        let fix = "add --rate 10k, --rate max, or in the plan: [load]\nrate = \"10k/s\"";
        load.report.add_missing("there is no rate, so nothing says when to send requests", fix);
        return None;
    }
    let rate = read_rate(load)?;
    let duration = if load.has("duration") { load.duration("duration")? } else { DURATION };
    let mut stages = vec![(stage("main", duration, false), rate)];
    let spikes = load.texts("spike");
    for (n, text) in spikes.iter().enumerate() {
        let name = if spikes.len() == 1 { "spike".to_string() } else { format!("spike {}", n + 1) };
        match spike(text.get_ref(), name, &mut stages) {
            Ok(()) => {}
            Err(mistake) => {
                add(load.report, text, mistake);
                return None;
            }
        }
    }
    Some(stages)
}

/// Cuts a spike into the last stage.
fn spike(text: &str, name: String, stages: &mut Vec<(Stage, Rate)>) -> Result<(), Mistake> {
    let [at_rate, start, length] = rate::spike(text)?.map(rate::trimmed);
    let wrong = |what: &str, fix: &str| Mistake::new(0..text.len(), what, fix);
    let height = rate::parse(at_rate.1).map_err(|mistake| mistake.after(at_rate.0))?;
    let duration = |part: Part| {
        units::parse_duration(part.1)
            .map_err(|fix| Mistake::new(rate::place(part), format!("not a duration: {:?}", part.1), fix))
    };
    let (start, length) = (duration(start)?, duration(length)?);
    let before: Duration = stages[..stages.len() - 1].iter().map(|(stage, _)| stage.duration).sum();
    let last = &stages[stages.len() - 1];
    let Rate::Line(base, to) = last.1 else {
        return Err(wrong("a spike in a closed loop", "give the run a rate, or remove the spike"));
    };
    if height == Rate::Max || base != to {
        return Err(wrong("spikes are between constant rates", "write the course as stages instead"));
    }
    let end = before + last.0.duration;
    let ms = Duration::from_millis(1);
    if length < ms || start < before + ms || start + length + ms > end {
        let fix =
            "spikes are in order, do not touch each other, and leave 1ms or more of the run before and after them";
        return Err(wrong("the spike is not within the rest of the run", fix));
    }
    let rest = stage(format!("after {name}"), end - start - length, false);
    if let Some((last, _)) = stages.last_mut() {
        last.duration = start - before;
    }
    stages.push((stage(name, length, false), height));
    stages.push((rest, Rate::Line(base, base)));
    Ok(())
}
