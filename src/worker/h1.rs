//! The server's side of one HTTP/1.1 connection, from its first byte to its last.
//!
//! Owns the order of things: head, content, answer, next head; deadlines; when to close. Refuses to parse (`http` does)
//! and to decide (the `App` does). Requests are answered one after the other, so pipelined answers are in order
//! (RFC 9112, 9.3.2).

use super::app::{App, ResponseId};
use super::count;
use super::memo::Known;
use super::shared::Shared;
use crate::http::Reject;
use crate::http::body::{Decoder, Framing};
use crate::http::head::{self, Method, RequestHead, Scan};
use crate::http::response::{self, Connection, ERROR_MAX};
use crate::mem::Block;
use crate::net::stack::{Conn, Event, Session};
use crate::telemetry::Counter;
use crate::telemetry::requests::Cell;
use crate::time::Instant;

/// The state of one connection.
#[derive(Default)]
pub struct H1Server {
    state: State,
    scan: Scan,
    /// A head that outgrew the receive ring.
    large: Option<LargeHead>,
    /// Bytes of the next head have arrived.
    begun: bool,
    /// When the first byte of the present request was seen.
    since: Instant,
    /// The client waits for 100 Continue.
    interim_due: bool,
    /// While content is read, an answer waits for room, or a drained connection may still ask: the deadline is set, and
    /// moves with progress only.
    timed: bool,
    /// Room in the transmit ring when it last did not suffice, in bytes.
    queued: usize,
    /// Bytes of content written by then.
    written: usize,
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
    cell: Cell,
    connection: Connection,
    head_only: bool,
    head_sent: bool,
    body_sent: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            id: ResponseId::default(),
            cell: Cell::default(),
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

impl Session for H1Server {
    /// It waits for a request of which nothing has arrived.
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && !self.begun && self.large.is_none()
    }
}

impl H1Server {
    /// Serves the connection until it needs more input, room or time. Its work is bounded by what the two rings hold.
    pub fn serve<A: App>(&mut self, conn: &mut Conn<'_>, event: Event, cx: &mut Shared<A>) {
        if event == Event::Reset {
            return;
        }
        while self.step(conn, cx) == Step::Next {}
        // What arrived in the same turn counts: a deadline that was moved by it has not passed.
        if event == Event::Deadline && conn.deadline() <= cx.now {
            self.on_deadline(conn, cx);
            while self.step(conn, cx) == Step::Next {}
        }
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
            State::Head if cx.draining && !self.begun => _ = self.close(conn),
            State::Head if self.begun || self.requests == 0 => _ = self.reject(Reject::HeadTimeout),
            // The client is still reading the last answer.
            State::Head if conn.send_queue() > 0 && conn.send_queue() != self.queued => {
                self.queued = conn.send_queue();
                conn.set_deadline(cx.now + cx.limits.write_timeout);
            }
            State::Head if conn.send_queue() > 0 => {
                cx.counters.inc(Counter::HttpWriteTimeout);
                conn.abort();
                self.state = State::Linger;
            }
            State::Head => {
                cx.counters.inc(Counter::HttpIdleClosed);
                self.close(conn);
            }
            State::Content(_) => _ = self.reject(Reject::BodyTimeout),
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
        let seen = conn.recv(|bytes, queued| match cx.memo.find(bytes) {
            Some((len, known)) => {
                self.answer_to(known, cx);
                (len, Some(State::Respond))
            }
            None if bytes.len() == queued => self.begin(bytes, cx),
            // What lies beyond the ring's end may complete the head.
            None => (0, None),
        });
        match seen {
            Some(Some(state)) => {
                self.state = state;
                Step::Next
            }
            Some(None) => self.wait_for_head(conn, cx),
            None if conn.peer_closed() => self.close(conn),
            None if cx.draining => self.hurry(conn, cx),
            None => Step::Wait,
        }
    }

    /// No request is here, and the connection is not to be kept. One may be on its way, and after our FIN it could not be
    /// answered: the FIN waits.
    #[cold]
    fn hurry<A>(&mut self, conn: &mut Conn<'_>, cx: &Shared<A>) -> Step {
        if !core::mem::replace(&mut self.timed, true) {
            conn.set_deadline(conn.deadline().min(cx.now + cx.drain_idle));
        }
        Step::Wait
    }

    /// The front of the ring holds no whole head: it wraps, outgrew the ring, or has not arrived.
    #[cold]
    fn wait_for_head<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        let len = conn.peek(&mut cx.scratch);
        let scratch = core::mem::take(&mut cx.scratch);
        let read = match cx.memo.find(&scratch[..len]) {
            Some((len, known)) => {
                self.answer_to(known, cx);
                (len, Some(State::Respond))
            }
            None => self.begin(&scratch[..len], cx),
        };
        let hurried = core::mem::take(&mut self.timed);
        // The first head's time began with the connection.
        if read.1.is_none() && !core::mem::replace(&mut self.begun, true) {
            self.since = cx.now;
            if self.requests > 0 || hurried {
                conn.set_deadline(cx.now + cx.limits.head_timeout);
            }
        }
        let step = match read {
            (used, Some(state)) => {
                conn.discard(used);
                self.state = state;
                Step::Next
            }
            (_, None) if conn.peer_finished() => self.close(conn),
            // A sender may wait rather than send less than a segment or half the ring (RFC 9293, 3.8.6.2.1).
            (_, None) if len > conn.recv_capacity() / 2 => self.outgrow(conn, cx, &scratch[..len]),
            (_, None) => Step::Wait,
        };
        cx.scratch = scratch;
        step
    }

    /// Moves a head that leaves too little of the ring to a buffer of its own. Without one, the rest of the ring has to do.
    fn outgrow<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>, bytes: &[u8]) -> Step {
        let Some(mut block) = cx.heads.take() else {
            return if bytes.len() < conn.recv_capacity() { Step::Wait } else { self.reject(Reject::HeadBuffers) };
        };
        block[..bytes.len()].copy_from_slice(bytes);
        conn.discard(bytes.len());
        self.large = Some(LargeHead { block, len: bytes.len() });
        Step::Next
    }

    fn read_large_head<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        let Some(mut large) = self.large.take() else { return Step::Wait };
        let held = large.len;
        large.len += conn.peek(&mut large.block[held..]);
        match self.begin(&large.block[..large.len], cx) {
            (used, Some(state)) => {
                conn.discard(used.saturating_sub(held));
                self.state = state;
                Step::Next
            }
            (_, None) => {
                conn.discard(large.len - held);
                self.large = Some(large);
                if conn.peer_closed() { self.close(conn) } else { Step::Wait }
            }
        }
    }

    fn reject(&mut self, reject: Reject) -> Step {
        // A deadline for reading is none for writing.
        self.timed = false;
        self.state = State::Refuse(reject);
        Step::Next
    }

    /// Reads the head that `bytes` starts with and asks the program. How many bytes are done with, and what comes next;
    /// None when the head is not whole.
    fn begin<A: App>(&mut self, bytes: &[u8], cx: &mut Shared<A>) -> (usize, Option<State>) {
        let mut request = RequestHead::default();
        let len = match head::read(bytes, &mut self.scan, &mut cx.table, &cx.limits, &mut request) {
            Ok(Some(len)) => len,
            Ok(None) => return (0, None),
            Err(reject) => return (0, Some(State::Refuse(reject))),
        };
        let (body, expect_continue) = (request.body, request.expect_continue);
        if let Err(reject) = body.check(cx.limits.body_size) {
            return (len, Some(State::Refuse(reject)));
        }
        let id = cx.app.answer(&request);
        let known = Known {
            id,
            cell: count::cell(id, request.method, &cx.app, &cx.counters.requests),
            version: request.version,
            keep_alive: request.keep_alive,
            head_only: request.method == Method::Head,
        };
        self.answer_to(known, cx);
        if body == Framing::None && !expect_continue && bytes[0] != b'\r' {
            cx.memo.remember(&bytes[..len], known);
        }
        (len, Some(self.content(body, expect_continue, cx)))
    }

    /// What follows the head: content, or the answer.
    fn content<A: App>(&mut self, body: Framing, expect_continue: bool, cx: &Shared<A>) -> State {
        if body == Framing::None {
            return State::Respond;
        }
        if expect_continue && cx.app.response(self.answer.id).status() >= 400 {
            // RFC 9110, 10.1.1: a final status instead of 100; the content that may still come ends the connection.
            self.answer.connection = Connection::Close;
            return State::Respond;
        }
        self.interim_due = expect_continue;
        State::Content(Decoder::new(body, &cx.limits))
    }

    /// Counts a request and notes how it is to be answered.
    #[inline]
    fn answer_to<A: App>(&mut self, known: Known, cx: &mut Shared<A>) {
        self.scan = Scan::default();
        if !core::mem::take(&mut self.begun) {
            self.since = cx.now;
        }
        self.timed = false;
        self.requests += 1;
        cx.counters.inc(Counter::HttpRequests);
        let last = self.requests == cx.limits.requests_per_connection;
        if last && known.keep_alive {
            cx.counters.inc(Counter::HttpRequestLimit);
        }
        let connection = Connection::new(known.version, known.keep_alive && !last && !cx.draining);
        let Known { id, cell, head_only, .. } = known;
        self.answer = Answer { id, cell, connection, head_only, head_sent: false, body_sent: 0 };
    }

    fn read_content<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        if !core::mem::replace(&mut self.timed, true) {
            conn.set_deadline(cx.now + cx.limits.body_timeout);
        }
        if core::mem::take(&mut self.interim_due) && conn.recv_queue() == 0 && !conn.peer_closed() {
            if conn.send_room() < response::CONTINUE.len() {
                self.interim_due = true;
                return Step::Wait;
            }
            conn.send(response::CONTINUE);
            cx.counters.inc(Counter::Http1xx);
            conn.set_deadline(cx.now + cx.limits.body_timeout);
        }
        let State::Content(decoder) = &mut self.state else { return Step::Next };
        loop {
            let step = conn.recv(|bytes, _| match decoder.decode(bytes, &cx.limits) {
                Ok(step) => (step.consumed, Ok((step.consumed, step.done))),
                Err(reject) => (0, Err(reject)),
            });
            match step {
                Some(Ok((_, true))) => {
                    self.timed = false;
                    self.state = State::Respond;
                    return Step::Next;
                }
                Some(Ok((0, false))) => return Step::Wait,
                Some(Ok(_)) => conn.set_deadline(cx.now + cx.limits.body_timeout),
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
            if cx.draining {
                answer.connection = Connection::Close;
            }
            let whole = if answer.head_only { None } else { prepared.small(answer.connection) };
            if whole.is_none() && !answer.head_only && prepared.body().len() > cx.tx_ring && !conn.enlarge() {
                // Its deadline may be the reason why it is served, and has not passed.
                conn.set_deadline(cx.now + cx.limits.write_timeout);
                return Step::Wait;
            }
            let template = whole.unwrap_or_else(|| prepared.head(answer.connection));
            // It goes out in one piece, so that its Date is one second's.
            if conn.send_room() < template.len() {
                return self.wait_for_room(conn, cx);
            }
            let in_place = conn.send_with(|out| template.write(&cx.date, out).map_or((0, false), |len| (len, true)));
            if in_place == Some(false) {
                let len = template.write(&cx.date, &mut cx.scratch).unwrap_or(0);
                conn.send(&cx.scratch[..len]);
            }
            answer.head_sent = true;
            // That was progress: content that finds no room waits anew.
            self.timed = false;
            answer.body_sent = if whole.is_some() || answer.head_only { prepared.body().len() } else { 0 };
        }
        let rest = &prepared.body()[answer.body_sent..];
        if !rest.is_empty() {
            let sent = conn.send_content(rest);
            answer.body_sent += sent;
            if sent < rest.len() {
                return self.wait_for_room(conn, cx);
            }
        }
        self.answered(conn, cx)
    }

    #[inline]
    fn answered<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>) -> Step {
        count::answered(conn.listener(), self.answer.cell, self.since, cx);
        if self.answer.connection == Connection::Close {
            return self.close(conn);
        }
        conn.set_deadline(cx.now + cx.limits.idle_timeout);
        (self.timed, self.queued, self.written) = (false, 0, 0);
        self.state = State::Head;
        Step::Next
    }

    /// Sends an error response and closes, as soon as there is room for it.
    #[cold]
    fn refuse<A: App>(&mut self, conn: &mut Conn<'_>, cx: &mut Shared<A>, reject: Reject) -> Step {
        self.large = None;
        if conn.send_room() < ERROR_MAX {
            return self.wait_for_room(conn, cx);
        }
        let mut bytes = [0; ERROR_MAX];
        let len = response::error_response(reject, &cx.date, &mut bytes).unwrap_or(0);
        conn.send(&bytes[..len]);
        cx.counters.inc(reject.counter());
        count::refused(conn.listener(), reject.status(), cx);
        self.close(conn)
    }

    /// The client has to read first. That it did since the last time shows in what it acknowledged, and in what found room
    /// then.
    #[cold]
    fn wait_for_room<A>(&mut self, conn: &mut Conn<'_>, cx: &Shared<A>) -> Step {
        let (written, queued) = (self.answer.body_sent, conn.send_queue());
        let moved = queued < self.queued || written > self.written;
        if !core::mem::replace(&mut self.timed, true) || moved {
            conn.set_deadline(cx.now + cx.limits.write_timeout);
        }
        (self.queued, self.written) = (queued, written);
        Step::Wait
    }

    /// Whether a request has begun to arrive and is not answered yet.
    pub fn is_busy(&self) -> bool {
        match self.state {
            State::New | State::Linger => false,
            State::Head => self.begun,
            State::Content(_) | State::Respond | State::Refuse(_) => true,
        }
    }

    fn close(&mut self, conn: &mut Conn<'_>) -> Step {
        self.large = None;
        conn.close();
        self.state = State::Linger;
        Step::Next
    }
}
