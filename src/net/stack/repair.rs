//! Losses repaired: what acknowledgments and timers say of a connection's path, and smoltcp led to act on it.
//!
//! Owns the way between [`Recovery`](super::recovery::Recovery), which judges, and the socket, which sends again. Refuses to
//! judge.

use super::receive::{FIN, RST, SYN};
use super::recovery::Heard;
use super::{Phase, Session, Settings, Slot, Stack};
use crate::net::ip::Segment;
use crate::net::tcb::{Engine, Standing, Tcb};
use crate::port::Port;
use crate::time::Instant;
use core::time::Duration;

impl<S> Slot<S> {
    /// Notes what an acceptable segment says of what was sent.
    #[inline]
    pub(super) fn hear(&mut self, segment: &Segment, packet: &[u8], now: Instant) -> Heard {
        let (una, nxt, window) = (self.numbers.snd_una(), self.numbers.snd_nxt(), self.numbers.peer_window());
        self.numbers.acknowledged(segment);
        let acked = segment.ack.wrapping_sub(una);
        if acked > 0 {
            return self.recovery.advanced(acked, segment.ack, nxt, now);
        }
        if una == nxt {
            self.recovery.resume(now);
        } else if segment.payload_len == 0 && segment.flags & (FIN | SYN | RST) == 0 && self.phase != Phase::Handshake {
            return self.hear_nothing_new(segment, packet, window, nxt, now);
        }
        Heard::Pass
    }

    /// An acknowledgment of no new data, while some is outstanding. It is a duplicate when its window is the same (RFC 5681,
    /// 2), and when it says that later data arrived (RFC 6675, 2): Linux's window grows with each of them.
    #[cold]
    fn hear_nothing_new(&mut self, segment: &Segment, packet: &[u8], window: u16, nxt: u32, now: Instant) -> Heard {
        let same = segment.window == window;
        let header = packet.get(usize::from(segment.l4 - segment.l3)..).unwrap_or_default();
        if !same && !has_later(header, segment.ack) {
            return Heard::Pass;
        }
        match self.recovery.duplicate(segment.ack, nxt, now) {
            // smoltcp counts no duplicate with another window, and has to know the window.
            Heard::Hold if !same => Heard::Pass,
            Heard::Lost if !same => Heard::Resend,
            heard => heard,
        }
    }

    /// Has the first unacknowledged segment sent again.
    fn resend(&mut self, engine: &mut Engine, mtu: u16, now: Instant) -> bool {
        let (seq, ack, window) = (self.numbers.rcv_nxt(), self.numbers.snd_una(), self.numbers.peer_window());
        let outstanding = self.numbers.snd_nxt().wrapping_sub(ack);
        let Some(tcb) = self.tcb.as_mut() else { return false };
        // smoltcp looks at no window then: bytes that the peer's kept back must not be among them.
        let whole = tcb.send_queue().min(self.recovery.mss()) <= outstanding as usize;
        let led = whole && engine.resend(now, tcb, &self.key, Standing { seq, ack, window }, mtu);
        if !led {
            self.recovery.not_led();
        }
        led
    }

    /// How long what is outstanding may be left alone.
    #[inline]
    pub(super) fn patience(&self, rto_min: Duration) -> Duration {
        self.recovery.patience(self.numbers.snd_nxt().wrapping_sub(self.numbers.snd_una()), rto_min)
    }
}

impl<P: Port, S: Session> Stack<P, S> {
    /// Gives smoltcp an acceptable segment, or does what it means.
    #[inline]
    pub(super) fn heed(&mut self, port: &mut P, index: u32, segment: &Segment, packet: &[u8], now: Instant) {
        let heard = self.slots[index as usize].hear(segment, packet, now);
        if heard == Heard::Pass {
            return self.take(port, index, segment, packet, now);
        }
        self.repair(port, index, heard, segment, packet, now);
    }

    #[cold]
    fn repair(&mut self, port: &mut P, index: u32, heard: Heard, segment: &Segment, packet: &[u8], now: Instant) {
        if matches!(heard, Heard::Resend | Heard::Over) {
            self.take(port, index, segment, packet, now);
        }
        let slot = &mut self.slots[index as usize];
        match heard {
            Heard::Resend | Heard::Lost => {
                slot.resend(&mut self.engine, self.caps.mtu, now);
            }
            Heard::Over => slot.tcb.iter_mut().for_each(Tcb::end_slow_start),
            Heard::Pass | Heard::Hold => {}
        }
        self.changed.push(index, slot);
        // smoltcp's timer knows nothing of the reordering window.
        let wait = slot.patience(self.settings.rto_min);
        slot.arm(index, now + wait, &mut self.wheel);
    }
}

/// Whether a TCP header without content selectively acknowledges something beyond `ack` (RFC 2018, 3).
fn has_later(header: &[u8], ack: u32) -> bool {
    let len = header.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let mut options = header.get(20..len).unwrap_or_default();
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (1, _) => rest,
            (5, [len, ..]) if *len >= 2 => {
                let blocks = options.get(2..usize::from(*len)).unwrap_or_default();
                // A block at or before `ack` tells of what came twice (RFC 2883).
                let right = |block: &[u8]| block.last_chunk::<4>().map_or(ack, |right| u32::from_be_bytes(*right));
                return blocks.chunks_exact(8).any(|block| right(block).wrapping_sub(ack).cast_signed() > 0);
            }
            (2.., [len, ..]) if *len >= 2 => options.get(usize::from(*len)..).unwrap_or_default(),
            _ => break,
        };
    }
    false
}

/// Looks after what is outstanding when a connection's timer fires. `tcp` is when smoltcp has something to do; returns the
/// same, or when to look again if that is sooner.
#[inline]
pub(super) fn attend<S>(
    slot: &mut Slot<S>,
    tcp: Instant,
    engine: &mut Engine,
    settings: &Settings,
    mtu: u16,
    now: Instant,
) -> Instant {
    let (una, nxt) = (slot.numbers.snd_una(), slot.numbers.snd_nxt());
    if una == nxt || !matches!(slot.phase, Phase::Open | Phase::Closing) || slot.numbers.peer_window() == 0 {
        return tcp;
    }
    if tcp <= now {
        return tcp;
    }
    match slot.recovery.due(una, nxt, now, settings.rto_min) {
        Ok(()) if slot.resend(engine, mtu, now) => now,
        Ok(()) => tcp,
        Err(wait) => tcp.min(now + wait),
    }
}

#[cfg(test)]
mod tests {
    use super::has_later;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[12] = ((20 + options.len()) as u8 / 4) << 4;
        header.extend(options);
        header
    }

    #[test]
    fn selective_acknowledgments_tell_of_later_data_unless_they_are_of_what_came_twice() {
        let sack = |left: u32, right: u32| {
            let mut options = vec![1, 1, 5, 10];
            options.extend([left.to_be_bytes(), right.to_be_bytes()].concat());
            header(&options)
        };
        let ack = u32::MAX - 10;
        assert!(has_later(&sack(5, 100), ack));
        assert!(!has_later(&sack(ack - 100, ack), ack));
        let mut both = sack(ack - 100, ack - 50);
        both[23] = 18;
        both.extend([5u8; 8]);
        both[12] = 10 << 4;
        assert!(has_later(&both, ack), "the second block is behind");
        let cut = [&[][..], &[5], &[5, 0], &[5, 1], &[5, 10], &[5, 9, 0], &[0, 5, 10], &[8, 0, 0, 0]];
        for options in cut {
            assert!(!has_later(&header(options), ack), "{options:?}");
            assert!(!has_later(&header(options)[..20], ack));
        }
        assert!(!has_later(&[], ack));
    }
}
