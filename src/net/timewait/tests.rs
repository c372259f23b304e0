//! TIME-WAIT, clause by clause, and against a sorted map.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIFETIME: Duration = Duration::from_secs(60);
const OLD: State = State { snd_nxt: 5_000, rcv_nxt: 9_000, ts_recent: None };
const STAMPED: State = State { ts_recent: Some(100), ..OLD };

fn table(entries: usize) -> TimeWait {
    let arena = Arena::heap(TimeWait::arena_bytes(entries));
    TimeWait::new(&arena, entries, LIFETIME, [1, 2]).unwrap()
}

fn key(port: u16) -> FlowKey {
    FlowKey::v4([10, 0, 0, 2], [10, 0, 0, 1], port, 443)
}

fn at(s: u64) -> Instant {
    Instant::from_millis(s * 1000)
}

fn segment(seq: u32, flags: u8, payload_len: u16) -> Segment {
    Segment { seq, flags, payload_len, tsval: None }
}

/// What a table with one entry in `state` says to `segment`.
fn verdict(state: State, segment: Segment) -> Verdict {
    let mut table = table(4);
    assert!(!table.insert(&key(1), state, at(0)));
    let verdict = table.segment(&key(1), &segment, at(1));
    assert_eq!(table.len(), usize::from(!matches!(verdict, Verdict::Reuse(_))));
    verdict
}

#[test]
fn rfc_1337_a_reset_does_not_end_time_wait() {
    for seq in [0, OLD.rcv_nxt - 1, OLD.rcv_nxt, OLD.rcv_nxt + 1] {
        for flags in [RST, RST | ACK, RST | SYN, RST | FIN] {
            assert_eq!(verdict(OLD, segment(seq, flags, 0)), Verdict::Ignore);
        }
    }
}

#[test]
fn rfc_9293_first_check_what_is_not_acceptable_is_acknowledged() {
    let acknowledge = Verdict::Acknowledge(OLD);
    for (name, it, expected) in [
        ("the ACK of our FIN", segment(9_000, ACK, 0), Verdict::Ignore),
        ("nothing at all", segment(9_000, 0, 0), Verdict::Ignore),
        ("an old empty duplicate", segment(8_000, ACK, 0), acknowledge),
        ("an old duplicate with data", segment(8_000, ACK, 100), acknowledge),
        ("data after the FIN", segment(9_000, ACK, 1), acknowledge),
        ("beyond the window", segment(9_001, ACK, 0), acknowledge),
        ("a FIN that is not the last one", segment(8_000, FIN | ACK, 0), acknowledge),
        ("a second FIN", segment(9_000, FIN | ACK, 0), acknowledge),
        ("a SYN that acknowledges", segment(9_001, SYN | ACK, 0), acknowledge),
    ] {
        assert_eq!(verdict(OLD, it), expected, "{name}");
    }
}

#[test]
fn rfc_9293_a_retransmitted_fin_is_acknowledged_and_restarts_the_time() {
    for (name, fin) in [("bare", segment(8_999, FIN | ACK, 0)), ("with data", segment(8_900, FIN | ACK, 99))] {
        let mut table = table(4);
        table.insert(&key(1), OLD, at(0));
        assert_eq!(table.segment(&key(1), &fin, at(50)), Verdict::Acknowledge(OLD), "{name}");
        assert_eq!(table.expire(at(61), 10), 0, "{name}");
        assert_eq!(table.segment(&key(1), &segment(8_000, ACK, 0), at(109)), Verdict::Acknowledge(OLD), "{name}");
        assert_eq!(table.segment(&key(1), &segment(8_000, ACK, 0), at(111)), Verdict::Absent, "{name}");
    }
}

#[test]
fn rfc_6191_a_new_syn_by_timestamp_else_by_sequence_number() {
    let (later, earlier) = (9_000_u32, 8_999);
    for (state, seq, tsval, reuse) in [
        (OLD, later, None, true),
        (OLD, later + (1 << 30), None, true),
        (OLD, earlier, None, false),
        (OLD, later.wrapping_add(1 << 31), None, false),
        (OLD, earlier, Some(1), true),
        (STAMPED, later, None, true),
        (STAMPED, earlier, None, false),
        (STAMPED, earlier, Some(101), true),
        (STAMPED, later, Some(100), true),
        (STAMPED, earlier, Some(100), false),
        (STAMPED, later, Some(99), false),
    ] {
        let expected = if reuse { Verdict::Reuse(state) } else { Verdict::Ignore };
        let syn = Segment { tsval, ..segment(seq, SYN, 0) };
        assert_eq!(verdict(state, syn), expected, "{state:?}, {seq}, {tsval:?}");
    }
}

#[test]
fn rfc_7323_timestamps_reject_what_is_old_and_move_forward_only() {
    let with = |tsval, it| Segment { tsval: Some(tsval), ..it };
    assert_eq!(verdict(STAMPED, with(99, segment(9_000, ACK, 0))), Verdict::Acknowledge(STAMPED));
    assert_eq!(verdict(STAMPED, with(100, segment(9_000, ACK, 0))), Verdict::Ignore);
    let fin = segment(8_999, FIN | ACK, 0);
    let moved = State { ts_recent: Some(107), ..OLD };
    assert_eq!(verdict(STAMPED, with(107, fin)), Verdict::Acknowledge(moved));
    assert_eq!(verdict(STAMPED, with(93, fin)), Verdict::Acknowledge(STAMPED));
    assert_eq!(verdict(OLD, with(93, fin)), Verdict::Acknowledge(OLD));
}

#[test]
fn sequence_numbers_wrap() {
    let old = State { snd_nxt: 1, rcv_nxt: 3, ts_recent: Some(u32::MAX) };
    assert_eq!(verdict(old, segment(u32::MAX - 7, FIN | ACK, 10)), Verdict::Acknowledge(old));
    assert_eq!(verdict(old, segment(u32::MAX, ACK, 0)), Verdict::Acknowledge(old));
    assert_eq!(verdict(old, segment(u32::MAX, SYN, 0)), Verdict::Ignore);
    assert_eq!(verdict(old, Segment { tsval: Some(2), ..segment(0, SYN, 0) }), Verdict::Reuse(old));
}

#[test]
fn entries_end_in_order_within_the_budget_and_places_are_used_again() {
    let mut table = table(3);
    for round in 0..5 {
        let start = round * 1000;
        for port in 0..3 {
            assert!(!table.insert(&key(port), OLD, at(start + u64::from(port))));
        }
        assert_eq!((table.expire(at(start + 59), 9), table.expire(at(start + 61), 1)), (0, 1));
        assert_eq!((table.expire(at(start + 70), 1), table.len()), (1, 1));
        assert_eq!((table.expire(at(start + 70), 9), table.len(), table.expire(at(start + 70), 9)), (1, 0, 0));
    }
}

#[test]
fn a_full_table_recycles_its_oldest_live_entry() {
    let mut table = table(3);
    for port in 0..3 {
        assert!(!table.insert(&key(port), OLD, at(0)));
    }
    assert!(table.insert(&key(3), OLD, at(1)));
    let probe = segment(8_000, ACK, 0);
    assert_eq!(table.segment(&key(0), &probe, at(1)), Verdict::Absent);
    assert_eq!(table.segment(&key(1), &segment(9_000, SYN, 0), at(1)), Verdict::Reuse(OLD));
    assert!(!table.insert(&key(4), OLD, at(1)), "the place of the one reopened is free");
    let newer = State { snd_nxt: 6_000, ..OLD };
    assert!(table.insert(&key(3), newer, at(2)), "the oldest goes first");
    assert_eq!(table.segment(&key(3), &probe, at(2)), Verdict::Acknowledge(newer), "a key has one entry");
    assert_eq!((table.segment(&key(2), &probe, at(2)), table.len()), (Verdict::Absent, 2));
}

#[test]
fn a_restarted_entry_does_not_hold_up_those_behind_it() {
    let mut table = table(3);
    for port in 0..3 {
        table.insert(&key(port), OLD, at(0));
    }
    table.segment(&key(0), &segment(8_999, FIN, 0), at(30));
    assert_eq!((table.expire(at(61), 9), table.len()), (2, 1));
    assert_eq!((table.expire(at(89), 9), table.expire(at(91), 9), table.len()), (0, 1, 0));
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16),
    Syn(u16),
    Fin(u16),
    Pass(u64, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..40_u16).prop_map(Op::Insert),
        1 => (0..40_u16).prop_map(Op::Syn),
        1 => (0..40_u16).prop_map(Op::Fin),
        2 => (0..40_u64, 0..40_usize).prop_map(|(s, max)| Op::Pass(s, max)),
    ]
}

proptest! {
    /// With places enough nothing is recycled, and every entry lives its time, and less than a second more.
    #[test]
    fn agrees_with_a_sorted_map(ops in prop::collection::vec(op(), 0..200)) {
        let mut table = table(200);
        let mut model: BTreeMap<u16, u64> = BTreeMap::new();
        let mut now = 0;
        for op in ops {
            match op {
                Op::Insert(port) => {
                    prop_assert!(!table.insert(&key(port), OLD, at(now)));
                    model.insert(port, now + 60);
                }
                Op::Syn(port) => {
                    let live = model.remove(&port).is_some_and(|end| end >= now);
                    let expected = if live { Verdict::Reuse(OLD) } else { Verdict::Absent };
                    prop_assert_eq!(table.segment(&key(port), &segment(9_000, SYN, 0), at(now)), expected);
                }
                Op::Fin(port) => {
                    let live = model.get(&port).is_some_and(|end| *end >= now);
                    let expected = if live { Verdict::Acknowledge(OLD) } else { Verdict::Absent };
                    prop_assert_eq!(table.segment(&key(port), &segment(8_999, FIN, 0), at(now)), expected);
                    if live {
                        model.insert(port, now + 60);
                    }
                }
                Op::Pass(s, max) => {
                    now += s;
                    prop_assert!(table.expire(at(now), max) <= max);
                }
            }
            prop_assert!(table.len() >= model.values().filter(|end| **end >= now).count());
        }
        table.expire(at(now + 1000), 1000);
        prop_assert_eq!((table.len(), table.used), (0, 0));
        prop_assert!(table.chains.iter().all(|&chain| chain == NONE));
    }
}
