//! JUnit XML, for CI servers: a test case for each threshold, and one for whether the run was valid.
//!
//! Owns the mapping: a threshold that does not hold is a failure, a broken measurement an error. Refuses schemas of single
//! vendors; what is written is what all of them read.

use core::fmt::Write as _;

use super::model::Run;
use super::text::xml;
use super::verdict::{Finding, Outcome};

/// The document.
pub fn junit(run: &Run) -> String {
    let invalid = matches!(run.verdict.outcome, Outcome::Invalid | Outcome::Aborted);
    let broken = run.thresholds.iter().filter(|judged| !judged.holds).count();
    // In a broken measurement thresholds prove nothing, whichever way they fell.
    let (failures, skipped) = if invalid { (0, run.thresholds.len()) } else { (broken, 0) };
    let cut = run.aborted.as_ref().filter(|aborted| aborted.by_threshold && !invalid);
    let failures = failures + usize::from(cut.is_some());
    let (name, tests) = (xml(&run.name), run.thresholds.len() + 1 + usize::from(cut.is_some()));
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{}\"", u8::from(invalid));
    let (time, started) = (run.elapsed_s, xml(run.started.trim_end_matches('Z')));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(text, "<testsuites name=\"penstock load\" {counts} time=\"{time:.3}\">");
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" {counts} skipped=\"{skipped}\" time=\"{time:.3}\" timestamp=\"{started}\">"
    );
    let reasons: Vec<String> =
        run.verdict.reasons.iter().filter(|reason| reason.code != "threshold").map(describe).collect();
    let error = invalid.then(|| ("error", run.verdict.outcome.name().to_string(), reasons.join("\n")));
    case(&mut text, &name, "the measurement is valid", error);
    for judged in &run.thresholds {
        let broken = match (invalid, judged.holds) {
            (true, _) => Some(("skipped", format!("the measurement is {}", run.verdict.outcome.name()), String::new())),
            (false, false) => Some(("failure", format!("it is {}", judged.shown), judged.text.clone())),
            (false, true) => None,
        };
        case(&mut text, &name, &judged.text, broken);
    }
    if let Some(aborted) = cut {
        case(&mut text, &name, "the run reached its end", Some(("failure", aborted.reason.clone(), String::new())));
    }
    text + "  </testsuite>\n</testsuites>\n"
}

fn describe(finding: &Finding) -> String {
    let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!(" (fix: {fix})"));
    format!("{}{fix}", finding.what)
}

fn case(text: &mut String, suite: &str, name: &str, problem: Option<(&str, String, String)>) {
    let _ = write!(text, "    <testcase classname=\"{suite}\" name=\"{}\" time=\"0\"", xml(name));
    let _ = match problem {
        None => writeln!(text, "/>"),
        Some(("skipped", message, _)) => {
            writeln!(text, ">\n      <skipped message=\"{}\"/>\n    </testcase>", xml(&message))
        }
        Some((element, message, body)) => {
            let (message, body) = (xml(&message), xml(&body));
            let kind = if element == "error" { "invalid" } else { "threshold" };
            writeln!(
                text,
                ">\n      <{element} message=\"{message}\" type=\"{kind}\">{body}</{element}>\n    </testcase>"
            )
        }
    };
}
