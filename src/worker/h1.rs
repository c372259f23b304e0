//! The server's side of one HTTP/1.1 connection, from its first byte to its last.
//!
//! Owns the order of things: head, content, answer, next head; deadlines; when to close. Refuses to parse (`http` does)
//! and to decide (the `App` does). Requests are answered one after the other, so pipelined answers are in order
//! (RFC 9112, 9.3.2).

use super::app::{App, ResponseId};
use super::memo::Known;
use super::shared::Shared;
use crate::http::Reject;
use crate::http::body::{Decoder, Framing};
use crate::http::head::{self, Method, Scan};
use crate::http::response::{self, Connection, ERROR_MAX};
use crate::mem::Block;
use crate::net::stack::{Conn, Event};
use crate::telemetry::Counter;

/// The state of one connection.
#[derive(Default)]
pub struct H1Server {
    state: State,
    scan: Scan,
    /// A head that outgrew the receive ring.
    large: Option<LargeHead>,
    /// Bytes of the next head have arrived.
    begun: bool,
    /// The client waits for 100 Continue.
    interim_due: bool,
    requests: u64,
    answer: Answer,
}

#[derive(Default)]
enum State {
    /// Nothing happened yet.
    #[default]
    New,
    /// Waiting for a head, or in one.
    Head,
    /// Reading content, which direct responses ignore.
    Content(Decoder),
    /// Writing the answer.
    Respond,
    /// An error response waits for room.
    Refuse(Reject),
    /// Our FIN is on its way; what still arrives is read and ignored, so that the client gets to read the answer before
    /// any RST (RFC 9112, 9.6).
    Linger,
}

/// The answer being written.
#[derive(Copy, Clone)]
struct Answer {
    id: ResponseId,
    connection: Connection,
    head_only: bool,
    head_sent: bool,
    body_sent: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            id: ResponseId::default(),
            connection: Connection::Close,
            head_only: false,
            head_sent: false,
            body_sent: 0,
        }
    }
}

struct LargeHead {
    block: Block,
    len: usize,
}

/// Whether to go on in this turn.
#[derive(PartialEq)]
enum Step {
    Next,
    Wait,
}

impl H1Server {
    /// Serves the connection until it needs more input, room or time. Its work is bounded by what the two rings hold.
    pub fn serve<A: App>(&mut self, conn: &mut Conn<'_>, event: Event, cx: &mut Shared<A>) {
        match event {
            Event::Reset => return,
            Event::Deadline => self.on_deadline(conn, cx),
            Event::Ready => {}
        }
        while self.step(conn, cx) == Step::Next {}
    }

    #[inline]
    fn step<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        match &mut self.state {
            State::Head => self.read_head(conn, cx),
            State::Respond => self.write(conn, cx),
            State::New => {
                conn.set_deadline(cx.now + cx.limits.head_timeout);
                self.state = State::Head;
                Step::Next
            }
            State::Content(_) => self.read_content(conn, cx),
            State::Refuse(reject) => {
                let reject = *reject;
                self.refuse(conn, cx, reject)
            }
            State::Linger => {
                conn.discard(usize::MAX);
                Step::Wait
            }
        }
    }

    fn on_deadline<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) {
        match self.state {
            State::Head if self.begun || self.requests == 0 => self.state = State::Refuse(Reject::HeadTimeout),
            State::Head => {
                cx.counters.inc(Counter::HttpIdleClosed);
                self.close(conn);
            }
            State::Content(_) => self.state = State::Refuse(Reject::BodyTimeout),
            State::Respond | State::Refuse(_) => {
                cx.counters.inc(Counter::HttpWriteTimeout);
                conn.abort();
                self.state = State::Linger;
            }
            State::New | State::Linger => {}
        }
    }

    fn read_head<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        if self.large.is_some() {
            return self.read_large_head(conn, cx);
        }
        let seen = conn.recv(|bytes| {
            if let Some((len, known)) = cx.memo.find(bytes) {
                self.answer_to(known, cx);
                return (len, Some(State::Respond));
            }
            match head::scan(bytes, &mut self.scan, &cx.limits) {
                Ok(Some(at)) => (at.end, Some(self.begin(&bytes[at], cx))),
                Ok(None) => (0, None),
                Err(reject) => (0, Some(State::Refuse(reject))),
            }
        });
        match seen {
            Some(Some(state)) => {
                self.state = state;
                Step::Next
            }
            Some(None) => self.wait_for_head(conn, cx),
            None if conn.peer_closed() || (cx.draining && self.requests > 0) => self.close(conn),
            None => Step::Wait,
        }
    }

    /// The front of the ring holds no whole head: it wraps, outgrew the ring, or has not arrived.
    #[cold]
    fn wait_for_head<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        if !self.begun {
            self.begun = true;
            conn.set_deadline(cx.now + cx.limits.head_timeout);
        }
        let len = conn.peek(&mut cx.scratch);
        let scratch = core::mem::take(&mut cx.scratch);
        let found = head::scan(&scratch[..len], &mut self.scan, &cx.limits);
        let step = match found {
            Ok(Some(at)) => {
                self.state = self.begin(&scratch[at.clone()], cx);
                conn.discard(at.end);
                Step::Next
            }
            Ok(None) if conn.peer_finished() => self.close(conn),
            Ok(None) if len == conn.recv_capacity() => self.outgrow(conn, cx, &scratch[..len]),
            Ok(None) => Step::Wait,
            Err(reject) => self.reject(reject),
        };
        cx.scratch = scratch;
        step
    }

    /// Moves a head that fills the ring to a buffer of its own.
    fn outgrow<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>, bytes: &[u8]) -> Step {
        let Some(mut block) = cx.heads.take() else { return self.reject(Reject::HeadBuffers) };
        block[..bytes.len()].copy_from_slice(bytes);
        conn.discard(bytes.len());
        self.large = Some(LargeHead { block, len: bytes.len() });
        Step::Next
    }

    fn read_large_head<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        let Some(mut large) = self.large.take() else { return Step::Wait };
        let held = large.len;
        large.len += conn.peek(&mut large.block[held..]);
        match head::scan(&large.block[..large.len], &mut self.scan, &cx.limits) {
            Ok(Some(at)) => {
                self.state = self.begin(&large.block[at.clone()], cx);
                conn.discard(at.end - held);
                Step::Next
            }
            Ok(None) if large.len == held && conn.peer_closed() => self.close(conn),
            Ok(None) => {
                conn.discard(large.len - held);
                self.large = Some(large);
                Step::Wait
            }
            Err(reject) => self.reject(reject),
        }
    }

    fn reject(&mut self, reject: Reject) -> Step {
        self.state = State::Refuse(reject);
        Step::Next
    }

    /// A whole head has arrived: parses it and asks the program.
    fn begin<A: App>(&mut self, bytes: &[u8], cx: &mut Shared<A>) -> State {
        let request = match head::parse(bytes, &mut cx.table, &cx.limits) {
            Ok(request) => request,
            Err(reject) => return State::Refuse(reject),
        };
        if let Err(reject) = request.body.check(cx.limits.body_size) {
            return State::Refuse(reject);
        }
        let (body, expect_continue) = (request.body, request.expect_continue);
        let known = Known {
            id: cx.app.answer(&request),
            version: request.version,
            keep_alive: request.keep_alive,
            head_only: request.method == Method::Head,
        };
        self.answer_to(known, cx);
        if body == Framing::None {
            if !expect_continue {
                cx.memo.remember(bytes, known);
            }
            return State::Respond;
        }
        if expect_continue {
            if cx.app.response(known.id).status() >= 400 {
                // RFC 9110, 10.1.1: a final status instead of 100; the content that may still come ends the connection.
                self.answer.connection = Connection::Close;
                return State::Respond;
            }
            self.interim_due = true;
        }
        State::Content(Decoder::new(body, &cx.limits))
    }

    /// Counts a request and notes how it is to be answered.
    #[inline]
    fn answer_to<A: App>(&mut self, known: Known, cx: &mut Shared<A>) {
        self.scan = Scan::default();
        self.begun = false;
        self.requests += 1;
        cx.counters.inc(Counter::HttpRequests);
        let last = self.requests == cx.limits.requests_per_connection;
        if last && known.keep_alive {
            cx.counters.inc(Counter::HttpRequestLimit);
        }
        let connection = Connection::new(known.version, known.keep_alive && !last && !cx.draining);
        let head_only = known.head_only;
        self.answer = Answer { id: known.id, connection, head_only, head_sent: false, body_sent: 0 };
    }

    fn read_content<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        if core::mem::take(&mut self.interim_due) && conn.recv_queue() == 0 {
            if conn.send_room() < response::CONTINUE.len() {
                self.interim_due = true;
                return Step::Wait;
            }
            conn.send(response::CONTINUE);
            cx.counters.inc(Counter::Http1xx);
        }
        let State::Content(decoder) = &mut self.state else { return Step::Next };
        conn.set_deadline(cx.now + cx.limits.body_timeout);
        loop {
            let step = conn.recv(|bytes| match decoder.decode(bytes, &cx.limits) {
                Ok(step) => (step.consumed, Ok((step.consumed, step.done))),
                Err(reject) => (0, Err(reject)),
            });
            match step {
                Some(Ok((_, true))) => {
                    self.state = State::Respond;
                    return Step::Next;
                }
                Some(Ok((0, false))) => return Step::Wait,
                Some(Ok(_)) => {}
                Some(Err(reject)) => return self.reject(reject),
                None if conn.peer_closed() => return self.close(conn),
                None => return Step::Wait,
            }
        }
    }

    /// Writes as much of the answer as there is room for.
    #[inline]
    fn write<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        let answer = &mut self.answer;
        let prepared = cx.app.response(answer.id);
        if !answer.head_sent {
            let whole = if answer.head_only { None } else { prepared.small(answer.connection) };
            let template = whole.unwrap_or_else(|| prepared.head(answer.connection));
            // It goes out in one piece, so that its Date is one second's.
            if conn.send_room() < template.len() {
                return wait_for_room(conn, cx);
            }
            let in_place = conn.send_with(|out| template.write(&cx.date, out).map_or((0, false), |len| (len, true)));
            if in_place == Some(false) {
                let len = template.write(&cx.date, &mut cx.scratch).unwrap_or(0);
                conn.send(&cx.scratch[..len]);
            }
            answer.head_sent = true;
            answer.body_sent = if whole.is_some() || answer.head_only { prepared.body().len() } else { 0 };
            cx.counters.inc(class(prepared.status()));
        }
        let rest = &prepared.body()[answer.body_sent..];
        if !rest.is_empty() {
            let sent = conn.send(rest);
            answer.body_sent += sent;
            if sent < rest.len() {
                return if sent > 0 { wait_for_room(conn, cx) } else { Step::Wait };
            }
        }
        self.answered(conn, cx)
    }

    #[inline]
    fn answered<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        if self.answer.connection == Connection::Close {
            return self.close(conn);
        }
        conn.set_deadline(cx.now + cx.limits.idle_timeout);
        self.state = State::Head;
        Step::Next
    }

    /// Sends an error response and closes, as soon as there is room for it.
    #[cold]
    fn refuse<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>, reject: Reject) -> Step {
        self.large = None;
        if conn.send_room() < ERROR_MAX {
            return wait_for_room(conn, cx);
        }
        let mut bytes = [0; ERROR_MAX];
        let len = response::error_response(reject, &cx.date, &mut bytes).unwrap_or(0);
        conn.send(&bytes[..len]);
        cx.counters.inc(reject.counter());
        cx.counters.inc(class(reject.status()));
        self.close(conn)
    }

    fn close(&mut self, conn: &mut Conn<'_>) -> Step {
        self.large = None;
        conn.close();
        self.state = State::Linger;
        Step::Next
    }
}

/// The client has to read, and for no longer than the limit without progress.
fn wait_for_room<A>(conn: &mut Conn<'_>, cx: &Shared<A>) -> Step {
    conn.set_deadline(cx.now + cx.limits.write_timeout);
    Step::Wait
}

fn class(status: u16) -> Counter {
    match status / 100 {
        2 => Counter::Http2xx,
        3 => Counter::Http3xx,
        4 => Counter::Http4xx,
        _ => Counter::Http5xx,
    }
}
