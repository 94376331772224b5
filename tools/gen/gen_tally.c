/* COLD. See gen_tally.h. */
#include "tools/gen/gen_tally.h"

#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_memory.h"

#define SEQ_MAX        UINT64_C(4000000000) /* 36 GB of entries: past any run that is checked by id */
#define ENTRIES_FIRST  UINT64_C(65536)
#define PREFIX_BYTES   4 /* "ord-" */
#define STATUS_GOOD(s) ((s) >= 200 && (s) < 300)

static const char prefixes[GEN_TYPES][PREFIX_BYTES + 1] = {"ord-", "inv-", "ses-"};

/* A decimal number of at most 19 digits. */
static size_t parse_number(const char *text, size_t bytes, uint64_t *value)
{
    size_t at = 0;
    *value = 0;
    for (; at < bytes && at < 19 && text[at] >= '0' && text[at] <= '9'; at++) {
        *value = *value * 10 + (uint64_t)(text[at] - '0');
    }
    return at;
}

bool gen_id_parse(const char *text, size_t bytes, struct gen_id *id, size_t *used)
{
    size_t at = PREFIX_BYTES, digits;
    enum gen_type type = 0;
    if (bytes < PREFIX_BYTES) {
        return false;
    }
    while (type < GEN_TYPES && memcmp(text, prefixes[type], PREFIX_BYTES) != 0) {
        type++;
    }
    if (type == GEN_TYPES) {
        return false;
    }
    id->type = type;
    digits = parse_number(text + at, bytes - at, &id->seed);
    at += digits;
    if (digits == 0 || at == bytes || text[at] != '-') {
        return false;
    }
    at++;
    digits = parse_number(text + at, bytes - at, &id->seq);
    GEN_ASSERT(at + digits <= bytes);
    *used = at + digits;
    return digits > 0;
}

static struct gen_tally_run *find_run(struct gen_tally *t, uint64_t seed)
{
    for (uint32_t i = 0; i < t->runs_count; i++) {
        if (t->runs[i].seed == seed) {
            return &t->runs[i];
        }
    }
    return NULL;
}

static void grow(struct gen_tally_run *r, uint64_t seq)
{
    uint64_t count = r->entries_count > 0 ? r->entries_count : ENTRIES_FIRST;
    if (seq < r->entries_count) {
        return;
    }
    while (count <= seq) {
        count *= 2;
    }
    r->entries = gen_memory_resize(r->entries, count * sizeof(*r->entries));
    memset(r->entries + r->entries_count, 0, (count - r->entries_count) * sizeof(*r->entries));
    r->entries_count = count;
}

static void bump(uint8_t *count, bool by)
{
    *count = (uint8_t)(*count + (by && *count < UINT8_MAX ? 1 : 0));
}

const char *gen_tally_sent(struct gen_tally *t, const struct gen_id *id, enum gen_kind kind,
                           int outcome)
{
    struct gen_tally_run *r = find_run(t, id->seed);
    bool acked = STATUS_GOOD(outcome), may = acked || outcome == 0;
    if (id->seq > SEQ_MAX) {
        return "a sequence number past 4,000,000,000";
    }
    if (r == NULL) {
        if (t->runs_count == GEN_TALLY_RUNS_MAX) {
            return "more than 64 seeds";
        }
        r = &t->runs[t->runs_count++];
        r->seed = id->seed;
    }
    grow(r, id->seq);
    GEN_ASSERT(id->seq < r->entries_count);
    struct gen_tally_entry *e = &r->entries[id->seq];
    e->known = true;
    e->type = (uint8_t)id->type;
    e->broken |= kind == GEN_BROKEN_JSON;
    bump(kind >= GEN_KIND_MALFORMED_FIRST ? &e->dead_least : &e->least, acked);
    bump(kind >= GEN_KIND_MALFORMED_FIRST ? &e->dead_most : &e->most, may);
    t->sent++;
    return NULL;
}

void gen_tally_arrived(struct gen_tally *t, const struct gen_id *id, bool dead)
{
    struct gen_tally_run *r = find_run(t, id->seed);
    struct gen_tally_entry *e =
        r != NULL && id->seq < r->entries_count ? &r->entries[id->seq] : NULL;
    if (e == NULL || !e->known || e->type != id->type) {
        t->unknown++;
        return;
    }
    bump(dead ? &e->dead : &e->arrived, true);
}

void gen_tally_dedupe(struct gen_tally *t)
{
    GEN_ASSERT(t->runs_count <= GEN_TALLY_RUNS_MAX);
    for (uint32_t i = 0; i < t->runs_count; i++) {
        for (uint64_t seq = 0; seq < t->runs[i].entries_count; seq++) {
            struct gen_tally_entry *e = &t->runs[i].entries[seq];
            e->least = e->least > 0;
            e->most = e->most > 0;
        }
    }
}

static uint64_t over(uint8_t a, uint8_t b)
{
    return a > b ? (uint64_t)(a - b) : 0;
}

void gen_tally_judge(const struct gen_tally *t, struct gen_verdict *v)
{
    uint64_t lost_least = 0, lost_most = 0; /* dead letters that may have lost their id */
    *v = (struct gen_verdict){0};
    for (uint32_t i = 0; i < t->runs_count; i++) {
        for (uint64_t seq = 0; seq < t->runs[i].entries_count; seq++) {
            const struct gen_tally_entry *e = &t->runs[i].entries[seq];
            v->expected += e->least;
            v->arrived += e->arrived;
            v->missing += over(e->least, e->arrived);
            v->surplus += over(e->arrived, e->most);
            v->unanswered += over(e->arrived < e->most ? e->arrived : e->most, e->least);
            v->dead_expected += e->dead_least;
            v->dead_arrived += e->dead;
            v->dead_surplus += over(e->dead, e->dead_most);
            if (e->broken) {
                lost_least += over(e->dead_least, e->dead);
                lost_most += over(e->dead_most, e->dead);
            } else {
                v->dead_missing += over(e->dead_least, e->dead);
            }
        }
    }
    v->dead_arrived += t->dead_without_id;
    v->dead_missing += lost_least > t->dead_without_id ? lost_least - t->dead_without_id : 0;
    v->dead_surplus += t->dead_without_id > lost_most ? t->dead_without_id - lost_most : 0;
    GEN_ASSERT(v->missing <= v->expected);
    v->good = v->missing + v->surplus + t->unknown + t->without_id == 0;
}

void gen_tally_fini(struct gen_tally *t)
{
    GEN_ASSERT(t->runs_count <= GEN_TALLY_RUNS_MAX);
    for (uint32_t i = 0; i < t->runs_count; i++) {
        free(t->runs[i].entries);
    }
    *t = (struct gen_tally){0};
}
