/*
 * What bindgen cannot see of DPDK: static inline functions (declared here, compiled in shim.c) and macros (as typed
 * constants). Owns no policy. Uses nothing that DPDK 23.11 or later removed.
 */
#ifndef PENSTOCK_SHIM_H
#define PENSTOCK_SHIM_H

/* For CPU sets, without which rte_lcore.h leaves out rte_lcore_cpuset, and for fopencookie. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pdump.h>
#include <rte_version.h>

/* Inlines: one call for each burst or allocation, none for each field of an mbuf. */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t shim_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
struct rte_mbuf *shim_alloc(struct rte_mempool *pool);
int shim_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void shim_free(struct rte_mbuf *frame);
uint64_t shim_rdtsc(void);
unsigned int shim_lcore_id(void);

/* Whether the lcore's thread may run on the CPU. (rte_lcore_to_cpu_id tells the core of the CPU numbered like it.) */
int shim_lcore_on_cpu(unsigned int lcore, unsigned int cpu);
int shim_errno(void);

/*
 * rte_eal_init. Unless `plain`, what it prints past its log is caught: the page of options after a mistyped one is
 * dropped, and complaints on standard error go to the sink below.
 */
int shim_eal_init(int argc, char **argv, int plain);

/* Everything EAL and the drivers log from now on goes to `sink`, with its RTE_LOG_ level. Returns 0, or -1. */
typedef void (*shim_log_sink)(uint32_t level, const char *text, size_t len);
int shim_log_to(shim_log_sink sink);

/* Where the fields of an mbuf are: their nesting in unions differs between releases, the offsets are asked here. */
static const size_t SHIM_MBUF_SIZE = sizeof(struct rte_mbuf);
static const size_t SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);
static const size_t SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);
static const size_t SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);
static const size_t SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);
static const size_t SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);
static const size_t SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);
static const size_t SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt);
static const size_t SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next);
static const size_t SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);
static const size_t SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci);
static const size_t SHIM_MBUF_RSS = offsetof(struct rte_mbuf, hash.rss);
static const size_t SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload);

/* Bit positions in tx_offload. */
static const uint32_t SHIM_L2_LEN_SHIFT = RTE_MBUF_L2_LEN_OFS;
static const uint32_t SHIM_L3_LEN_SHIFT = RTE_MBUF_L3_LEN_OFS;
static const uint32_t SHIM_L4_LEN_SHIFT = RTE_MBUF_L4_LEN_OFS;
static const uint32_t SHIM_TSO_SEGSZ_SHIFT = RTE_MBUF_TSO_SEGSZ_OFS;

/* ol_flags. */
static const uint64_t SHIM_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t SHIM_RX_IP_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SHIM_RX_IP_UNKNOWN = RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN;
static const uint64_t SHIM_RX_IP_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SHIM_RX_L4_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_RX_L4_UNKNOWN = RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN;
static const uint64_t SHIM_RX_L4_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SHIM_ATTACHED = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
static const uint64_t SHIM_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t SHIM_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t SHIM_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t SHIM_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t SHIM_TX_TCP_SEG = RTE_MBUF_F_TX_TCP_SEG;

/* Device offloads and RSS. */
static const uint64_t SHIM_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t SHIM_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SHIM_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t SHIM_RSS_TCP = RTE_ETH_RSS_TCP;

/* Limits. */
static const size_t SHIM_NAME_MAX = RTE_ETH_NAME_MAX_LEN;
static const uint16_t SHIM_PORT_NONE = RTE_MAX_ETHPORTS;
static const uint64_t SHIM_PORT_NO_OWNER = RTE_ETH_DEV_NO_OWNER;
static const uint32_t SHIM_CPUS_MAX = CPU_SETSIZE;
static const uint32_t SHIM_LCORE_NONE = RTE_MAX_LCORE;
static const uint16_t SHIM_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const int SHIM_SOCKET_ANY = SOCKET_ID_ANY;
static const int SHIM_EPOLL_PER_THREAD = RTE_EPOLL_PER_THREAD;
static const int SHIM_INTR_EVENT_ADD = RTE_INTR_EVENT_ADD;

#endif
