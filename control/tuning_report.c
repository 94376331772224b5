/* COLD. `penstock get`: what knobs are set to, by whom, and what they allow. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "control/tuning_internal.h"
#include "control/values.h"

/* One line of the answer. */
struct shown {
    const char *name;
    struct textbuf value, fallback, allowed, from, until, then;
    const char *kind, *phase;
    bool numeric;
    uint64_t number, min, max;
    const char *help;
};

static void shown_fini(struct shown *s)
{
    ASSERT(s != NULL);
    textbuf_fini(&s->value);
    textbuf_fini(&s->fallback);
    textbuf_fini(&s->allowed);
    textbuf_fini(&s->from);
    textbuf_fini(&s->until);
    textbuf_fini(&s->then);
}

static const char *kind_name(enum knob_kind kind)
{
    switch (kind) {
    case KNOB_SIZE:
        return "bytes";
    case KNOB_DURATION:
        return "microseconds";
    case KNOB_COUNT:
        return "count";
    case KNOB_FRACTION:
        return "parts_per_million";
    case KNOB_BOOL:
        return "boolean";
    case KNOB_CHOICE:
        return "choice";
    case KNOB_LIST:
    case KNOB_MAP:
    case KNOB_TYPES:
        return "list";
    default:
        return "text";
    }
}

static void origin_text(const struct config *c, int index, struct textbuf *out)
{
    const struct config_origin *o = &c->origin[index];

    ASSERT(index >= 0 && index < CONFIG_KNOBS_MAX);
    if (o->line > 0)
        textbuf_add(out, "%s:%" PRIu32, o->from, o->line);
    else
        textbuf_add(out, "%s", o->from != NULL ? o->from : "default");
}

static bool has_range(enum knob_kind kind)
{
    return kind == KNOB_SIZE || kind == KNOB_DURATION || kind == KNOB_COUNT ||
           kind == KNOB_FRACTION;
}

static void show_knob(struct tuning *t, const struct knob *k, struct shown *s)
{
    int i = knob_index(k->name);

    ASSERT(i >= 0);
    *s = (struct shown){.name = k->name, .kind = kind_name(k->kind), .help = k->help};
    s->phase = k->phase == KNOB_RUNTIME ? "runtime" : "startup";
    knob_value(k, &t->now, &s->value);
    textbuf_add(&s->fallback, "%s", k->fallback);
    knob_allowed(k, &s->allowed);
    origin_text(&t->now, i, &s->from);
    s->numeric = has_range(k->kind);
    if (s->numeric) {
        s->number = knob_number(k, &t->now);
        s->min = k->min;
        s->max = k->max;
    }
    if (t->term[i].due_us > 0) {
        tuning_time(t->term[i].until_us, &s->until);
        knob_value(k, &t->lasting, &s->then);
    }
}

/* The sampling of one type: `set` holds, else the file. */
static void show_type(struct tuning *t, const char *name, const char *type, struct shown *s)
{
    const struct tuning_type *set = tuning_type_find(t, type);
    int32_t start = tuning_type_start(t, type);
    bool live = set != NULL && set->now != TYPE_SAMPLING_DEFAULT;
    struct knob like = {.kind = KNOB_FRACTION, .max = LIVE_SAMPLING_ALL};

    ASSERT(name != NULL);
    *s = (struct shown){.name = name,
                        .kind = kind_name(KNOB_FRACTION),
                        .phase = "runtime",
                        .numeric = true,
                        .max = LIVE_SAMPLING_ALL,
                        .help = "Part of this type's events that is kept."};
    s->number = live                             ? (uint64_t)set->now
                : start != TYPE_SAMPLING_DEFAULT ? (uint64_t)start
                                                 : t->now.types_sampling;
    knob_format(KNOB_FRACTION, s->number, &s->value);
    knob_format(KNOB_FRACTION, t->now.types_sampling, &s->fallback);
    knob_allowed(&like, &s->allowed);
    textbuf_add(&s->from, "%s",
                live                             ? tuning_origin
                : start != TYPE_SAMPLING_DEFAULT ? "types.list"
                                                 : "types.sampling");
    if (set != NULL && set->term.due_us > 0) {
        tuning_time(set->term.until_us, &s->until);
        knob_format(KNOB_FRACTION,
                    set->lasting != TYPE_SAMPLING_DEFAULT ? (uint64_t)set->lasting
                    : start != TYPE_SAMPLING_DEFAULT      ? (uint64_t)start
                                                          : t->lasting.types_sampling,
                    &s->then);
    }
}

static void json_text(struct textbuf *b, const char *key, const struct textbuf *v, bool or_null)
{
    ASSERT(key != NULL);
    textbuf_add(b, ",\"%s\":", key);
    if (or_null && v->len == 0)
        textbuf_add(b, "null");
    else
        textbuf_json(b, (struct span){textbuf_str(v), v->len});
}

static void write_json(const struct shown *s, bool first, struct textbuf *b)
{
    textbuf_add(b, "%s{\"name\":", first ? "" : ",");
    textbuf_json(b, span_of(s->name));
    json_text(b, "value", &s->value, false);
    if (s->numeric)
        textbuf_add(b, ",\"number\":%" PRIu64 ",\"min\":%" PRIu64 ",\"max\":%" PRIu64, s->number,
                    s->min, s->max);
    else
        textbuf_add(b, ",\"number\":null,\"min\":null,\"max\":null");
    textbuf_add(b, ",\"unit\":\"%s\",\"phase\":\"%s\"", s->kind, s->phase);
    json_text(b, "default", &s->fallback, false);
    json_text(b, "allowed", &s->allowed, false);
    json_text(b, "from", &s->from, false);
    json_text(b, "until", &s->until, true);
    json_text(b, "then", &s->then, true);
    textbuf_add(b, ",\"help\":");
    textbuf_json(b, span_of(s->help));
    textbuf_add(b, "}");
    ASSERT(b->len > 0);
}

static void write_text(const struct shown *s, bool whole, struct textbuf *b)
{
    ASSERT(b != NULL);
    if (!whole) {
        textbuf_add(b, "%-28s %-20s %-16s %-8s %s%s%s\n", s->name, textbuf_str(&s->value),
                    textbuf_str(&s->fallback), s->phase, textbuf_str(&s->from),
                    s->until.len > 0 ? " until " : "", textbuf_str(&s->until));
        return;
    }
    textbuf_add(b, "%s = %s\n  %s\n  from     %s", s->name, textbuf_str(&s->value), s->help,
                textbuf_str(&s->from));
    if (s->until.len > 0)
        textbuf_add(b, " until %s, then %s", textbuf_str(&s->until), textbuf_str(&s->then));
    textbuf_add(b, "\n  default  %s\n  allowed  %s\n  changed  %s\n", textbuf_str(&s->fallback),
                textbuf_str(&s->allowed),
                s->phase[0] == 'r' ? "by `penstock set`, at once"
                                   : "in the configuration file; needs a restart");
}

/* What an answer is made of. */
struct listing {
    struct textbuf *out;
    const char *filter;
    bool json, whole; /* whole: one knob, all of it */
    uint32_t n;
};

static void emit(struct listing *l, struct shown *s)
{
    ASSERT(s->name != NULL);
    if (l->json)
        write_json(s, l->n == 0, l->out);
    else
        write_text(s, l->whole, l->out);
    l->n++;
    shown_fini(s);
}

static void list_knobs(struct tuning *t, struct listing *l)
{
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    ASSERT(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        struct shown s;

        if (l->whole ? strcmp(k[i].name, l->filter) != 0
                     : strncmp(k[i].name, l->filter, strlen(l->filter)) != 0)
            continue;
        show_knob(t, &k[i], &s);
        emit(l, &s);
    }
}

static void list_type(struct tuning *t, const char *type, struct listing *l)
{
    struct textbuf name = {0};
    struct shown s;

    ASSERT(type != NULL);
    textbuf_add(&name, "types.");
    tuning_encode_type(type, &name);
    textbuf_add(&name, ".sampling");
    if (strncmp(textbuf_str(&name), l->filter, strlen(l->filter)) == 0) {
        show_type(t, textbuf_str(&name), type, &s);
        emit(l, &s);
    }
    textbuf_fini(&name);
}

/* Types whose sampling is their own, from the file or live. */
static void list_types(struct tuning *t, struct listing *l)
{
    const struct type_set *set = &t->start->types;

    for (uint32_t i = 0; i < set->n_types; i++) {
        if (set->type[i].sampling_ppm != TYPE_SAMPLING_DEFAULT)
            list_type(t, set->type[i].name, l);
    }
    for (uint32_t i = 0; i < t->n_types; i++) {
        if (tuning_type_start(t, t->type[i].name) == TYPE_SAMPLING_DEFAULT &&
            t->type[i].now != TYPE_SAMPLING_DEFAULT)
            list_type(t, t->type[i].name, l);
    }
    ASSERT(l->out != NULL);
}

/* A type that was asked for by its name: what holds for it, even if that is what holds for all. */
static void list_named(struct tuning *t, struct listing *l)
{
    char type[TYPE_NAME_BYTES_MAX + 1];
    size_t len = strlen(l->filter);

    ASSERT(l->n == 0);
    if (len > 15 && strncmp(l->filter, "types.", 6) == 0 &&
        strcmp(l->filter + len - 9, ".sampling") == 0 &&
        tuning_decode_type(l->filter + 6, len - 15, type))
        list_type(t, type, l);
}

int tuning_get(struct tuning *t, const char *filter, bool json, struct textbuf *out)
{
    struct listing l = {.out = out, .filter = filter, .json = json};
    const char *near;

    l.whole = knob_index(filter) >= 0;
    if (json)
        textbuf_add(out, "{\"knobs\":[");
    else if (!l.whole)
        textbuf_add(out, "%-28s %-20s %-16s %-8s %s\n", "KNOB", "VALUE", "DEFAULT", "CHANGED",
                    "FROM");
    pthread_mutex_lock(&t->lock);
    list_knobs(t, &l);
    if (!l.whole)
        list_types(t, &l);
    if (l.n == 0)
        list_named(t, &l);
    pthread_mutex_unlock(&t->lock);
    ASSERT(!l.whole || l.n == 1);
    if (l.n > 0) {
        textbuf_add(out, json ? "]}\n" : "");
        return 0;
    }
    near = knob_nearest(filter);
    textbuf_fini(out);
    textbuf_add(out, "get: no knob \"");
    textbuf_printable(out, span_of(filter));
    textbuf_add(out, "\"%s%s%s\n",
                near != NULL ? "; did you mean \"" : "; `penstock get` lists all",
                near != NULL ? near : "", near != NULL ? "\"?" : "");
    return -ENOENT;
}
