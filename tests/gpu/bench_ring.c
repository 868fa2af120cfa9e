/* SPDX-License-Identifier: MIT */
/* A resident kernel: one message at a time as the worker has it, and the ring kept full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/internal.h"
#include "gpu/cuda/ring_internal.h"
#include "tests/gpu/bench.h"

#define WARM	      100
#define ROUND_TRIP_US 3.0 /* targets */
#define TIMES_FASTER  3.0
#define SUSTAINED_MPS 10.0
#define PUBLISHED_MPS 5.5 /* RingKernel's figure, on an H100 */
#define STUCK_US      10e6
#define SPINS	      (1U << 16) /* looks at the answer between two at the clock */
#define PART	      128	 /* bytes of a slot's input, and of its output */

/* --- one at a time --------------------------------------------------------------------- */

static void round_trips(struct bench *b, struct bench_kernel *k)
{
	const size_t rounds = b->quick ? 500 : 50000;
	double *answer = calloc(rounds, sizeof(*answer)), *all = calloc(rounds, sizeof(*all));
	struct bench_stats us, whole;
	struct bench_message m;
	char reference[256], text[160];

	if (!answer || !all)
		bench_fail("no memory");
	bench_message_n(k, &m, 1, 64);
	for (size_t i = 0; i < WARM + rounds; i++) {
		uint8_t *in = bench_input(&m, 0, 0), *out = bench_output(&m, 0, 0);
		double gpu, took;

		memset(in, (int)(i % 256), 64);
		took = bench_run(&m, &gpu);
		if (memcmp(in, out, 64) != 0)
			bench_fail("message %zu of a resident kernel is wrong", i);
		if (i < WARM)
			continue;
		answer[i - WARM] = gpu;
		all[i - WARM] = took;
	}
	bench_stats_of(&us, answer, rounds);
	bench_stats_of(&whole, all, rounds);
	snprintf(reference, sizeof(reference),
		 "<= %.0f us, and <= 1/%.0f of cuLaunchKernel + cuStreamSynchronize, spinning: %s",
		 ROUND_TRIP_US, TIMES_FASTER, bench_stats_text(&b->launch_us, "us"));
	snprintf(text, sizeof(text), "%s", bench_stats_text(&us, "us"));
	bench_row(us.p50 <= ROUND_TRIP_US && us.p50 * TIMES_FASTER <= b->launch_us.p50 ? "pass"
										       : "fail",
		  "resident kernel, host to GPU to host, 64 bytes, from the post to the answer",
		  reference, "%s, 1/%.1f of the launch (with the worker's copies %.2f us p50)",
		  text, b->launch_us.p50 / us.p50, whole.p50);
	bench_forget(&m);
	free(answer);
	free(all);
}

/* --- the ring kept full ------------------------------------------------------------------ */

struct stream_of {
	struct rk_cuda_ring *ring;
	uint64_t bytes; /* of a message */
	uint64_t first, answered, posted;
};

static uint8_t *part_of(const struct stream_of *s, uint64_t number)
{
	return s->ring->data + number % RK_RING_SLOTS * 2 * PART;
}

static void post(struct stream_of *s)
{
	struct rk_ring_slot *slot = &s->ring->shared->slots[s->posted % RK_RING_SLOTS];
	uint64_t at = s->ring->data_device + s->posted % RK_RING_SLOTS * 2 * PART;

	slot->args[0] = at;
	slot->args[1] = at + PART;
	slot->args[2] = s->bytes;
	if (s->bytes)
		memcpy(part_of(s, s->posted), &s->posted, sizeof(s->posted));
	__atomic_store_n(&slot->request, s->posted + 1, __ATOMIC_RELEASE);
	s->posted++;
}

/* Wait for the oldest, and look at what it says. */
static void await(struct stream_of *s)
{
	uint64_t *answer = &s->ring->shared->answers[s->answered % RK_RING_SLOTS];
	double until = 0;

	for (unsigned int spins = 1; __atomic_load_n(answer, __ATOMIC_ACQUIRE) != s->answered + 1;
	     spins++) {
		if (spins % SPINS)
			continue;
		if (until == 0)
			until = bench_now_us() + STUCK_US;
		else if (bench_now_us() > until)
			bench_fail("message %llu of a resident kernel gets no answer",
				   (unsigned long long)s->answered);
	}
	if (s->bytes && memcmp(part_of(s, s->answered) + PART, &s->answered, sizeof(s->answered)))
		bench_fail("message %llu of a resident kernel is wrong",
			   (unsigned long long)s->answered);
	s->answered++;
}

/* Messages per microsecond. */
static double keep_full(struct bench *b, struct rk_cuda_ring *ring, uint64_t bytes)
{
	const uint64_t count = b->quick ? 2000 : bytes ? 200000 : 2000000;
	struct stream_of s = {.ring = ring, .bytes = bytes};
	double begin = bench_now_us();

	s.first = s.posted = s.answered = ring->next;
	while (s.answered - s.first < count) {
		while (s.posted - s.answered < RK_RING_SLOTS && s.posted - s.first < count)
			post(&s);
		await(&s);
	}
	ring->next = s.answered; /* as if the backend had posted them */
	return (double)count / (bench_now_us() - begin);
}

static void sustained(struct bench *b, struct bench_kernel *k)
{
	struct rk_cuda_ring *ring = ((struct rk_cuda_kernel *)k->kernel)->ring;
	double empty[BENCH_ROUNDS], echo[BENCH_ROUNDS];
	struct bench_message large;
	struct bench_stats s;
	char reference[128];

	/* it is resident from here on, and has pinned memory for all slots */
	bench_message_n(k, &large, 1, RK_RING_SLOTS * 2 * PART);
	bench_run(&large, NULL);
	if (ring->data_bytes < RK_RING_SLOTS * 2 * PART)
		bench_fail("the ring has %llu bytes of pinned memory",
			   (unsigned long long)ring->data_bytes);
	memset(ring->data, 0, RK_RING_SLOTS * 2 * PART);
	for (size_t i = 0; i < BENCH_ROUNDS; i++) {
		empty[i] = keep_full(b, ring, 0);
		echo[i] = keep_full(b, ring, 64);
	}
	bench_stats_of(&s, empty, BENCH_ROUNDS);
	snprintf(reference, sizeof(reference),
		 ">= %.0f M/s; RingKernel publishes %.1f M/s on an H100", SUSTAINED_MPS,
		 PUBLISHED_MPS);
	bench_row(
		s.p50 >= SUSTAINED_MPS ? "pass" : "fail",
		"resident kernel, sustained: messages of three arguments and no data, posted "
		"straight to the ring, which is kept full (the daemon hands them over one by one)",
		reference, "%s", bench_stats_text(&s, "M/s"));
	bench_stats_of(&s, echo, BENCH_ROUNDS);
	bench_row("measured", "the same, each message an echo of 64 bytes of the host's memory",
		  "-", "%s", bench_stats_text(&s, "M/s"));
	bench_forget(&large);
}

void bench_rings(struct bench *b)
{
	struct bench_kernel k;

	bench_load(b, &k, "core/ring-echo");
	round_trips(b, &k);
	sustained(b, &k);
	bench_unload(&k);
}
