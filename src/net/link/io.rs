//! Where the link's own frames and counts go.
//!
//! Owns the ends of a frame: sent and counted, or dropped and counted. Refuses to know what is in it.

use super::LinkHeader;
use crate::net::tx::TxQueue;
use crate::port::{Frame, Port, TxMeta};
use crate::telemetry::{Counter, Counters};
use crate::time::Instant;

/// Where frames and counts go.
pub(super) struct Io<'a, P: Port> {
    pub(super) now: Instant,
    pub(super) port: &'a mut P,
    pub(super) tx: &'a mut TxQueue<P::Frame>,
    pub(super) counters: &'a Counters,
}

impl<P: Port> Io<'_, P> {
    /// Queues a frame and counts it as sent, or as dropped.
    pub(super) fn push(&mut self, frame: P::Frame, sent: Counter) {
        match self.tx.push(frame) {
            Ok(()) => self.counters.inc(sent),
            Err(frame) => self.tx.discard(frame, Counter::DropBacklog, self.counters),
        }
    }

    pub(super) fn push_with_header(&mut self, mut frame: P::Frame, header: &LinkHeader) {
        header.write(frame.bytes_mut());
        if let Err(frame) = self.tx.push(frame) {
            self.tx.discard(frame, Counter::DropBacklog, self.counters);
        }
    }

    /// Sends `payload` in a new frame.
    pub(super) fn emit(&mut self, header: &LinkHeader, payload: &[u8], sent: Counter) {
        let frame = self.port.alloc(header.as_bytes().len() + payload.len()).ok_or(Counter::DropFrameAlloc);
        if let Err(counter) = frame.and_then(|frame| self.reply(frame, header, payload, sent)) {
            self.counters.inc(counter);
        }
    }

    /// Sends `payload` in a frame whose content is no longer needed.
    pub(super) fn reply(
        &mut self,
        mut frame: P::Frame,
        header: &LinkHeader,
        payload: &[u8],
        sent: Counter,
    ) -> Result<(), Counter> {
        let len = header.as_bytes().len();
        frame.set_len(len + payload.len());
        header.write(frame.bytes_mut());
        let room = frame.bytes_mut().get_mut(len..len + payload.len()).ok_or(Counter::DropFrameAlloc)?;
        room.copy_from_slice(payload);
        frame.set_tx(TxMeta::default());
        self.push(frame, sent);
        Ok(())
    }
}
