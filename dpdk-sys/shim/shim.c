#include "shim.h"

#include <sched.h>
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

int shim_lcore_on_cpu(unsigned int lcore, unsigned int cpu)
{
	rte_cpuset_t cpus = rte_lcore_cpuset(lcore);

	return cpu < CPU_SETSIZE && CPU_ISSET(cpu, &cpus);
}

int shim_errno(void)
{
	return rte_errno;
}

static shim_log_sink log_sink;
static FILE *log_stream;

/* The cookie: NULL for the log, whose messages have a level, else for what was meant for standard error. */
static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	uint32_t level = cookie == NULL ? (uint32_t)rte_log_cur_msg_loglevel() : RTE_LOG_ERR;

	log_sink(level, text, len);
	return (ssize_t)len;
}

static const cookie_io_functions_t log_functions = { .write = log_write };

int shim_log_to(shim_log_sink sink)
{
	log_sink = sink;
	log_stream = fopencookie(NULL, "w", log_functions);
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
	FILE *complaints = plain ? NULL : fopencookie(&log_sink, "w", log_functions);
	int code;

	if (nowhere != NULL)
		stdout = nowhere;
	if (complaints != NULL)
		stderr = complaints;
	code = rte_eal_init(argc, argv);
	stdout = out;
	stderr = err;
	if (nowhere != NULL)
		fclose(nowhere);
	if (complaints != NULL)
		fclose(complaints);
	return code;
#else
	(void)plain;
	return rte_eal_init(argc, argv);
#endif
}
