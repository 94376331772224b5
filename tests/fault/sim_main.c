/*
 * Goal: whatever fails, in whatever order, what was acknowledged is recovered, and is in the end in
 * the cloud exactly once; what is not delivered is never freed; space is; nothing crashes.
 *
 * Method: seeded schedules of a simulated machine (sim.h). A schedule that fails is made as short as
 * it still fails, by leaving steps out, and its events are printed.
 *
 *     sim schedules N [FIRST [STEPS]]   N schedules, seeds from FIRST (PENSTOCK_SEED, or 1) on
 *     sim every-nth [SEED]              one schedule, again and again, with each operation failing in turn
 *     sim replay SEED [STEPS]           one schedule with its event log
 *     sim canary TRIES [FIRST]          exit 0 when one of so many schedules fails: a fault is built in
 *
 * Prints what it did as one line of JSON, and for each failure a line "SEED=n: what".
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fault/sim.h"

#define STEPS        400u
#define STEPS_LONG   1500u
#define STEPS_MAX    4096u
#define LONG_EVERY   8u /* one schedule in so many is a long one */
#define FAILURES_MAX 3

/* In few steps much goes wrong soon after a start; what takes long to build up needs more of them. */
static uint32_t steps_of(uint64_t seed)
{
    return seed % LONG_EVERY == 0 ? STEPS_LONG : STEPS;
}

/* A crash of the code under test: say of which schedule, then die of it. */
static void on_signal(int number)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "SEED=%" PRIu64 ": signal %d\n", sim.options.seed, number);

    if (write(STDOUT_FILENO, text, (size_t)n) < 0)
        _exit(1);
    signal(number, SIG_DFL);
    raise(number);
}

static void report(const char *what, int failures)
{
    const struct sim_totals *t = &sim.totals;

    printf("{\"sim\":\"%s\",\"schedules\":%" PRIu64 ",\"events\":%" PRIu64
           ",\"acknowledged\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"power_cuts\":%" PRIu64
           ",\"kills\":%" PRIu64 ",\"stops\":%" PRIu64 ",\"refused_starts\":%" PRIu64
           ",\"objects\":%" PRIu64 ",\"jobs\":%" PRIu64 ",\"jobs_failed\":%" PRIu64
           ",\"pieces\":%" PRIu64 ",\"letters\":%" PRIu64 ",\"duplicates\":%" PRIu64
           ",\"inserts\":%" PRIu64 ",\"rows_again\":%" PRIu64 ",\"spooled\":%" PRIu64
           ",\"failures\":%d}\n",
           what, t->schedules, t->events, t->acknowledged, t->faults, t->power_cuts, t->kills,
           t->stops, t->refused_starts, t->objects, t->jobs, t->loads_failed, t->pieces, t->letters,
           t->duplicates, t->inserts, t->rows_again, t->spooled, failures);
}

/* Whether the schedule fails without the steps in skip. */
static bool fails_without(const struct sim_options *o, const uint32_t *skip)
{
    struct sim_options now = *o;

    now.skip = skip;
    return !sim_run(&now);
}

/* Leaves out what is not needed for the failure: halves, quarters, and so on down to single steps. */
static uint32_t shrink(const struct sim_options *o, uint32_t *skip)
{
    static uint32_t tried[STEPS_MAX];
    uint32_t left = 0;

    ASSERT(o->n_steps <= ARRAY_LEN(tried));
    for (uint32_t size = o->n_steps / 2; size > 0; size /= 2) {
        for (uint32_t at = 0; at < o->n_steps; at += size) {
            memcpy(tried, skip, o->n_steps * sizeof(*skip));
            for (uint32_t i = at; i < at + size && i < o->n_steps; i++)
                tried[i] = 1;
            if (fails_without(o, tried))
                memcpy(skip, tried, o->n_steps * sizeof(*skip));
        }
    }
    for (uint32_t i = 0; i < o->n_steps; i++)
        left += skip[i] == 0 ? 1 : 0;
    return left;
}

/* Says what happened, shortly. */
static void explain(const struct sim_options *failed)
{
    static uint32_t skip[STEPS_MAX];
    struct sim_options o = *failed;
    struct sim_totals totals = sim.totals;
    uint32_t left;

    memset(skip, 0, sizeof(skip));
    left = shrink(&o, skip);
    o.skip = skip;
    o.trace = true;
    printf("SEED=%" PRIu64 ": the shortest that fails, %u of %u steps:\n", o.seed, left, o.n_steps);
    if (sim_run(&o))
        printf("  (it does not fail again)\n");
    printf("SEED=%" PRIu64 ": end\n", o.seed);
    sim.totals = totals;
}

/* @return whether it went well. */
static bool one(const struct sim_options *o, bool explained)
{
    if (sim_run(o))
        return true;
    printf("SEED=%" PRIu64 ": %s\n", o->seed, sim.error);
    fflush(stdout); /* making it short takes a while */
    if (explained)
        explain(o);
    fflush(stdout);
    return false;
}

/* n_steps: of each; 0: steps_of(). */
static int run_schedules(uint64_t n, uint64_t first, uint32_t n_steps)
{
    int failures = 0;

    printf("schedules: SEED=%" PRIu64 "\n", first);
    for (uint64_t i = 0; i < n && failures < FAILURES_MAX; i++) {
        struct sim_options o = {.seed = first + i, .fail_op = DISK_OPS};

        o.n_steps = n_steps > 0 ? n_steps : steps_of(o.seed);
        failures += one(&o, failures == 0) ? 0 : 1;
    }
    report("schedules", failures);
    return failures == 0 ? 0 : 1;
}

static int run_every_nth(uint64_t seed)
{
    struct sim_options o = {.seed = seed, .n_steps = STEPS, .fail_op = DISK_OPS, .calm = true};
    uint64_t count[DISK_OPS];
    int failures = one(&o, true) ? 0 : 1;

    memcpy(count, sim.totals.ops, sizeof(count));
    printf("every-nth: SEED=%" PRIu64 "\n", seed);
    for (int op = 0; op < DISK_OPS; op++) {
        o.fail_op = (enum disk_op)op;
        for (o.fail_n = 1; o.fail_n <= count[op] && failures < FAILURES_MAX; o.fail_n++) {
            o.fail_times = 1 + o.fail_n % 3 / 2; /* now and then twice */
            if (!one(&o, failures == 0)) {
                printf("  when %s number %" PRIu64 " fails\n", disk_op_name[op], o.fail_n);
                failures++;
            }
        }
        printf("{\"op\":\"%s\",\"places\":%" PRIu64 "}\n", disk_op_name[op], count[op]);
    }
    report("every-nth", failures);
    return failures == 0 ? 0 : 1;
}

static int run_canary(uint64_t tries, uint64_t first)
{
    for (uint64_t i = 0; i < tries; i++) {
        struct sim_options o = {
            .seed = first + i, .n_steps = steps_of(first + i), .fail_op = DISK_OPS};

        if (!sim_run(&o)) {
            printf("caught after %" PRIu64 " schedules: SEED=%" PRIu64 ": %s\n", i + 1, o.seed,
                   sim.error);
            return 0;
        }
    }
    printf("not caught in %" PRIu64 " schedules\n", tries);
    return 1;
}

/* The n-th argument as a number of steps; 0: not given. */
static uint32_t steps_given(int argc, char **argv, int n)
{
    unsigned long steps = argc > n ? strtoul(argv[n], NULL, 0) : 0;

    return (uint32_t)(steps < STEPS_MAX ? steps : STEPS_MAX);
}

int main(int argc, char **argv)
{
    const char *env = getenv("PENSTOCK_SEED");
    uint64_t seed = env != NULL ? strtoull(env, NULL, 0) : 1;
    const char *command = argc > 1 ? argv[1] : "";
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGFPE, on_signal);
    if (strcmp(command, "schedules") == 0 && n > 0)
        return run_schedules(n, argc > 3 ? strtoull(argv[3], NULL, 0) : seed,
                             steps_given(argc, argv, 4));
    if (strcmp(command, "canary") == 0 && n > 0)
        return run_canary(n, argc > 3 ? strtoull(argv[3], NULL, 0) : seed);
    if (strcmp(command, "every-nth") == 0)
        return run_every_nth(argc > 2 ? n : seed);
    if (strcmp(command, "replay") == 0) {
        struct sim_options o = {.seed = argc > 2 ? n : seed, .fail_op = DISK_OPS, .trace = true};

        o.n_steps = steps_given(argc, argv, 3);
        if (o.n_steps == 0)
            o.n_steps = steps_of(o.seed);
        return one(&o, false) ? 0 : 1;
    }
    fprintf(stderr,
            "usage: sim schedules N [FIRST [STEPS]] | every-nth [SEED] | replay SEED [STEPS] | "
            "canary TRIES [FIRST]\n");
    return 2;
}
