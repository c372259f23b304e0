//! The client's side of one HTTP/1.1 connection, from its handshake to its end.
//!
//! Owns the order of things: requests out, answers in, in the same order (RFC 9112, 9.3.2); the deadline of the oldest
//! request; what a broken answer does to those behind it. Refuses to decide what is asked and when: the [`Caller`] does.

use super::ClientShared;
use super::caller::{Answer, Ask, Caller, Fault};
use crate::http::answer::{self, AnswerFraming, AnswerHead};
use crate::http::body::{Decoder, Framing};
use crate::net::stack::{Conn, ConnId, Event, Session};
use crate::time::Instant;

/// A request under way.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// What was asked.
    pub ask: Ask,
    /// When its first byte was queued.
    pub sent: Instant,
}

/// The state of one connection.
#[derive(Default)]
pub struct H1Client {
    state: State,
    read: Read,
    /// The oldest request under way, as a place in the connection's part of the pending ring.
    oldest: u8,
    /// Requests under way.
    under_way: u8,
    /// The newest request is not wholly queued: bytes of head and content that are.
    written: Option<usize>,
    /// To be closed once nothing is under way.
    retire: bool,
    /// When the connection was begun.
    since: Instant,
}

#[derive(Copy, Clone, PartialEq, Eq, Default)]
enum State {
    /// In the handshake.
    #[default]
    Connecting,
    Open,
    /// The server is about to close; its FIN is waited for.
    Parting,
    /// The program has been told; what still arrives is ignored.
    Over,
}

#[derive(Default)]
enum Read {
    /// Waiting for a head, or in one.
    #[default]
    Head,
    /// In content.
    Content { decoder: Decoder, answer: Answer },
    /// In content that ends with the connection.
    UntilClose { answer: Answer },
}

/// What reading a piece came to.
enum Step {
    /// More may be there.
    Next,
    /// The rest has not arrived.
    Wait,
    Done(Answer),
    Broken(Fault),
}

/// Who asks holds a connection to use it: it is not parked.
impl Session for H1Client {}

impl H1Client {
    /// Notes when the connection was begun.
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// Reads what arrived, writes what there is room for.
    pub fn serve<C: Caller>(&mut self, conn: &mut Conn<'_>, event: Event, cx: &mut ClientShared<C>) {
        match (self.state, event) {
            (State::Over, _) => {
                conn.discard(usize::MAX);
                return;
            }
            (State::Connecting, Event::Reset) => return self.refused(conn.id(), Fault::Reset, cx),
            (State::Connecting, Event::Deadline) => return self.refused(conn.id(), Fault::Timeout, cx),
            (State::Connecting, Event::Ready) => {
                self.state = State::Open;
                cx.caller.connected(conn.id(), cx.now.since(self.since), cx.now);
            }
            (State::Open | State::Parting, _) => {}
        }
        if self.state == State::Parting {
            return self.part(conn, event);
        }
        while self.under_way > 0 && self.read_answer(conn, cx) {}
        if self.state != State::Open {
            return;
        }
        if event == Event::Reset {
            return self.end(conn, Some(Fault::Reset), cx);
        }
        if self.under_way == 0 && conn.recv_queue() > 0 {
            // Nobody asked.
            conn.abort();
            return self.end(conn, Some(Fault::Protocol), cx);
        }
        if conn.peer_finished() {
            // What is unread is part of an answer whose rest will not come.
            conn.discard(usize::MAX);
            conn.close();
            return self.end(conn, Some(Fault::Closed), cx);
        }
        if event == Event::Deadline && conn.deadline() <= cx.now && self.under_way > 0 {
            conn.abort();
            return self.end(conn, Some(Fault::Timeout), cx);
        }
        if self.written.is_some() {
            self.write(conn, cx);
        }
    }

    /// Queues a request, as far as there is room.
    #[inline]
    pub fn ask<C: Caller>(&mut self, conn: &mut Conn<'_>, ask: Ask, cx: &mut ClientShared<C>) {
        debug_assert!(self.state == State::Open && self.under_way < cx.depth && self.written.is_none());
        let place = self.place(self.under_way, cx.depth);
        *cx.pending(conn.id(), place) = Pending { ask, sent: cx.now };
        self.under_way += 1;
        if self.under_way == 1 {
            conn.set_deadline(cx.now + cx.caller.timeout());
        }
        self.written = Some(0);
        self.write(conn, cx);
    }

    /// Closes the connection once nothing is under way.
    pub fn retire<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) {
        self.retire = true;
        if self.under_way == 0 && self.state == State::Open {
            conn.close();
            self.end(conn, None, cx);
        }
    }

    /// Requests under way, oldest first.
    pub fn each_pending<C>(&self, id: ConnId, cx: &ClientShared<C>, mut f: impl FnMut(&Pending)) {
        for i in 0..self.under_way {
            f(cx.pending_ref(id, self.place(i, cx.depth)));
        }
    }

    /// The place of the `n`th request under way, oldest first; `n` is at most the depth.
    #[inline]
    fn place(&self, n: u8, depth: u8) -> u8 {
        let place = self.oldest + n;
        if place < depth { place } else { place - depth }
    }

    #[inline]
    fn write<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) {
        let Some(mut written) = self.written else { return };
        let newest = self.place(self.under_way - 1, cx.depth);
        let class = cx.pending(conn.id(), newest).ask.class;
        let request = cx.caller.request(class);
        let (head, all) = (request.head.len(), request.head.len() + request.body.len());
        if written == 0 {
            let in_place = conn.send_with(|room| match room.get_mut(..head) {
                Some(room) => {
                    room.copy_from_slice(request.head);
                    (head, head)
                }
                None => (0, 0),
            });
            written = in_place.unwrap_or(0);
        }
        if written < head {
            written += conn.send(&request.head[written..]);
        }
        if (head..all).contains(&written) {
            written += conn.send_content(&request.body[written - head..]);
        }
        if written < all {
            self.written = Some(written);
            return;
        }
        self.written = None;
        if self.under_way < cx.depth && !self.retire {
            cx.caller.ready(conn.id());
        }
    }

    /// Reads the oldest request's answer; whether to go on with the next.
    #[inline]
    fn read_answer<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) -> bool {
        if matches!(self.read, Read::Head)
            && let Some(answer) = self.read_whole(conn, cx)
        {
            return self.done(conn, &answer, cx);
        }
        self.read_pieces(conn, cx)
    }

    fn read_pieces<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) -> bool {
        loop {
            let step = match &mut self.read {
                Read::Head => self.read_head(conn, cx),
                Read::Content { .. } => self.read_content(conn, cx),
                Read::UntilClose { .. } => self.read_until_close(conn, cx),
            };
            match step {
                Step::Next => {}
                Step::Wait => return false,
                Step::Done(answer) => {
                    self.read = Read::Head;
                    return self.done(conn, &answer, cx);
                }
                Step::Broken(fault) => {
                    conn.abort();
                    self.end(conn, Some(fault), cx);
                    return false;
                }
            }
        }
    }

    /// The usual answer: a known head, and all of its content, in one piece.
    #[inline]
    fn read_whole<C: Caller>(&self, conn: &mut Conn<'_>, cx: &ClientShared<C>) -> Option<Answer> {
        let class = cx.pending_ref(conn.id(), self.oldest).ask.class;
        conn.recv(|bytes, _| {
            let whole = cx.known.find(class, bytes).and_then(|(len, head)| match head.framing {
                AnswerFraming::Framed(Framing::Length(n)) if n <= (bytes.len() - len) as u64 => Some((len, n, head)),
                _ => None,
            });
            match whole.filter(|_| !cx.caller.watches(class)) {
                Some((len, n, head)) => {
                    let all = len + n as usize;
                    (all, Some(Answer { head, content: n, bytes: all as u64 }))
                }
                None => (0, None),
            }
        })?
    }

    fn read_head<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) -> Step {
        let class = cx.pending(conn.id(), self.oldest).ask.class;
        let head_only = cx.caller.request(class).head_only;
        let seen = conn.recv(|bytes, queued| match cx.known.find(class, bytes) {
            Some((len, head)) => (len, Some(begin(head, len, cx))),
            None if bytes.len() == queued => match parse(class, bytes, head_only, cx) {
                Ok(Some((len, head))) => (len, Some(begin(head, len, cx))),
                Ok(None) => (0, None),
                Err(fault) => (0, Some((Step::Broken(fault), Read::Head))),
            },
            // What lies beyond the ring's end may complete the head.
            None => (0, None),
        });
        match seen {
            Some(Some((step, read))) => {
                self.read = read;
                step
            }
            Some(None) => self.gather_head(conn, class, head_only, cx),
            None => Step::Wait,
        }
    }

    /// The front of the ring holds no whole head: it wraps, or has not arrived.
    #[cold]
    fn gather_head<C: Caller>(
        &mut self,
        conn: &mut Conn<'_>,
        class: u16,
        head_only: bool,
        cx: &mut ClientShared<C>,
    ) -> Step {
        let scratch = core::mem::take(&mut cx.scratch);
        let mut bytes = scratch;
        let len = conn.peek(&mut bytes);
        let parsed = parse(class, &bytes[..len], head_only, cx);
        cx.scratch = bytes;
        match parsed {
            Ok(Some((len, head))) => {
                conn.discard(len);
                let (step, read) = begin(head, len, cx);
                self.read = read;
                step
            }
            Ok(None) if len == conn.recv_capacity() => Step::Broken(Fault::Protocol),
            Ok(None) => Step::Wait,
            Err(fault) => Step::Broken(fault),
        }
    }

    fn read_content<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) -> Step {
        let id = conn.id();
        let watch = cx.watched(id, self.oldest);
        let Read::Content { decoder, answer } = &mut self.read else { return Step::Next };
        let read = conn.recv(|bytes, _| match decoder.decode(bytes, &cx.limits) {
            Ok(step) => {
                answer.content += step.data.len() as u64;
                answer.bytes += step.consumed as u64;
                if watch && !step.data.is_empty() {
                    cx.caller.content(id, &bytes[step.data]);
                }
                (step.consumed, Ok((step.consumed, step.done)))
            }
            Err(_) => (0, Err(Fault::Protocol)),
        });
        match read {
            Some(Ok((_, true))) => Step::Done(*answer),
            Some(Ok((0, false))) | None => Step::Wait,
            Some(Ok(_)) => Step::Next,
            Some(Err(fault)) => Step::Broken(fault),
        }
    }

    fn read_until_close<C: Caller>(&mut self, conn: &mut Conn<'_>, cx: &mut ClientShared<C>) -> Step {
        let id = conn.id();
        let watch = cx.watched(id, self.oldest);
        let Read::UntilClose { answer } = &mut self.read else { return Step::Next };
        let read = conn.recv(|bytes, _| {
            if watch {
                cx.caller.content(id, bytes);
            }
            (bytes.len(), bytes.len() as u64)
        });
        match read {
            Some(len) => {
                answer.content += len;
                answer.bytes += len;
                Step::Next
            }
            None if conn.peer_closed() => Step::Done(*answer),
            None => Step::Wait,
        }
    }

    /// The oldest request is answered; whether another answer may be there.
    #[inline]
    fn done<C: Caller>(&mut self, conn: &mut Conn<'_>, answer: &Answer, cx: &mut ClientShared<C>) -> bool {
        let id = conn.id();
        let pending = *cx.pending(id, self.oldest);
        let was_full = self.under_way == cx.depth;
        self.oldest = self.place(1, cx.depth);
        self.under_way -= 1;
        cx.caller.answered(id, &pending, answer, cx.now);
        let unfinished = self.under_way == 0 && self.written.is_some();
        if !answer.head.keep_alive || unfinished {
            // Requests behind it get no answer (RFC 9112, 9.3.2 and 9.6). A server that has not read all of this one may wait
            // for the rest.
            let peer_closes = !answer.head.keep_alive && !unfinished;
            self.end(conn, (self.under_way > 0).then_some(Fault::Closed), cx);
            if peer_closes && !conn.peer_closed() {
                self.state = State::Parting;
                conn.set_deadline(cx.now + cx.caller.timeout());
            } else if unfinished {
                conn.abort();
            } else {
                conn.close();
            }
            return false;
        }
        if self.under_way > 0 {
            conn.set_deadline(cx.pending(id, self.oldest).sent + cx.caller.timeout());
        } else {
            conn.set_deadline(Instant::FAR);
            if self.retire {
                conn.close();
                self.end(conn, None, cx);
                return false;
            }
        }
        if !was_full || self.written.is_some() || self.retire {
            return self.under_way > 0;
        }
        if !conn.is_at_rest() {
            // More answers, what nobody asked for, or the peer's FIN: seen to first.
            cx.caller.ready(id);
            return self.under_way > 0;
        }
        if let Some(ask) = cx.caller.follow(id, cx.now) {
            self.ask(conn, ask, cx);
        }
        false
    }

    /// Waits for the server's FIN, so that TIME-WAIT is where it belongs: with who closed first.
    fn part(&mut self, conn: &mut Conn<'_>, event: Event) {
        conn.discard(usize::MAX);
        if conn.peer_closed() || event != Event::Ready {
            conn.close();
            self.state = State::Over;
        }
    }

    #[cold]
    fn refused<C: Caller>(&mut self, id: ConnId, fault: Fault, cx: &mut ClientShared<C>) {
        self.state = State::Over;
        cx.caller.refused(id, fault, cx.now);
    }

    /// Tells the program of every request that gets no answer, and of the connection's end.
    fn end<C: Caller>(&mut self, conn: &mut Conn<'_>, fault: Option<Fault>, cx: &mut ClientShared<C>) {
        self.state = State::Over;
        let id = conn.id();
        let idle = self.under_way == 0;
        while self.under_way > 0 {
            let pending = *cx.pending(id, self.oldest);
            self.oldest = self.place(1, cx.depth);
            self.under_way -= 1;
            cx.caller.failed(id, &pending, fault.unwrap_or(Fault::Closed), cx.now);
        }
        self.written = None;
        cx.caller.gone(id, fault.filter(|_| idle), cx.now);
    }
}

/// How to go on after a head.
fn begin<C>(head: AnswerHead, len: usize, cx: &ClientShared<C>) -> (Step, Read) {
    // An interim answer; the final one follows (RFC 9110, 15.2). 101 was not asked for.
    if head.status < 200 {
        let broken = (Step::Broken(Fault::Protocol), Read::Head);
        return if head.status == 101 { broken } else { (Step::Next, Read::Head) };
    }
    let answer = Answer { head, content: 0, bytes: len as u64 };
    match head.framing {
        AnswerFraming::Framed(Framing::None) => (Step::Done(answer), Read::Head),
        AnswerFraming::Framed(framing) => {
            (Step::Next, Read::Content { decoder: Decoder::new(framing, &cx.limits), answer })
        }
        AnswerFraming::UntilClose => (Step::Next, Read::UntilClose { answer }),
    }
}

fn parse<C>(
    class: u16,
    bytes: &[u8],
    head_only: bool,
    cx: &mut ClientShared<C>,
) -> Result<Option<(usize, AnswerHead)>, Fault> {
    let parsed = answer::read(bytes, head_only).map_err(|_| Fault::Protocol)?;
    if let Some((len, head)) = parsed {
        cx.known.remember(class, &bytes[..len], head);
    }
    Ok(parsed)
}
