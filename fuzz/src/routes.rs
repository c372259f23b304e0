//! Routing against a model that tries every route.
//!
//! Owns the model: docs/configuration.md's order of precedence, written down again. Refuses to share code with the table.

use penstock::config::{Body, Config, DirectResponse, PathMatch, Route};
use penstock::control::load::load_str;
use penstock::gateway::routes::{Match, Routes, path};
use std::path::Path;
use std::sync::LazyLock;

static BASE: LazyLock<Config> = LazyLock::new(|| {
    let text = "[port]\naddress = \"10.7.0.2/24\"\n[[route]]\npath = \"/\"\nrespond = {}\n[[listener]]\nport = 80\n";
    load_str("base", text, Path::new("")).expect("a configuration")
});

/// Lines `HOST METHOD PATH`: routes, and at last a request. `*` is any; a route's path after `=` is exact.
pub fn routes(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines: Vec<[&str; 3]> = text.lines().take(40).filter_map(words).collect();
    let Some(([host, method, asked], routes)) = lines.split_last() else { return };
    let config = Config { routes: routes.iter().filter_map(route).collect(), ..BASE.clone() };
    let table = Routes::new(&config);
    let found = table.find(host.as_bytes(), method.as_bytes(), asked.as_bytes());
    if let Match::MethodNotAllowed { allow } = found {
        assert!(table.allow_values().iter().any(|value| value == allow));
    }
    let found = match found {
        Match::Route(index) => Some(Some(index)),
        Match::MethodNotAllowed { .. } => Some(None),
        Match::NotFound => None,
        Match::BadPath => return assert!(is_bad(asked.as_bytes())),
    };
    assert!(!is_bad(asked.as_bytes()));
    assert_eq!(found, model(&config.routes, host, method, asked.as_bytes()));
}

fn words(line: &str) -> Option<[&str; 3]> {
    let mut words = line.splitn(3, ' ');
    Some([words.next()?, words.next()?, words.next()?])
}

/// A route as `control::load` lets it pass.
fn route([host, method, path]: &[&str; 3]) -> Option<Route> {
    let (exact, path) = path.strip_prefix('=').map_or((false, *path), |path| (true, path));
    if is_bad(path.as_bytes()) || path.is_empty() || path.contains('?') {
        return None;
    }
    let path = if exact { PathMatch::Exact(path.into()) } else { PathMatch::Prefix(path.into()) };
    let host = (*host != "*").then(|| host.trim_end_matches('.').to_ascii_lowercase());
    let methods = if *method == "*" { vec![] } else { vec![method.to_string()] };
    Some(Route {
        host,
        path,
        methods,
        respond: DirectResponse { status: 200, headers: vec![], body: Body::Inline(vec![]) },
    })
}

fn is_bad(path: &[u8]) -> bool {
    let plain = &path[..path.iter().position(|byte| *byte == b'?').unwrap_or(path.len())];
    let refused = matches!(path::inspect(path).1, path::Form::Refused(_));
    let controls = plain.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f | b'\\' | b'#'));
    let relative = plain.first().is_some_and(|byte| *byte != b'/');
    assert!(refused || !(controls || relative));
    refused
}

/// `None`: nothing matches; `Some(None)`: not with this method.
fn model(routes: &[Route], host: &str, method: &str, asked: &[u8]) -> Option<Option<usize>> {
    let wanted = segments(asked);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let best = |own: &dyn Fn(&Route) -> bool| {
        let all = routes.iter().enumerate().filter(|(_, route)| own(route));
        let ranked: Vec<(usize, usize)> =
            all.filter_map(|(index, route)| Some((rank(&route.path, &wanted)?, index))).collect();
        let top = ranked.iter().map(|(rank, _)| *rank).max()?;
        Some(ranked.into_iter().filter(|(rank, _)| *rank == top).map(|(_, index)| index).collect::<Vec<_>>())
    };
    let candidates =
        best(&|route| route.host.as_deref() == Some(&*host)).or_else(|| best(&|route| route.host.is_none()))?;
    let of = |method: &str| candidates.iter().copied().find(|index| routes[*index].methods.iter().any(|m| m == method));
    let get = || if method == "HEAD" { of("GET") } else { None };
    let any = || candidates.iter().copied().find(|index| routes[*index].methods.is_empty());
    Some(of(method).or_else(get).or_else(any))
}

/// How well a route's path matches: exact before long before short.
fn rank(path: &PathMatch, wanted: &[String]) -> Option<usize> {
    match path {
        PathMatch::Exact(path) => (segments(path.as_bytes()) == wanted).then_some(usize::MAX),
        PathMatch::Prefix(path) => {
            let path = path.trim_end_matches('/');
            let prefix = if path.is_empty() { vec![] } else { segments(path.as_bytes()) };
            wanted.starts_with(&prefix).then_some(prefix.len())
        }
    }
}

/// A path's segments in one spelling: what needs no escape has none, everything else has.
fn segments(path: &[u8]) -> Vec<String> {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let all: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = all.len() - 1;
    let kept = all.iter().enumerate().filter(|(at, segment)| *at == last || !segment.is_empty());
    kept.map(|(_, segment)| spell(segment)).collect()
}

fn spell(mut segment: &[u8]) -> String {
    let mut text = String::new();
    while let Some((first, rest)) = segment.split_first() {
        let escape = (*first == b'%').then(|| std::str::from_utf8(&rest[..2]).expect("two digits"));
        let byte = escape.map_or(*first, |digits| u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
        segment = if escape.is_some() { &rest[2..] } else { rest };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let plain = unreserved || (escape.is_none() && b"!$&'()*+,;=:@".contains(&byte));
        text += &if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    }
    text
}
