//! `[[route]]`: hosts, paths and methods, and that no two routes want the same request.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;

use super::body::{is_token, respond};
use super::reader::Section;
use super::report::{Report, Span};
use crate::config::{PathMatch, Route};
use crate::gateway::routes::path::{self, Form};
use crate::limits::{HOST_NAME_MAX, ROUTE_METHODS_MAX, ROUTE_PATH_MAX, ROUTES_MAX};

const KNOWN_METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
/// Answered before any route is looked for.
const UNROUTED_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

pub(super) fn routes(root: &Section, base_dir: &Path) -> Vec<Route> {
    let report = root.report;
    if root.lacks("route") {
        let fix = "add: [[route]]\npath = \"/\"\nrespond = { body = \"hello\\n\" }";
        report.add_missing("there is no [[route]], so every request would be answered 404", fix);
    }
    let sections = root.sections("route");
    if let Some(section) = sections.get(ROUTES_MAX) {
        report.add(section.span.clone(), "too many routes", format!("write at most {ROUTES_MAX} [[route]] sections"));
    }
    let mut routes = Vec::new();
    let mut taken = Taken::default();
    for section in sections.iter().take(ROUTES_MAX) {
        if let Some(route) = route(section, base_dir) {
            taken.claim(report, &route, &section.span);
            routes.push(route);
        }
    }
    routes
}

/// Host, whether the path is exact, and path.
type Place = (Option<String>, bool, String);

/// Which methods of a place have a route, and where it is.
#[derive(Default)]
struct Taken(HashMap<Place, Vec<(Vec<String>, Span)>>);

impl Taken {
    fn claim(&mut self, report: &Report, route: &Route, span: &Span) {
        let (exact, path) = match &route.path {
            PathMatch::Exact(path) => (true, path),
            PathMatch::Prefix(path) => (false, path),
        };
        let others = self.0.entry((route.host.clone(), exact, path.clone())).or_default();
        let overlaps = |(methods, _): &&(Vec<String>, Span)| {
            methods.is_empty() || route.methods.is_empty() || methods.iter().any(|m| route.methods.contains(m))
        };
        if let Some((_, first)) = others.iter().find(overlaps) {
            let what = format!("this route and the one of line {} match the same requests", report.line(first));
            let fix = "remove one of them, or let them differ in host, path or method";
            report.add(span.clone(), what, fix);
        }
        others.push((route.methods.clone(), span.clone()));
    }
}

fn route(section: &Section, base_dir: &Path) -> Option<Route> {
    let report = section.report;
    let respond = match section.section("respond") {
        Some(answer) => Some(respond(&answer, base_dir)),
        None => {
            if section.lacks("respond") {
                let fix = "add: respond = { status = 200, body = \"hello\\n\" }";
                report.add(section.span.clone(), "[[route]] has no `respond`", fix);
            }
            None
        }
    };
    let host = match section.text("host") {
        Some(text) => Some(host(report, &text)?),
        None => None,
    };
    let methods = methods(section);
    let path = path_match(section)?;
    Some(Route { host, path, methods, respond: respond? })
}

fn path_match(section: &Section) -> Option<PathMatch> {
    let report = section.report;
    match (section.has("path"), section.has("exact")) {
        (true, true) => {
            let fix = "keep `path` to match everything below it too, or `exact`";
            report.add(section.span_of("exact"), "[[route]] has both `path` and `exact`", fix);
            None
        }
        (false, false) if !section.lacks("path") || !section.lacks("exact") => None,
        (false, false) => {
            let fix = "add: path = \"/\" for every path, or exact = \"/health\" for one";
            report.add(section.span.clone(), "[[route]] has neither `path` nor `exact`", fix);
            None
        }
        (true, false) => {
            let path = checked_path(report, &section.text("path")?)?;
            // A prefix ends at a segment's end with or without the slash.
            let trimmed = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
            Some(PathMatch::Prefix(trimmed.to_string()))
        }
        (false, true) => Some(PathMatch::Exact(checked_path(report, &section.text("exact")?)?)),
    }
}

fn checked_path(report: &Report, text: &Spanned<&str>) -> Option<String> {
    let written = *text.get_ref();
    let wrong = |what: String, fix: String| {
        report.add(text.span(), what, fix);
        None
    };
    if written.contains('?') {
        return wrong(
            "the path has a query".into(),
            "remove everything from `?` on: routes match the path only".into(),
        );
    }
    if written.len() > ROUTE_PATH_MAX {
        return wrong("the path is too long".into(), format!("a path has at most {ROUTE_PATH_MAX} bytes"));
    }
    if written.ends_with('*') {
        let fix = format!("`path` already matches whatever follows: path = {:?}", written.trim_end_matches(['*']));
        return wrong("the path ends in a wildcard, which is not supported".into(), fix);
    }
    match path::inspect(written.as_bytes()).1 {
        _ if written.is_empty() => wrong("the path is empty".into(), "write \"/\"".into()),
        Form::Refused(path::Refusal::Relative) => {
            wrong("the path does not begin with `/`".into(), format!("write {:?}", format!("/{written}")))
        }
        Form::Refused(refusal) => {
            let fix = "requests for such paths are answered 400 and never reach a route; write another path";
            wrong(format!("the path has {}", refusal.describe()), fix.into())
        }
        Form::Plain => Some(written.to_string()),
        Form::Encoded => {
            let canonical = canonical(written);
            if canonical == written {
                return Some(canonical);
            }
            wrong("the path is not in canonical form".into(), format!("write {canonical:?}, which matches the same"))
        }
    }
}

fn canonical(path: &str) -> String {
    let mut canonical = String::new();
    for segment in path::Segments::new(path.as_bytes()) {
        canonical.push('/');
        canonical.extend(path::canonical(segment).map(char::from));
    }
    canonical
}

fn host(report: &Report, text: &Spanned<&str>) -> Option<String> {
    let written = *text.get_ref();
    let wrong = |what: &str, fix: String| {
        report.add(text.span(), what, fix);
        None
    };
    let port = written.rsplit_once(':').filter(|(name, port)| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']'))
    });
    if let Some((name, _)) = port {
        return wrong("`host` has a port", format!("write \"{name}\": a route matches the host on every listener"));
    }
    if written.contains("://") {
        return wrong("`host` is a URI", "write the host's name only, such as \"example.com\"".to_string());
    }
    if written.contains('*') {
        let fix = "name each host in a route of its own, or leave `host` out to match any";
        return wrong("`host` has a wildcard, which is not supported", fix.to_string());
    }
    if written.parse::<core::net::Ipv6Addr>().is_ok() {
        return wrong("`host` is an IPv6 address without brackets", format!("write \"[{written}]\""));
    }
    let bracketed = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => written.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    if written.is_empty() || written.len() > HOST_NAME_MAX || written.starts_with('.') || !valid {
        let fix =
            "examples: \"example.com\", \"10.7.0.2\", \"[fd00:7::2]\"; write other alphabets as punycode (xn--...)";
        return wrong("`host` is not a host name or address", fix.to_string());
    }
    // The root label's dot names the same host.
    Some(written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase())
}

fn methods(section: &Section) -> Vec<String> {
    let report = section.report;
    let mut methods: Vec<String> = Vec::new();
    for text in section.texts("method") {
        let method = *text.get_ref();
        let upper = method.to_ascii_uppercase();
        if method.is_empty() || !method.bytes().all(is_token) {
            let fix = format!("examples: {}", KNOWN_METHODS.join(", "));
            report.add(text.span(), format!("not a method: {method:?}"), fix);
        } else if UNROUTED_METHODS.contains(&upper.as_str()) {
            let what = format!("{method} is answered 501 and never reaches a route");
            report.add(text.span(), what, "remove it");
        } else if method != upper && KNOWN_METHODS.contains(&upper.as_str()) {
            let what = format!("methods are case-sensitive and no client sends {method:?}");
            report.add(text.span(), what, format!("write \"{upper}\""));
        } else if methods.iter().any(|other| other == method) {
            report.add(text.span(), format!("{method} is listed twice"), "remove one of them");
        } else {
            methods.push(method.to_string());
        }
    }
    if methods.len() > ROUTE_METHODS_MAX {
        let fix = format!("list at most {ROUTE_METHODS_MAX}, or leave `method` out to match any");
        report.add(section.span_of("method"), "too many methods", fix);
    }
    methods
}
