/* SPDX-License-Identifier: MIT */
/*
 * pagerank.c's iteration in one cooperative launch, without the host in between.
 *
 * Nodes push along their links instead of pulling: links are spread over the threads evenly,
 * however many one node has, and nothing is transposed. What arrives at a node is added up in
 * fixed point with 63 bits, where the order of atomic additions does not matter. All other sums go
 * by chunks that depend on n alone. So the answer has the same bits on any device.
 *
 * It differs from pagerank.c's by rounding: 2^-64 for each link in a step, and as a double
 * otherwise. The ranks' differences add up to less than 1e-12 + 2^-63 e / (1 - damping), with
 * damping = 1 times the iterations instead. The residual's difference is below twice that; where
 * the tolerance lies in between, the number of iterations may differ.
 */
#include <math.h>

#include "gpu/kernels/grid.cuh"

#define PAGERANK_THREADS   512
#define PAGERANK_CHUNKS	   256	/* of nodes, with a partial sum each */
#define PAGERANK_MIN_CHUNK 1024 /* nodes */
#define PAGERANK_SHARE	   2048 /* nodes and links that make one more block worthwhile */
#define PAGERANK_ONE	   0x1p63

/* Scratch: zeroed before the run. */
struct pagerank_work {
	uint64_t arrived; /* rk_grid_sync() */
	uint64_t invalid;
	double dangling[PAGERANK_CHUNKS]; /* what the chunk's nodes without links hold */
	double moved[PAGERANK_CHUNKS];	  /* by how much the chunk's ranks moved in this step */
	uint64_t incoming[];		  /* n: what has arrived at each node in this step */
};

static_assert(sizeof(struct pagerank_work) == 514 * 8, "etc/kernels.d/pagerank.ini has it");

struct pagerank_graph {
	const uint32_t *offsets, *targets;
	uint64_t n, e;
	uint32_t *sources; /* the node that link i leaves from */
	uint64_t *share;   /* what a node gives along each of its links, in fixed point */
	double *rank;
	struct pagerank_work *work;
	uint32_t blocks; /* that take part */
	uint64_t chunk, chunks;
};

static __device__ inline uint64_t pagerank_threads(const struct pagerank_graph &g)
{
	return (uint64_t)g.blocks * blockDim.x;
}

static __device__ bool pagerank_is_invalid(const struct pagerank_graph &g)
{
	bool bad = g.n > UINT32_MAX || g.offsets[0] != 0 || g.offsets[g.n] != g.e;

	for (uint64_t u = rk_grid_thread(); u < g.n; u += pagerank_threads(g))
		bad = bad || g.offsets[u] > g.offsets[u + 1];
	for (uint64_t i = rk_grid_thread(); i < g.e; i += pagerank_threads(g))
		bad = bad || g.targets[i] >= g.n;
	return bad;
}

/* The node whose links @link is among. */
static __device__ uint32_t pagerank_source(const struct pagerank_graph &g, uint64_t link)
{
	uint64_t low = 0, high = g.n; /* offsets[low] <= link < offsets[high] */

	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;

		if (g.offsets[middle] <= link)
			low = middle;
		else
			high = middle;
	}
	return (uint32_t)low;
}

/* Give node @u's rank to its links, or return it where there are none. */
static __device__ double pagerank_divide(const struct pagerank_graph &g, uint64_t u, double rank)
{
	uint32_t links = g.offsets[u + 1] - g.offsets[u];

	if (links == 0)
		return rank;
	g.share[u] = (uint64_t)(rank / links * PAGERANK_ONE + 0.5);
	return 0;
}

static __device__ void pagerank_begin(const struct pagerank_graph &g, double *part)
{
	for (uint64_t i = rk_grid_thread(); i < g.e; i += pagerank_threads(g))
		g.sources[i] = pagerank_source(g, i);
	for (uint64_t c = blockIdx.x; c < g.chunks; c += g.blocks) {
		const uint64_t end = (c + 1) * g.chunk < g.n ? (c + 1) * g.chunk : g.n;
		double dangling = 0;

		for (uint64_t v = c * g.chunk + threadIdx.x; v < end; v += blockDim.x) {
			g.rank[v] = 1.0 / (double)g.n;
			dangling += pagerank_divide(g, v, g.rank[v]);
		}
		dangling = rk_block_sum(dangling, part);
		if (threadIdx.x == 0)
			g.work->dangling[c] = dangling;
	}
}

static __device__ void pagerank_push(const struct pagerank_graph &g)
{
#pragma unroll 4
	for (uint64_t i = rk_grid_thread(); i < g.e; i += pagerank_threads(g))
		rk_atomic_add(&g.work->incoming[g.targets[i]], g.share[g.sources[i]]);
}

/* The new ranks, and what the next step pushes of them. */
static __device__ void pagerank_collect(const struct pagerank_graph &g, double base, double damping,
					double *part)
{
	for (uint64_t c = blockIdx.x; c < g.chunks; c += g.blocks) {
		const uint64_t end = (c + 1) * g.chunk < g.n ? (c + 1) * g.chunk : g.n;
		double dangling = 0, moved = 0;

		for (uint64_t v = c * g.chunk + threadIdx.x; v < end; v += blockDim.x) {
			double sum = (double)g.work->incoming[v] * (1 / PAGERANK_ONE);
			double rank = base + damping * sum;

			moved += fabs(rank - g.rank[v]);
			g.rank[v] = rank;
			g.work->incoming[v] = 0;
			dangling += pagerank_divide(g, v, rank);
		}
		dangling = rk_block_sum(dangling, part);
		moved = rk_block_sum(moved, part);
		if (threadIdx.x == 0) {
			g.work->dangling[c] = dangling;
			g.work->moved[c] = moved;
		}
	}
}

/* The sum over all chunks, the same in every block. */
static __device__ double pagerank_total(const struct pagerank_graph &g, const double *of_chunks,
					double *part)
{
	double sum = 0;

	for (uint64_t c = threadIdx.x; c < g.chunks; c += blockDim.x)
		sum += of_chunks[c];
	return rk_block_sum(sum, part);
}

static __device__ void pagerank_iterate(const struct pagerank_graph &g, double damping,
					double tolerance, uint32_t max_iterations,
					uint32_t *iterations, double *residual)
{
	__shared__ double part[PAGERANK_THREADS];
	double moved = NAN;
	uint32_t step = 0;

	pagerank_begin(g, part);
	rk_grid_sync(&g.work->arrived, g.blocks);
	/* written so that a NaN goes on */
	while (step < max_iterations && !(moved < tolerance)) {
		double dangling = pagerank_total(g, g.work->dangling, part);
		double base = (1 - damping + damping * dangling) / (double)g.n;

		pagerank_push(g);
		rk_grid_sync(&g.work->arrived, g.blocks);
		pagerank_collect(g, base, damping, part);
		rk_grid_sync(&g.work->arrived, g.blocks);
		moved = pagerank_total(g, g.work->moved, part);
		step++;
	}
	if (rk_grid_thread() == 0) {
		*iterations = step;
		*residual = moved;
	}
}

/* @sources, @share and @work are scratch; @in is for pagerank.c. */
extern "C" __global__ void __launch_bounds__(PAGERANK_THREADS, 2)
	pagerank(const uint32_t *offsets, const uint32_t *targets, double damping, double tolerance,
		 uint32_t max_iterations, double *rank, uint32_t *iterations, double *residual,
		 uint32_t *in, uint32_t *sources, double *share, uint64_t n, uint64_t e,
		 struct pagerank_work *work)
{
	const uint64_t wanted = (n + e) / PAGERANK_SHARE + 1, even = n / PAGERANK_CHUNKS + 1;
	struct pagerank_graph g = {};

	(void)in;
	static_assert(sizeof(*share) == sizeof(*g.share), "fixed point takes its place");
	g.offsets = offsets;
	g.targets = targets;
	g.n = n;
	g.e = e;
	g.sources = sources;
	g.share = (uint64_t *)share;
	g.rank = rank;
	g.work = work;
	g.blocks = wanted < gridDim.x ? (uint32_t)wanted : gridDim.x;
	g.chunk = even > PAGERANK_MIN_CHUNK ? even : PAGERANK_MIN_CHUNK;
	g.chunks = n ? (n - 1) / g.chunk + 1 : 0;
	if (blockIdx.x >= g.blocks)
		return;
	if (__syncthreads_or(pagerank_is_invalid(g)) && threadIdx.x == 0)
		rk_atomic_add(&work->invalid, 1);
	rk_grid_sync(&work->arrived, g.blocks);
	/* written so that a NaN is refused too */
	if (!(damping >= 0 && damping <= 1) || !(tolerance >= 0) || work->invalid) {
		for (uint64_t v = rk_grid_thread(); v < n; v += pagerank_threads(g))
			rank[v] = NAN;
		if (rk_grid_thread() == 0) {
			*iterations = 0;
			*residual = NAN;
		}
	} else if (n == 0) {
		if (rk_grid_thread() == 0) {
			*iterations = 0;
			*residual = 0;
		}
	} else {
		pagerank_iterate(g, damping, tolerance, max_iterations, iterations, residual);
	}
}
