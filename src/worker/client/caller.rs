//! What a program that asks provides.

use super::session::Pending;
use crate::http::answer::AnswerHead;
use crate::net::key::FlowKey;
use crate::net::stack::{ConnId, ConnectError};
use crate::time::Instant;
use core::time::Duration;

/// Something to do between receiving and transmitting.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Begin a connection; [`Caller::connecting`] tells what came of it.
    Connect(FlowKey),
    /// Send a request on a connection that is ready.
    Ask(ConnId, Ask),
    /// Close a connection once nothing is under way on it.
    Close(ConnId),
}

/// A request to send.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// When it was to be sent.
    pub due: Instant,
    /// The program's number for its kind, which names the bytes to send.
    pub class: u16,
    /// A number for the program's own use.
    pub tag: u16,
}

/// The bytes of a kind of request.
#[derive(Copy, Clone, Debug)]
pub struct Request<'a> {
    /// The head, whole.
    pub head: &'a [u8],
    /// The content, which the head announces.
    pub body: &'a [u8],
    /// The method is HEAD: its answer has no content.
    pub head_only: bool,
}

/// An answer that arrived whole.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its head.
    pub head: AnswerHead,
    /// Length of the content, in bytes.
    pub content: u64,
    /// All bytes, framing included.
    pub bytes: u64,
}

/// Why there is no answer, or no connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// What came is not HTTP/1.1.
    Protocol,
    /// It took too long.
    Timeout,
    /// RST.
    Reset,
    /// FIN before the answer's end.
    Closed,
}

/// A program that asks. It is called within a turn, so it must neither wait nor allocate.
pub trait Caller {
    /// What to do next; asked until there is nothing, or a turn's share is done.
    fn next(&mut self, now: Instant) -> Option<Order>;

    /// The bytes of a kind of request.
    fn request(&self, class: u16) -> Request<'_>;

    /// Whether the program wants to see the content of answers to a kind of request.
    fn watches(&self, class: u16) -> bool;

    /// How long an answer may take from its request's sending.
    fn timeout(&self) -> Duration;

    /// The connection that the next order is most likely for.
    fn upcoming(&self) -> Option<ConnId>;

    /// What came of the last [`Order::Connect`].
    fn connecting(&mut self, result: Result<ConnId, ConnectError>);

    /// A handshake is over; the connection is ready.
    fn connected(&mut self, id: ConnId, took: Duration, now: Instant);

    /// A connection could not be made: [`Fault::Reset`] or [`Fault::Timeout`].
    fn refused(&mut self, id: ConnId, fault: Fault, now: Instant);

    /// Another request may be sent on the connection; said once for each time it becomes so.
    fn ready(&mut self, id: ConnId);

    /// The same of a connection whose answer was just read, and what to send on it at once; None: it is ready and waits.
    fn follow(&mut self, id: ConnId, now: Instant) -> Option<Ask>;

    /// A piece of the content of the answer to come, if the request is watched.
    fn content(&mut self, id: ConnId, bytes: &[u8]);

    /// A whole answer arrived.
    fn answered(&mut self, id: ConnId, pending: &Pending, answer: &Answer, now: Instant);

    /// A request that was sent gets no answer.
    fn failed(&mut self, id: ConnId, pending: &Pending, fault: Fault, now: Instant);

    /// The connection takes no more requests; each one under way has been told of. The fault says why it ended while none was;
    /// None: one was, or we closed it.
    fn gone(&mut self, id: ConnId, fault: Option<Fault>, now: Instant);
}
