/* SPDX-License-Identifier: MIT */
/* A worker whose peer breaks the protocol: it must say so and exit, and never crash. */
#include "tests/unit/gpu/worker_peer.h"

/* Packets that break the protocol: each is made from a good one. */
typedef void (*spoil_control)(struct rk_wire_control *packet);
typedef void (*spoil_run)(struct rk_wire_run *run, size_t *len);

#define SPOIL(name, type, ...)                                                                     \
	static void name type                                                                      \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}
#define SPOIL_CONTROL(name, ...) SPOIL(name, (struct rk_wire_control * packet), __VA_ARGS__)
#define SPOIL_RUN(name, ...)                                                                       \
	SPOIL(name, (struct rk_wire_run * run, size_t * len), (void)run; (void)len; __VA_ARGS__)

SPOIL_CONTROL(bad_version, packet->version++)
SPOIL_CONTROL(type_zero, packet->type = 0)
SPOIL_CONTROL(type_not_ours, packet->type = RK_WIRE_READY)
SPOIL_CONTROL(type_unknown, packet->type = UINT32_MAX)
SPOIL_CONTROL(load_too_early, *packet = make_load(SLOT, &echo))
SPOIL_CONTROL(unload_too_early, packet->type = RK_WIRE_UNLOAD)
SPOIL_CONTROL(threads_none, packet->hello.threads = 0)
SPOIL_CONTROL(threads_many, packet->hello.threads = RK_WIRE_THREADS_MAX + 1)
SPOIL_CONTROL(level_unknown, packet->hello.settings.log_level = RK_LOG_TRACE + 1)
SPOIL_CONTROL(payload_empty, packet->hello.payload_bytes = 0)
SPOIL_CONTROL(payload_large, packet->hello.payload_bytes++)
SPOIL_CONTROL(payload_huge, packet->hello.payload_bytes = UINT64_MAX)
SPOIL_CONTROL(primary_open, memset(packet->hello.primary, 'x', RK_WIRE_NAME_MAX))
SPOIL_CONTROL(fallback_open, memset(packet->hello.fallback, 'x', RK_WIRE_NAME_MAX))

SPOIL_CONTROL(device_open, memset(packet->hello.device.device, 'x', RK_WIRE_NAME_MAX))
SPOIL_CONTROL(check_too_early, packet->type = RK_WIRE_CHECK)

SPOIL_CONTROL(hello_again, *packet = make_hello("cpu", ""))
SPOIL_CONTROL(level_later, packet->type = RK_WIRE_SETTINGS; packet->settings.log_level = UINT32_MAX)
SPOIL_CONTROL(no_such_backend, packet->load.backend = RK_WIRE_BACKEND_COUNT)
SPOIL_CONTROL(backend_not_here, packet->load.backend = RK_WIRE_CUDA; packet->load.block[0] = 1;
	      packet->load.block[1] = 1; packet->load.block[2] = 1)
SPOIL_CONTROL(mode_unknown, packet->load.mode = RK_WIRE_RING + 1)
SPOIL_CONTROL(batch_with_state, packet->load.state_bytes = 8)
SPOIL_CONTROL(state_not_there, *packet = make_ring_load(SLOT + 1, &running_stats, 0))
SPOIL_CONTROL(state_dtype, *packet = make_ring_load(SLOT + 1, &running_stats, 24);
	      packet->load.params[1].dtype = RK_I8)
SPOIL_CONTROL(fused_twice, packet->load.params[3].fused = 2)
SPOIL_CONTROL(fused_input, packet->load.params[0].fused = 1)
SPOIL_CONTROL(fused_ring, packet->load.mode = RK_WIRE_RING; packet->load.params[3].fused = 1)
SPOIL_CONTROL(slot_taken, packet->load.kernel = SLOT)
SPOIL_CONTROL(slot_high, packet->load.kernel = RK_WIRE_KERNELS_MAX)
SPOIL_CONTROL(unload_high, packet->type = RK_WIRE_UNLOAD; packet->kernel = RK_WIRE_KERNELS_MAX)
SPOIL_CONTROL(params_many, packet->load.nparams = RK_WIRE_ARGS_MAX + 1)
SPOIL_CONTROL(kind_none, packet->load.params[1].kind = 0)
SPOIL_CONTROL(kind_unknown, packet->load.params[1].kind = RK_WIRE_ARG_STATE + 1)
SPOIL_CONTROL(dtype_unknown, packet->load.params[0].dtype = RK_DTYPE_COUNT)
SPOIL_CONTROL(dim_dtype, packet->load.params[3].dtype = RK_U32)
SPOIL_CONTROL(id_open, memset(packet->load.id, 'x', sizeof(packet->load.id)))
SPOIL_CONTROL(library_open, memset(packet->load.library, 'x', RK_WIRE_PATH_MAX))
SPOIL_CONTROL(entry_open, memset(packet->load.entry, 'x', RK_WIRE_NAME_MAX))

SPOIL_RUN(run_short, *len = 1)
SPOIL_RUN(run_cut, *len -= sizeof(run->args[0]))
SPOIL_RUN(run_long, *len += sizeof(run->args[0]))
SPOIL_RUN(run_full, *len = sizeof(*run))
SPOIL_RUN(run_slot, run->slot = THREADS + 1)
SPOIL_RUN(run_longest, *len = RK_WIRE_RUN_MAX - 8) /* no whole number of runs */
SPOIL_RUN(run_space, run->spaces = 1ULL << 62)
/* two runs in one packet, of which the second is bad: the first does not run either */
#define SECOND(run, len) ((struct rk_wire_run *)((char *)(run) + (len)))
SPOIL_RUN(second_slot, memcpy(SECOND(run, *len), run, *len); SECOND(run, *len)->slot++; *len *= 2)
SPOIL_RUN(second_kernel, memcpy(SECOND(run, *len), run, *len);
	  SECOND(run, *len)->kernel = RK_WIRE_KERNELS_MAX; *len *= 2)
SPOIL_RUN(run_too_long, *len = RK_WIRE_RUN_MAX + 1)
SPOIL_RUN(more_cut, run->nmore = 1)
SPOIL_RUN(more_overflow, run->nmore = UINT32_MAX)
/* a good packet with the same message twice, but for a backend that takes one at a time */
SPOIL_RUN(more_here, run->nmore = 1; memcpy((char *)run + *len + sizeof(uint64_t), run->args,
					    *len - offsetof(struct rk_wire_run, args));
	  *len += sizeof(uint64_t) + *len - offsetof(struct rk_wire_run, args))
/* more than the struct holds, for a slot where no other check refuses it */
SPOIL_RUN(nargs_many, run->nargs = RK_WIRE_ARGS_MAX + 1; run->kernel++; *len = RUN_LEN(*run))
SPOIL_RUN(nargs_overflow, run->nargs = (1U << 28) + 4) /* times 16 is 64 in 32 bits */
SPOIL_RUN(nargs_other, run->nargs--; *len -= sizeof(run->args[0]))
SPOIL_RUN(kernel_high, run->kernel = RK_WIRE_KERNELS_MAX)
SPOIL_RUN(offset_past, run->args[0].value = PAYLOAD_BYTES)
SPOIL_RUN(offset_over, run->args[1].value = PAYLOAD_BYTES - 4)
SPOIL_RUN(offset_wraps, run->args[2].value = UINT64_MAX - 3)
SPOIL_RUN(bytes_huge, run->args[2].bytes = UINT64_MAX - 3)
SPOIL_RUN(bytes_over, run->args[2].bytes = PAYLOAD_BYTES + 4)
SPOIL_RUN(guard_over, run->args[2].value = PAYLOAD_BYTES - 8)
SPOIL_RUN(offset_odd, run->args[0].value = 2)
SPOIL_RUN(bytes_odd, run->args[0].bytes = 6)
SPOIL_RUN(dim_small, run->args[3].bytes = 4)
SPOIL_RUN(dim_none, run->args[3].bytes = 0)

/* The worker of @p says in the log what was wrong and exits; a new one replaces it. */
static void expect_violation(struct peer *p)
{
	expect_exit(p, RK_WIRE_EXIT_PROTOCOL);
	assert_non_null(strstr(p->last_log, "protocol error: "));
	reap(p);
	spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
}

RIG_TEST(bad_first_packet)
{
	static const spoil_control spoils[] = {
		bad_version,	type_zero,	  type_not_ours, type_unknown,
		load_too_early, unload_too_early, threads_none,	 threads_many,
		level_unknown,	payload_empty,	  payload_large, payload_huge,
		primary_open,	fallback_open,	  device_open,	 check_too_early,
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct rk_wire_control packet = make_hello("cpu", "");

		spoils[i](&packet);
		send_packet(p->control, &packet, sizeof(packet));
		expect_violation(p);
	}
}

RIG_TEST(bad_control_packet)
{
	static const spoil_control spoils[] = {
		bad_version,	  hello_again,	level_later,	  slot_taken,	   slot_high,
		unload_high,	  params_many,	kind_none,	  kind_unknown,	   dtype_unknown,
		dim_dtype,	  id_open,	library_open,	  entry_open,	   no_such_backend,
		backend_not_here, mode_unknown, batch_with_state, state_not_there, state_dtype,
		fused_twice,	  fused_input,	fused_ring,
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct rk_wire_control packet = make_load(SLOT + 1, &vector_add);

		hello_cpu(p);
		load(p, SLOT, &vector_add);
		spoils[i](&packet);
		send_packet(p->control, &packet, sizeof(packet));
		expect_violation(p);
	}
}

RIG_TEST(bad_control_length)
{
	struct peer *p = *state;
	struct rk_wire_control packets[2] = {make_hello("cpu", ""), {0}};

	send_packet(p->control, packets, sizeof(packets[0]) - 1);
	expect_violation(p);
	send_packet(p->control, packets, sizeof(packets[0]) + 1);
	expect_violation(p);
}

/* A descriptor where none belongs, none or two where one does, and one that is no library's. */
RIG_TEST(bad_descriptor)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_hello("cpu", "");
	struct rk_wire_control builtin = make_load(SLOT, &echo), library = builtin;
	const int sealed = make_memfd(4096, F_SEAL_SHRINK | F_SEAL_WRITE);
	const int writable = make_memfd(4096, F_SEAL_SHRINK);
	const int two[2] = {sealed, sealed};
	const struct {
		const struct rk_wire_control *packet;
		int fds[2];
		size_t nfds;
	} cases[] = {
		{&builtin, {sealed}, 1},	 {&library, {-1}, 0},
		{&library, {sealed, sealed}, 2}, {&library, {writable}, 1},
		{&library, {STDERR_FILENO}, 1}, /* no memfd */
	};

	strcpy(library.load.library, "/usr/lib/libm.so");
	send_with_fds(p->control, &packet, sizeof(packet), &sealed, 1);
	expect_violation(p);
	send_with_fds(p->control, &packet, sizeof(packet), two, 2);
	expect_violation(p);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		hello_cpu(p);
		if (cases[i].nfds)
			send_with_fds(p->control, cases[i].packet, sizeof(packet), cases[i].fds,
				      cases[i].nfds);
		else
			send_packet(p->control, cases[i].packet, sizeof(packet));
		expect_violation(p);
	}
	close(sealed);
	close(writable);
}

RIG_TEST(bad_run_packet)
{
	static const spoil_run spoils[] = {
		run_short,   run_cut,	  run_long,	 run_longest, nargs_many,    nargs_overflow,
		nargs_other, kernel_high, offset_past,	 offset_over, offset_wraps,  bytes_huge,
		guard_over,  bytes_over,  offset_odd,	 bytes_odd,   dim_small,     dim_none,
		run_full,    run_slot,	  run_too_long,	 more_cut,    more_overflow, more_here,
		run_space,   second_slot, second_kernel,
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		union {
			struct rk_wire_run run;
			unsigned char room[RK_WIRE_RUN_MAX + 1];
		} packet = {.run = {.kernel = SLOT,
				    .nargs = 4,
				    .args = {{0, 8}, {64, 8}, {128, 8}, {2, 8}}}};
		struct rk_wire_control fused = make_load(SLOT, &vector_add);
		size_t len = RUN_LEN(packet.run);

		fused.load.params[3].fused = 1;
		hello_cpu(p);
		assert_int_equal(load_packet(p, fused).status, 0);
		assert_int_equal(run_one(p, &packet.run).status, 0); /* it is good as it is */
		spoils[i](&packet.run, &len);
		send_packet(p->messages, &packet, len);
		expect_violation(p);
	}
}

RIG_TEST(bad_state_argument)
{
	const struct rk_wire_arg bad[] = {{0, 8}, {64, 0}};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rk_wire_run run = {
			.kernel = SLOT,
			.nargs = 6,
			.args = {{0, 8}, {0, 0}, {64, 8}, {192, 8}, {320, 8}, {1, 8}}};

		hello_cpu(p);
		assert_int_equal(load_packet(p, make_ring_load(SLOT, &running_stats, 24)).status,
				 0);
		assert_int_equal(run_one(p, &run).status, 0);
		run.args[1] = bad[i];
		send_run(p, &run);
		expect_violation(p);
	}
}

RIG_TEST(bad_memfd)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_hello("cpu", "");

	reap(p);
	spawn(p, sizeof(struct rk_wire_shared), 0);
	send_packet(p->control, &packet, sizeof(packet));
	expect_violation(p);
	reap(p);
	spawn(p, sizeof(struct rk_wire_shared) - 1, F_SEAL_SHRINK);
	send_packet(p->control, &packet, sizeof(packet));
	expect_violation(p);
}
