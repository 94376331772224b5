/*
 * HOT. Events of which no two have the same shape: event_type, ref.id and at stand among members of
 * random names, kinds and depth. What learns from the events before cannot know these.
 */
#include <stdbool.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_json.h"
#include "tools/gen/gen_rich.h"

#define US_AN_HOUR (INT64_C(3600) * 1000000)

enum { DEPTH_MAX = 4, MEMBERS_MIN = 14, MEMBERS_MORE = 14, ANCHORS = 3 };

/* From so many bytes on nothing is nested any more: what is open then takes less than as much again. */
enum { NESTING_BYTES_MAX = GEN_RICH_BYTES_MAX / 2 };

struct maker {
    struct gen_json j;
    struct gen_rng *r;
    const char *full;
};

static const struct gen_str words[] = {
    GEN_STR("amount"),     GEN_STR("browser"),  GEN_STR("channel"), GEN_STR("device"),
    GEN_STR("elapsed_ms"), GEN_STR("feature"),  GEN_STR("group"),   GEN_STR("height"),
    GEN_STR("index"),      GEN_STR("journey"),  GEN_STR("kind"),    GEN_STR("label"),
    GEN_STR("module"),     GEN_STR("name"),     GEN_STR("origin"),  GEN_STR("page"),
    GEN_STR("quota"),      GEN_STR("referrer"), GEN_STR("score"),   GEN_STR("tags"),
    GEN_STR("unit"),       GEN_STR("version"),  GEN_STR("width"),   GEN_STR("x_forwarded_for"),
};
static const struct gen_str texts[] = {
    GEN_STR("on"),
    GEN_STR("checkout/step-2"),
    GEN_STR("Mozilla/5.0 (X11; Linux x86_64; rv:127.0)"),
    GEN_STR("größer"),
    GEN_STR("a \"quoted\" word"),
    GEN_STR(""),
    GEN_STR("de-DE"),
    GEN_STR("https://shop.example.com/products/4711?utm_source=mail"),
};
static const struct gen_str numbers[] = {GEN_STR("0"),      GEN_STR("-1"),     GEN_STR("3.5"),
                                         GEN_STR("1e6"),    GEN_STR("127"),    GEN_STR("-0.004"),
                                         GEN_STR("123456"), GEN_STR("9.99E-3")};

static void put_value(struct maker *m, uint32_t depth);

static void put_key(struct maker *m)
{
    struct gen_json *j = &m->j;
    *j->at++ = '"';
    j->at = gen_put_str(j->at, gen_rich_pick(m->r, words));
    *j->at++ = '_';
    j->at = gen_put_u64(j->at, gen_rng_below(m->r, 1000));
    j->at = gen_put_lit(j->at, "\":");
}

static void put_nested(struct maker *m, uint32_t depth)
{
    struct gen_json *j = &m->j;
    bool array = gen_rich_chance(m->r, 40);
    uint32_t count = gen_rng_below(m->r, 5);
    GEN_ASSERT(depth < DEPTH_MAX);
    gen_json_open(j, array ? '[' : '{');
    for (uint32_t i = 0; i < count; i++) {
        if (!array) {
            put_key(m);
        }
        put_value(m, depth + 1);
    }
    gen_json_close(j, array ? ']' : '}');
}

static void put_value(struct maker *m, uint32_t depth)
{
    struct gen_json *j = &m->j;
    uint32_t chance = gen_rng_below(m->r, 100);
    if (chance < 20 && depth < DEPTH_MAX && j->at < m->full) {
        put_nested(m, depth);
    } else if (chance < 60) {
        gen_json_text(j, gen_rich_pick(m->r, texts));
    } else if (chance < 85) {
        gen_json_raw(j, gen_rich_pick(m->r, numbers));
    } else if (chance < 95) {
        gen_json_bool(j, chance % 2 == 0);
    } else {
        gen_json_null(j);
    }
}

/* One of the three members that every event has. */
static void put_anchor(struct gen_json *j, struct gen_rich *e, uint32_t which)
{
    GEN_ASSERT(which < ANCHORS);
    if (which == 0) {
        gen_json_key(j, "event_type");
        gen_json_lit(j, "shape");
    } else if (which == 1) {
        gen_json_key(j, "ref");
        gen_json_open(j, '{');
        gen_json_key(j, "id");
        *j->at++ = '"';
        j->at = gen_put_u64(j->at, e->seq);
        *j->at++ = '"';
        gen_json_next(j);
        gen_json_close(j, '}');
    } else {
        gen_json_key(j, "at");
        *j->at++ = '"';
        j->at = gen_put_time(
            j->at, e->now_us - (int64_t)(gen_rng_next(&e->rng) % (uint64_t)US_AN_HOUR), 3, e->day);
        *j->at++ = '"';
        gen_json_next(j);
    }
}

char *gen_shapes_put(struct gen_rich *e, char *out)
{
    struct maker m = {.j = {.at = out}, .r = &e->rng, .full = out + NESTING_BYTES_MAX};
    uint32_t members = MEMBERS_MIN + gen_rng_below(&e->rng, MEMBERS_MORE);
    uint32_t place[ANCHORS];
    for (uint32_t i = 0; i < ANCHORS; i++) {
        place[i] = gen_rng_below(&e->rng, members);
    }
    GEN_ASSERT(members > ANCHORS);
    gen_json_open(&m.j, '{');
    for (uint32_t i = 0; i < members; i++) {
        for (uint32_t which = 0; which < ANCHORS; which++) {
            if (place[which] == i) {
                put_anchor(&m.j, e, which);
            }
        }
        put_key(&m);
        put_value(&m, 0);
    }
    gen_json_close(&m.j, '}');
    gen_json_end(&m.j);
    return m.j.at;
}
