//! The route table: host, path and method to the route that answers.
//!
//! Owns the order of precedence and the `Allow` values. Refuses to build answers, and to allocate or to do more work
//! than the configuration's longest path and widest branch allow while finding. docs/configuration.md describes the
//! rules for users.

use core::cmp::Ordering;

use crate::config::{Config, PathMatch, Route};
use path::{Form, Segments};

pub mod path;
#[cfg(test)]
mod tests;

/// What [`Routes::find`] found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Match<'a> {
    /// Index of the route in `Config::routes`.
    Route(usize),
    /// The path is known and the method is not: 405 with this `Allow` value (RFC 9110, 15.5.6), sorted; GET implies HEAD.
    MethodNotAllowed {
        /// The value of the `Allow` field.
        allow: &'a str,
    },
    /// No route matches the path: 404.
    NotFound,
    /// The path can be read in two ways and is not matched at all: 400. [`path`] says which paths these are.
    BadPath,
}

/// An immutable index over `Config::routes`.
#[derive(Debug, Default)]
pub struct Routes {
    /// Sorted by host, which is lower case.
    hosts: Vec<(Box<[u8]>, Node)>,
    any_host: Node,
}

/// A place in the tree of path segments: `/a/b` is the node `b` below the node `a` below the root, `/a/` the node with
/// the empty name below `a`.
#[derive(Debug, Default)]
struct Node {
    /// Sorted by name, which is in canonical form.
    children: Vec<(Box<[u8]>, Node)>,
    exact: Option<Methods>,
    prefix: Option<Methods>,
}

/// The routes of one host and path, told apart by method.
#[derive(Debug, Default)]
struct Methods {
    any: Option<usize>,
    /// Sorted by method.
    named: Vec<(Box<[u8]>, usize)>,
    allow: String,
}

impl Routes {
    /// Builds the index. Where two routes match the same requests, which `control::load` refuses, the first one wins.
    pub fn new(config: &Config) -> Routes {
        let mut routes = Routes::default();
        for (index, route) in config.routes.iter().enumerate() {
            let root = match &route.host {
                None => &mut routes.any_host,
                Some(host) => entry(&mut routes.hosts, host.to_ascii_lowercase().as_bytes()),
            };
            root.insert(route, index);
        }
        routes
    }

    /// The route for a request. `host` has no port and may be in any case; `path` is absolute and empty stands for `/`
    /// (RFC 9112, 3.2.1); a query that follows it is ignored.
    ///
    /// A host's own routes come before those for any host; an exact path before a prefix; a longer prefix before a
    /// shorter one. Only then does the method decide: a path that matched is not tried again for another method.
    pub fn find(&self, host: &[u8], method: &[u8], path: &[u8]) -> Match<'_> {
        let (path, form) = path::inspect(path);
        if let Form::Refused(_) = form {
            return Match::BadPath;
        }
        let found = self.host(host).and_then(|root| root.find(path, form));
        match found.or_else(|| self.any_host.find(path, form)) {
            Some(methods) => methods.find(method),
            None => Match::NotFound,
        }
    }

    /// Every `Allow` value that [`Routes::find`] can return, some perhaps twice.
    pub fn allow_values(&self) -> Vec<String> {
        let mut values = Vec::new();
        self.hosts.iter().map(|(_, node)| node).chain([&self.any_host]).for_each(|node| node.allow_values(&mut values));
        values
    }

    fn host(&self, host: &[u8]) -> Option<&Node> {
        // The root label's dot names the same host (RFC 3986, 3.2.2).
        let host = host.strip_suffix(b".").unwrap_or(host);
        let lower = |name: &[u8]| name.iter().copied().cmp(host.iter().map(u8::to_ascii_lowercase));
        child(&self.hosts, lower)
    }
}

impl Node {
    fn insert(&mut self, route: &Route, index: usize) {
        let (path, exact) = match &route.path {
            PathMatch::Exact(path) => (path.as_str(), true),
            PathMatch::Prefix(path) => (path.trim_end_matches('/'), false),
        };
        let mut node = self;
        // The prefix "/" has no segments; the exact path "/" has one, which is empty.
        if exact || !path.is_empty() {
            for segment in Segments::new(path.as_bytes()) {
                let name: Vec<u8> = path::canonical(segment).collect();
                node = entry(&mut node.children, &name);
            }
        }
        let methods = if exact { &mut node.exact } else { &mut node.prefix };
        methods.get_or_insert_default().insert(&route.methods, index);
    }

    fn allow_values(&self, values: &mut Vec<String>) {
        values.extend(self.exact.iter().chain(&self.prefix).map(|methods| methods.allow.clone()));
        self.children.iter().for_each(|(_, child)| child.allow_values(values));
    }

    fn find(&self, path: &[u8], form: Form) -> Option<&Methods> {
        let mut node = self;
        let mut longest = self.prefix.as_ref();
        for segment in Segments::new(path) {
            let compare = |name: &[u8]| match form {
                Form::Plain => name.cmp(segment),
                _ => name.iter().copied().cmp(path::canonical(segment)),
            };
            let Some(next) = child(&node.children, compare) else { return longest };
            node = next;
            longest = node.prefix.as_ref().or(longest);
        }
        node.exact.as_ref().or(longest)
    }
}

impl Methods {
    fn insert(&mut self, methods: &[String], index: usize) {
        if methods.is_empty() {
            self.any.get_or_insert(index);
        }
        for method in methods {
            if let Err(at) = self.named.binary_search_by(|(name, _)| (**name).cmp(method.as_bytes())) {
                self.named.insert(at, (method.as_bytes().into(), index));
            }
        }
        let mut allow: Vec<&str> = self.named.iter().filter_map(|(name, _)| core::str::from_utf8(name).ok()).collect();
        if allow.contains(&"GET") && !allow.contains(&"HEAD") {
            allow.push("HEAD");
            allow.sort_unstable();
        }
        self.allow = allow.join(", ");
    }

    fn find(&self, method: &[u8]) -> Match<'_> {
        // "HEAD is identical to GET except that the server MUST NOT send content" (RFC 9110, 9.3.2).
        let get = if method == b"HEAD" { self.named(b"GET") } else { None };
        match self.named(method).or(get).or(self.any) {
            Some(index) => Match::Route(index),
            None => Match::MethodNotAllowed { allow: &self.allow },
        }
    }

    fn named(&self, method: &[u8]) -> Option<usize> {
        let at = self.named.binary_search_by(|(name, _)| (**name).cmp(method)).ok()?;
        Some(self.named[at].1)
    }
}

/// The entry whose name `compare` (name to the wanted one) calls equal.
fn child(sorted: &[(Box<[u8]>, Node)], compare: impl Fn(&[u8]) -> Ordering) -> Option<&Node> {
    let at = sorted.binary_search_by(|(name, _)| compare(name)).ok()?;
    Some(&sorted[at].1)
}

fn entry<'a>(sorted: &'a mut Vec<(Box<[u8]>, Node)>, name: &[u8]) -> &'a mut Node {
    let at = match sorted.binary_search_by(|(other, _)| (**other).cmp(name)) {
        Ok(at) => at,
        Err(at) => {
            sorted.insert(at, (name.into(), Node::default()));
            at
        }
    };
    &mut sorted[at].1
}
