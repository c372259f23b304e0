//! How smoltcp is led to send again what it would not by itself.
//!
//! Owns the way back: smoltcp goes back to its first unacknowledged byte when its retransmission timer ends, and sends
//! everything from there on again; what of that has to leave, the stack decides segment by segment. To find out and move
//! that timer smoltcp is shown segments that no peer sent. Refuses to judge when.

use super::handshake::{empty, write_from_peer};
use super::{Engine, State, Tcb, Wire};
use crate::net::key::FlowKey;
use crate::port::Port;
use crate::time::Instant;
use smoltcp::wire::{TcpControl, TcpRepr};

/// An IPv6 and a TCP header, and a byte.
const PACKET_MAX: usize = 40 + 20 + 1;

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
    /// has come. Its next timeout is twice as long then, until a round trip is measured.
    pub fn go_back<P: Port>(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        key: &FlowKey,
        standing: Standing,
        wire: &mut Wire<'_, P>,
    ) -> bool {
        self.tell(now, tcb, key, standing, wire.caps.mtu);
        let mut end = self.poll_at(now, tcb);
        if tcb.state() == State::LastAck && tcb.send_queue() == 0 {
            // There it answers every ACK with a challenge, and looks no further: its FIN stays here until nothing but the timer
            // is left to do.
            wire.withhold |= end.is_none_or(|end| end <= now);
        } else {
            if end.is_none() {
                self.start_timer(now, tcb, key, standing, wire.caps.mtu);
            }
            end = self.timer_end(now, tcb, key, standing, wire.caps.mtu);
        }
        self.send(end.map_or(now, |end| end.max(now)), tcb, wire)
    }

    /// Has smoltcp take for told what the peer will be told by other means: where RCV.NXT is, and how large the window. It
    /// answers a byte from before the window with both, and the answer goes nowhere.
    pub fn tell(&mut self, now: Instant, tcb: &mut Tcb, key: &FlowKey, standing: Standing, mtu: u16) {
        let before = Standing { seq: standing.seq.wrapping_sub(1), ..standing };
        self.show(tcb, key, before, &[0], mtu, now);
    }

    /// When its timer ends. With anything to send smoltcp would only say that it is due; so the window is closed to it, and
    /// opened again.
    fn timer_end(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        key: &FlowKey,
        standing: Standing,
        mtu: u16,
    ) -> Option<Instant> {
        self.show(tcb, key, Standing { window: 0, ..standing }, &[], mtu, now);
        let end = self.poll_at(now, tcb);
        self.show(tcb, key, standing, &[], mtu, now);
        end
    }

    /// smoltcp stops its timer when a window that was closed opens. Three duplicate acknowledgments have it send the first segment
    /// again, which goes nowhere, and that starts the timer. A FIN alone it would not send.
    #[cold]
    fn start_timer(&mut self, now: Instant, tcb: &mut Tcb, key: &FlowKey, standing: Standing, mtu: u16) {
        if tcb.send_queue() == 0 {
            return;
        }
        // The third duplicate counts, and no later one. A window that changed, and changed back, begins the count anew.
        for window in [standing.window ^ 1, standing.window, standing.window, standing.window, standing.window] {
            self.show(tcb, key, Standing { window, ..standing }, &[], mtu, now);
        }
        self.send_nowhere(tcb, mtu, now);
    }

    /// Shows smoltcp a segment that no peer sent.
    fn show(&mut self, tcb: &mut Tcb, key: &FlowKey, standing: Standing, payload: &[u8], mtu: u16, now: Instant) {
        let mut packet = [0; PACKET_MAX];
        let ports = (key.remote_port, key.local_port);
        let Standing { seq, ack, window } = standing;
        let tcp = TcpRepr { payload, ..empty(ports, TcpControl::None, seq, Some(ack), window) };
        let len = write_from_peer(key, &tcp, &mut packet);
        self.replay(tcb, &packet[..len], mtu, now);
    }
}
