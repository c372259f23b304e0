#define _GNU_SOURCE
#include "shim.h"

#include <stdio.h>

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

uint16_t shim_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, frames, count);
}

struct rte_mbuf *shim_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void shim_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

uint64_t shim_rdtsc(void)
{
	return rte_rdtsc();
}

unsigned int shim_lcore_id(void)
{
	return rte_lcore_id();
}

int shim_errno(void)
{
	return rte_errno;
}

static shim_log_sink log_sink;
static FILE *log_stream;

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, len);
	return (ssize_t)len;
}

int shim_log_to(shim_log_sink sink)
{
	static const cookie_io_functions_t functions = { .write = log_write };

	log_sink = sink;
	log_stream = fopencookie(NULL, "w", functions);
	if (log_stream == NULL)
		return -1;
	setvbuf(log_stream, NULL, _IOLBF, 0);
	return rte_openlog_stream(log_stream);
}

int shim_eal_init(int argc, char **argv, int plain)
{
#ifdef __GLIBC__
	FILE *out = stdout, *err = stderr;
	FILE *nowhere = plain ? NULL : fopen("/dev/null", "w");
	int code;

	if (nowhere != NULL && log_stream != NULL) {
		stdout = nowhere;
		stderr = log_stream;
	}
	code = rte_eal_init(argc, argv);
	stdout = out;
	stderr = err;
	if (log_stream != NULL)
		fflush(log_stream);
	if (nowhere != NULL)
		fclose(nowhere);
	return code;
#else
	(void)plain;
	return rte_eal_init(argc, argv);
#endif
}
