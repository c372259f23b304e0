//! How a connection's socket ends.
//!
//! Owns its FIN, which waits where smoltcp would send it too early, and its RST. Refuses to judge when: sessions and deadlines
//! do.

use super::{State, Tcb};

impl Tcb {
    /// Sequence numbers that are queued, a FIN included, beyond the `outstanding` ones that are sent.
    pub fn unsent(&mut self, outstanding: u32) -> u32 {
        let fin = self.socket(|s| matches!(s.state(), State::FinWait1 | State::Closing | State::LastAck));
        (self.send_queue() as u32 + u32::from(fin)).saturating_sub(outstanding)
    }

    /// The connection's state (RFC 9293, 3.3.2): LAST-ACK also while its FIN waits.
    #[inline]
    pub fn state(&mut self) -> State {
        match self.socket(|s| s.state()) {
            State::CloseWait if self.fin_waits => State::LastAck,
            state => state,
        }
    }

    /// Whether an RST ended the connection, or took the handshake back to its start.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.state(), State::Closed | State::Listen)
    }

    /// Whether the peer sent its FIN.
    pub fn peer_finished(&mut self) -> bool {
        matches!(self.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed)
    }

    /// Sends FIN after everything queued. When the peer has sent its own that waits until the peer has acknowledged what is
    /// queued: in LAST-ACK smoltcp takes no window from an acknowledgment of nothing new.
    pub fn close(&mut self) {
        self.fin_waits = self.socket(|s| s.state() == State::CloseWait && s.send_queue() > 0);
        if !self.fin_waits {
            self.socket(|s| s.close());
        }
    }

    /// Sends the FIN that waited, if it need not wait any longer; whether it was so.
    #[inline]
    pub fn finish(&mut self) -> bool {
        let now = self.fin_waits && self.send_queue() == 0;
        if now {
            self.close();
        }
        now
    }

    /// Makes the next `Engine::send` emit an RST.
    pub fn abort(&mut self) {
        self.socket(|s| s.abort());
    }
}
