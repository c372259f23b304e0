//! How smoltcp is led to what it would not do by itself.
//!
//! Owns the acknowledgments that no peer sent, by which a socket sends a segment again, and its congestion control after a
//! timeout. Refuses to judge when: the stack does.

use super::handshake::{empty, write_from_peer};
use super::{CongestionControl, Engine, Tcb};
use crate::net::key::FlowKey;
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
    /// Has the next `send` send the first unacknowledged segment again. False when that cannot be: nothing but a FIN is
    /// outstanding, of which smoltcp would stop the timer, or the peer's window is closed.
    pub fn resend(&mut self, now: Instant, tcb: &mut Tcb, key: &FlowKey, standing: Standing, mtu: u16) -> bool {
        if tcb.send_queue() == 0 || standing.window == 0 {
            return false;
        }
        // The third duplicate counts, and no later one. A window that changed, and changed back, begins the count anew.
        for window in [standing.window ^ 1, standing.window, standing.window, standing.window, standing.window] {
            let mut packet = [0; ACK_LEN_MAX];
            let len = Standing { window, ..standing }.write(key, &mut packet);
            self.replay(tcb, &packet[..len], mtu, now);
        }
        true
    }
}

impl Tcb {
    /// After the first segment that a retransmission timeout sent again: the rest follows in slow start. It begins with 2,048
    /// bytes, whatever the segment size; a timeout that finds it so would begin with 1,024.
    pub fn slow_start(&mut self) {
        self.socket(|s| s.set_congestion_control(CongestionControl::Reno));
    }

    /// When everything is acknowledged, and before the next timeout, so that its first segment has full size.
    pub fn end_slow_start(&mut self) {
        self.socket(|s| s.set_congestion_control(CongestionControl::None));
    }
}

impl Standing {
    /// Writes the acknowledgment as the peer of `key` would; returns its length.
    fn write(self, key: &FlowKey, out: &mut [u8; ACK_LEN_MAX]) -> usize {
        let ports = (key.remote_port, key.local_port);
        write_from_peer(key, &empty(ports, TcpControl::None, self.seq, Some(self.ack), self.window), out)
    }
}
