//! The simulator judged: a plain server passes, and each way of spoiling it is noticed.

use super::*;
use crate::port::{BURST_MAX, Burst, Frame, Port};
use crate::sim::client::ClientPlan;
use crate::sim::host::{Line, SocketPlan};
use crate::sim::machine::Held;
use crate::sim::plan;
use crate::sim::port::SimFrame;
use crate::sim::site::{Content, Request, Site};
use crate::sim::verdict;
use crate::worker::Turn;
use smoltcp::socket::tcp::State;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Spoil {
    Nothing,
    Content,
    Checksum,
    Silence,
    Leak,
    Count,
    Reset,
}

/// A server for one host, made of a [`Host`] and as little HTTP as the test needs.
struct Server {
    host: Host,
    site: Site,
    port: SimPort,
    counters: Arc<Counters>,
    sockets: Vec<(Line, Vec<u8>, Vec<u8>)>,
    spoil: Spoil,
    held: Vec<SimFrame>,
}

impl Server {
    fn new(plan: &Plan, port: SimPort, counters: Arc<Counters>, spoil: Spoil) -> Server {
        let client = plan.hosts[0].place.clone();
        let mut place = client.clone();
        (place.mac, place.ip, place.link_ip, place.gateway) =
            (plan.caps.mac, client.gateway, client.gateway, client.ip);
        let mut host = Host::new(place, 7, EPOCH);
        let rings = SocketPlan { rx_ring: 4096, tx_ring: 8192, nagle: false, ack_delay: None, timestamps: false };
        let sockets = (0..8).map(|_| (host.listen(80, &rings), Vec::new(), Vec::new())).collect();
        Server { host, site: plan.site.clone(), port, counters, sockets, spoil, held: Vec::new() }
    }

    fn receive(&mut self, now: Now) -> usize {
        let mut burst: Burst<SimFrame> = Burst::new();
        let received = self.port.receive(&mut burst);
        for frame in burst {
            self.counters.inc(Counter::RxFrames);
            self.host.receive(now.mono, frame.bytes());
            if self.spoil == Spoil::Leak {
                self.held.push(frame);
            }
        }
        received
    }

    fn serve(&mut self, now: Now) {
        let Server { host, site, sockets, spoil, .. } = self;
        for (line, inbox, outbox) in sockets {
            while host.with(*line, |socket| socket.recv(|bytes| (bytes.len(), take(inbox, bytes)))).unwrap_or(0) > 0 {}
            while let Some((request, len)) = first_request(inbox) {
                inbox.drain(..len);
                outbox.extend(respond(&site.answer(&request), now, *spoil));
            }
            let sent = host.with(*line, |socket| {
                let sent = if socket.can_send() { socket.send_slice(outbox).unwrap_or(0) } else { 0 };
                if *spoil == Spoil::Reset && sent > 0 {
                    socket.abort();
                }
                if socket.state() == State::CloseWait && outbox.len() == sent {
                    socket.close();
                }
                sent
            });
            outbox.drain(..sent);
        }
    }
}

fn take(inbox: &mut Vec<u8>, bytes: &[u8]) -> usize {
    inbox.extend_from_slice(bytes);
    bytes.len()
}

/// Reads a request, if it is complete: its path and length are all that matters here.
fn first_request(inbox: &[u8]) -> Option<(Request, usize)> {
    let end = inbox.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&inbox[..end]).into_owned();
    let len =
        head.split_once("Content-Length: ").map_or(0, |(_, rest)| rest.split_once("\r\n").unwrap().0.parse().unwrap());
    let path = head.split(' ').nth(1)?;
    let known = ["/small", "/empty", "/medium", "/large"];
    let path = known.into_iter().find(|known| *known == path).unwrap_or("/nowhere");
    (inbox.len() >= end + len).then_some((Request::get(path), end + len))
}

fn respond(answer: &crate::sim::site::Answer, now: Now, spoil: Spoil) -> Vec<u8> {
    if spoil == Spoil::Silence {
        return Vec::new();
    }
    let mut body = answer.body.as_deref().unwrap_or(b"").to_vec();
    if let (Spoil::Content, Some(byte)) = (spoil, body.last_mut()) {
        *byte ^= 1;
    }
    let date = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(now.unix_s);
    let date = httpdate::fmt_http_date(date);
    let head = format!("HTTP/1.1 {} X\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n", answer.status, body.len());
    [head.into_bytes(), body].concat()
}

impl Node for Server {
    fn turn(&mut self, now: Now) -> Turn {
        let received = self.receive(now);
        self.host.poll(now.mono);
        self.serve(now);
        self.host.poll(now.mono);
        let mut sent = 0;
        for bytes in self.host.take_frames() {
            let mut burst: Burst<SimFrame> = Burst::new();
            burst.push(self.port.alloc(bytes.len()).unwrap());
            burst[0].set_len(bytes.len());
            burst[0].bytes_mut().copy_from_slice(&bytes);
            if self.spoil == Spoil::Checksum && bytes.len() > 500 {
                burst[0].bytes_mut()[100] ^= 1;
            }
            sent += self.port.transmit(&mut burst);
        }
        let counted = if self.spoil == Spoil::Count { 0 } else { sent };
        self.counters.add(Counter::TxFrames, counted as u64);
        assert!(received <= BURST_MAX);
        Turn { received, sent, expired: 0 }
    }

    fn port(&mut self) -> &mut SimPort {
        &mut self.port
    }

    fn held(&self) -> Held {
        let busy = |(_, inbox, outbox): &&(Line, Vec<u8>, Vec<u8>)| !inbox.is_empty() || !outbox.is_empty();
        Held { connections: self.sockets.iter().filter(busy).count(), ..Held::default() }
    }
}

fn plan(v6: bool) -> Plan {
    let mut plan = Plan::quiet(1);
    plan.config.workers.count = Some(1);
    plan.hosts[0].place = plan::place(0, v6, false, None);
    plan.hosts[0].up.loss_ppm = 10_000;
    plan.hosts[0].down.loss_ppm = 10_000;
    plan.clients = vec![
        ClientPlan::plain(vec![Request::get("/small"), Request::post("/medium", Content::Length(3000))]),
        ClientPlan { pipeline: 2, write_max: 7, ..ClientPlan::plain(vec![Request::get("/small"); 6]) },
        ClientPlan { end: crate::sim::client::End::HalfClose, ..ClientPlan::plain(vec![Request::get("/large")]) },
    ];
    plan
}

fn run(plan: Plan, spoil: Spoil) -> Result<verdict::Report, String> {
    let copy = plan.clone();
    let mut world = World::new(plan, |_, port, counters| Server::new(&copy, port, counters, spoil));
    verdict::run(&mut world)
}

#[test]
fn a_plain_server_passes_over_a_lossy_wire() {
    for v6 in [false, true] {
        let report = run(plan(v6), Spoil::Nothing).unwrap();
        assert_eq!((report.clients, report.answered, report.excused), (3, 9, 0));
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let first = run(plan(false), Spoil::Nothing).unwrap();
    assert_eq!(run(plan(false), Spoil::Nothing).unwrap(), first);
    let other = Plan { seed: 2, ..plan(false) };
    assert_ne!(run(other, Spoil::Nothing).unwrap().trace, first.trace);
}

#[test]
fn every_spoiled_server_is_noticed() {
    for (spoil, reason) in [
        (Spoil::Content, "content differs from byte 12"),
        (Spoil::Checksum, "wrong TCP checksum"),
        (Spoil::Silence, "is stuck"),
        (Spoil::Leak, "frames out of the pool"),
        (Spoil::Count, "penstock_tx_frames_total: 0 instead of"),
        (Spoil::Reset, "lost its connection: reset"),
    ] {
        let mut plan = plan(false);
        plan.patience = Duration::from_secs(20);
        let reasons = run(plan, spoil).unwrap_err();
        assert!(reasons.contains(reason), "{spoil:?}: {reasons}");
    }
}
