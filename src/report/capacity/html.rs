//! The result of a search as one HTML file: the curve with the knee, the law, the steps.
//!
//! Owns the page. Refuses external resources and scripts.

use core::fmt::Write as _;

use super::table::words;
use super::{Capacity, Limit, Measured, concurrency, curve};
use crate::report::plot::{Axis, Line, Plot, Scale};
use crate::report::text::{duration, number, percent, xml};

const STYLE: &str = include_str!("../html/style.css");
/// Points of the law's curve.
const CURVE_POINTS: usize = 100;

/// The page. It is well-formed XML below the doctype.
pub fn html(capacity: &Capacity) -> String {
    let (title, url, started) = (xml(&capacity.name), xml(&capacity.url), xml(&capacity.started));
    let (word, class) = verdict(capacity);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>Capacity · {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>Capacity of {title}</h1>\n<p class=\"soft\">{url} · <time datetime=\"{started}\">{started}</time> · \
         {} connections, {} s a step</p>\n<p class=\"soft\">Has to hold: <code>{}</code>{}</p>\n</header>\n<main>\n",
        capacity.connections,
        capacity.step_s,
        xml(&capacity.slo.join(", ")),
        if capacity.slo_is_default { " (default)" } else { "" }
    );
    let _ = write!(page, "<section class=\"verdict {class}\" aria-label=\"Verdict\">\n<strong>{word}</strong>\n<ul>\n");
    for sentence in words(capacity) {
        let _ = writeln!(page, "<li>{}</li>", xml(sentence.trim()));
    }
    page += "</ul>\n</section>\n<h2>Plots</h2>\n<div class=\"plots\">\n";
    for plot in [latency(capacity), scalability(capacity)] {
        let (title, legend, svg) = (plot.title, plot.legend(), plot.svg());
        let _ = write!(page, "<figure>\n<figcaption><h3>{title}</h3>{legend}</figcaption>\n{svg}</figure>\n");
    }
    page += "</div>\n<h2>Steps</h2>\n";
    steps(&mut page, &capacity.steps);
    let stamp = &capacity.stamp;
    let _ = write!(
        page,
        "</main>\n<footer>Written by penstock load {} ({}) on {}: {}, {} cores, kernel {}; DPDK {}, {}.</footer>\n\
         </body>\n</html>\n",
        xml(&stamp.version),
        xml(&stamp.git_sha),
        xml(&stamp.host),
        xml(&stamp.cpu),
        stamp.cores,
        xml(&stamp.kernel),
        xml(&stamp.dpdk),
        xml(&stamp.device)
    );
    page
}

/// The word to see first, and the style of a run's verdict that goes with it.
fn verdict(capacity: &Capacity) -> (String, &'static str) {
    let found = &capacity.conclusion;
    match (found.limit, found.best) {
        (Limit::Aborted, _) => ("ABORTED".into(), "ABORTED"),
        (Limit::Target, Some(best)) => (format!("{}/s", number(best)), "PASS"),
        (_, Some(best)) => (format!("≥ {}/s", number(best)), "INVALID"),
        (Limit::Target, None) => ("FAIL".into(), "FAIL"),
        (_, None) => ("INVALID".into(), "INVALID"),
    }
}

fn latency(capacity: &Capacity) -> Plot<'static> {
    let curves = [
        ("p50", 1, curve(&capacity.steps, |step| step.p50_ns)),
        ("p99", 2, curve(&capacity.steps, |step| step.p99_ns)),
        ("p99.9", 3, curve(&capacity.steps, |step| step.p99_9_ns)),
    ];
    let drawn = || curves.iter().flat_map(|(.., points)| points).map(|point| point.1).filter(|value| *value > 0.0);
    let ends = (drawn().fold(f64::INFINITY, f64::min), drawn().fold(0.0, f64::max));
    let mut lines: Vec<Line> =
        curves.iter().map(|(name, style, points)| Line { name, style: *style, points: points.clone() }).collect();
    if let Some(knee) = &capacity.knee {
        lines.push(Line { name: "knee", style: 4, points: vec![(knee.rate, ends.0), (knee.rate, ends.1)] });
    }
    let knee = capacity.knee.map_or_else(
        || "There is no knee below the highest rate measured.".into(),
        |knee| {
            format!("The knee is at {} requests per second, where p99 is {}.", number(knee.rate), duration(knee.p99_ns))
        },
    );
    Plot {
        id: "latency",
        title: "Latency over rate",
        description: format!("Percentiles of latency at each rate that could be measured. {knee}"),
        x: Axis { label: "requests per second", scale: Scale::Linear, show: number },
        y: Axis { label: "latency", scale: Scale::Log, show: duration },
        lines,
        shaded: Vec::new(),
    }
}

fn scalability(capacity: &Capacity) -> Plot<'static> {
    let measured = concurrency(&capacity.steps);
    let largest = measured.last().map_or(1.0, |point| point.0);
    let mut lines = vec![Line { name: "measured", style: 1, points: measured }];
    let mut description = "Throughput over the mean number of requests in the target.".to_string();
    if let Some(fit) = &capacity.usl {
        let at = |i: usize| largest * 1.1 * i as f64 / CURVE_POINTS as f64;
        let points = (1..=CURVE_POINTS).map(|i| (at(i), fit.law.rate(at(i))));
        lines.push(Line { name: "scalability law", style: 2, points: points.collect() });
        let _ = write!(
            description,
            " The universal scalability law with lambda {}, sigma {:.4}, kappa {:.3e}; its error is {} leaving out each \
             step, and {} predicting the upper third.",
            number(fit.law.lambda),
            fit.law.sigma,
            fit.law.kappa,
            percent(fit.leave_one_out_mape),
            percent(fit.hold_out_mape)
        );
    }
    Plot {
        id: "scalability",
        title: "Throughput over concurrency",
        description,
        x: Axis {
            label: "requests in the target (answers per second times service time)",
            scale: Scale::Linear,
            show: number,
        },
        y: Axis { label: "answers per second", scale: Scale::Linear, show: number },
        lines,
        shaded: Vec::new(),
    }
}

fn steps(page: &mut String, steps: &[Measured]) {
    *page +=
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Steps\">\n<table class=\"\">\n<thead><tr>";
    let header = ["requests/s", "answers/s", "p50", "p99", "p99.9", "failed", "waited", "lag p99", "busy", "verdict"];
    header.iter().for_each(|cell| *page += &format!("<th scope=\"col\">{cell}</th>"));
    *page += "</tr></thead>\n<tbody>\n";
    for step in steps {
        let ns = |ns: u64| duration(ns as f64);
        let again = if step.again { " (again)" } else { "" };
        let cells = [
            number(step.achieved),
            ns(step.p50_ns),
            ns(step.p99_ns),
            ns(step.p99_9_ns),
            percent(step.failed_share),
            percent(step.waited_share),
            ns(step.lag_p99_ns),
            percent(step.busy_share),
            format!("{}{again}", step.outcome.name()),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", xml(cell))).collect();
        let why = xml(&step.reasons.join("; "));
        let _ = writeln!(page, "<tr title=\"{why}\"><th scope=\"row\">{}</th>{cells}</tr>", xml(&number(step.rate)));
    }
    *page += "</tbody></table></div>\n";
}
