/* COLD. See gen_check.h. */
#include "tools/gen/gen_check.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_arrived.h"
#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_tally.h"

enum { CHECK_GOOD = 0, CHECK_DIFFERS = 1, CHECK_UNREADABLE = 2, GAPS_SHOWN = 20 };

static bool kind_from_name(const char *name, enum gen_kind *kind)
{
    for (*kind = 0; *kind < GEN_KINDS_COUNT; (*kind)++) {
        if (strcmp(gen_kind_name(*kind), name) == 0) {
            return true;
        }
    }
    return false;
}

/* A status of three digits, or -1. */
static int status_of(const char *text)
{
    char *end;
    unsigned long status = strtoul(text, &end, 10);
    return strlen(text) == 3 && *end == '\0' ? (int)status : -1;
}

/* One line of an acknowledgement log; NULL, or what is wrong with it. */
static const char *take_ack(struct gen_tally *t, char *line)
{
    char *fields[5], *save = NULL;
    struct gen_id id;
    enum gen_kind kind;
    size_t used;
    size_t n = 0;
    for (char *f = strtok_r(line, " \n", &save); f != NULL; f = strtok_r(NULL, " \n", &save)) {
        if (n == 5) {
            return "more than five fields";
        }
        fields[n++] = f;
    }
    if (n < 5) {
        return "fewer than five fields";
    }
    if (!gen_id_parse(fields[1], strlen(fields[1]), &id, &used) || fields[1][used] != '\0') {
        return "no id in the second field";
    }
    if (!kind_from_name(fields[3], &kind)) {
        return "an unknown kind in the fourth field";
    }
    int status = strcmp(fields[4], "none") == 0 ? 0 : status_of(fields[4]);
    return status < 0 ? "no outcome in the fifth field" : gen_tally_sent(t, &id, kind, status);
}

static int read_acks(struct gen_tally *t, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0, number = 0;
    const char *wrong = NULL;
    if (file == NULL) {
        fprintf(stderr, "penstock-gen: --acks %s: %m\n", path);
        return CHECK_UNREADABLE;
    }
    while (wrong == NULL && getline(&line, &room, file) >= 0) {
        number++;
        wrong = take_ack(t, line);
    }
    free(line);
    fclose(file);
    GEN_ASSERT(wrong == NULL || number > 0);
    if (wrong != NULL) {
        fprintf(stderr, "penstock-gen: --acks %s, line %zu: %s\n", path, number, wrong);
    }
    return wrong == NULL ? CHECK_GOOD : CHECK_UNREADABLE;
}

/* Without a log, all of the run is expected: made again from its options. */
static int expect_run(struct gen_tally *t, const struct gen_options *o)
{
    static struct gen_events events;
    const char *wrong = NULL;
    gen_events_init(&events, &o->events);
    for (uint64_t seq = 0; seq < o->count && wrong == NULL; seq++) {
        struct gen_event_info info = gen_events_info(&events, seq);
        struct gen_id id = {info.type, o->events.seed, gen_events_origin(&events, seq)};
        wrong = gen_tally_sent(t, &id, info.kind, 200);
    }
    if (wrong != NULL) {
        fprintf(stderr, "penstock-gen: --count: %s\n", wrong);
    }
    return wrong == NULL ? CHECK_GOOD : CHECK_UNREADABLE;
}

static int read_all(struct gen_tally *t, const char *const *paths, uint32_t count, bool dead)
{
    char file[PATH_MAX];
    GEN_ASSERT(count <= GEN_PATHS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        int rc = gen_arrived_read(t, paths[i], dead, file, sizeof(file));
        if (rc != 0) {
            fprintf(stderr, "penstock-gen: %s: %s\n", file, strerror(-rc));
            return CHECK_UNREADABLE;
        }
    }
    return CHECK_GOOD;
}

/* ---- gaps: runs of neighbouring numbers that are missing ---- */

typedef void (*gap_visitor)(void *ctx, uint64_t seed, uint64_t first, uint64_t last);

static uint64_t each_gap(const struct gen_tally *t, gap_visitor visit, void *ctx)
{
    uint64_t gaps = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) {
        const struct gen_tally_run *r = &t->runs[i];
        uint64_t first = 0;
        bool in_gap = false;
        for (uint64_t seq = 0; seq <= r->entries_count; seq++) {
            bool missing =
                seq < r->entries_count && r->entries[seq].arrived < r->entries[seq].least;
            if (missing && !in_gap) {
                first = seq;
            } else if (!missing && in_gap) {
                visit(ctx, r->seed, first, seq - 1);
                gaps++;
            }
            in_gap = missing;
        }
    }
    return gaps;
}

static void print_gap(void *ctx, uint64_t seed, uint64_t first, uint64_t last)
{
    uint32_t *left = ctx;
    if (*left > 0) {
        (*left)--;
        fprintf(stderr, "  missing: seed %" PRIu64 ", %" PRIu64 " to %" PRIu64 "\n", seed, first,
                last);
    }
}

static void print_gap_json(void *ctx, uint64_t seed, uint64_t first, uint64_t last)
{
    uint32_t *left = ctx;
    if (*left > 0) {
        printf("%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", *left == GAPS_SHOWN ? "" : ",", seed,
               first, last);
        (*left)--;
    }
}

/* ---- the answer ---- */

static void print_text(const struct gen_tally *t, const struct gen_verdict *v, bool dead)
{
    uint32_t left = GAPS_SHOWN;
    fprintf(stderr,
            "sent %" PRIu64 "; expected %" PRIu64 ", arrived %" PRIu64 ": missing %" PRIu64
            ", too many %" PRIu64 ", without a promise %" PRIu64 ", never sent %" PRIu64
            ", without an id %" PRIu64 "\n",
            t->sent, v->expected, v->arrived, v->missing, v->surplus, v->unanswered, t->unknown,
            t->without_id);
    uint64_t gaps = each_gap(t, print_gap, &left);
    GEN_ASSERT(gaps > 0 || v->missing == 0);
    if (gaps > GAPS_SHOWN) {
        fprintf(stderr, "  and %" PRIu64 " gaps more\n", gaps - GAPS_SHOWN);
    }
    if (dead) {
        fprintf(stderr,
                "dead letters: expected %" PRIu64 ", arrived %" PRIu64 ": missing %" PRIu64
                ", too many %" PRIu64 "\n",
                v->dead_expected, v->dead_arrived, v->dead_missing, v->dead_surplus);
    }
    fprintf(stderr, "%s\n", v->good ? "good" : "DIFFERS");
}

static void print_json(const struct gen_tally *t, const struct gen_verdict *v)
{
    uint32_t left = GAPS_SHOWN;
    printf("{\"good\":%s,\"sent\":%" PRIu64 ",\"expected\":%" PRIu64 ",\"arrived\":%" PRIu64
           ",\"missing\":%" PRIu64 ",\"surplus\":%" PRIu64 ",\"unanswered\":%" PRIu64
           ",\"unknown\":%" PRIu64 ",\"without_id\":%" PRIu64,
           v->good ? "true" : "false", t->sent, v->expected, v->arrived, v->missing, v->surplus,
           v->unanswered, t->unknown, t->without_id);
    printf(",\"dead_expected\":%" PRIu64 ",\"dead_arrived\":%" PRIu64 ",\"dead_missing\":%" PRIu64
           ",\"dead_surplus\":%" PRIu64 ",\"gaps\":[",
           v->dead_expected, v->dead_arrived, v->dead_missing, v->dead_surplus);
    uint64_t gaps = each_gap(t, print_gap_json, &left);
    printf("],\"gaps_count\":%" PRIu64 "}\n", gaps);
}

int gen_check(const struct gen_options *o)
{
    static struct gen_tally t;
    struct gen_verdict v;
    int rc = o->acks_count == 0 ? expect_run(&t, o) : CHECK_GOOD;
    for (uint32_t i = 0; i < o->acks_count && rc == CHECK_GOOD; i++) {
        rc = read_acks(&t, o->acks[i]);
    }
    if (o->deduped) {
        gen_tally_dedupe(&t);
    }
    if (rc == CHECK_GOOD) {
        rc = read_all(&t, o->arrived, o->arrived_count, false);
    }
    if (rc == CHECK_GOOD) {
        rc = read_all(&t, o->dead, o->dead_count, true);
    }
    if (rc == CHECK_GOOD) {
        gen_tally_judge(&t, &v);
        v.good &= o->dead_count == 0 || v.dead_missing + v.dead_surplus == 0;
        print_text(&t, &v, o->dead_count > 0);
        if (o->json) {
            print_json(&t, &v);
        }
        rc = v.good ? CHECK_GOOD : CHECK_DIFFERS;
    }
    gen_tally_fini(&t);
    return rc;
}
