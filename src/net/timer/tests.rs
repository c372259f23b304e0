//! The wheel against a sorted map, jumping and standing clocks, budgets.

use super::*;
use core::time::Duration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TICK: Duration = Duration::from_nanos(TICK_NS);

fn wheel(slots: usize, now: Instant) -> TimerWheel {
    TimerWheel::new(&Arena::heap(TimerWheel::arena_bytes(slots)), slots, now).unwrap()
}

fn fired(wheel: &mut TimerWheel, now: Instant, max: usize) -> Vec<u32> {
    let mut slots = Vec::new();
    assert_eq!(wheel.expire(now, max, |slot| slots.push(slot)), slots.len());
    slots.sort_unstable();
    slots
}

fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

#[test]
fn fires_at_or_after_its_time_and_at_most_a_tick_late() {
    for start in [0, 1, 999_999, 123_456_789_012] {
        for delay_ns in [1, TICK_NS - 1, TICK_NS, TICK_NS + 1, 63 * TICK_NS, 64 * TICK_NS, 65 * TICK_NS, 5_000_000_000]
        {
            let start = Instant::from_nanos(start);
            let at = start + Duration::from_nanos(delay_ns);
            let mut wheel = wheel(1, start);
            wheel.arm(0, at);
            assert!(wheel.next_deadline().unwrap() < at + TICK);
            let before = Instant::from_nanos(at.nanos() - 1);
            assert_eq!(fired(&mut wheel, before, 100), [0u32; 0], "{delay_ns}");
            assert_eq!(fired(&mut wheel, at + TICK, 100), [0], "{delay_ns}");
            assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
        }
    }
}

#[test]
fn arming_only_moves_earlier_until_cancelled() {
    let mut wheel = wheel(3, ms(0));
    wheel.arm(1, ms(500));
    wheel.arm(1, ms(900));
    assert_eq!(fired(&mut wheel, ms(502), 10), [1]);
    wheel.arm(1, ms(5000));
    wheel.arm(1, ms(600));
    assert_eq!(fired(&mut wheel, ms(602), 10), [1]);
    wheel.arm(1, ms(700));
    wheel.cancel(1);
    wheel.cancel(1);
    assert!(!wheel.is_armed(1));
    wheel.arm(1, ms(800));
    assert_eq!((fired(&mut wheel, ms(702), 10), fired(&mut wheel, ms(802), 10)), (vec![], vec![1]));
}

#[test]
fn a_time_in_the_past_is_the_next_tick() {
    let mut wheel = wheel(1, ms(1000));
    wheel.arm(0, ms(3));
    assert_eq!(fired(&mut wheel, ms(1000), 10), [0u32; 0]);
    assert_eq!(fired(&mut wheel, ms(1000) + TICK, 10), [0]);
}

#[test]
fn a_budget_is_kept_and_the_rest_follows() {
    let mut wheel = wheel(1000, ms(0));
    for slot in 0..1000 {
        wheel.arm(slot, ms(100 + u64::from(slot) % 3));
    }
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let slots = fired(&mut wheel, ms(110), 10);
        assert_eq!(slots.len(), 10, "a jump past the deadline fires without moving entries down first");
        seen.extend(slots);
        assert!(wheel.is_empty() || wheel.next_deadline().unwrap() <= ms(110));
    }
    assert_eq!((seen.len(), wheel.len(), wheel.expire(ms(110), 10, |_| ())), (1000, 0, 0));
}

#[test]
fn moving_down_a_level_counts_against_the_budget() {
    let mut wheel = wheel(100, ms(0));
    for slot in 0..100 {
        wheel.arm(slot, Instant::from_nanos(127 * TICK_NS));
    }
    let boundary = Instant::from_nanos(64 * TICK_NS);
    assert_eq!(fired(&mut wheel, boundary, 60), [0u32; 0]);
    assert_eq!(wheel.next_deadline(), Some(boundary), "work is left");
    wheel.cancel(99); // moved already
    wheel.cancel(0); // not yet
    assert_eq!(fired(&mut wheel, boundary, 60), [0u32; 0]);
    assert_eq!(wheel.next_deadline(), Some(Instant::from_nanos(127 * TICK_NS)));
    assert_eq!(fired(&mut wheel, Instant::from_nanos(127 * TICK_NS), 200).len(), 98);
}

#[test]
fn far_deadlines_jumps_and_a_clock_that_goes_back() {
    let day = 86_400_000;
    let mut wheel = wheel(5, ms(7));
    for (slot, at) in [(0, ms(day)), (1, ms(40 * day)), (2, ms(4000 * day)), (3, Instant::FAR), (4, ms(20))] {
        wheel.arm(slot, at);
    }
    assert_eq!(fired(&mut wheel, ms(day - 1), 10), [4]);
    assert_eq!(fired(&mut wheel, ms(day + 2), 10), [0]);
    assert_eq!(fired(&mut wheel, ms(10), 10), [0u32; 0]);
    wheel.arm(4, ms(5));
    assert_eq!(fired(&mut wheel, ms(10), 10), [0u32; 0], "time stands still until it is past the latest again");
    assert_eq!(fired(&mut wheel, ms(3999 * day), 10), [1, 4]);
    assert_eq!(fired(&mut wheel, ms(4001 * day), 10), [2]);
    assert_eq!(fired(&mut wheel, Instant::FAR, 10), [0u32; 0], "the last tick ends after it");
    assert!(wheel.is_armed(3));
}

#[derive(Clone, Debug)]
enum Op {
    Arm(u32, u64),
    Cancel(u32),
    /// The clock moves by nanoseconds, then at most so many entries are looked at.
    Expire(i64, usize),
}

fn duration_ns() -> impl Strategy<Value = u64> {
    prop_oneof![0..3 * TICK_NS, 0..200 * TICK_NS, 0..20_000_000_000_u64, 0..4_000_000_000_000_000_u64]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..40_u32, duration_ns()).prop_map(|(slot, ns)| Op::Arm(slot, ns)),
        1 => (0..40_u32).prop_map(Op::Cancel),
        3 => (duration_ns(), 0..80_usize).prop_map(|(ns, max)| Op::Expire(ns as i64, max)),
        1 => (duration_ns(), 0..80_usize).prop_map(|(ns, max)| Op::Expire(-(ns as i64), max)),
    ]
}

/// Slots and the ticks at which they have to fire.
#[derive(Default)]
struct Model {
    armed: BTreeMap<u32, u64>,
    seen_tick: u64,
}

impl Model {
    fn due(&self) -> BTreeSet<u32> {
        self.armed.iter().filter(|(_, tick)| **tick <= self.seen_tick).map(|(slot, _)| *slot).collect()
    }
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_map(ops in prop::collection::vec(op(), 0..150), start in 0..1_u64 << 50) {
        let mut now = Instant::from_nanos(start);
        let mut wheel = wheel(40, now);
        let mut model = Model { seen_tick: start >> TICK_BITS, ..Model::default() };
        for op in ops {
            match op {
                Op::Arm(slot, ns) => {
                    let at = now + Duration::from_nanos(ns);
                    wheel.arm(slot, at);
                    let tick = model.armed.entry(slot).or_insert(u64::MAX);
                    *tick = at.nanos().div_ceil(TICK_NS).min(*tick);
                }
                Op::Cancel(slot) => {
                    wheel.cancel(slot);
                    model.armed.remove(&slot);
                }
                Op::Expire(ns, max) => {
                    now = Instant::from_nanos(now.nanos().saturating_add_signed(ns));
                    model.seen_tick = model.seen_tick.max(now.nanos() >> TICK_BITS);
                    let due = model.due();
                    let slots = fired(&mut wheel, now, max);
                    prop_assert!(slots.len() <= max);
                    for slot in &slots {
                        prop_assert!(due.contains(slot), "{} fired early", slot);
                        model.armed.remove(slot);
                    }
                    let caught_up = wheel.next_deadline().is_none_or(|next| next.nanos() >> TICK_BITS > model.seen_tick);
                    if caught_up {
                        // Only those armed for the past may wait, for the next tick.
                        for slot in model.due() {
                            prop_assert!(wheel.entries[slot as usize].tick == wheel.tick + 1, "{} is overdue", slot);
                        }
                    }
                    prop_assert!(max < 40 * LEVELS || caught_up);
                }
            }
            prop_assert_eq!(wheel.len(), model.armed.len());
        }
        // Far enough, with budget enough, everything fires.
        let latest = Instant::from_nanos(model.seen_tick << TICK_BITS).max(now);
        let end = latest + Duration::from_secs(10_000_000);
        let slots = fired(&mut wheel, end, 40 * LEVELS);
        prop_assert_eq!(slots, model.armed.keys().copied().collect::<Vec<_>>());
        prop_assert_eq!((wheel.occupied, wheel.levels), ([0; LEVELS], 0));
    }
}
