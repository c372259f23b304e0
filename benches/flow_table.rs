//! The flow table: one look-up, hash included, with the comparison of the full key that a connection makes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use penstock::mem::Arena;
use penstock::net::flow::FlowTable;
use penstock::net::key::FlowKey;
use std::hint::black_box;

fn key(client: u32) -> FlowKey {
    FlowKey::v4((0x0a00_0000 + (client >> 14)).to_be_bytes(), [10, 255, 0, 1], (client as u16 & 0x3fff) + 1024, 443)
}

/// Visits `0..count`, a power of two, in an order no prefetcher guesses.
fn shuffled(at: &mut u32, count: u32) -> u32 {
    *at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*at >> 8) % count
}

fn look_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_table");
    for count in [1_000_u32, 30_000, 1_000_000] {
        let arena = Arena::heap(FlowTable::arena_bytes(count as usize));
        let mut flows = FlowTable::new(&arena, count as usize, [0x5eed, 0xfeed]).expect("an arena of its size");
        let keys: Vec<FlowKey> = (0..count).map(key).collect();
        for (slot, key) in keys.iter().enumerate() {
            flows.insert(flows.hash(key), slot as u32).expect("a table under capacity");
        }
        let mut at = 1;
        group.bench_with_input(BenchmarkId::new("hit", count), &count, |b, &count| {
            b.iter(|| {
                let key = &keys[shuffled(&mut at, count) as usize];
                flows.get(flows.hash(black_box(key)), |slot| keys[slot as usize] == *key)
            });
        });
        group.bench_with_input(BenchmarkId::new("miss", count), &count, |b, &count| {
            b.iter(|| {
                let key = key(count + shuffled(&mut at, count));
                flows.get(flows.hash(black_box(&key)), |slot| keys[slot as usize] == key)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, look_up);
criterion_main!(benches);
