//! Recovery by itself, segment by segment.
//!
//! Owns a flight of ten segments and a smoltcp of a few lines. Refuses a wire: `tests/tcp` has scripts over one.

use super::*;

const MSS: u16 = 1000;
const RTO: Duration = Duration::from_millis(200);

fn at(us: u64) -> Instant {
    Instant::from_nanos(us * 1000)
}

/// A path, and what the peer holds.
struct Bed {
    path: Recovery,
    held: Sacked,
    una: u32,
    nxt: u32,
    sack: bool,
}

impl Bed {
    /// Ten segments from sequence number 0 are outstanding at 100 ms, after a round trip of 8 ms.
    fn ten(sack: bool) -> Bed {
        let mut path = Recovery::new(MSS);
        assert_eq!(path.window(), 10_000);
        path.sent(u32::MAX, 0, u32::MAX, false, at(92_000));
        assert!(path.advanced(1, 0, 0, at(100_000)));
        assert_eq!((path.srtt, path.flags), (8_000, 0));
        for i in 0..10 {
            assert!(path.sent(i * 1000, (i + 1) * 1000, i * 1000, false, at(100_000)));
        }
        Bed { path, held: Sacked::default(), una: 0, nxt: 10_000, sack }
    }

    fn flight(&self) -> Flight {
        Flight { una: self.una, nxt: self.nxt, sack: self.sack }
    }

    fn duplicate(&mut self, blocks: &[Block], us: u64) {
        let flight = self.flight();
        self.path.duplicate(blocks, flight, &mut self.held, at(us));
    }

    fn ack(&mut self, una: u32, us: u64) {
        let acked = una - core::mem::replace(&mut self.una, una);
        if !self.path.advanced(acked, una, self.nxt, at(us)) {
            let flight = self.flight();
            self.path.relieved(acked, &[], flight, &mut self.held, at(us));
        }
    }

    fn plan(&mut self, unsent: u32) -> Plan {
        let flight = self.flight();
        self.path.plan(flight, &self.held, unsent)
    }

    fn due(&mut self, us: u64) -> Due {
        let flight = self.flight();
        self.path.due(flight, &self.held, true, at(us), RTO)
    }

    /// A timer that may find that what was overtaken is lost.
    fn tick(&mut self, us: u64) {
        self.due(us);
    }

    fn time_out(&mut self) {
        let flight = self.flight();
        self.path.timed_out(flight, &mut self.held);
    }

    /// smoltcp, in segments of full size: what leaves again until there is nothing to do, and how many stay here.
    fn walk(&mut self, us: u64) -> (Vec<u32>, usize) {
        let (mut left, mut stayed, mut position) = (Vec::new(), 0, self.path.at);
        loop {
            let plan = self.plan(0);
            let leaves = match plan {
                Plan::Go | Plan::Rest => return (left, stayed),
                Plan::New => panic!("nothing is unsent"),
                Plan::Send => true,
                Plan::Skip => false,
                Plan::Back { leaves } => leaves,
            };
            position = if matches!(plan, Plan::Back { .. }) { self.una } else { later(position, self.una) };
            let end = earlier(position + u32::from(MSS), self.nxt);
            let flight = self.flight();
            self.path.walked((position, end), flight, leaves, at(us));
            if leaves {
                left.push(position);
            } else {
                stayed += 1;
            }
            position = end;
        }
    }
}

#[test]
fn the_first_window_is_ten_segments_or_what_the_rfc_says_of_larger_and_smaller_ones() {
    let windows = [1460, 536, 9000, 4000, 0].map(|mss| Recovery::new(mss).window());
    assert_eq!(windows, [14_600, 5_360, 18_000, 14_600, 640]);
}

#[test]
fn a_window_that_is_used_doubles_and_one_that_is_not_stays() {
    let mut bed = Bed::ten(true);
    for i in 1..=5 {
        bed.ack(i * 2000, 108_000);
    }
    // The others find less than half of the larger window used.
    assert_eq!(bed.path.window(), 14_000);
    bed.nxt = 10_100;
    bed.ack(10_100, 109_000);
    assert_eq!(bed.path.window(), 14_000);
}

#[test]
fn without_sack_the_third_duplicate_after_the_reordering_window_finds_the_loss_and_reduces_once() {
    let mut bed = Bed::ten(false);
    for us in [108_000, 108_100, 108_200, 109_999] {
        bed.duplicate(&[], us);
        assert_eq!(bed.plan(0), Plan::Go);
    }
    assert_eq!(bed.path.patience(10_000, RTO), Duration::from_millis(2), "a timer asks again");
    bed.duplicate(&[], 110_000);
    assert_eq!(bed.path.window(), 7_000 + 5_000);
    assert_eq!(bed.walk(110_000), (vec![0], 0));
    // A hole remains: it is sent again, and costs nothing more. RFC 6582, 3.2.
    bed.ack(4000, 118_000);
    assert_eq!(bed.path.window(), 7_000 + 2_000);
    assert_eq!(bed.walk(118_000).0, [4000]);
    bed.ack(10_000, 126_000);
    assert_eq!((bed.path.ssthresh, bed.path.window()), (7_000, 2_000), "no burst, then slow start");
    assert_eq!(bed.path.flags, 0);
}

#[test]
fn what_is_overtaken_for_less_than_the_reordering_window_is_not_lost() {
    for sack in [false, true] {
        let mut bed = Bed::ten(sack);
        for (i, us) in [108_000, 108_100, 108_200, 108_300].into_iter().enumerate() {
            bed.duplicate(
                if sack { &[(1000, 2000), (2000, 3000), (3000, 4000), (4000, 5000)][i..=i] } else { &[] },
                us,
            );
        }
        bed.ack(5000, 109_000);
        assert!(bed.path.window() > 10_000);
        assert!(!bed.path.is_troubled());
        assert_eq!(bed.due(111_000), Due::Later(Duration::from_micros(24_250)));
    }
}

#[test]
fn the_timer_finds_a_loss_that_no_further_duplicate_reports() {
    let mut bed = Bed::ten(true);
    bed.duplicate(&[(1000, 4000)], 108_000);
    assert_eq!(bed.due(109_000), Due::Later(Duration::from_millis(1)));
    assert_eq!(bed.due(110_000), Due::Mend);
    assert_eq!(bed.path.flags & (RECOVERING | PROBED | FIRST), RECOVERING | FIRST);
}

#[test]
fn holes_are_filled_in_one_round_as_the_window_allows_and_the_rest_stays_here() {
    let mut bed = Bed::ten(true);
    // 0, 3000 and 6000 are missing; 9000 is under way.
    bed.duplicate(&[(1000, 3000), (4000, 6000), (7000, 9000)], 108_000);
    bed.tick(110_000);
    // Behind 6000 there are two segments only: not lost yet. RFC 6675, 4.
    assert_eq!((bed.path.lost, bed.path.recover, bed.path.cwnd), (4000, 10_000, 7_000));
    assert_eq!(bed.walk(110_000), (vec![0, 3000], 2));
    assert_eq!(bed.plan(0), Plan::Rest, "smoltcp stays where it is");
    bed.duplicate(&[(9000, 10_000)], 110_100);
    assert_eq!(bed.walk(110_100), (vec![], 0), "6000 may only be late");
    bed.tick(112_100);
    assert_eq!(bed.walk(112_100), (vec![6000], 2), "from there");
    // What is new leaves beside it, as far as the window allows.
    assert_eq!(bed.path.window(), 7_000 + 7_000);
    bed.ack(10_000, 118_000);
    assert_eq!((bed.path.cwnd, bed.path.flags, bed.held.is_empty()), (7_000, 0, true));
}

#[test]
fn a_full_network_takes_the_first_hole_and_then_what_the_pipe_has_room_for() {
    let mut bed = Bed::ten(true);
    bed.path.cwnd = 4_500;
    bed.duplicate(&[(1000, 2000), (3000, 4000), (5000, 6000)], 108_000);
    bed.duplicate(&[(8000, 9000)], 110_000);
    assert_eq!(bed.path.cwnd, 3_150);
    // Of 10,000 bytes 4,000 arrived and 1,000 are lost: 5,000 are in the network, which holds 3,150.
    assert_eq!(bed.walk(110_000), (vec![0], 0));
    bed.duplicate(&[(6000, 7000)], 112_000);
    assert_eq!(bed.path.lost, 3000);
    assert_eq!(bed.plan(0), Plan::Rest);
    assert_eq!(bed.plan(5000), Plan::Rest, "and what is new waits for the holes");
    bed.duplicate(&[(7000, 10_000)], 112_100);
    assert_eq!(bed.walk(112_100), (vec![2000], 1));
}

#[test]
fn what_was_sent_again_and_is_lost_again_is_found_by_what_was_sent_after_it() {
    let mut bed = Bed::ten(true);
    bed.duplicate(&[(1000, 10_000)], 108_000);
    bed.tick(110_000);
    assert_eq!(bed.walk(110_000), (vec![0], 0));
    bed.nxt = 14_000;
    bed.duplicate(&[(10_000, 12_000)], 120_000);
    assert_eq!(bed.walk(120_000).0, [] as [u32; 0], "no more than two segments after it");
    bed.duplicate(&[(12_000, 13_001)], 120_100);
    assert_eq!(bed.walk(120_100).0, [0]);
    bed.duplicate(&[(13_001, 14_000)], 120_200);
    assert_eq!(bed.walk(120_200).0, [] as [u32; 0], "once a round trip");
    assert_eq!(bed.path.ssthresh, 7_000, "reduced once");
}

#[test]
fn silence_is_probed_once_and_the_repaired_loss_answered() {
    let mut bed = Bed::ten(true);
    // RFC 8985, 7.2: two round trips, and for a single segment what its acknowledgment may be held back.
    assert_eq!(bed.path.patience(10_000, RTO), Duration::from_millis(26));
    assert_eq!(bed.path.patience(1000, RTO), Duration::from_millis(56));
    assert_eq!(bed.due(125_000), Due::Later(Duration::from_millis(1)));
    assert_eq!(bed.due(126_000), Due::Mend);
    assert_eq!(bed.walk(126_000), (vec![0], 0));
    // RFC 6298: the round trip and the least timeout, from the probe on.
    assert_eq!(bed.due(333_000), Due::Later(Duration::from_millis(1)));
    assert_eq!(bed.due(334_000), Due::Timeout);
    bed.ack(1000, 335_000);
    assert_eq!(bed.path.ssthresh, 7_000);
    assert_eq!(bed.walk(335_000).0, [1000]);
}

#[test]
fn an_acknowledgment_too_soon_for_the_probe_costs_nothing() {
    let mut bed = Bed::ten(true);
    assert_eq!(bed.due(126_000), Due::Mend);
    bed.walk(126_000);
    bed.ack(10_000, 129_000);
    assert_eq!((bed.path.ssthresh, bed.path.flags), (u32::MAX, UNMEASURED));
}

#[test]
fn what_is_acknowledged_before_it_was_sent_again_is_forgotten() {
    let mut bed = Bed::ten(true);
    assert_eq!(bed.due(126_000), Due::Mend);
    bed.ack(10_000, 126_100);
    assert!(!bed.path.is_troubled());
    bed.path.sent(10_000, 11_000, 10_000, false, at(127_000));
    bed.nxt = 11_000;
    assert_eq!(bed.due(190_000), Due::Mend, "the next silence is probed");
}

#[test]
fn a_timeout_of_smoltcps_begins_again_from_one_segment_until_everything_is_acknowledged() {
    let mut bed = Bed::ten(false);
    assert!(!bed.path.sent(0, 1000, 10_000, false, at(300_000)), "nobody asked for that");
    assert_eq!((bed.path.window(), bed.path.ssthresh), (1000, 7_000));
    assert_eq!(bed.plan(0), Plan::Rest);
    bed.duplicate(&[], 309_000);
    assert_eq!(bed.path.beyond, 0, "RFC 6582, 4: not lost again");
    bed.ack(1000, 310_000);
    assert_eq!(bed.path.window(), 2000);
    assert_eq!(bed.walk(310_000), (vec![1000, 2000], 0));
    bed.ack(10_000, 318_000);
    assert_eq!(bed.path.flags, 0);
}

#[test]
fn after_a_timeout_what_the_peer_holds_stays_here_unless_it_times_out_again() {
    let mut bed = Bed::ten(true);
    bed.duplicate(&[(2000, 9000)], 108_000);
    bed.time_out();
    assert_eq!(bed.path.window(), 1000 + 7000);
    assert_eq!(bed.walk(400_000), (vec![0], 0));
    bed.ack(1000, 408_000);
    assert_eq!(bed.walk(408_000), (vec![1000, 9000], 7), "slow start: two segments");
    bed.time_out();
    assert_eq!(bed.path.ssthresh, 7_000, "RFC 5681, 3.1: held when the same segment times out again");
    bed.time_out();
    assert_eq!((bed.path.beyond, bed.held.is_empty()), (0, true), "RFC 2018, 8");
}

#[test]
fn timeouts_double_until_something_is_acknowledged() {
    let mut bed = Bed::ten(true);
    bed.time_out();
    bed.walk(1_000_000);
    let timeouts: Vec<u32> = (0..3)
        .map(|_| {
            let timeout = bed.path.timeout(RTO);
            bed.time_out();
            timeout
        })
        .collect();
    assert_eq!(timeouts, [416_000, 832_000, 1_664_000]);
    bed.path.timeouts = 200;
    assert_eq!(bed.path.timeout(RTO), RTO_MAX_US);
    bed.ack(1000, 2_000_000);
    assert_eq!(bed.path.timeout(RTO), RTO_MAX_US, "RFC 6298, 5.7: until a round trip is measured");
    bed.path.measured(8_000);
    assert_eq!(bed.path.timeout(RTO), 208_000);
    bed.path.rttvar = 100_000;
    assert_eq!(bed.path.timeout(RTO), 408_000);
}

#[test]
fn smoltcps_own_timer_on_the_way_is_a_timeout() {
    let mut bed = Bed::ten(true);
    bed.duplicate(&[(1000, 2000), (4000, 8000)], 108_000);
    bed.tick(110_000);
    bed.walk(110_000);
    assert!(is_after(bed.path.at, bed.una));
    let flight = bed.flight();
    bed.path.walked((0, 1000), flight, false, at(900_000));
    assert_eq!(bed.path.flags, TIMED_OUT | FIRST | BACK);
    assert_eq!(bed.path.cwnd, 1000);
}

#[test]
fn a_single_byte_times_out_and_the_probe_of_a_closed_window_says_nothing() {
    let mut bed = Bed::ten(true);
    bed.ack(10_000, 108_000);
    let path = &mut bed.path;
    let (window, srtt) = (path.window(), path.srtt);
    for us in [200_000, 400_000, 800_000] {
        assert!(path.sent(10_000, 10_001, if us > 200_000 { 10_001 } else { 10_000 }, true, at(us)));
    }
    assert!(path.sent(10_000, 11_000, 10_001, false, at(900_000)), "nor when the window opens");
    path.advanced(1, 10_001, 10_001, at(900_000));
    assert_eq!((path.window(), path.srtt, path.flags), (window, srtt, 0), "nor of the round trip");
    path.sent(10_001, 10_002, 10_001, false, at(900_000));
    assert!(!path.sent(10_001, 10_002, 10_002, false, at(1_100_000)));
    assert_eq!(path.window(), 1000);
}

#[test]
fn a_smaller_path_bounds_the_first_window_and_what_one_timeout_leaves() {
    let mut path = Recovery::new(1460);
    path.limit(512);
    assert_eq!((path.mss(), path.window()), (512, 5_120));
    let mut bed = Bed::ten(true);
    bed.path.limit(512);
    bed.time_out();
    assert_eq!((bed.path.mss(), bed.path.window()), (512, 512));
    bed.path.limit(1460);
    assert_eq!(bed.path.mss(), 512, "never larger again");
    let mut bed = Bed::ten(true);
    bed.path.narrow(512, bed.flight());
    assert_eq!((bed.path.ssthresh, bed.path.cwnd, bed.path.timeouts), (10_000, 512, 0), "no loss to congestion");
    assert_eq!(bed.plan(0), Plan::Back { leaves: true });
}

#[test]
fn what_is_new_leaves_in_trouble_while_the_network_has_room() {
    let mut bed = Bed::ten(true);
    bed.duplicate(&[(1000, 2000)], 108_000);
    assert_eq!(bed.plan(5000), Plan::New, "RFC 3042: one segment has left the network");
    bed.nxt += 1000;
    assert_eq!(bed.plan(4000), Plan::Rest);
    assert_eq!(bed.plan(0), Plan::Go);
}

#[test]
fn the_handshake_measures_the_first_round_trip_unless_its_answer_was_sent_twice() {
    let mut path = Recovery::new(MSS);
    path.sent_syn(1, at(0));
    path.advanced(1, 1, 1, at(8_000));
    assert_eq!((path.srtt, path.rttvar), (7_999, 3_999));
    let mut path = Recovery::new(MSS);
    [0, 1_000_000, 3_000_000].iter().for_each(|us| path.sent_syn(1, at(*us)));
    path.advanced(1, 1, 1, at(3_000_100));
    assert_eq!(path.srtt, 0);
}

#[test]
fn round_trips_are_not_measured_on_what_was_sent_twice() {
    let mut bed = Bed::ten(true);
    assert_eq!(bed.due(126_000), Due::Mend);
    bed.walk(126_000);
    bed.ack(10_000, 200_000);
    assert_eq!(bed.path.srtt, 8_000);
}

#[test]
fn sequence_numbers_of_long_ago_mean_nothing() {
    let mut bed = Bed::ten(true);
    bed.time_out();
    bed.walk(300_000);
    bed.ack(10_000, 310_000);
    // Two gibibytes later 10,000 lies ahead again.
    (bed.una, bed.nxt) = (0x8000_1000, 0x8000_5000);
    bed.path.cwnd = 20_000;
    let una = bed.una;
    bed.duplicate(&[(una + 1000, una + 2000)], 400_000);
    bed.duplicate(&[(una + 2000, una + 3000)], 500_000);
    assert_eq!(bed.walk(500_000), (vec![], 0));
}

#[test]
fn a_window_that_rested_begins_anew_and_avoids_congestion_in_the_friendly_step() {
    let mut path = Bed::ten(true).path;
    (path.cwnd, path.ssthresh) = (20_000, 20_000);
    path.advanced(1000, 1000, 20_000, at(108_000));
    assert_eq!(path.window(), 20_000 + 1000 * 1000 * 9 / (17 * 20_000));
    path.cwnd = 30_000;
    path.advanced(1000, 2000, 30_000, at(108_000));
    assert_eq!(path.window(), 30_000 + 1000 * 1000 / 30_000, "beyond what was lost before");
    path.resume(at(1_000_000));
    assert!(path.window() > 20_000);
    path.resume(at(1_200_000));
    assert_eq!(path.window(), 10_000);
}

#[test]
fn acknowledgments_byte_by_byte_have_nothing_sent_again_that_was() {
    let mut bed = Bed::ten(false);
    for us in [108_000, 108_100, 108_200, 110_000] {
        bed.duplicate(&[], us);
    }
    assert_eq!(bed.walk(110_000).0, [0]);
    for una in 1..1000 {
        bed.ack(una, 118_000);
        assert_eq!(bed.walk(118_000), (vec![], 0));
    }
    bed.ack(1000, 118_000);
    assert_eq!(bed.walk(118_000), (vec![1000], 0));
}

#[test]
fn with_sack_an_acknowledgment_without_blocks_tells_nothing() {
    let mut bed = Bed::ten(true);
    for us in [108_000, 109_000, 110_000, 120_000] {
        bed.duplicate(&[], us);
    }
    assert!(!bed.path.is_troubled());
}

#[test]
fn a_path_that_became_longer_is_measured_although_it_was_probed() {
    let mut bed = Bed::ten(true);
    // 8 ms became 40: the probe leaves before the first acknowledgment comes.
    assert_eq!(bed.due(126_000), Due::Mend);
    bed.walk(126_000);
    bed.ack(10_000, 140_000);
    assert_eq!(bed.path.srtt, 8_000, "RFC 6298, 3");
    bed.path.sent(10_000, 11_000, 10_000, false, at(140_000));
    bed.nxt = 11_000;
    assert_eq!(bed.due(170_000), Due::Later(RTO));
    bed.ack(11_000, 180_000);
    assert_eq!(bed.path.srtt, 12_000);
}
