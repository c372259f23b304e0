//! The flow table against a map, at capacity, and under chosen keys.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

fn table(capacity: usize) -> FlowTable {
    FlowTable::new(&Arena::heap(FlowTable::arena_bytes(capacity)), capacity, SECRET).unwrap()
}

fn v4(remote: u32, remote_port: u16) -> FlowKey {
    FlowKey::v4(remote.to_be_bytes(), [10, 0, 0, 1], remote_port, 443)
}

/// Keys as peers or attackers choose them, `count` at most.
fn families(count: u32) -> [(&'static str, Vec<FlowKey>); 6] {
    let v6 = |high: u32, low: u32| FlowKey {
        remote: u128::from(high) << 96 | u128::from(low),
        local: 1 << 100,
        remote_port: 5,
        local_port: 443,
    };
    [
        ("ports", (0..count.min(65_536)).map(|i| v4(0x0a00_0002, i as u16)).collect()),
        ("addresses", (0..count).map(|i| v4(0x0a00_0000 + i, 40_000)).collect()),
        ("addresses by 256", (0..count).map(|i| v4(i << 8, 40_000)).collect()),
        ("both in step", (0..count).map(|i| v4(i, i as u16)).collect()),
        ("v6 interface ids", (0..count).map(|i| v6(0x2001_0db8, i)).collect()),
        ("v6 prefixes", (0..count).map(|i| v6(i, 1)).collect()),
    ]
}

#[test]
fn finds_what_was_inserted_and_nothing_else() {
    let mut flows = table(100);
    let (a, b) = (flows.hash(&v4(1, 1)), flows.hash(&v4(1, 2)));
    assert_ne!(a, b);
    flows.insert(a, 7).unwrap();
    flows.prefetch(a);
    assert_eq!((flows.get(a, |_| true), flows.get(a, |slot| slot != 7)), (Some(7), None));
    assert_eq!(flows.get(b, |slot| slot != 7), None);
    assert!(!flows.remove(a, 8));
    assert!(flows.remove(a, 7));
    assert!(!flows.remove(a, 7));
    assert!(flows.is_empty() && flows.get(a, |_| true).is_none());
}

#[test]
fn equal_hashes_are_told_apart_by_the_caller_until_both_buckets_are_full() {
    let mut flows = table(1000);
    let hash = 0x0100_0000_f000_0000;
    assert_ne!(flows.first(hash), flows.second(hash));
    for slot in 0..20 {
        flows.insert(hash, slot).unwrap();
    }
    assert_eq!(flows.insert(hash, 20), Err(Full));
    assert!((0..20).all(|slot| flows.get(hash, |it| it == slot) == Some(slot)));
    assert!((0..20).all(|slot| flows.remove(hash, slot)));
    assert_eq!((flows.len(), flows.buckets.iter().map(|b| b.elsewhere).sum::<u32>()), (0, 0));
}

#[test]
fn capacity_is_a_limit_and_zero_a_capacity() {
    let mut none = table(0);
    assert_eq!(none.insert(1, 1), Err(Full));
    assert_eq!(none.get(1, |_| true), None);
    let mut three = table(3);
    for slot in 0..3 {
        three.insert(u64::from(slot) << 40, slot).unwrap();
    }
    assert_eq!(three.insert(9 << 40, 3), Err(Full));
}

#[test]
fn a_million_connections_at_capacity_fit_whatever_their_keys() {
    let million = families(1_000_000).into_iter().filter(|(name, _)| *name == "both in step");
    for (name, keys) in million.chain(families(100_000)) {
        let mut flows = table(keys.len());
        for (slot, key) in keys.iter().enumerate() {
            let hash = flows.hash(key);
            assert_eq!(flows.insert(hash, slot as u32), Ok(()), "{name}, entry {slot}");
        }
        let (mut wrong, mut elsewhere) = (0, 0);
        for (slot, key) in keys.iter().enumerate().step_by(31) {
            let is_it = |it: u32| {
                wrong += u32::from(it != slot as u32);
                keys[it as usize] == *key
            };
            assert_eq!(flows.get(flows.hash(key), is_it), Some(slot as u32), "{name}");
        }
        elsewhere += flows.buckets.iter().map(|b| b.elsewhere as usize).sum::<usize>();
        assert!(wrong < 20, "{name}: {wrong} wrong slots were offered");
        assert!(elsewhere * 100 < keys.len() * 25, "{name}: {elsewhere} in their second bucket");
    }
}

/// Pearson's test against the uniform distribution, as standard deviations from its mean.
fn deviations(counts: &[u32]) -> f64 {
    let (n, cells) = (f64::from(counts.iter().sum::<u32>()), counts.len() as f64);
    let expected = n / cells;
    let chi_square: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
    (chi_square - (cells - 1.0)) / (2.0 * (cells - 1.0)).sqrt()
}

#[test]
fn chosen_keys_do_not_crowd_under_any_of_several_secrets() {
    for seed in 0..4_u64 {
        let secret = [seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), seed];
        let flows = FlowTable::new(&Arena::heap(FlowTable::arena_bytes(20_480)), 20_480, secret).unwrap();
        for (name, keys) in families(65_536) {
            let mut counts = [vec![0; 4096], vec![0; 4096], vec![0; 4096]];
            for key in &keys {
                let hash = flows.hash(key);
                counts[0][flows.first(hash)] += 1;
                counts[1][flows.second(hash)] += 1;
                counts[2][usize::from(tag(hash)) >> 4] += 1;
            }
            for (what, counts) in ["first", "second", "tag"].iter().zip(&counts) {
                // Too even is fine: sequential keys under a multiplication are.
                let off = deviations(counts);
                assert!(off < 6.0, "{name}, secret {seed}, {what}: {off:.1} deviations");
                assert!(counts.iter().all(|&c| c < 16 * 4), "{name}, secret {seed}, {what}: {:?}", counts.iter().max());
            }
        }
    }
}

#[test]
fn every_part_of_the_key_and_of_the_secret_matters() {
    let key = FlowKey { remote: 1 << 90 | 5, local: 1 << 70 | 9, remote_port: 3, local_port: 4 };
    let hash = |key: &FlowKey, secret| HashKeys::new(secret).hash(key);
    let base = hash(&key, SECRET);
    for bit in 0..128 {
        assert_ne!(hash(&FlowKey { remote: key.remote ^ 1 << bit, ..key }, SECRET), base);
        assert_ne!(hash(&FlowKey { local: key.local ^ 1 << bit, ..key }, SECRET), base);
        assert_ne!(hash(&FlowKey { remote_port: key.remote_port ^ 1 << (bit % 16), ..key }, SECRET), base);
        assert_ne!(hash(&FlowKey { local_port: key.local_port ^ 1 << (bit % 16), ..key }, SECRET), base);
        let mut other = SECRET;
        other[bit / 64] ^= 1 << (bit % 64);
        assert_ne!(hash(&key, other), base);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16),
    Remove(u16),
    Get(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![(0..300_u16).prop_map(Op::Insert), (0..300_u16).prop_map(Op::Remove), (0..300_u16).prop_map(Op::Get)]
}

proptest! {
    #[test]
    fn agrees_with_a_hash_map(ops in prop::collection::vec(op(), 0..1500), secret: [u64; 2], crowd in 0..40_u32) {
        let mut flows = FlowTable::new(&Arena::heap(FlowTable::arena_bytes(250)), 250, secret).unwrap();
        let mut model: HashMap<u16, u32> = HashMap::new();
        for op in ops {
            let (Op::Insert(port) | Op::Remove(port) | Op::Get(port)) = op;
            // A wide `crowd` forces equal hashes, full buckets and second choices.
            let hash = flows.hash(&v4(7, port)) >> crowd << crowd;
            let (slot, known) = (u32::from(port) + 1000, model.contains_key(&port));
            match op {
                Op::Insert(_) if !known => match flows.insert(hash, slot) {
                    Ok(()) => { model.insert(port, slot); }
                    Err(Full) => prop_assert!(model.len() == 250 || model.len() >= 10),
                },
                Op::Remove(_) => prop_assert_eq!(flows.remove(hash, slot), model.remove(&port).is_some()),
                _ => prop_assert_eq!(flows.get(hash, |it| it == slot), model.get(&port).copied()),
            }
            prop_assert_eq!(flows.len(), model.len());
        }
        for (port, slot) in model {
            let hash = flows.hash(&v4(7, port)) >> crowd << crowd;
            prop_assert!(flows.remove(hash, slot));
        }
        prop_assert!(flows.buckets.iter().all(|b| b.len() == 0 && b.elsewhere == 0));
    }

    #[test]
    fn lanes_are_compared_exactly(word: u64, tag: u16, lane in 0..4_u32) {
        let word = word & !(0xffff << (lane * 16)) | u64::from(tag) << (lane * 16);
        let expected = (0..4).filter(|i| (word >> (i * 16)) as u16 == tag).fold(0, |all, i| all | 0x8000 << (i * 16));
        prop_assert_eq!(equal_lanes(word, tag), expected);
    }
}
