/* SPDX-License-Identifier: MIT */
/*
 * PageRank by power iteration: S. Brin and L. Page, "The Anatomy of a Large-Scale Hypertextual
 * Web Search Engine", Computer Networks 30, 1998. What dangling nodes hold goes to all nodes
 * alike, and the iteration ends on the L1 norm of a step: A. N. Langville and C. D. Meyer,
 * "Google's PageRank and Beyond", Princeton University Press, 2006, chapters 4 and 8.
 *
 * A node pulls from those that link to it, so threads write apart and need no atomics. Sums are
 * made per chunk of nodes, and the chunks' sums added in order: the result has the same bits
 * for any number of threads.
 */
#include <math.h>
#include <string.h>

#include "gpu/base/parallel.h"
#include "gpu/kernels/kernels.h"

#define MIN_CHUNK  4096 /* nodes: tens of microseconds */
#define MAX_CHUNKS 256

struct graph {
	const uint32_t *offsets; /* links out of node u: offsets[u] to offsets[u + 1] - 1 */
	const uint32_t *sources; /* the transpose: the nodes that link to v are */
	const uint32_t *in;	 /* sources[in[v]] to sources[in[v + 1] - 1], ascending */
	uint64_t n;
	uint64_t chunk;
	double damping;
	double base; /* what every node gets in this step apart from links */
	double *rank;
	double *share; /* what a node gives along each of its links in this step */
	double sums[MAX_CHUNKS];
};

static double add_up(const struct graph *g)
{
	double sum = 0;

	for (uint64_t i = 0; i < (g->n - 1) / g->chunk + 1; i++)
		sum += g->sums[i];
	return sum;
}

/* share from rank; the chunk's sum is what its dangling nodes hold. */
static void divide_ranks(void *ctx, uint64_t begin, uint64_t end)
{
	struct graph *g = ctx;
	double dangling = 0;

	for (uint64_t u = begin; u < end; u++) {
		uint32_t links = g->offsets[u + 1] - g->offsets[u];

		if (links == 0)
			dangling += g->rank[u];
		g->share[u] = links ? g->rank[u] / links : 0;
	}
	g->sums[begin / g->chunk] = dangling;
}

/* rank from share; the chunk's sum is by how much its ranks moved. */
static void collect_ranks(void *ctx, uint64_t begin, uint64_t end)
{
	struct graph *g = ctx;
	double moved = 0;

	for (uint64_t v = begin; v < end; v++) {
		double sum = 0, rank;

		for (uint32_t i = g->in[v]; i < g->in[v + 1]; i++)
			sum += g->share[g->sources[i]];
		rank = g->base + g->damping * sum;
		moved += fabs(rank - g->rank[v]);
		g->rank[v] = rank;
	}
	g->sums[begin / g->chunk] = moved;
}

static int is_valid(const uint32_t *offsets, const uint32_t *targets, uint64_t n, uint64_t e)
{
	if (n > UINT32_MAX || offsets[0] != 0 || offsets[n] != e)
		return 0;
	for (uint64_t u = 0; u < n; u++)
		if (offsets[u] > offsets[u + 1])
			return 0;
	for (uint64_t i = 0; i < e; i++)
		if (targets[i] >= n)
			return 0;
	return 1;
}

/* The links the other way round, by a counting sort. */
static void transpose(const uint32_t *offsets, const uint32_t *targets, uint64_t n, uint64_t e,
		      uint32_t *in, uint32_t *sources)
{
	uint32_t sum = 0;

	memset(in, 0, (n + 1) * sizeof(*in));
	for (uint64_t i = 0; i < e; i++)
		in[targets[i]]++;
	for (uint64_t v = 0; v <= n; v++) {
		uint32_t count = in[v];

		in[v] = sum;
		sum += count;
	}
	for (uint64_t u = 0; u < n; u++)
		for (uint32_t i = offsets[u]; i < offsets[u + 1]; i++)
			sources[in[targets[i]]++] = (uint32_t)u;
	/* each entry has moved on to where the next node begins */
	memmove(in + 1, in, n * sizeof(*in));
	in[0] = 0;
}

void rk_kernel_pagerank(const uint32_t *offsets, const uint32_t *targets, double damping,
			double tolerance, uint32_t max_iterations, double *rank,
			uint32_t *iterations, double *residual, uint32_t *in, uint32_t *sources,
			double *share, uint64_t n, uint64_t e)
{
	struct graph g = {.offsets = offsets, .sources = sources, .in = in, .n = n};

	g.damping = damping;
	g.rank = rank;
	g.share = share;
	g.chunk = n / MAX_CHUNKS + 1 > MIN_CHUNK ? n / MAX_CHUNKS + 1 : MIN_CHUNK;
	*iterations = 0;
	*residual = NAN;
	/* written so that a NaN fails too */
	if (!(damping >= 0 && damping <= 1) || !(tolerance >= 0) ||
	    !is_valid(offsets, targets, n, e)) {
		for (uint64_t v = 0; v < n; v++)
			rank[v] = NAN;
		return;
	}
	if (n == 0) {
		*residual = 0;
		return;
	}
	transpose(offsets, targets, n, e, in, sources);
	for (uint64_t v = 0; v < n; v++)
		rank[v] = 1.0 / (double)n;
	while (*iterations < max_iterations && !(*residual < tolerance)) {
		rk_parallel_for(n, g.chunk, divide_ranks, &g);
		g.base = (1 - damping + damping * add_up(&g)) / (double)n;
		rk_parallel_for(n, g.chunk, collect_ranks, &g);
		*residual = add_up(&g);
		++*iterations;
	}
}
