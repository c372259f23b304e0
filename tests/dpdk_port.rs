//! The DPDK leaf against real EAL and virtual devices, on plain pages. EAL starts once per process, so each test runs
//! itself again in a process of its own.
#![cfg(feature = "dpdk")]

use penstock::dpdk::{Clock, Eal, EthPort, Lcore, Mbuf, Pool, PortOptions, QueuePort, pool_frames};
use penstock::failure::{Exit, Failure};
use penstock::port::{BURST_MAX, Burst, Checksum, Frame, Port, TxMeta};
use std::process::Command;

const CHILD: &str = "PENSTOCK_TEST_CHILD";

/// Runs `body` with the outcome of starting EAL with `args`, in a process of its own.
fn isolated(test: &str, args: &[&str], body: fn(Result<Eal, Failure>)) {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        let prefix = format!("--file-prefix=penstock_{}", std::process::id());
        let fixed = ["penstock", "--no-pci", "--no-huge", "--no-shconf", &prefix];
        let line: Vec<String> = fixed.iter().chain(args).map(ToString::to_string).collect();
        return body(Eal::start(&line));
    }
    let program = std::env::current_exe().expect("the test knows its own file");
    let child =
        Command::new(program).args(["--exact", test, "--nocapture"]).env(CHILD, test).output().expect("runs itself");
    let text = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{}: {text}", child.status);
    assert!(text.contains("1 passed"), "the child ran no test: {text}");
}

const ONE_CORE: &[&str] = &["--lcores=0@0,1@0", "-m", "256"];

fn with_device(device: &str) -> Vec<&str> {
    [ONE_CORE, &["--vdev", device]].concat()
}

struct Bed {
    pool: Pool,
    queue: QueuePort,
    port: EthPort,
    _eal: Eal,
}

fn bed(eal: Result<Eal, Failure>, device: &str, frames: Option<u32>) -> Bed {
    let eal = eal.expect("EAL starts");
    let mut port = EthPort::find(&eal, Some(device)).expect("the device is there");
    let options = PortOptions { queues: 1, mtu: None, multicast: true, room: None };
    let shape = port.configure(&options).expect("configures");
    let frames = frames.unwrap_or_else(|| pool_frames(1, shape.rx_descriptors, shape.tx_descriptors));
    let pool = Pool::new(&eal, "penstock", None, frames, shape.room).expect("memory for the pool");
    let mut queues = port.start(&shape, &options, std::slice::from_ref(&pool)).expect("starts");
    Bed { pool, queue: queues.remove(0), port, _eal: eal }
}

fn frame(queue: &mut QueuePort, content: &[u8]) -> Mbuf {
    let mut frame = queue.alloc(content.len()).expect("a free frame");
    frame.set_len(content.len());
    frame.bytes_mut().copy_from_slice(content);
    frame
}

#[test]
fn frames_come_back_whole_and_in_order_and_none_leaks() {
    isolated("frames_come_back_whole_and_in_order_and_none_leaks", &with_device("net_ring0"), |eal| {
        let mut bed = bed(eal, "net_ring0", None);
        for round in 0_u16..100 {
            let mut burst = Burst::new();
            while !burst.is_full() {
                let content: Vec<u8> = (0..64 + burst.len()).map(|i| (i as u16 ^ round) as u8).collect();
                burst.push(frame(&mut bed.queue, &content));
            }
            burst[0].set_tx(TxMeta { l2_len: 14, l3_len: 20, l4_len: 20, ..TxMeta::default() });
            assert_eq!((bed.queue.transmit(&mut burst), burst.len()), (BURST_MAX, 0));
            // Appended behind what is there.
            burst.push(frame(&mut bed.queue, b"kept"));
            assert_eq!(bed.queue.receive(&mut burst), BURST_MAX - 1);
            assert_eq!((bed.queue.receive(&mut burst), burst[0].bytes()), (0, &b"kept"[..]));
            let mut last = Burst::new();
            assert_eq!(bed.queue.receive(&mut last), 1);
            for (i, frame) in burst[1..].iter().chain(&last).enumerate() {
                let content: Vec<u8> = (0..64 + i).map(|i| (i as u16 ^ round) as u8).collect();
                assert_eq!(
                    (frame.bytes(), frame.is_chained(), frame.rx().l4_checksum),
                    (&content[..], false, Checksum::Unknown)
                );
            }
        }
        let Bed { pool, queue, port, .. } = bed;
        drop((queue, port));
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn a_full_queue_takes_a_prefix_and_leaves_the_rest() {
    isolated("a_full_queue_takes_a_prefix_and_leaves_the_rest", &with_device("net_ring0"), |eal| {
        let mut bed = bed(eal, "net_ring0", None);
        let (mut number, mut sent, mut burst) = (0_u32, 0, Burst::new());
        loop {
            while !burst.is_full() {
                burst.push(frame(&mut bed.queue, &number.to_be_bytes()));
                number += 1;
            }
            let taken = bed.queue.transmit(&mut burst);
            sent += taken as u32;
            assert_eq!(burst.len(), BURST_MAX - taken);
            if taken < BURST_MAX {
                break;
            }
        }
        for (i, frame) in burst.iter().enumerate() {
            assert_eq!(frame.bytes(), (sent + i as u32).to_be_bytes());
        }
        assert_eq!(bed.queue.transmit(&mut burst), 0);
        let mut expected = 0_u32;
        let mut received = Burst::new();
        while bed.queue.receive(&mut received) > 0 {
            for frame in received.drain(..) {
                assert_eq!(frame.bytes(), expected.to_be_bytes());
                expected += 1;
            }
        }
        assert_eq!(expected, sent);
        assert!(bed.port.stats().iter().any(|(name, value)| name == "opackets" && *value == u64::from(sent)));
        drop(burst);
        let Bed { pool, queue, port, .. } = bed;
        drop((queue, port));
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn an_exhausted_pool_gives_none_and_recovers() {
    isolated("an_exhausted_pool_gives_none_and_recovers", &with_device("net_ring0"), |eal| {
        let mut bed = bed(eal, "net_ring0", Some(1000));
        assert!(bed.queue.alloc(bed.pool.room() + 1).is_none(), "no frame is that large");
        let mut frames: Vec<Mbuf> = std::iter::from_fn(|| bed.queue.alloc(60)).collect();
        assert_eq!((frames.len(), bed.pool.in_use()), (1000, 1000));
        frames.pop();
        let mut again = bed.queue.alloc(60).expect("the frame just returned");
        assert!(bed.queue.alloc(60).is_none());
        again.set_len(usize::MAX);
        assert_eq!(again.bytes().len(), bed.pool.room());
        drop((frames, again));
        assert_eq!(bed.pool.in_use(), 0);
    });
}

#[test]
fn a_device_that_fails_to_probe_is_named_with_a_fix() {
    let line = with_device("net_af_packet0,iface=no_such_if");
    isolated("a_device_that_fails_to_probe_is_named_with_a_fix", &line, |eal| {
        let eal = eal.expect("EAL itself starts");
        let failure = EthPort::find(&eal, Some("net_af_packet0,iface=no_such_if")).err().expect("no port");
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.what.contains("net_af_packet0") && failure.what.contains("No such device"), "{failure}");
        assert!(failure.fix.is_some(), "{failure}");
        assert!(EthPort::find(&eal, None).is_err(), "never a port out of nothing");
    });
}

#[test]
fn a_port_is_found_once_until_it_is_closed() {
    isolated("a_port_is_found_once_until_it_is_closed", &with_device("net_null0"), |eal| {
        let eal = eal.expect("EAL starts");
        let first = EthPort::find(&eal, None).expect("the only port");
        let second = EthPort::find(&eal, Some("net_null0")).err().expect("a second handle would close it twice");
        assert!(second.what.contains("net_null0 is in use"), "{second}");
        drop(first);
        let gone = EthPort::find(&eal, Some("net_null0")).err().expect("closed for good");
        assert!(gone.what.contains("no port"), "{gone}");
    });
}

#[test]
fn a_mistyped_eal_argument_is_named_and_eal_cannot_start_twice() {
    isolated("a_mistyped_eal_argument_is_named_and_eal_cannot_start_twice", &["--no-hugs"], |eal| {
        let failure = eal.err().expect("refused");
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.what.contains("--no-hugs") && failure.fix.is_some(), "{failure}");
        assert!(Eal::start(&["penstock".into()]).is_err());
    });
}

#[test]
fn too_little_memory_for_the_pool_is_a_failure_with_a_fix() {
    let line = ["--lcores=0@0,1@0", "-m", "24", "--vdev", "net_null0"];
    isolated("too_little_memory_for_the_pool_is_a_failure_with_a_fix", &line, |eal| {
        let eal = eal.expect("EAL starts");
        let failure =
            Pool::new(&eal, "penstock", Some(0), 100_000, 2048).err().expect("24 MiB do not hold 100,000 frames");
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.what.contains("100000 frames") && failure.fix.unwrap().contains("-m "));
    });
}

#[test]
fn too_little_memory_for_eal_is_a_failure_with_a_fix() {
    isolated("too_little_memory_for_eal_is_a_failure_with_a_fix", &["-m", "1", "--vdev", "net_null0"], |eal| {
        let failure = match eal {
            Err(failure) => failure,
            Ok(eal) => Pool::new(&eal, "penstock", None, 4096, 2048).err().expect("1 MiB holds no pool"),
        };
        assert!(failure.exit == Exit::Environment && failure.fix.is_some(), "{failure}");
    });
}

#[test]
fn an_lcore_returns_a_value_or_its_panic() {
    isolated("an_lcore_returns_a_value_or_its_panic", ONE_CORE, |eal| {
        let eal = eal.expect("EAL starts");
        let lcores = eal.worker_lcores();
        assert_eq!(lcores.iter().map(Lcore::id).collect::<Vec<_>>(), [1]);
        assert_eq!((lcores[0].cpus(), lcores[0].node()), (vec![0], Some(0)), "by its number it would be CPU 1");
        assert_eq!(eal.main_lcore().id(), 0);
        assert!(eal.launch(eal.main_lcore(), || 1).is_err(), "the main lcore is the caller's");
        let thread = eal.launch(lcores[0], || std::thread::current().id()).unwrap().join().unwrap();
        assert_ne!(thread, std::thread::current().id());
        let panic = eal.launch(lcores[0], || -> u8 { panic!("on purpose {}", 7) }).unwrap().join();
        assert_eq!(panic, Err("on purpose 7".into()));
        assert_eq!(eal.launch(lcores[0], || 5).unwrap().join(), Ok(5), "the lcore goes on");
    });
}

#[test]
fn the_clock_runs_forward_and_knows_the_date() {
    isolated("the_clock_runs_forward_and_knows_the_date", ONE_CORE, |eal| {
        let clock = Clock::start(&eal.expect("EAL starts"));
        let mut last = clock.instant();
        for _ in 0..1000 {
            let now = clock.instant();
            assert!(now >= last);
            last = now;
        }
        clock.synchronise();
        let unix_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(clock.now().unix_s.abs_diff(unix_s) <= 5);
    });
}
