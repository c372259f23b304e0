//! The neighbour table: who is believed, asked, contested and forgotten, and when.

use super::*;
use core::net::Ipv4Addr;

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const REPLY: Claim = Claim::Answer { overrides: true, solicited: true };

fn ip(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn mac(neighbors: &Neighbors, n: u32) -> Option<Mac> {
    neighbors.snapshot().lookup(ip(n))
}

#[test]
fn answers_are_believed_only_of_neighbors_asked_for_or_known() {
    let n = Neighbors::new();
    assert!(!n.learn(ip(1), Some(A), REPLY, at(0)));
    assert_eq!(n.ask(ip(1), at(0)), Ask::Send);
    assert_eq!(mac(&n, 1), None);
    assert!(!n.learn(ip(1), None, REPLY, at(1)), "an answer without a MAC tells nothing yet");
    assert!(n.learn(ip(1), Some(A), REPLY, at(1)));
    assert_eq!(mac(&n, 1), Some(A));
    assert!(n.learn(ip(2), Some(B), Claim::Request, at(1)), "who asks us is learnt");
    assert_eq!(mac(&n, 2), Some(B));
}

#[test]
fn the_generation_moves_only_with_a_mac() {
    let n = Neighbors::new();
    n.ask(ip(1), at(0));
    assert_eq!(n.generation(), 0);
    n.learn(ip(1), Some(A), REPLY, at(0));
    assert_eq!(n.generation(), 1);
    n.learn(ip(1), Some(A), Claim::Request, at(9));
    n.learn(ip(1), None, REPLY, at(9));
    assert_eq!(n.generation(), 1);
    n.learn(ip(2), Some(B), Claim::Request, at(9));
    assert_eq!((n.generation(), n.snapshot().generation()), (2, 2));
}

#[test]
fn another_mac_needs_the_override_flag() {
    let n = Neighbors::new();
    n.learn(ip(1), Some(A), Claim::Request, at(0));
    let plain = Claim::Answer { overrides: false, solicited: true };
    assert!(!n.learn(ip(1), Some(B), plain, at(1)));
    assert_eq!(mac(&n, 1), Some(A));
    assert!(n.learn(ip(1), Some(A), plain, at(1)));
    assert_eq!(n.pass(at(300)).events, Events::default(), "and is no claim without it");
}

/// What a pass asks for and has to tell.
fn pass(n: &Neighbors, ms: u64) -> (Vec<(IpAddr, Mac)>, Events) {
    let pass = n.pass(at(ms));
    (pass.probes.to_vec(), pass.events)
}

const CLAIMS: [Claim; 3] = [Claim::Request, REPLY, Claim::Answer { overrides: true, solicited: false }];
const CONTESTED: Events = Events { contested: 1, upheld: 0, moved: 0, evicted: 0 };

#[test]
fn a_known_mac_that_answers_keeps_its_address_from_every_claim() {
    for claim in CLAIMS {
        for answer in [Claim::Request, REPLY] {
            let n = Neighbors::new();
            n.learn(ip(1), Some(A), Claim::Request, at(0));
            assert!(!n.learn(ip(1), Some(B), claim, at(1_000)));
            assert!(!n.learn(ip(1), Some(B), claim, at(1_001)), "one contest at a time");
            assert_eq!(pass(&n, 1_100), (vec![(ip(1), A)], CONTESTED));
            assert!(n.learn(ip(1), Some(A), answer, at(1_101)));
            assert_eq!(pass(&n, 1_300).1, Events { upheld: 1, ..Events::default() });
            for ms in (1_500..9_000).step_by(200) {
                assert_eq!(pass(&n, ms), (vec![], Events::default()), "{claim:?} {ms}");
            }
            assert_eq!((mac(&n, 1), n.generation()), (Some(A), 1), "{claim:?}");
        }
    }
}

#[test]
fn what_the_known_mac_announces_unasked_is_no_answer() {
    let n = Neighbors::new();
    n.learn(ip(1), Some(A), Claim::Request, at(0));
    n.learn(ip(1), Some(B), REPLY, at(0));
    n.pass(at(0));
    n.learn(ip(1), Some(A), Claim::Answer { overrides: true, solicited: false }, at(1));
    assert_eq!(pass(&n, 600).0, [(ip(1), A)], "asked again");
}

#[test]
fn a_silent_mac_loses_its_address_within_two_seconds() {
    for claim in CLAIMS {
        let n = Neighbors::new();
        n.learn(ip(1), Some(A), Claim::Request, at(0));
        assert_eq!(mac(&n, 1), Some(A), "in use");
        n.learn(ip(1), Some(B), claim, at(1_000));
        let asked: Vec<u64> = (1_001..2_800).step_by(50).filter(|ms| pass(&n, *ms).0 == [(ip(1), A)]).collect();
        assert_eq!((asked.len(), mac(&n, 1)), (3, Some(A)), "{claim:?}: {asked:?}");
        let moved = (2_800..3_000).step_by(50).map(|ms| pass(&n, ms)).find(|(_, events)| events.moved == 1);
        // Not confirmed: asked itself, as it is in use, and forgotten when it is silent too.
        assert_eq!(moved.unwrap().0, [(ip(1), B)], "{claim:?}");
        assert_eq!(mac(&n, 1), Some(B), "{claim:?}");
        (3_400..7_000).step_by(200).for_each(|ms| drop(pass(&n, ms)));
        assert_eq!(mac(&n, 1), None);
    }
}

#[test]
fn a_flood_of_claims_starts_a_bounded_number_of_contests() {
    let n = Neighbors::new();
    n.learn(ip(1), Some(A), Claim::Request, at(0));
    let mut total = Events::default();
    let mut probes = 0;
    for ms in 0..10_000 {
        n.learn(ip(1), Some([2, 0, 0, 1, (ms >> 8) as u8, ms as u8]), REPLY, at(ms));
        let (asked, events) = pass(&n, ms);
        for _ in asked {
            probes += 1;
            n.learn(ip(1), Some(A), REPLY, at(ms));
        }
        total.contested += events.contested;
        total.upheld += events.upheld;
        assert_eq!((events.moved, mac(&n, 1)), (0, Some(A)));
    }
    assert!(probes <= 10 && (8..=10).contains(&total.contested), "{probes} {total:?}");
    assert!(total.contested - total.upheld <= 1);
}

#[test]
fn gateways_are_never_evicted_and_those_in_use_last() {
    let n = Neighbors::new();
    n.keep(&[ip(0)]);
    for i in 0..UNASKED_MAX as u32 {
        assert!(n.learn(ip(i), Some(A), Claim::Request, at(u64::from(i))));
    }
    // The two oldest after the gateway are in use.
    assert_eq!([1, 2].map(|i| mac(&n, i)), [Some(A); 2]);
    for i in 0..UNASKED_MAX as u32 - 3 {
        assert!(n.learn(ip((1 << 16) + i), Some(B), Claim::Request, at(40_000)));
    }
    assert_eq!([0, 1, 2, 3].map(|i| n.snapshot().knows(ip(i))), [true, true, true, false]);
    n.learn(ip(1 << 18), Some(B), Claim::Request, at(40_000));
    n.learn(ip(2 << 18), Some(B), Claim::Request, at(40_000));
    assert!(!n.learn(ip(3 << 18), Some(B), Claim::Request, at(40_000)), "nothing to evict but the gateway");
    assert_eq!([0, 1, 2].map(|i| n.snapshot().knows(ip(i))), [true, false, false]);
    assert_eq!(n.pass(at(40_001)).events.evicted, UNASKED_MAX as u64 - 1);
}

#[test]
fn one_request_a_second_for_a_neighbor() {
    let n = Neighbors::new();
    let asked = [0, 1, 999, 1000, 1500, 2000].map(|ms| n.ask(ip(1), at(ms)) == Ask::Send);
    assert_eq!(asked, [true, false, false, true, false, true]);
    assert_eq!(n.ask(ip(2), at(1)), Ask::Send);
}

#[test]
fn used_neighbors_are_probed_and_removed_when_silent() {
    let n = Neighbors::new();
    n.learn(ip(1), Some(A), Claim::Request, at(0));
    n.learn(ip(2), Some(B), Claim::Request, at(0));
    assert_eq!(mac(&n, 1), Some(A));
    assert!(n.pass(at(29_999)).probes.is_empty(), "still fresh");
    for ms in [30_200, 31_200, 32_200] {
        assert_eq!(n.pass(at(ms)).probes.as_slice(), &[(ip(1), A)], "only the one in use, at {ms} ms");
        assert!(n.pass(at(ms + 500)).probes.is_empty());
    }
    assert_eq!(n.snapshot().len(), 2);
    n.pass(at(33_200));
    assert_eq!((mac(&n, 1), mac(&n, 2)), (None, Some(B)));
}

#[test]
fn a_confirmed_neighbor_is_left_alone() {
    let n = Neighbors::new();
    n.learn(ip(1), Some(A), Claim::Request, at(0));
    mac(&n, 1);
    assert_eq!(n.pass(at(31_000)).probes.len(), 1);
    n.learn(ip(1), None, REPLY, at(31_001));
    for ms in (31_300..100_000).step_by(1000) {
        assert!(n.pass(at(ms)).probes.is_empty(), "not used again by {ms} ms");
    }
    assert_eq!(mac(&n, 1), Some(A));
}

#[test]
fn a_full_table_evicts_the_oldest_stale_neighbor_first() {
    let n = Neighbors::new();
    for i in 0..UNASKED_MAX as u32 {
        assert!(n.learn(ip(i), Some(A), Claim::Request, at(u64::from(i))));
    }
    assert!(!n.learn(ip(1 << 16), Some(A), Claim::Request, at(20_000)), "all are fresh");
    assert_eq!(n.ask(ip(1 << 16), at(20_000)), Ask::Send, "those we ask for have the other half");
    assert!(n.learn(ip(1 << 17), Some(B), Claim::Request, at(30_001)));
    assert_eq!((mac(&n, 0), mac(&n, 1)), (None, Some(A)));
    for i in 0..NEIGHBORS_MAX as u32 {
        n.ask(ip((1 << 20) + i), at(30_001));
    }
    assert_eq!(n.ask(ip(1 << 21), at(30_001)), Ask::Full);
    assert!(n.snapshot().len() <= NEIGHBORS_MAX);
    n.pass(at(40_000));
    assert_eq!(n.ask(ip(1 << 21), at(40_000)), Ask::Send, "unanswered requests are forgotten");
}

#[test]
fn addresses_are_announced_twice() {
    let n = Neighbors::new();
    let announced = [0, 1000, 2000, 4000, 9000].map(|ms| n.pass(at(ms)).announce);
    assert_eq!(announced, [true, false, true, false, false]);
}
