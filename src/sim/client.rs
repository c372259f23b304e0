//! One client connection: what it asks, how it behaves, how it ended.
//!
//! Owns the script of a connection above a host's socket. Refuses to decide whether an end was allowed: `world` judges.

use super::answers::{Answers, Fault};
use super::host::{Host, Line, SocketPlan};
use super::site::{Request, Site};
use crate::time::{Instant, Now};
use core::time::Duration;
use smoltcp::socket::tcp::State;

/// Between two reads or writes of a client that does not pause.
const SOON: Duration = Duration::from_micros(1);

/// How long a client waits without progress before it gives up.
const GIVE_UP: Duration = Duration::from_secs(120);

/// How long a client waits for 100 Continue before it sends the content anyway (RFC 9110, 10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(3);

/// How a client ends its connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Closes after the last answer.
    Close,
    /// Waits for the gateway to close.
    Await,
    /// Closes its half after the last request, then reads the answers.
    HalfClose,
    /// Falls silent after this many bytes, both ways together, or after the last answer.
    Vanish(u64),
    /// Sends RST after this many bytes, or after the last answer.
    Reset(u64),
}

/// A connection's script.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientPlan {
    /// On which host.
    pub host: usize,
    /// When it connects.
    pub start: Instant,
    /// What it asks, in order.
    pub requests: Vec<Request>,
    /// Requests without answer at most.
    pub pipeline: usize,
    /// Bytes written at once at most.
    pub write_max: usize,
    /// Bytes read at once at most.
    pub read_max: usize,
    /// Pause between two reads.
    pub read_every: Duration,
    /// Pause between an answer and the next request.
    pub think: Duration,
    /// How it ends.
    pub end: End,
    /// Its socket.
    pub socket: SocketPlan,
}

impl ClientPlan {
    /// A client of host 0 that connects at once, asks and closes; nothing out of the ordinary.
    pub fn plain(requests: Vec<Request>) -> ClientPlan {
        ClientPlan {
            host: 0,
            start: Instant::ZERO,
            requests,
            pipeline: 1,
            write_max: usize::MAX,
            read_max: usize::MAX,
            read_every: Duration::ZERO,
            think: Duration::ZERO,
            end: End::Close,
            socket: SocketPlan { rx_ring: 65_535, tx_ring: 16_384, nagle: false, ack_delay: None, timestamps: false },
        }
    }
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every request was answered, and the connection closed in order.
    Done,
    /// The client fell silent, as planned.
    Vanished,
    /// The client reset it, as planned.
    Reset,
    /// It ended before every request was answered, for this reason.
    Lost(&'static str),
    /// The gateway did what it must not.
    Wrong(String),
}

struct Open {
    line: Line,
    port: u16,
    began_s: u64,
    was_open: bool,
}

/// A client connection.
pub struct Client {
    plan: ClientPlan,
    open: Option<Open>,
    answers: Answers,
    asked: usize,
    unsent: Vec<u8>,
    /// Content that waits for 100 Continue, at most until then.
    held: Option<(Vec<u8>, Instant)>,
    moved: u64,
    read_at: Instant,
    write_at: Instant,
    ask_at: Instant,
    began_at: Instant,
    progress_at: Instant,
    longest_stall: Duration,
    ended_at: Instant,
    outcome: Option<Outcome>,
}

impl Client {
    /// A client that follows `plan`.
    pub fn new(plan: ClientPlan) -> Client {
        Client {
            read_at: plan.start,
            write_at: plan.start,
            ask_at: plan.start,
            began_at: plan.start,
            progress_at: plan.start,
            longest_stall: Duration::ZERO,
            ended_at: plan.start,
            plan,
            open: None,
            answers: Answers::default(),
            asked: 0,
            unsent: Vec::new(),
            held: None,
            moved: 0,
            outcome: None,
        }
    }

    /// Its script.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// How it ended; None while it runs.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Requests answered.
    pub fn answered(&self) -> usize {
        self.answers.answered()
    }

    /// The longest time during which no byte moved.
    pub fn longest_stall(&self) -> Duration {
        self.longest_stall.max(self.ended_at.since(self.progress_at))
    }

    /// How long it lasted from its SYN.
    pub fn lasted(&self) -> Duration {
        self.ended_at.since(self.began_at)
    }

    /// The local port, once connected.
    pub fn port(&self) -> Option<u16> {
        self.open.as_ref().map(|open| open.port)
    }

    /// When it next does something by itself.
    pub fn wake_at(&self, now: Instant) -> Instant {
        if self.outcome.is_some() {
            return Instant::FAR;
        }
        let later = |at: Instant| if at > now { at } else { Instant::FAR };
        let held = self.held.as_ref().map_or(Instant::FAR, |(_, at)| *at);
        later(self.plan.start)
            .min(later(held))
            .min(later(self.progress_at + GIVE_UP))
            .min(later(self.read_at))
            .min(later(self.write_at))
            .min(later(self.ask_at))
    }

    /// Reads, writes, opens and closes what can be now.
    pub fn step(&mut self, now: Now, host: &mut Host, site: &Site) {
        if self.outcome.is_some() || now.mono < self.plan.start {
            return;
        }
        if self.open.is_none() {
            let (line, port) = host.connect(80, &self.plan.socket);
            self.open = Some(Open { line, port, began_s: now.unix_s, was_open: false });
            (self.began_at, self.progress_at) = (now.mono, now.mono);
        }
        self.ended_at = now.mono;
        self.ask(now.mono, site);
        self.write(now.mono, host);
        if let Err(fault) = self.read(now, host) {
            let outcome = match fault {
                Fault::Wrong(what) => Outcome::Wrong(what),
                Fault::TimedOut => Outcome::Lost("408"),
            };
            return self.leave(host, outcome);
        }
        self.follow_script(host);
        self.follow_socket(host);
        if self.outcome.is_none() && now.mono >= self.progress_at + GIVE_UP {
            self.leave(host, Outcome::Lost("the client gave up"));
        }
    }

    fn ask(&mut self, now: Instant, site: &Site) {
        let interims = self.plan.requests[..self.asked].iter().filter(|request| request.expects_continue()).count();
        if let Some((content, _)) = self.held.take_if(|(_, at)| *at <= now || self.answers.interim() == interims) {
            self.unsent.extend(content);
        }
        while self.held.is_none()
            && self.asked < self.plan.requests.len()
            && self.answers.outstanding() < self.plan.pipeline
            && now >= self.ask_at
            && !self.answers.closing()
        {
            let request = &self.plan.requests[self.asked];
            let (head, content) = request.bytes();
            self.unsent.extend(head);
            if request.expects_continue() {
                self.held = Some((content, now + CONTINUE_WAIT));
            } else {
                self.unsent.extend(content);
            }
            let mut answer = site.answer(request);
            answer.closes |= self.asked + 1 == site.requests_max;
            self.answers.expect(answer);
            self.asked += 1;
        }
    }

    fn write(&mut self, now: Instant, host: &mut Host) {
        let Some(open) = &self.open else { return };
        let part = &self.unsent[..self.unsent.len().min(self.plan.write_max)];
        let sent =
            host.with(open.line, |socket| if socket.can_send() { socket.send_slice(part).unwrap_or(0) } else { 0 });
        if sent == 0 {
            return;
        }
        self.unsent.drain(..sent);
        self.moved += sent as u64;
        self.progress(now);
        self.write_at = now + SOON;
    }

    fn read(&mut self, now: Now, host: &mut Host) -> Result<(), Fault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (line, began_s) = (open.line, open.began_s);
        open.was_open |= host.with(line, |socket| socket.may_send());
        let mut room = self.plan.read_max;
        while room > 0 && now.mono >= self.read_at && host.with(line, |socket| socket.can_recv()) {
            let before = self.answers.answered();
            let read = host.with(line, |socket| {
                socket.recv(|bytes| {
                    let part = &bytes[..bytes.len().min(room)];
                    (part.len(), self.answers.read(part, began_s, now.unix_s).map(|()| part.len()))
                })
            });
            let len = read.unwrap_or(Ok(0))?;
            room -= len;
            self.moved += len as u64;
            self.progress(now.mono);
            if self.answers.answered() > before {
                self.ask_at = now.mono + self.plan.think;
            }
        }
        if room < self.plan.read_max {
            self.read_at = now.mono + self.plan.read_every.max(SOON);
        }
        Ok(())
    }

    /// The clock jumped: what passed does not count against the client's patience.
    pub fn overlook(&mut self, time: Duration) {
        self.progress_at = self.progress_at + time;
    }

    fn progress(&mut self, now: Instant) {
        self.longest_stall = self.longest_stall.max(now.since(self.progress_at));
        self.progress_at = now;
    }

    fn all_answered(&self) -> bool {
        self.answers.answered() == self.plan.requests.len()
    }

    fn follow_script(&mut self, host: &mut Host) {
        let Some(open) = &self.open else { return };
        let all_sent = self.asked == self.plan.requests.len() && self.unsent.is_empty() && self.held.is_none();
        let all_answered = self.all_answered();
        match self.plan.end {
            End::Close if all_answered => host.with(open.line, |socket| socket.close()),
            End::HalfClose if all_sent && open.was_open => host.with(open.line, |socket| socket.close()),
            End::Vanish(after) if self.moved >= after || all_answered => {
                host.go_deaf(open.port..open.port + 1);
                host.forget(open.line);
                self.outcome = Some(Outcome::Vanished);
            }
            End::Reset(after) if self.moved >= after || all_answered => self.leave(host, Outcome::Reset),
            _ => {}
        }
    }

    /// Notices that the gateway, or nobody any more, is at the other end.
    fn follow_socket(&mut self, host: &mut Host) {
        let (Some(open), None) = (&self.open, &self.outcome) else { return };
        let (state, unread) = host.with(open.line, |socket| (socket.state(), socket.can_recv()));
        let closed = state == State::Closed;
        // The gateway's FIN arrived and everything before it was read.
        let finished = matches!(state, State::CloseWait | State::TimeWait | State::LastAck | State::Closing) && !unread;
        if !closed && !finished {
            return;
        }
        if !self.all_answered() {
            let why = if closed { "reset" } else { "closed early" };
            return self.leave(host, Outcome::Lost(why));
        }
        host.with(open.line, |socket| socket.close());
        if closed {
            host.forget(open.line);
            self.outcome = Some(Outcome::Done);
        }
    }

    /// Ends the connection with RST.
    fn leave(&mut self, host: &mut Host, outcome: Outcome) {
        if let Some(open) = &self.open {
            host.with(open.line, |socket| socket.abort());
            host.abandon(open.line);
        }
        self.outcome = Some(outcome);
    }
}
