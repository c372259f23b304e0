//! Ethernet devices: finding, configuring, starting and stopping them.
//!
//! Owns the negotiation of queues, descriptors and offloads with what the device has. Refuses to move frames: `start`
//! gives a [`QueuePort`] for each queue pair.

use super::packet_socket::PacketSocket;
use super::queue::{Device, QueuePort};
use super::{Eal, Pool, check, explain, log};
use crate::failure::{Exit, Failure};
use crate::port::Caps;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use dpdk_sys as sys;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Descriptors wanted for each queue; the device's limits apply.
const DESCRIPTORS: u16 = 1024;
/// Room of a frame at least, in bytes.
const ROOM_MIN: usize = 2048;
/// What drivers count for a frame beside its IP packet: Ethernet header, two VLAN tags, CRC.
const L2_OVERHEAD: usize = 14 + 2 * 4 + 4;
/// The most queue pairs net_tap takes; more abort inside the driver.
const TAP_QUEUES_MAX: u16 = 4;
/// How long a link may take to come up at start.
const LINK_WAIT: Duration = Duration::from_secs(5);
const LINK_POLL: Duration = Duration::from_millis(20);

/// What is asked of a device.
#[derive(Clone, Debug, Default)]
pub struct PortOptions {
    /// Queue pairs wanted; the device may have fewer.
    pub queues: u16,
    /// IP packet size in bytes; None: as the device is set.
    pub mtu: Option<u16>,
    /// Whether frames to any multicast address are wanted, as IPv6 neighbour discovery needs.
    pub multicast: bool,
    /// Bytes of room in a pool's frame; longer frames then arrive as chains. None: room for the longest frame.
    pub room: Option<u16>,
}

/// What a device was configured to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortShape {
    /// Queue pairs.
    pub queues: u16,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// IP packet size in bytes.
    pub mtu: u16,
    /// Bytes of room a pool's frames need.
    pub room: u16,
    /// Whether the device spreads flows over the queues by RSS.
    pub rss: bool,
    /// Receive offloads in use, as RTE_ETH_RX_OFFLOAD_ bits.
    rx_offloads: u64,
    /// Transmit offloads in use, as RTE_ETH_TX_OFFLOAD_ bits.
    tx_offloads: u64,
}

/// A device that EAL probed. Stopped and closed when it and all its queue pairs are dropped.
pub struct EthPort {
    device: Arc<Device>,
    info: Box<sys::rte_eth_dev_info>,
    name: String,
}

impl EthPort {
    /// The port of a device (a vdev argument or PCI address, arguments after a comma ignored), or the only port there
    /// is.
    ///
    /// # Errors
    /// `Exit::Environment`, with what the driver logged, when EAL has no such port, none at all, or several to choose
    /// from; when it was found before and is not closed yet.
    pub fn find(eal: &Eal, device: Option<&str>) -> Result<EthPort, Failure> {
        let ports = ports();
        let names: Vec<String> = ports.iter().map(|id| port_name(*id)).collect();
        let wanted = device.map(|device| device.split(',').next().unwrap_or_default());
        let id = match wanted {
            Some(wanted) => port_by_name(wanted),
            None if ports.len() > 1 => {
                let what = format!("EAL has {} ports: {}", names.len(), names.join(", "));
                return Err(Failure::new(Exit::Environment, what).fix("choose one: port.device in the configuration"));
            }
            None => ports.first().copied(),
        };
        let id = id.ok_or_else(|| explain::no_port(wanted, &log::take_errors(), &names))?;
        let name = port_name(id);
        let info = device_info(id, &name)?;
        let Some(device) = Device::open(id, eal) else {
            return Err(Failure::new(Exit::Environment, format!("{name} is in use by this process already")));
        };
        Ok(EthPort { device: Arc::new(device), info, name })
    }

    /// The name EAL knows the device by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver's name, such as `net_tap`.
    pub fn driver(&self) -> String {
        if self.info.driver_name.is_null() {
            return "unknown".into();
        }
        // SAFETY: a driver's name is a static string that ends in NUL.
        unsafe { CStr::from_ptr(self.info.driver_name) }.to_string_lossy().into_owned()
    }

    /// The NUMA node of the device; None: unknown or a vdev.
    pub fn node(&self) -> Option<u32> {
        // SAFETY: the port exists.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(self.device.id) }).ok()
    }

    /// The number of the kernel's interface that the device is or works through; None: it has none.
    pub fn interface(&self) -> Option<u32> {
        Some(self.info.if_index).filter(|index| *index > 0)
    }

    /// Sets queues, MTU and every offload that both sides have.
    ///
    /// # Errors
    /// `Exit::Environment` when the device has no queue or refuses the configuration.
    pub fn configure(&mut self, options: &PortOptions) -> Result<PortShape, Failure> {
        let id = self.device.id;
        let mut shape = self.shape(options)?;
        let mut code = self.apply(&shape);
        if code < 0 && shape.rss {
            // Some drivers list hash types that they then refuse.
            shape.rss = false;
            shape.rx_offloads &= !sys::SHIM_RX_OFFLOAD_RSS_HASH;
            code = self.apply(&shape);
        }
        check(code, || format!("{} refused {} queue pairs with MTU {}", self.name, shape.queues, shape.mtu))?;
        let (rx, tx) = (&mut shape.rx_descriptors, &mut shape.tx_descriptors);
        // SAFETY: the port is configured and stopped.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, rx, tx) };
        check(code, || format!("{} gave no descriptor counts", self.name))?;
        if options.mtu.is_some() {
            // Drivers that know no MTU answer ENOTSUP; then the frame size is what `configure` said.
            // SAFETY: the port is configured.
            unsafe { sys::rte_eth_dev_set_mtu(id, shape.mtu) };
        }
        Ok(shape)
    }

    /// Starts the device and waits a few seconds for its link; one queue pair for each pool, in order.
    ///
    /// # Errors
    /// `Exit::Environment` when a queue cannot be set up or the device does not start.
    pub fn start(&self, shape: &PortShape, options: &PortOptions, pools: &[Pool]) -> Result<Vec<QueuePort>, Failure> {
        let id = self.device.id;
        if pools.len() != usize::from(shape.queues) || self.device.pools.set(pools.to_vec()).is_err() {
            return Err(Failure::new(Exit::Runtime, format!("{} was given {} pools", self.name, pools.len())));
        }
        for (queue, pool) in (0..shape.queues).zip(pools) {
            self.set_up_queue(shape, queue, pool)?;
        }
        // SAFETY: the port is configured and its queues are set up.
        check(unsafe { sys::rte_eth_dev_start(id) }, || format!("{} did not start", self.name))?;
        if options.multicast {
            // SAFETY: the port is started. A device without the filter gets everything.
            unsafe {
                if sys::rte_eth_allmulticast_enable(id) < 0 {
                    sys::rte_eth_promiscuous_enable(id);
                }
            }
        }
        let caps = self.caps(shape)?;
        let mut sockets = self.packet_sockets().into_iter();
        let queue = |(queue, pool): (u16, &Pool)| QueuePort::new(&self.device, queue, pool, &caps, sockets.next());
        Ok((0..shape.queues).zip(pools).map(queue).collect())
    }

    /// Waits until the link is up, `LINK_WAIT` at most; calls `progress` with that in seconds when it takes
    /// more than an instant.
    pub fn wait_link(&self, mut progress: impl FnMut(u64)) -> bool {
        let start = Instant::now();
        let mut said = false;
        while !self.link_up() {
            if start.elapsed() > LINK_WAIT {
                return false;
            }
            if !said && start.elapsed() > LINK_POLL * 10 {
                progress(LINK_WAIT.as_secs());
                said = true;
            }
            std::thread::sleep(LINK_POLL);
        }
        true
    }

    /// Whether the link is up.
    pub fn link_up(&self) -> bool {
        let mut link = MaybeUninit::<sys::rte_eth_link>::zeroed();
        // SAFETY: the port exists; the call fills in `link`, for which all zero is a value too.
        unsafe {
            sys::rte_eth_link_get_nowait(self.device.id, link.as_mut_ptr()) == 0
                && link.assume_init().link_status() == 1
        }
    }

    /// What the started device spreads segments by: its hash key and table; None where it does not say.
    pub fn rss(&self) -> Option<(Vec<u8>, Vec<u16>, bool)> {
        let mut key = vec![0u8; usize::from(self.info.hash_key_size).max(40)];
        // SAFETY: all zero is a value of this structure of integers and a pointer.
        let mut conf: sys::rte_eth_rss_conf = unsafe { core::mem::zeroed() };
        (conf.rss_key, conf.rss_key_len) = (key.as_mut_ptr(), key.len() as u8);
        // SAFETY: the port exists; the key has the length told, which the driver writes to at most.
        if unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.device.id, &mut conf) } < 0 {
            return None;
        }
        let size = usize::from(self.info.reta_size);
        // SAFETY: all zero is a value of this structure of integers.
        let group: sys::rte_eth_rss_reta_entry64 = unsafe { core::mem::zeroed() };
        let mut groups = vec![sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..group }; size.div_ceil(RETA_GROUP)];
        // SAFETY: the port exists; there are groups for `size` entries.
        let code = unsafe { sys::rte_eth_dev_rss_reta_query(self.device.id, groups.as_mut_ptr(), size as u16) };
        if code < 0 {
            return None;
        }
        let table = (0..size).map(|i| groups[i / RETA_GROUP].reta[i % RETA_GROUP]).collect();
        Some((key, table, conf.rss_hf & sys::SHIM_RSS_TCP != 0))
    }

    /// The device's basic counters, then its extended ones.
    pub fn stats(&self) -> Vec<(String, u64)> {
        super::stats::read(self.device.id)
    }

    /// The device's basic counters.
    pub fn basic_stats(&self) -> Vec<(String, u64)> {
        super::stats::basic(self.device.id)
    }

    fn shape(&self, options: &PortOptions) -> Result<PortShape, Failure> {
        let info = &self.info;
        let mut most = info.max_rx_queues.min(info.max_tx_queues);
        if self.driver() == "net_tap" {
            most = most.min(TAP_QUEUES_MAX);
        }
        let queues = options.queues.max(1).min(most);
        if queues == 0 {
            return Err(Failure::new(Exit::Environment, format!("{} has no queue pair", self.name)));
        }
        let current = self.current_mtu();
        let mtu = options.mtu.unwrap_or(current).clamp(info.min_mtu, info.max_mtu.max(info.min_mtu).max(1));
        let rss = queues > 1 && info.flow_type_rss_offloads & WANTED_RSS != 0;
        let mut rx = info.rx_offload_capa & WANTED_RX;
        if !rss {
            rx &= !sys::SHIM_RX_OFFLOAD_RSS_HASH;
        }
        let frame = usize::from(mtu) + L2_OVERHEAD;
        let whole = frame.next_multiple_of(64).clamp(ROOM_MIN, usize::from(u16::MAX - 256));
        let room = options.room.map_or(whole, usize::from);
        if frame <= room {
            // Nothing needs a chain, and the ability alone costs: slower receive functions in drivers of NICs, a
            // thousand iovecs for each read in net_tap.
            rx &= !sys::SHIM_RX_OFFLOAD_SCATTER;
        }
        Ok(PortShape {
            queues,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu,
            room: room as u16,
            rss,
            rx_offloads: rx,
            tx_offloads: info.tx_offload_capa & WANTED_TX,
        })
    }

    /// Whether the driver is asked to report a queue's frames. Network cards want an interrupt for each queue, which not
    /// every binding has; so far only net_tap is asked, whose queues are file descriptors.
    fn can_interrupt(&self) -> bool {
        self.driver() == "net_tap"
    }

    /// One for each queue of net_af_packet, to wait for; empty for other drivers.
    fn packet_sockets(&self) -> Vec<PacketSocket> {
        let interface = self.interface().filter(|_| self.driver() == "net_af_packet");
        let queues = usize::from(self.info.max_rx_queues);
        interface.and_then(|index| PacketSocket::of_interface(index, queues)).unwrap_or_default()
    }

    fn current_mtu(&self) -> u16 {
        let mut mtu = 0;
        // SAFETY: the port exists.
        let code = unsafe { sys::rte_eth_dev_get_mtu(self.device.id, &mut mtu) };
        if code == 0 && mtu > 0 { mtu } else { 1500 }
    }

    /// `rte_eth_dev_configure`.
    fn apply(&self, shape: &PortShape) -> i32 {
        // SAFETY: integers, arrays of them and nullable pointers: all zero is a value, and DPDK's default.
        let mut conf: sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        conf.rxmode.mtu = u32::from(shape.mtu);
        conf.rxmode.offloads = shape.rx_offloads;
        conf.txmode.offloads = shape.tx_offloads;
        if self.can_interrupt() {
            conf.intr_conf.set_rxq(1);
        }
        if shape.rss {
            conf.rxmode.mq_mode = sys::rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = self.info.flow_type_rss_offloads & WANTED_RSS;
        }
        // SAFETY: the port exists and is stopped; `conf` is copied.
        unsafe { sys::rte_eth_dev_configure(self.device.id, shape.queues, shape.queues, &conf) }
    }

    fn set_up_queue(&self, shape: &PortShape, queue: u16, pool: &Pool) -> Result<(), Failure> {
        let id = self.device.id;
        let node = self.node().unwrap_or(sys::SHIM_SOCKET_ANY as u32);
        // SAFETY: the port is configured for this queue; without a configuration the device's default holds; the pool
        // is kept by `device` until the port is closed.
        let (rx, tx) = unsafe {
            let none = core::ptr::null();
            (
                sys::rte_eth_rx_queue_setup(id, queue, shape.rx_descriptors, node, none, pool.as_ptr()),
                sys::rte_eth_tx_queue_setup(id, queue, shape.tx_descriptors, node, core::ptr::null()),
            )
        };
        check(rx, || format!("{}: receive queue {queue} with {} descriptors", self.name, shape.rx_descriptors))?;
        check(tx, || format!("{}: transmit queue {queue} with {} descriptors", self.name, shape.tx_descriptors))?;
        Ok(())
    }

    fn caps(&self, shape: &PortShape) -> Result<Caps, Failure> {
        let mut mac = MaybeUninit::<sys::rte_ether_addr>::zeroed();
        // SAFETY: the port exists; the call fills in `mac`, for which all zero is a value too.
        let (code, mac) = unsafe { (sys::rte_eth_macaddr_get(self.device.id, mac.as_mut_ptr()), mac.assume_init()) };
        check(code, || format!("{} has no Ethernet address", self.name))?;
        Ok(Caps {
            mac: mac.addr_bytes,
            mtu: shape.mtu.min(self.current_mtu()),
            rx_ip_checksum: shape.rx_offloads & sys::SHIM_RX_OFFLOAD_IPV4_CKSUM != 0,
            rx_tcp_checksum: shape.rx_offloads & sys::SHIM_RX_OFFLOAD_TCP_CKSUM != 0,
            tx_ip_checksum: shape.tx_offloads & sys::SHIM_TX_OFFLOAD_IPV4_CKSUM != 0,
            tx_tcp_checksum: shape.tx_offloads & sys::SHIM_TX_OFFLOAD_TCP_CKSUM != 0,
            rx_hash: shape.rx_offloads & sys::SHIM_RX_OFFLOAD_RSS_HASH != 0,
            can_wait: self.can_interrupt(),
        })
    }
}

/// Entries of one group of the indirection table (RTE_ETH_RETA_GROUP_SIZE).
const RETA_GROUP: usize = 64;
const WANTED_RSS: u64 = sys::SHIM_RSS_IP | sys::SHIM_RSS_TCP;
/// No LRO: what it joins is longer than a frame may be.
const WANTED_RX: u64 = sys::SHIM_RX_OFFLOAD_IPV4_CKSUM
    | sys::SHIM_RX_OFFLOAD_TCP_CKSUM
    | sys::SHIM_RX_OFFLOAD_RSS_HASH
    | sys::SHIM_RX_OFFLOAD_SCATTER;
const WANTED_TX: u64 = sys::SHIM_TX_OFFLOAD_IPV4_CKSUM | sys::SHIM_TX_OFFLOAD_TCP_CKSUM;

/// The ports that nobody owns: a port with an owner is a part of another, such as of a bonding device.
fn ports() -> Vec<u16> {
    let next = |from: u16| {
        // SAFETY: any number is a valid start.
        let id = unsafe { sys::rte_eth_find_next_owned_by(from, sys::SHIM_PORT_NO_OWNER) };
        u16::try_from(id).ok().filter(|id| *id < sys::SHIM_PORT_NONE)
    };
    std::iter::successors(next(0), |id| next(id + 1)).collect()
}

fn port_by_name(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: the name ends in NUL and is only read.
    (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } == 0).then_some(id)
}

fn port_name(id: u16) -> String {
    let mut name = [0; sys::SHIM_NAME_MAX];
    // SAFETY: the buffer has the size that DPDK writes at most, and stays NUL-terminated.
    unsafe {
        sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr());
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    }
}

fn device_info(id: u16, name: &str) -> Result<Box<sys::rte_eth_dev_info>, Failure> {
    let mut info = Box::new(MaybeUninit::<sys::rte_eth_dev_info>::zeroed());
    // SAFETY: the call fills in `info`: integers and nullable pointers, for which all zero is a value too.
    let (code, info) = unsafe { (sys::rte_eth_dev_info_get(id, info.as_mut_ptr()), info.assume_init()) };
    check(code, || format!("{name} does not describe itself"))?;
    Ok(info)
}
