//! A wire that loses, delays and reorders, between two network interfaces: a bench tool for machines without netem.
//!
//! `impair --a IFACE --b IFACE [--seed N] [--loss PERCENT] ...` carries every frame that one interface receives out of the
//! other, both directions through impairments of their own, until SIGTERM or SIGINT; then it prints one JSON line with its
//! seed and what it did. Owns the two packet sockets and the clock. Refuses to decide what happens to a frame: `sim::wire`
//! does, as in simulations. Needs CAP_NET_RAW; segmentation and checksum offloads of the interfaces must be off, because a
//! frame is carried as it was captured.

use clap::Parser;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike, bind, socket};
use penstock::sim::rng::{MILLION, Rng};
use penstock::sim::wire::{Impairment, Tally, Wire};
use penstock::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Frames taken from one socket before the other has its turn.
const BATCH: usize = 64;
/// Kernel memory for frames this program has not read yet, in bytes.
const SOCKET_BUFFER: usize = 8 << 20;
/// Longest frame, VLAN tag and slack included.
const FRAME_MAX: usize = 9 * 1024 + 256;
/// How long nothing may happen before the stop flag is looked at again.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(name = "impair", about = "Carries frames between two interfaces, badly")]
struct Options {
    /// One end.
    #[arg(long)]
    a: String,
    /// The other end.
    #[arg(long)]
    b: String,
    /// Begins the random numbers; the same seed and the same frames at the same times give the same losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames lost in each direction, in percent.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Propagation in each direction, in milliseconds.
    #[arg(long, default_value_t = 0.0)]
    delay: f64,
    /// Added to the delay, from zero to this, in milliseconds; keeps the order.
    #[arg(long, default_value_t = 0.0)]
    jitter: f64,
    /// Frames held back so that later ones overtake them, in percent.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// How long those are held back at most, in milliseconds.
    #[arg(long, default_value_t = 1.0)]
    reorder_by: f64,
    /// Frames that arrive twice, in percent.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Frames of which one bit is flipped, in percent.
    #[arg(long, default_value_t = 0.0)]
    corrupt: f64,
    /// Serialisation in each direction, in megabits per second; 0: instantly.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Frames on their way in one direction at most; further ones are dropped. 0: no limit.
    #[arg(long, default_value_t = 0)]
    queue: usize,
}

impl Options {
    fn impairment(&self) -> Impairment {
        let ppm = |percent: f64| (percent.clamp(0.0, 100.0) * f64::from(MILLION) / 100.0).round() as u32;
        let ms = |ms: f64| Duration::from_secs_f64(ms.clamp(0.0, 60_000.0) / 1e3);
        Impairment {
            delay: ms(self.delay),
            jitter: ms(self.jitter),
            loss_ppm: ppm(self.loss),
            duplicate_ppm: ppm(self.duplicate),
            reorder_ppm: ppm(self.reorder),
            reorder_by: ms(self.reorder_by),
            corrupt_ppm: ppm(self.corrupt),
            bits_per_s: (self.rate > 0.0).then_some((self.rate * 1e6) as u64),
            queue: self.queue,
            ..Impairment::default()
        }
    }
}

/// One interface, and the wire that leads to the other.
struct End {
    name: String,
    socket: OwnedFd,
    towards_other: Wire,
    /// Frames of this interface's receive counter when the socket was opened.
    counted: u64,
    read: u64,
    /// Frames the kernel would not send.
    unsent: u64,
}

impl End {
    fn open(name: &str, impairment: Impairment, rng: Rng) -> Result<End, String> {
        let failed = |what: &str, why: &dyn std::fmt::Display| format!("{name}: {what}: {why}");
        let address = link_address(name).map_err(|e| failed("interface addresses", &e))?;
        let address = address.ok_or_else(|| format!("there is no interface {name}"))?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .map_err(|e| failed("packet socket (root?)", &e))?;
        bind(socket.as_raw_fd(), &address).map_err(|e| failed("bind", &e))?;
        for set in [sockopt::set_socket_recv_buffer_size_force, sockopt::set_socket_send_buffer_size_force] {
            set(socket.as_fd(), SOCKET_BUFFER).map_err(|e| failed("socket buffer", &e))?;
        }
        let counted = received(name);
        Ok(End { name: name.into(), socket, towards_other: Wire::new(impairment, rng), counted, read: 0, unsent: 0 })
    }

    /// Puts what arrived on the wire.
    fn take(&mut self, now: Instant, buffer: &mut [u8]) -> Result<usize, String> {
        for taken in 0..BATCH {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, len)) => self.towards_other.send(now, buffer[..len.min(FRAME_MAX)].to_vec()),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(taken),
                Err(e) => return Err(format!("{}: receiving: {e}", self.name)),
            }
            self.read += 1;
        }
        Ok(BATCH)
    }

    /// Sends what has arrived at the end of the other's wire.
    fn give(&mut self, other: &mut Wire, now: Instant) -> Result<(), String> {
        while let Some(frame) = other.receive(now) {
            match send(&self.socket, &frame, SendFlags::empty()) {
                Ok(_) => {}
                // The interface's queue is full, or the frame is longer than its MTU.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::MSGSIZE) => self.unsent += 1,
                Err(e) => return Err(format!("{}: sending: {e}", self.name)),
            }
        }
        Ok(())
    }

    fn report(&self) -> serde_json::Value {
        let Tally { offered, delivered, lost, duplicated, reordered, corrupted, overflowed, .. } =
            self.towards_other.tally();
        // What the interface counted and this socket never saw: it was read too late.
        let missed = received(&self.name).saturating_sub(self.counted).saturating_sub(self.read);
        serde_json::json!({
            "from": self.name, "received": offered, "forwarded": delivered, "lost": lost, "reordered": reordered,
            "duplicated": duplicated, "corrupted": corrupted, "queue_full": overflowed, "missed": missed,
            "other_end_unsent": self.unsent,
        })
    }
}

fn link_address(name: &str) -> Result<Option<LinkAddr>, String> {
    let all = nix::ifaddrs::getifaddrs().map_err(|e| e.to_string())?;
    let of_name = all.filter(|interface| interface.interface_name == name).filter_map(|interface| interface.address);
    let mut links = of_name.filter(|address| address.family() == Some(AddressFamily::Packet));
    Ok(links.next().and_then(|address| address.as_link_addr().copied()))
}

/// Frames the interface has received; 0 when it does not say.
fn received(name: &str) -> u64 {
    let path = format!("/sys/class/net/{name}/statistics/rx_packets");
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn carry(options: &Options, stop: &AtomicBool) -> Result<[serde_json::Value; 2], String> {
    let mut rng = Rng::new(options.seed);
    let mut a = End::open(&options.a, options.impairment(), rng.fork())?;
    let mut b = End::open(&options.b, options.impairment(), rng.fork())?;
    println!("ready");
    let start = std::time::Instant::now();
    let now = || Instant::from_nanos(start.elapsed().as_nanos() as u64);
    let mut buffer = vec![0; FRAME_MAX];
    while !stop.load(Ordering::Relaxed) {
        let taken = a.take(now(), &mut buffer)? + b.take(now(), &mut buffer)?;
        b.give(&mut a.towards_other, now())?;
        a.give(&mut b.towards_other, now())?;
        if taken > 0 {
            continue;
        }
        let due = a.towards_other.due().into_iter().chain(b.towards_other.due()).min();
        let wait = due.map_or(STOP_INTERVAL, |due| Duration::from_nanos(due.nanos().saturating_sub(now().nanos())));
        let wait = Timespec::try_from(wait.min(STOP_INTERVAL)).map_err(|e| e.to_string())?;
        let mut ends = [PollFd::new(&a.socket, PollFlags::IN), PollFd::new(&b.socket, PollFlags::IN)];
        match poll(&mut ends, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(format!("poll: {e}")),
        }
    }
    Ok([a.report(), b.report()])
}

fn main() -> ExitCode {
    let options = Options::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(e) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("impair: signals: {e}");
            return ExitCode::FAILURE;
        }
    }
    match carry(&options, &stop) {
        Ok(directions) => {
            println!("{}", serde_json::json!({ "seed": options.seed, "directions": directions }));
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("impair: {e}");
            ExitCode::FAILURE
        }
    }
}
