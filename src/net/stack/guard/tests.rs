//! Segments judged against a connection's numbers, and cut to its window.

use super::*;
use crate::net::key::FlowKey;

const PSH: u8 = 8;

/// 20 bytes at sequence number `seq` in an IPv6 packet.
fn segment(seq: u32, flags: u8) -> (Segment, Vec<u8>) {
    let key = FlowKey::v6([1; 16], [2; 16], 1, 80);
    let (l3, l4, end, payload_len) = (14, 54, 94, 20);
    let (ack, window) = (500, 9);
    let mut packet = vec![0; 40 + 20];
    packet[4..6].copy_from_slice(&40u16.to_be_bytes());
    packet.extend(0..20);
    (Segment { key, seq, ack, l3, l4, end, payload_len, window, flags, ipv6: true }, packet)
}

/// Waits for `rcv_nxt` with a window of 10 bytes; everything sent is acknowledged.
fn numbers(rcv_nxt: u32) -> Numbers {
    let right = rcv_nxt.wrapping_add(10);
    Numbers { una: 500, nxt: 500, rcv_nxt, right, synchronized: true, ..Numbers::default() }
}

#[test]
fn an_ipv6_segment_is_cut_to_the_window_across_the_end_of_numbers() {
    for rcv_nxt in [1000, 3, 0, u32::MAX - 4] {
        let (segment, packet) = segment(rcv_nxt.wrapping_sub(5), ACK | PSH | FIN);
        let Verdict::Cut(cut) = numbers(rcv_nxt).judge(&segment, ACK_AGE_MAX) else { panic!("not cut") };
        let mut scratch = [0; CHAIN_MAX];
        let (part, bytes) = cut.apply(&segment, &packet, &mut scratch).unwrap();
        assert_eq!((part.seq, part.payload_len, part.flags, part.end), (rcv_nxt, 10, ACK | PSH, 84));
        assert_eq!((&bytes[4..6], bytes.len()), (&[0, 30][..], 70));
        assert_eq!(bytes[44..48], rcv_nxt.to_be_bytes());
        assert_eq!(&bytes[60..], (5..15).collect::<Vec<u8>>());
        assert!(numbers(rcv_nxt).expects(&part), "what is left is the next segment");
    }
}

#[test]
fn the_window_decides_what_a_segment_is() {
    let numbers = numbers(u32::MAX - 4);
    let judge =
        |offset: i32, flags| numbers.judge(&segment((u32::MAX - 4).wrapping_add_signed(offset), flags).0, ACK_AGE_MAX);
    assert_eq!(judge(-20, ACK), Verdict::Old);
    assert_eq!(judge(10, ACK), Verdict::Beyond);
    assert!(matches!(judge(9, ACK), Verdict::Cut(Cut { skip: 0, len: 1, .. })));
    assert!(matches!(judge(-20, ACK | FIN), Verdict::Cut(Cut { skip: 20, len: 0, fin: true, answer: false, .. })));
    assert_eq!(judge(9, RST), Verdict::Challenge(Counter::DropUnexpectedRst));
    assert_eq!(judge(10, RST), Verdict::Drop(Counter::DropOutOfWindow));
    assert_eq!(judge(-1, RST), Verdict::Drop(Counter::DropOutOfWindow));
    assert!(matches!(judge(0, RST), Verdict::Cut(Cut { len: 0, .. })));
    assert_eq!(judge(1_000_000, SYN), Verdict::Challenge(Counter::DropUnexpectedSyn));
}

#[test]
fn an_acknowledgment_is_taken_from_the_largest_window_ago_to_what_was_sent() {
    let numbers = Numbers { nxt: 600, right: 1_030, ..numbers(1_000) };
    let judge = |ack| numbers.judge(&Segment { ack, ..segment(1_000, ACK).0 }, ACK_AGE_MAX);
    let refused = Verdict::Challenge(Counter::DropAckRange);
    assert_eq!([500, 600].map(judge), [Verdict::Pass; 2]);
    for ack in [499, 500u32.wrapping_sub(ACK_AGE_MAX)] {
        assert!(matches!(judge(ack), Verdict::Cut(Cut { ack: 500, len: 20, window: 0, .. })), "{ack}");
    }
    assert_eq!([601, 500u32.wrapping_sub(ACK_AGE_MAX + 1), 1 << 31].map(judge), [refused; 3]);
}

#[test]
fn a_connection_rests_when_nothing_is_unacknowledged_or_behind_a_hole() {
    let mut numbers = Numbers { right: 1_050, ..numbers(1_000) };
    assert!(numbers.rest());
    assert!(!Numbers { nxt: 501, ..numbers }.rest(), "sent and not acknowledged");
    assert!(!Numbers { finished: true, ..numbers }.rest(), "the peer's FIN");
    let before = numbers.position();
    // 1,010 to 1,030 come first, then what is before and after them.
    numbers.reaches(&segment(1_010, ACK).0);
    numbers.reaches(&Segment { payload_len: 5, ..segment(1_012, ACK).0 });
    assert!(!numbers.rest() && numbers.position() == before);
    numbers.received(10);
    assert!(!numbers.rest() && numbers.position() != before);
    numbers.received(20);
    assert!(numbers.rest(), "the hole is filled");
    // What it noted then is far behind, or ahead, much later.
    for later in [1 << 20, 1 << 31, u32::MAX - 5_000] {
        let rcv_nxt = 1_030_u32.wrapping_add(later);
        assert!(Numbers { rcv_nxt, right: rcv_nxt.wrapping_add(4_096), ..numbers }.rest(), "{later}");
    }
}
