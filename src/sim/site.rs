//! What the gateway serves in a simulation, and what clients ask of it.
//!
//! Owns the pages, from which both the configuration's routes and the right answers are made, and requests as bytes.

use super::rng::Rng;
use crate::config::{Body, DirectResponse, PathMatch, Route};
use std::rc::Rc;

/// One page.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// Its path.
    pub path: &'static str,
    /// The answer's status.
    pub status: u16,
    /// The answer's content.
    pub body: Rc<[u8]>,
}

/// The pages of a simulation.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    pages: Vec<Page>,
    /// The request of a connection after which the gateway closes; 0: none.
    pub requests_max: usize,
}

impl Site {
    /// An empty page, a small one, one of a few segments, ones of 64 KiB, 256 KiB and 1 MiB, with bytes drawn from `rng`;
    /// the 1 MiB page only when `huge`.
    pub fn new(rng: &mut Rng, huge: bool) -> Site {
        let mut pages = vec![
            Page { path: "/empty", status: 200, body: Rc::from([]) },
            Page { path: "/small", status: 200, body: Rc::from(*b"hello, world\n") },
            Page { path: "/medium", status: 200, body: rng.bytes(5000).into() },
            Page { path: "/page", status: 200, body: rng.bytes(64 * 1024).into() },
            Page { path: "/large", status: 200, body: rng.bytes(256 * 1024).into() },
            Page { path: "/teapot", status: 418, body: Rc::from(*b"short and stout\n") },
        ];
        if huge {
            pages.push(Page { path: "/huge", status: 200, body: rng.bytes(1024 * 1024).into() });
        }
        Site { pages, requests_max: 0 }
    }

    /// No pages.
    pub fn empty() -> Site {
        Site { pages: Vec::new(), requests_max: 0 }
    }

    /// The pages.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// The routes that serve the pages.
    pub fn routes(&self) -> Vec<Route> {
        let route = |page: &Page| Route {
            host: None,
            path: PathMatch::Exact(page.path.into()),
            methods: Vec::new(),
            respond: DirectResponse {
                status: page.status,
                headers: vec![("content-type".into(), "application/octet-stream".into())],
                body: Body::Inline(page.body.to_vec()),
            },
        };
        self.pages.iter().map(route).collect()
    }

    /// The right answer to a request.
    pub fn answer(&self, request: &Request) -> Answer {
        if let Some(status) = request.refused {
            return Answer { status, body: None, no_body: false, closes: true };
        }
        let page = self.pages.iter().find(|page| page.path == request.path);
        let (status, body) = page.map_or((404, None), |page| (page.status, Some(page.body.clone())));
        // Content that was announced with Expect and is not wanted ends the connection (RFC 9110, 10.1.1).
        let unwanted = request.expects_continue() && status >= 400;
        Answer { status, body, no_body: request.method == "HEAD", closes: request.close || unwanted }
    }
}

/// A right answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content; None: any.
    pub body: Option<Rc<[u8]>>,
    /// The content's length is told, the content not sent (RFC 9110, 9.3.2).
    pub no_body: bool,
    /// The connection ends after it.
    pub closes: bool,
}

/// A request's content.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// None.
    Absent,
    /// With Content-Length, this many bytes.
    Length(usize),
    /// Chunked, this many bytes in chunks of at most `chunk`.
    Chunked {
        /// Bytes in all.
        len: usize,
        /// Bytes of a chunk at most.
        chunk: usize,
    },
}

/// A request.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// Its method.
    pub method: &'static str,
    /// Its target.
    pub path: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its content.
    pub content: Content,
    /// `Connection: close`.
    pub close: bool,
    /// Extra field lines, each with its CRLF.
    pub fields: &'static str,
    /// The status with which it is to be refused and the connection closed, for one that breaks the rules.
    pub refused: Option<u16>,
}

impl Request {
    /// A plain GET.
    pub const fn get(path: &'static str) -> Request {
        Request {
            method: "GET",
            path,
            version: "HTTP/1.1",
            content: Content::Absent,
            close: false,
            fields: "",
            refused: None,
        }
    }

    /// A POST with the given content.
    pub const fn post(path: &'static str, content: Content) -> Request {
        Request { method: "POST", content, ..Request::get(path) }
    }

    /// Whether it asks for 100 Continue (RFC 9110, 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.fields.contains("100-continue")
    }

    /// Its bytes: the head, and the content.
    pub fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let Request { method, path, version, fields, .. } = self;
        let mut head = format!("{method} {path} {version}\r\nHost: sim.test\r\n{fields}").into_bytes();
        if self.close {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        let (field, content) = match self.content {
            Content::Absent => (String::new(), Vec::new()),
            Content::Length(len) => (format!("Content-Length: {len}\r\n"), (0..len).map(filler).collect()),
            Content::Chunked { len, chunk } => ("Transfer-Encoding: chunked\r\n".into(), chunked(len, chunk.max(1))),
        };
        head.extend_from_slice(field.as_bytes());
        head.extend_from_slice(b"\r\n");
        (head, content)
    }
}

fn chunked(len: usize, chunk: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < len {
        let size = chunk.min(len - at);
        out.extend_from_slice(format!("{size:x};note=\"{at}\"\r\n").as_bytes());
        out.extend((at..at + size).map(filler));
        out.extend_from_slice(b"\r\n");
        at += size;
    }
    out.extend_from_slice(b"0\r\nX-Trailer: end\r\n\r\n");
    out
}

/// Content that looks like anything but content when framing slips: CRLFs and digits.
fn filler(at: usize) -> u8 {
    b"0\r\n\r\nGET /small HTTP/1.1\r\n\r\n"[at % 28]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_meant() {
        let (head, content) = Request::post("/x", Content::Chunked { len: 3, chunk: 2 }).bytes();
        assert_eq!(head, b"POST /x HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let want = "2;note=\"0\"\r\n0\r\r\n1;note=\"2\"\r\n\n\r\n0\r\nX-Trailer: end\r\n\r\n";
        assert_eq!(String::from_utf8(content).unwrap(), want);
        let closing = Request { close: true, ..Request::get("/") }.bytes();
        assert_eq!(closing, (b"GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\r\n".to_vec(), vec![]));
    }

    #[test]
    fn the_site_knows_its_answers() {
        let site = Site::new(&mut Rng::new(1), false);
        assert_eq!(site.routes().len(), 6);
        assert_eq!(site.answer(&Request::get("/large")).body.unwrap().len(), 256 * 1024);
        assert_eq!(site.answer(&Request::get("/nowhere")).status, 404);
        let bad = Request { refused: Some(400), ..Request::get("/small") };
        assert!(site.answer(&bad).closes);
    }
}
