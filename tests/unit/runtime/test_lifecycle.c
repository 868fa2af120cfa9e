/* SPDX-License-Identifier: MIT */
/* The state machine's table, and the verbs on a living runtime in every state. */
#include "runtime/lifecycle.h"
#include "tests/unit/runtime/runtime_rig.h"

#define STATES	 6
#define TRIGGERS 9
#define RACERS	 8

static const char *const states[STATES] = {"Created",  "Starting", "Running",
					   "Draining", "Stopped",  "Failed"};
static const char *const triggers[TRIGGERS] = {"start",	 "ready", "drain", "drained", "deadline",
					       "resume", "stop",  "fault", "reset"};

/* The table a second time, typed in by hand: where each trigger leads, "" = refused. */
/* clang-format off */
static const char *const matrix[STATES][TRIGGERS] = {
/*             start       ready      drain       drained    deadline   resume     stop       fault     reset */
/* Created  */ {"Starting", "",        "",         "",        "",        "",        "Stopped", "",       ""},
/* Starting */ {"",         "Running", "",         "",        "",        "",        "Stopped", "Failed", ""},
/* Running  */ {"",         "",        "Draining", "",        "",        "",        "Stopped", "Failed", ""},
/* Draining */ {"",         "",        "",         "Stopped", "Stopped", "Running", "Stopped", "Failed", ""},
/* Stopped  */ {"",         "",        "",         "",        "",        "",        "",        "",       "Created"},
/* Failed   */ {"",         "",        "",         "",        "",        "",        "Stopped", "",       "Created"},
};
/* clang-format on */

TEST(names)
{
	assert_int_equal(RK_STATE_COUNT, STATES);
	assert_int_equal(RK_TRIGGER_COUNT, TRIGGERS);
	for (unsigned int s = 0; s < STATES; s++)
		assert_string_equal(rk_state_name((enum rk_state)s), states[s]);
	for (unsigned int t = 0; t < TRIGGERS; t++)
		assert_string_equal(rk_trigger_name((enum rk_trigger)t), triggers[t]);
	assert_string_equal(rk_state_name(RK_STATE_COUNT), "?");
	assert_string_equal(rk_trigger_name(RK_TRIGGER_COUNT), "?");
}

/* Into @to from Created, by what the hand-written matrix says. */
static void walk(struct rk_lifecycle *lc, unsigned int to)
{
	static const enum rk_trigger paths[STATES][4] = {
		[RK_STARTING] = {RK_START},
		[RK_RUNNING] = {RK_START, RK_READY},
		[RK_DRAINING] = {RK_START, RK_READY, RK_DRAIN},
		[RK_STOPPED] = {RK_STOP},
		[RK_FAILED] = {RK_START, RK_FAULT},
	};
	static const unsigned int lengths[STATES] = {0, 1, 2, 3, 1, 2};

	assert_int_equal(rk_lifecycle_init(lc), 0);
	rk_lifecycle_lock(lc);
	for (unsigned int i = 0; i < lengths[to]; i++) {
		assert_int_equal(rk_lifecycle_fire_locked(lc, paths[to][i]), 0);
	}
	rk_lifecycle_unlock(lc);
	assert_string_equal(rk_state_name(rk_lifecycle_state(lc)), states[to]);
}

/* A trigger that is refused changes nothing. */
TEST(fire)
{
	for (unsigned int s = 0; s < STATES; s++) {
		for (unsigned int t = 0; t < TRIGGERS; t++) {
			bool legal = matrix[s][t][0];
			struct rk_lifecycle lc;
			int rc;

			walk(&lc, s);
			assert_int_equal(rk_lifecycle_allows(&lc, (enum rk_trigger)t), legal);
			assert_false(rk_lifecycle_allows(&lc, RK_TRIGGER_COUNT));
			rk_lifecycle_lock(&lc);
			rc = rk_lifecycle_fire_locked(&lc, (enum rk_trigger)t);
			rk_lifecycle_unlock(&lc);
			assert_int_equal(rc, legal ? 0 : -EBUSY);
			assert_string_equal(rk_state_name(rk_lifecycle_state(&lc)),
					    legal ? matrix[s][t] : states[s]);
			rk_lifecycle_destroy(&lc);
		}
	}
}

struct race {
	struct rk_lifecycle lc;
	pthread_barrier_t start;
	atomic_uint winners;
};

static void *race_to_start(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(&r->start);
	rk_lifecycle_lock(&r->lc);
	if (!rk_lifecycle_fire_locked(&r->lc, RK_START))
		atomic_fetch_add(&r->winners, 1);
	rk_lifecycle_unlock(&r->lc);
	return NULL;
}

TEST(one_wins)
{
	pthread_t threads[RACERS];
	struct race r = {0};

	walk(&r.lc, RK_CREATED);
	assert_int_equal(pthread_barrier_init(&r.start, NULL, RACERS), 0);
	for (unsigned int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_to_start, &r), 0);
	for (unsigned int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(r.winners, 1);
	pthread_barrier_destroy(&r.start);
	rk_lifecycle_destroy(&r.lc);
}

/* What a verb makes of the runtime in each state: a state, "" = success with no change, or EBUSY
 * and the sentence. */
struct verb {
	enum rk_trigger trigger;
	const char *result[STATES];
};

/* clang-format off */
static const struct verb verbs[] = {
	{RK_START, {"Starting", "", "",
		    "start: the runtime is Draining: write resume, or wait until it is Stopped",
		    "start: the runtime is Stopped: write reset, then start",
		    "start: the runtime is Failed: write reset, then start"}},
	{RK_DRAIN, {"drain: the runtime is Created: write start first",
		    "drain: the runtime is Starting: wait until it is Running, or write stop",
		    "Draining", "", "",
		    "drain: the runtime is Failed: write reset, then start"}},
	{RK_RESUME, {"resume: the runtime is Created: write start first",
		     "resume: the runtime is Starting: wait until it is Running, or write stop",
		     "", "Running",
		     "resume: the runtime is Stopped: write reset, then start",
		     "resume: the runtime is Failed: write reset, then start"}},
	{RK_STOP, {"Stopped", "Stopped", "Stopped", "Stopped", "", "Stopped"}},
	{RK_RESET, {"",
		    "reset: the runtime is Starting: wait until it is Running, or write stop",
		    "reset: the runtime is Running: write drain or stop first",
		    "reset: the runtime is Draining: write resume, or wait until it is Stopped",
		    "Created", "Created"}},
};
/* clang-format on */

/* The runtime is in @from; give the verb and look at everything it may touch. */
static void check_verb(struct rig *r, const struct verb *v, enum rk_state from)
{
	const char *want = v->result[from];
	bool refused = strstr(want, ": ");
	unsigned int before = rig_states(r);
	uint64_t events = rk_events_end(rk_runtime_events(r->rt));
	char status[RK_ERROR_MAX];
	struct rk_error err = {0};

	assert_int_equal(rk_runtime_allows(r->rt, v->trigger), !refused);
	assert_int_equal(rk_runtime_command(r->rt, v->trigger, -1, NULL, &err),
			 refused ? -EBUSY : 0);
	rk_runtime_status(r->rt, 0, status);
	assert_string_equal(status, refused ? want : "ok");
	assert_string_equal(err.msg, refused ? want : "");
	assert_int_equal(err.code, refused ? EBUSY : 0);
	if (refused || !want[0]) {
		/* nothing has happened and nobody was told that something has */
		assert_string_equal(rk_state_name(rk_runtime_state(r->rt)), states[from]);
		assert_int_equal(rig_states(r), before);
		assert_int_equal(rk_events_end(rk_runtime_events(r->rt)), events);
		return;
	}
	assert_string_equal(rk_state_name(rk_runtime_state(r->rt)), want);
	assert_true(rig_states(r) > before);
	assert_true(rk_events_end(rk_runtime_events(r->rt)) > events);
}

TEST(verbs)
{
	for (unsigned int v = 0; v < ARRAY_SIZE(verbs); v++) {
		for (unsigned int s = 0; s < STATES; s++) {
			struct call long_one = {0};
			struct rig r;

			rig_enter(&r, (enum rk_state)s, &long_one);
			check_verb(&r, &verbs[v], (enum rk_state)s);
			rig_leave(&r, &long_one);
		}
	}
}

/* Triggers that come from within are no verbs. */
TEST(internal_triggers)
{
	static const enum rk_trigger internal[] = {RK_READY, RK_DRAINED, RK_DEADLINE, RK_FAULT};
	struct rk_error err;

	for (unsigned int s = 0; s < STATES; s++) {
		struct call long_one = {0};
		struct rig r;

		rig_enter(&r, (enum rk_state)s, &long_one);
		for (unsigned int i = 0; i < ARRAY_SIZE(internal); i++) {
			assert_int_equal(rk_runtime_command(r.rt, internal[i], -1, NULL, &err),
					 -EBUSY);
			assert_string_equal(rk_state_name(rk_runtime_state(r.rt)), states[s]);
		}
		rig_leave(&r, &long_one);
	}
}

int main(void)
{
	if (fake_worker_mode())
		return fake_worker();
	return unit_run(NULL, NULL);
}
