//! A queue pair of net_tap against the kernel's UDP: chains, and checksums made and verified by the driver. Needs root,
//! tun and the `ip` program; says so and passes without them.
#![cfg(feature = "dpdk")]

use penstock::dpdk::{Eal, EthPort, Mbuf, Pool, PortOptions, QueuePort};
use penstock::port::{Burst, Checksum, Frame, Port, TxMeta};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

/// Benchmarking addresses (RFC 2544), not routed anywhere.
const KERNEL: &str = "198.18.77.1";
const OURS: &str = "198.18.77.2";
const IP: usize = 14;
const UDP: usize = IP + 20;
/// Smaller than the datagrams, so that the driver chains.
const ROOM: u16 = 256;
const POLLS_MAX: usize = 10_000_000;

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root to make a tap interface");
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun");
    }
    (!ip("link show lo")).then_some("needs the ip program: apt-get install iproute2")
}

/// The first received UDP datagram to our port, whole.
fn receive_udp(queue: &mut QueuePort) -> (Mbuf, Vec<u8>) {
    let mut burst = Burst::new();
    for _ in 0..POLLS_MAX {
        queue.receive(&mut burst);
        for frame in burst.drain(..) {
            let mut whole = frame.bytes().to_vec();
            assert!(frame.gather(&mut |segment| {
                whole.extend_from_slice(segment);
                true
            }));
            if whole.len() > UDP + 8
                && whole[12..14] == [8, 0]
                && whole[IP + 9] == 17
                && whole[UDP + 2..UDP + 4] == [0, 9]
            {
                return (frame, whole);
            }
        }
    }
    panic!("no datagram arrived");
}

/// Swaps the directions and leaves the IP checksum to the driver; the UDP checksum is left out (RFC 768).
fn answer(whole: &[u8], frame: &mut Mbuf) {
    frame.set_len(whole.len());
    let bytes = frame.bytes_mut();
    bytes.copy_from_slice(whole);
    for (a, b, len) in [(0, 6, 6), (IP + 12, IP + 16, 4), (UDP, UDP + 2, 2)] {
        let (left, right) = bytes.split_at_mut(b);
        left[a..a + len].swap_with_slice(&mut right[..len]);
    }
    bytes[IP + 10..IP + 12].fill(0);
    bytes[UDP + 6..UDP + 8].fill(0);
    frame.set_tx(TxMeta { l2_len: IP as u8, l3_len: 20, ip_checksum: true, ..TxMeta::default() });
}

/// A chain would be sent with its tail behind the new content.
fn shortening_cuts_the_chain(mut frame: Mbuf, pool: &Pool) {
    let (start, before, mut further) = (frame.bytes()[..100].to_vec(), pool.in_use(), 0);
    frame.gather(&mut |_| {
        further += 1;
        true
    });
    frame.set_len(100);
    assert!(!frame.is_chained() && frame.gather(&mut |_| false), "no segment is left to gather");
    assert_eq!((frame.bytes(), before - pool.in_use()), (&start[..], further), "the tail is back in the pool");
}

#[test]
fn datagrams_cross_the_tap_both_ways() {
    if let Some(reason) = missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let name = format!("ptest{}", std::process::id() % 100_000);
    let line = format!(
        "penstock --lcores=0@0,1@0 --no-huge -m 128 --no-shconf --no-pci --file-prefix=penstock_{} --vdev net_tap0,iface={name}",
        std::process::id()
    );
    let eal = Eal::start(&line.split(' ').map(String::from).collect::<Vec<_>>()).expect("EAL starts");
    let mut port = EthPort::find(&eal, Some("net_tap0")).expect("the tap is there");
    let options = PortOptions { queues: 1, mtu: None, multicast: true, room: Some(ROOM) };
    let shape = port.configure(&options).expect("configures");
    let pool = Pool::new(&eal, "penstock", None, 4095, ROOM).expect("memory for the pool");
    let mut queue = port.start(&shape, &options, std::slice::from_ref(&pool)).expect("starts").remove(0);
    assert!(port.wait_link(|_| ()));
    assert!(ip(&format!("addr add {KERNEL}/24 dev {name}")));
    // Any Ethernet address reaches the port; its own is the kernel side's too.
    assert!(ip(&format!("neigh replace {OURS} lladdr 02:00:00:00:00:01 dev {name}")));

    let socket = UdpSocket::bind((KERNEL, 0)).expect("binds");
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let content: Vec<u8> = (0..1000_u32).map(|i| (i * 7) as u8).collect();
    socket.send_to(&content, (OURS, 9)).expect("sends");
    let (frame, whole) = receive_udp(&mut queue);
    assert!(frame.is_chained() && frame.bytes().len() <= usize::from(ROOM), "{}", frame.bytes().len());
    assert_eq!((whole.len(), &whole[UDP + 8..]), (UDP + 8 + 1000, &content[..]));
    assert_eq!(frame.rx().l4_checksum, Checksum::Unknown, "the driver does not sum over chains");
    shortening_cuts_the_chain(frame, &pool);

    socket.send_to(&content[..180], (OURS, 9)).expect("sends");
    let (frame, whole) = receive_udp(&mut queue);
    assert!(!frame.is_chained());
    assert_eq!((frame.rx().ip_checksum, frame.rx().l4_checksum), (Checksum::Good, Checksum::Good));
    assert!(queue.caps().tx_ip_checksum);
    let mut burst = Burst::new();
    burst.push(queue.alloc(whole.len()).expect("a free frame"));
    answer(&whole, &mut burst[0]);
    assert_eq!((queue.transmit(&mut burst), queue.refused()), (1, 0));
    let mut received = [0; 2048];
    let (len, from) = socket.recv_from(&mut received).expect("the kernel accepts the answer");
    assert_eq!((&received[..len], from.to_string()), (&content[..180], format!("{OURS}:9")));

    drop((frame, queue, port));
    assert_eq!(pool.in_use(), 0);
    drop((pool, eal));
    assert!(!std::path::Path::new("/sys/class/net").join(&name).exists(), "the interface is gone");
}
