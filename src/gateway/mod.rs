//! The gateway program: a request's route decides its answer.
//!
//! Owns the prepared responses of one configuration: the routes' own, and the errors of routing. Refuses to read or write
//! bytes: sessions do that.

pub mod routes;

use crate::config::{Body, Config};
use crate::failure::{Exit, Failure};
use crate::http::head::{Method, RequestHead};
use crate::http::response::{Connection, Prepared, reason_phrase};
use crate::http::target::Form;
use crate::worker::{App, ResponseId};
use routes::{Match, Routes};
use std::sync::Arc;

/// The answers that do not come from a route.
#[derive(Copy, Clone)]
struct Errors {
    bad_path: ResponseId,
    not_found: ResponseId,
    not_implemented: ResponseId,
    /// To `OPTIONS *` (RFC 9110, 9.3.7).
    options: ResponseId,
}

/// One worker's instance of the gateway.
pub struct Gateway {
    routes: Routes,
    /// The routes' responses in the order of `Config::routes`, then the others.
    responses: Vec<Prepared>,
    route_count: usize,
    errors: Errors,
    /// `Allow` values with their 405 responses, sorted.
    not_allowed: Vec<(Box<str>, ResponseId)>,
}

impl Gateway {
    /// Prepares every answer the configuration can give.
    pub fn new(config: &Config) -> Result<Gateway, Failure> {
        let routes = Routes::new(config);
        let mut responses = Vec::with_capacity(config.routes.len() + 8);
        for (i, route) in config.routes.iter().enumerate() {
            // A file's content is shared by all workers; it may be large.
            let body: Arc<[u8]> = match &route.respond.body {
                Body::File { content, .. } => content.clone(),
                Body::Inline(bytes) => bytes.as_slice().into(),
            };
            let prepared = Prepared::new(route.respond.status, &route.respond.headers, body);
            let prepared = prepared.map_err(|e| Failure::new(Exit::Config, format!("route {}: {e}", i + 1)))?;
            fits(&prepared, config.tcp.tx_ring, || format!("route {}", i + 1))?;
            responses.push(prepared);
        }
        let mut add = |status, headers: &[(&str, &str)]| {
            let id = error(&mut responses, status, headers)?;
            fits(&responses[id.0 as usize], config.tcp.tx_ring, || format!("the answer {status} of a path's routes"))?;
            Ok::<_, Failure>(id)
        };
        let errors = Errors {
            bad_path: add(400, &[])?,
            not_found: add(404, &[])?,
            not_implemented: add(501, &[])?,
            options: add(204, &[("Allow", "GET, HEAD, OPTIONS")])?,
        };
        let mut not_allowed = Vec::new();
        for allow in routes.allow_values() {
            let id = add(405, &[("Allow", &allow)])?;
            not_allowed.push((allow.into_boxed_str(), id));
        }
        not_allowed.sort_by(|a: &(Box<str>, ResponseId), b| a.0.cmp(&b.0));
        not_allowed.dedup_by(|a, b| a.0 == b.0);
        Ok(Gateway { routes, responses, route_count: config.routes.len(), errors, not_allowed })
    }

    fn method_not_allowed(&self, allow: &str) -> ResponseId {
        let found = self.not_allowed.binary_search_by(|(known, _)| known.as_ref().cmp(allow));
        found.map_or(self.errors.not_found, |i| self.not_allowed[i].1)
    }
}

impl App for Gateway {
    #[inline]
    fn answer(&mut self, head: &RequestHead<'_>) -> ResponseId {
        match (head.target.form, head.method) {
            (Form::Asterisk, _) => return self.errors.options,
            // No tunnels; and TRACE would echo what a browser must not see (RFC 9110, 9.3.8).
            (Form::Authority, _) | (_, Method::Trace | Method::Connect) => return self.errors.not_implemented,
            _ => {}
        }
        match self.routes.find(head.host.name, head.method.name(), head.target.path) {
            Match::Route(i) => ResponseId(i as u32),
            Match::MethodNotAllowed { allow } => self.method_not_allowed(allow),
            Match::NotFound => self.errors.not_found,
            Match::BadPath => self.errors.bad_path,
        }
    }

    fn route(&self, id: ResponseId) -> Option<usize> {
        Some(id.0 as usize).filter(|i| *i < self.route_count)
    }

    #[inline]
    fn response(&self, id: ResponseId) -> &Prepared {
        &self.responses[id.0 as usize]
    }
}

/// A head goes out in one piece, so the transmit ring has to hold it.
fn fits(prepared: &Prepared, tx_ring: usize, name: impl FnOnce() -> String) -> Result<(), Failure> {
    let longest = [Connection::Persist, Connection::KeepAlive, Connection::Close]
        .into_iter()
        .map(|connection| prepared.head(connection).len().max(prepared.small(connection).map_or(0, |all| all.len())))
        .fold(0, usize::max);
    if longest <= tx_ring {
        return Ok(());
    }
    let what = format!("{}: the header section of {longest} bytes is larger than `tx_ring` ({tx_ring} bytes)", name());
    Err(Failure::new(Exit::Config, what).fix("raise tx_ring in [tcp], or shorten header fields or method names"))
}

/// Adds an answer that says its own status.
fn error(responses: &mut Vec<Prepared>, status: u16, headers: &[(&str, &str)]) -> Result<ResponseId, Failure> {
    let mut fields: Vec<(String, String)> = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    fields.push(("Content-Type".into(), "text/plain".into()));
    let body = format!("{status} {}\n", reason_phrase(status));
    let prepared = Prepared::new(status, &fields, body.into_bytes().into());
    responses.push(prepared.map_err(|e| Failure::new(Exit::Runtime, format!("answer {status}: {e}")))?);
    Ok(ResponseId(responses.len() as u32 - 1))
}
