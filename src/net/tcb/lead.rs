//! How smoltcp is led to send again what it would not by itself.
//!
//! Owns the way back: smoltcp goes back to its first unacknowledged byte when its retransmission timer ends, and sends
//! everything from there on again; what of that has to leave, the stack decides segment by segment. Refuses to judge when.

use super::handshake::{empty, write_from_peer};
use super::{Engine, Tcb, Wire};
use crate::net::key::FlowKey;
use crate::port::Port;
use crate::time::Instant;
use smoltcp::wire::TcpControl;

/// An IPv6 and a TCP header.
const ACK_LEN_MAX: usize = 40 + 20;

/// The peer's part of an acknowledgment without content.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// RCV.NXT.
    pub seq: u32,
    /// SND.UNA.
    pub ack: u32,
    /// The peer's window as last told, not scaled.
    pub window: u16,
}

impl Engine {
    /// Sends one segment, as `send` does, but has the retransmission timer end now: smoltcp is told that the moment of its end
    /// has come. Its next timeout is twice as long then, until a round trip is measured. What was never sent comes first.
    pub fn go_back<P: Port>(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        key: &FlowKey,
        standing: Standing,
        wire: &mut Wire<'_, P>,
    ) -> bool {
        let at = match self.poll_at(now, tcb) {
            Some(due) => due.max(now),
            None => {
                self.start_timer(now, tcb, key, standing, wire.caps.mtu);
                now
            }
        };
        self.send(at, tcb, wire)
    }

    /// smoltcp stops its timer when a window that was closed opens. Three duplicate acknowledgments, which no peer sent, have it
    /// send the first segment again, and that starts the timer. A FIN alone it would not send.
    #[cold]
    fn start_timer(&mut self, now: Instant, tcb: &mut Tcb, key: &FlowKey, standing: Standing, mtu: u16) {
        if tcb.send_queue() == 0 {
            return;
        }
        // The third duplicate counts, and no later one. A window that changed, and changed back, begins the count anew.
        for window in [standing.window ^ 1, standing.window, standing.window, standing.window, standing.window] {
            let mut packet = [0; ACK_LEN_MAX];
            let len = Standing { window, ..standing }.write(key, &mut packet);
            self.replay(tcb, &packet[..len], mtu, now);
        }
    }
}

impl Standing {
    /// Writes the acknowledgment as the peer of `key` would; returns its length.
    fn write(self, key: &FlowKey, out: &mut [u8; ACK_LEN_MAX]) -> usize {
        let ports = (key.remote_port, key.local_port);
        write_from_peer(key, &empty(ports, TcpControl::None, self.seq, Some(self.ack), self.window), out)
    }
}
