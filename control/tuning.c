/* COLD. Values that change while everything runs, see tuning.h. */
#include "control/tuning.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/config_fill.h"
#include "control/config_internal.h"
#include "control/tuning_internal.h"
#include "control/values.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define TYPES_PREFIX "types."
#define TYPES_SUFFIX ".sampling"
#define PAUSE_FILE   "paused"

const char tuning_origin[] = "live";

/* ---- publishing ---- */

static int compare_live(const void *a, const void *b)
{
    const struct live_type *x = a, *y = b;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    int c = memcmp(x->name.ptr, y->name.ptr, n);

    return c != 0 ? c : x->name.len < y->name.len ? -1 : x->name.len > y->name.len;
}

/* Sorts by name and merges entries of one name: the last sampling that was given, any pause. */
static uint32_t merge_live(struct live_type *type, uint32_t n)
{
    uint32_t kept = 0;

    qsort(type, n, sizeof(*type), compare_live);
    for (uint32_t i = 0; i < n; i++) {
        if (kept == 0 || !span_equal(type[kept - 1].name, type[i].name)) {
            type[kept++] = type[i];
            continue;
        }
        if (type[i].sampling_ppm != UINT32_MAX)
            type[kept - 1].sampling_ppm = type[i].sampling_ppm;
        type[kept - 1].paused |= type[i].paused;
        type[kept - 1].refused |= type[i].refused;
    }
    ASSERT(kept <= n);
    return kept;
}

/* What differs for types: a configured or live sampling, a pause. Names are borrowed. */
static uint32_t collect_types(const struct tuning *t, struct live_type *out)
{
    const struct type_set *set = &t->start->types;
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->n_types; i++) {
        const struct type_config *c = &set->type[i];
        struct tuning_type *set_live = tuning_type_find((struct tuning *)(uintptr_t)t, c->name);

        if (c->sampling_ppm != TYPE_SAMPLING_DEFAULT &&
            (set_live == NULL || set_live->now == TYPE_SAMPLING_DEFAULT))
            out[n++] = (struct live_type){.name = span_of(c->name),
                                          .sampling_ppm = (uint32_t)c->sampling_ppm};
    }
    for (uint32_t i = 0; i < t->n_types; i++) {
        if (t->type[i].now != TYPE_SAMPLING_DEFAULT)
            out[n++] = (struct live_type){.name = span_of(t->type[i].name),
                                          .sampling_ppm = (uint32_t)t->type[i].now};
    }
    for (uint32_t i = 0; i < t->n_pauses; i++) {
        if (t->pause[i].what == TUNING_TYPE)
            out[n++] = (struct live_type){
                .name = span_of(t->pause[i].type), .sampling_ppm = UINT32_MAX, .paused = true};
    }
    for (uint32_t i = 0; i < t->n_refused; i++)
        out[n++] = (struct live_type){.name = {t->refused[i].name, t->refused[i].len},
                                      .sampling_ppm = UINT32_MAX,
                                      .refused = true};
    n = merge_live(out, n);
    for (uint32_t i = 0; i < n; i++) {
        if (out[i].sampling_ppm == UINT32_MAX)
            out[i].sampling_ppm = (uint32_t)t->now.types_sampling;
        ASSERT(out[i].sampling_ppm <= LIVE_SAMPLING_ALL);
    }
    return n;
}

/* One allocation: the settings, their types, the types' names. */
static struct live_settings *settings_build(const struct tuning *t)
{
    uint32_t max = t->start->types.n_types + t->n_types + t->n_pauses + t->n_refused, n;
    struct live_type *found = calloc(max + 1, sizeof(*found));
    struct live_settings *s;
    size_t names = 0;
    char *text;

    ASSERT(found != NULL); /* the dataplane would miss a change that was confirmed */
    n = collect_types(t, found);
    for (uint32_t i = 0; i < n; i++)
        names += found[i].name.len;
    s = calloc(1, sizeof(*s) + n * sizeof(*found) + names);
    ASSERT(s != NULL);
    config_fill_live(&t->now, s);
    for (uint32_t i = 0; i < t->n_pauses; i++) {
        s->sink.gcs_paused |= t->pause[i].what == TUNING_GCS;
        s->sink.bigquery_paused |= t->pause[i].what == TUNING_BIGQUERY;
    }
    s->worker.keys = t->keys;
    s->types_version = t->types_version;
    s->n_types = n;
    s->n_refused = t->n_refused;
    s->type = (struct live_type *)(s + 1);
    memcpy(s + 1, found, n * sizeof(*found));
    text = (char *)(s + 1) + n * sizeof(*found);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(text, found[i].name.ptr, found[i].name.len);
        ((struct live_type *)(s + 1))[i].name.ptr = text;
        text += found[i].name.len;
    }
    free(found);
    return s;
}

static_assert(sizeof(struct live_settings) % alignof(struct live_type) == 0, "types follow it");

void tuning_publish(struct tuning *t, bool types)
{
    t->types_version += types ? 1 : 0;
    ASSERT(t->live != NULL);
    live_publish(t->live, settings_build(t));
    log_set_level((enum log_level)t->now.log_level);
}

int tuning_refuse(struct tuning *t, const struct tuning_refused *types, uint32_t n)
{
    struct tuning_refused *copy;
    int rc = 0;

    ASSERT(types != NULL || n == 0);
    pthread_mutex_lock(&t->lock);
    if (n != t->n_refused || (n > 0 && memcmp(types, t->refused, n * sizeof(*types)) != 0)) {
        copy = calloc(n + 1, sizeof(*copy));
        rc = copy == NULL ? -ENOMEM : 0;
        if (rc == 0) {
            if (n > 0)
                memcpy(copy, types, n * sizeof(*types));
            free(t->refused);
            t->refused = copy;
            t->n_refused = n;
            tuning_publish(t, true);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

uint32_t tuning_refusals(struct tuning *t, struct tuning_refused **out)
{
    uint32_t n;

    pthread_mutex_lock(&t->lock);
    *out = calloc(t->n_refused + 1, sizeof(**out));
    n = *out != NULL ? t->n_refused : 0;
    if (n > 0)
        memcpy(*out, t->refused, n * sizeof(**out));
    pthread_mutex_unlock(&t->lock);
    ASSERT(n <= t->n_refused);
    return n;
}

void tuning_publish_keys(struct tuning *t, const struct door_keys *keys)
{
    ASSERT(keys != NULL);
    pthread_mutex_lock(&t->lock);
    t->keys = keys;
    tuning_publish(t, false);
    pthread_mutex_unlock(&t->lock);
}

/* ---- life ---- */

int tuning_create(const struct config *config, struct tuning **out, char *error, size_t error_len)
{
    struct tuning *t = calloc(1, sizeof(*t));
    struct live_settings *first;
    int rc = -ENOMEM;

    ASSERT(config != NULL && error_len > 0);
    snprintf(error, error_len, "out of memory");
    if (t == NULL)
        return rc;
    pthread_mutex_init(&t->lock, NULL);
    t->start = config;
    t->lasting = t->now = *config;
    t->types_version = 1;
    t->pause = calloc(TUNING_PAUSES_MAX, sizeof(*t->pause));
    if (t->pause != NULL && asprintf(&t->pause_path, "%s/" PAUSE_FILE, config->data_dir) >= 0)
        rc = tuning_pauses_load(t, error, error_len);
    if (rc == 0) {
        first = settings_build(t);
        rc = live_create(first, &t->live);
        if (rc != 0)
            free(first);
    }
    if (rc != 0) {
        tuning_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tuning_destroy(struct tuning *t)
{
    if (t == NULL)
        return;
    ASSERT(t->start != NULL);
    live_destroy(t->live);
    pthread_mutex_destroy(&t->lock);
    free(t->type);
    free(t->pause);
    free(t->pause_path);
    free(t->refused);
    free(t);
}

struct live *tuning_live(struct tuning *t)
{
    ASSERT(t->live != NULL);
    return t->live;
}

uint64_t tuning_number(struct tuning *t, const char *knob)
{
    uint64_t v;

    ASSERT(knob != NULL);
    pthread_mutex_lock(&t->lock);
    v = knob_number(knob_get(knob), &t->now);
    pthread_mutex_unlock(&t->lock);
    return v;
}

uint32_t tuning_behind(struct tuning *t)
{
    uint32_t n;

    ASSERT(t->live != NULL);
    pthread_mutex_lock(&t->lock);
    n = live_behind(t->live);
    pthread_mutex_unlock(&t->lock);
    return n;
}

/* ---- types ---- */

int32_t tuning_type_start(const struct tuning *t, const char *type)
{
    const struct type_config *c = type_find(&t->start->types, span_of(type));

    ASSERT(type != NULL);
    return c != NULL ? c->sampling_ppm : TYPE_SAMPLING_DEFAULT;
}

/* Where a name is, or would be. */
static uint32_t type_place(const struct tuning *t, const char *type)
{
    uint32_t low = 0, high = t->n_types;

    while (low < high) {
        uint32_t at = low + (high - low) / 2;

        if (strcmp(t->type[at].name, type) < 0)
            low = at + 1;
        else
            high = at;
    }
    ASSERT(low <= t->n_types);
    return low;
}

struct tuning_type *tuning_type_find(struct tuning *t, const char *type)
{
    uint32_t at = type_place(t, type);

    ASSERT(type != NULL);
    return at < t->n_types && strcmp(t->type[at].name, type) == 0 ? &t->type[at] : NULL;
}

/* Finds a type's values, or adds them. @return NULL without memory. */
static struct tuning_type *type_get(struct tuning *t, const char *type)
{
    struct tuning_type *found = tuning_type_find(t, type);
    uint32_t at = type_place(t, type);

    if (found != NULL)
        return found;
    if (t->n_types == t->types_room) {
        uint32_t room = t->types_room > 0 ? 2 * t->types_room : 16;
        struct tuning_type *more = realloc(t->type, room * sizeof(*more));

        if (more == NULL)
            return NULL;
        t->type = more;
        t->types_room = room;
    }
    ASSERT(strlen(type) <= TYPE_NAME_BYTES_MAX);
    memmove(&t->type[at + 1], &t->type[at], (t->n_types - at) * sizeof(*t->type));
    t->n_types++;
    t->type[at] =
        (struct tuning_type){.lasting = TYPE_SAMPLING_DEFAULT, .now = TYPE_SAMPLING_DEFAULT};
    memcpy(t->type[at].name, type, strlen(type));
    return &t->type[at];
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool tuning_decode_type(const char *text, size_t len, char *out)
{
    size_t n = 0;

    ASSERT(out != NULL);
    for (size_t i = 0; i < len; i++, n++) {
        int c = (unsigned char)text[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || n == TYPE_NAME_BYTES_MAX)
            return false;
        out[n] = (char)c;
    }
    out[n] = '\0';
    return n > 0;
}

void tuning_encode_type(const char *type, struct textbuf *out)
{
    ASSERT(out != NULL);
    for (const char *p = type; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || *p == '.' || *p == '_' || *p == '-';

        if (plain)
            textbuf_bytes(out, p, 1);
        else
            textbuf_add(out, "%%%02X", (unsigned char)*p);
    }
}

/* ---- changing ---- */

/* A change, understood. */
struct parsed {
    const struct knob *knob; /* NULL: the sampling of a type */
    char type[TYPE_NAME_BYTES_MAX + 1];
    uint64_t ppm;
    struct textbuf was;
};

static void suggest(struct loader *l, const char *name, const char *near)
{
    problem_at(l, (struct place){.from = "set"}, name, "there is no such knob%s%s%s",
               near != NULL ? "; did you mean \"" : "; `penstock get` lists all",
               near != NULL ? near : "", near != NULL ? "\"?" : "");
    ASSERT(l->n_problems > 0);
}

/* "types.NAME.sampling". @return false when the name is none of these. */
static bool parse_type(struct loader *l, const struct tuning_request *r,
                       const struct tuning_change *c, struct parsed *out)
{
    const struct place at = {.from = "set"};
    const size_t head = sizeof(TYPES_PREFIX) - 1, tail = sizeof(TYPES_SUFFIX) - 1;
    size_t len = strlen(c->name);

    ASSERT(knob_index(c->name) < 0);
    if (len <= head + tail || strncmp(c->name, TYPES_PREFIX, head) != 0 ||
        strcmp(c->name + len - tail, TYPES_SUFFIX) != 0)
        return false;
    if (!tuning_decode_type(c->name + head, len - head - tail, out->type)) {
        problem_at(l, at, c->name, "not an event type: percent-encoded, 1 to 128 bytes");
    } else if (!r->type_known(r->ctx, out->type)) {
        const char *near = r->type_nearest(r->ctx, out->type);

        problem_at(l, at, c->name,
                   "no event of this type has come and types.list does not name "
                   "it%s%s%s",
                   near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
    } else if (value_fraction(c->value, &out->ppm) != 0) {
        problem_at(l, at, c->name,
                   "found \"%.200s\"; allowed: a number from 0 to 1 with at most 6 "
                   "decimal places, such as 0.1",
                   c->value);
    }
    return true;
}

static void parse_change(struct loader *l, const struct tuning_request *r,
                         const struct tuning_change *c, struct parsed *out)
{
    const struct place at = {.from = tuning_origin};
    int i = knob_index(c->name);

    *out = (struct parsed){0};
    if (i < 0) {
        if (!parse_type(l, r, c, out))
            suggest(l, c->name, knob_nearest(c->name));
        return;
    }
    out->knob = knob_get(c->name);
    if (out->knob->phase == KNOB_STARTUP) {
        problem_at(l, (struct place){.from = "set"}, c->name,
                   "needs a restart: change it in %s and start penstockd again", l->source->file);
        return;
    }
    knob_value(out->knob, l->c, &out->was);
    config_assign(l, out->knob, c->value, at);
    ASSERT(l->c->origin[i].from == tuning_origin);
}

static bool parsed_same(const struct parsed *a, const struct parsed *b)
{
    return a->knob == b->knob && strcmp(a->type, b->type) == 0;
}

/* Memory is taken at start: what was given room then cannot grow. */
static void check_room(struct loader *l, const struct config *start)
{
    static const char *const fixed[] = {"block.bytes", "block.lane_max"};

    ASSERT(l->c != start);
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        const struct knob *k = knob_get(fixed[i]);
        struct textbuf most = {0};

        if (knob_number(k, l->c) <= knob_number(k, start))
            continue;
        knob_value(k, start, &most);
        problem_at(l, (struct place){.from = "set"}, k->name,
                   "allowed while running: at most %s, its value at start, because its memory is "
                   "taken then",
                   textbuf_str(&most));
        textbuf_fini(&most);
    }
}

static void check_all(struct loader *l, const struct tuning *t)
{
    ASSERT(l->n_problems == 0);
    config_check_relations(l);
    check_room(l, t->start);
}

static struct loader loader_of(const struct tuning *t, struct config *c,
                               const struct config_source *source, struct textbuf *problems)
{
    ASSERT(c != t->start);
    return (struct loader){.c = c, .source = source, .problems = problems};
}

/* Understands every change into candidate, and checks all of it. @return mistakes. */
static uint32_t parse_all(struct tuning *t, const struct tuning_request *r,
                          struct config *candidate, struct parsed *parsed, struct textbuf *problems)
{
    const struct config_source source = {.file = t->start->file};
    struct loader l = loader_of(t, candidate, &source, problems);

    ASSERT(r->n > 0);
    for (uint32_t i = 0; i < r->n; i++) {
        parse_change(&l, r, &r->change[i], &parsed[i]);
        for (uint32_t j = 0; j < i && l.n_problems == 0; j++) {
            if (parsed_same(&parsed[j], &parsed[i]))
                problem_at(&l, (struct place){.from = "set"}, r->change[i].name,
                           "given twice; allowed: once");
        }
    }
    if (l.n_problems == 0)
        check_all(&l, t);
    return l.n_problems;
}

static void apply_type(struct tuning *t, struct parsed *p, const struct tuning_term *term)
{
    struct tuning_type *type = type_get(t, p->type);
    int32_t start = tuning_type_start(t, p->type);

    ASSERT(type != NULL);
    knob_format(KNOB_FRACTION,
                type->now != TYPE_SAMPLING_DEFAULT ? (uint64_t)type->now
                : start != TYPE_SAMPLING_DEFAULT   ? (uint64_t)start
                                                   : t->now.types_sampling,
                &p->was);
    type->now = (int32_t)p->ppm;
    if (term->due_us == 0)
        type->lasting = type->now;
    type->term = *term;
}

static void apply(struct tuning *t, struct parsed *p, const struct tuning_term *term)
{
    int i;

    if (p->knob == NULL) {
        apply_type(t, p, term);
        return;
    }
    i = knob_index(p->knob->name);
    ASSERT(i >= 0);
    t->term[i] = *term;
    if (term->due_us == 0) {
        knob_copy(p->knob, &t->now, &t->lasting);
        t->lasting.origin[i] = t->now.origin[i];
    }
}

/* What a value falls back to when its time is over. */
static void fallback_text(struct tuning *t, const struct parsed *p, struct textbuf *out)
{
    const struct tuning_type *type;
    int32_t start;

    if (p->knob != NULL) {
        knob_value(p->knob, &t->lasting, out);
        return;
    }
    type = tuning_type_find(t, p->type);
    start = tuning_type_start(t, p->type);
    ASSERT(type != NULL);
    knob_format(KNOB_FRACTION,
                type->lasting != TYPE_SAMPLING_DEFAULT ? (uint64_t)type->lasting
                : start != TYPE_SAMPLING_DEFAULT       ? (uint64_t)start
                                                       : t->lasting.types_sampling,
                out);
}

static void describe(struct tuning *t, const struct tuning_request *r, uint32_t i, struct parsed *p,
                     const struct tuning_term *term, struct textbuf *out)
{
    struct textbuf value = {0}, then = {0}, until = {0};

    if (p->knob != NULL)
        knob_value(p->knob, &t->now, &value);
    else
        knob_format(KNOB_FRACTION, p->ppm, &value);
    if (term->due_us > 0) {
        fallback_text(t, p, &then);
        tuning_time(term->until_us, &until);
    }
    ASSERT(i < r->n);
    log_info("tuning", "%s = %s (was %s)%s%s", r->change[i].name, textbuf_str(&value),
             textbuf_str(&p->was), term->due_us > 0 ? " until " : "", textbuf_str(&until));
    if (r->json) {
        textbuf_add(out, "%s{\"name\":", i > 0 ? "," : "");
        textbuf_json(out, span_of(r->change[i].name));
        textbuf_add(out, ",\"value\":\"%s\",\"was\":\"%s\",\"until\":%s%s%s,\"then\":%s%s%s}",
                    textbuf_str(&value), textbuf_str(&p->was), until.len > 0 ? "\"" : "null",
                    textbuf_str(&until), until.len > 0 ? "\"" : "", until.len > 0 ? "\"" : "null",
                    textbuf_str(&then), until.len > 0 ? "\"" : "");
    } else if (term->due_us > 0) {
        textbuf_add(out, "%s = %s until %s, then %s again (was %s)\n", r->change[i].name,
                    textbuf_str(&value), textbuf_str(&until), textbuf_str(&then),
                    textbuf_str(&p->was));
    } else {
        textbuf_add(out, "%s = %s (was %s)\n", r->change[i].name, textbuf_str(&value),
                    textbuf_str(&p->was));
    }
    textbuf_fini(&value);
    textbuf_fini(&then);
    textbuf_fini(&until);
}

static void answer_end(const struct tuning_request *r, struct textbuf *out)
{
    uint32_t behind = r->settle(r->ctx);

    ASSERT(out != NULL);
    if (r->json) {
        textbuf_add(out, "],\"forgotten_at_restart\":true,\"threads_behind\":%" PRIu32 "}\n",
                    behind);
        return;
    }
    if (behind > 0)
        textbuf_add(out, "%" PRIu32 " threads are busy and follow in a moment\n", behind);
    textbuf_add(out, "This is forgotten at the next start: then the configuration file holds "
                     "again.\n");
}

int tuning_set(struct tuning *t, const struct tuning_request *r, struct textbuf *out)
{
    struct tuning_term term = {0};
    struct parsed parsed[TUNING_CHANGES_MAX];
    struct config candidate;
    bool types = false, ok;

    ASSERT(r->n > 0 && r->n <= TUNING_CHANGES_MAX);
    memset(parsed, 0, sizeof(parsed));
    if (r->for_us > 0)
        term = (struct tuning_term){.due_us = clock_monotonic_us() + r->for_us,
                                    .until_us = clock_wall_us() + r->for_us};
    pthread_mutex_lock(&t->lock);
    candidate = t->now;
    ok = parse_all(t, r, &candidate, parsed, out) == 0;
    if (ok) {
        t->now = candidate;
        if (r->json)
            textbuf_add(out, "{\"changes\":[");
        for (uint32_t i = 0; i < r->n; i++) {
            apply(t, &parsed[i], &term);
            describe(t, r, i, &parsed[i], &term, out);
            types |= parsed[i].knob == NULL || strcmp(parsed[i].knob->name, "types.sampling") == 0;
        }
        tuning_publish(t, types);
    }
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < r->n; i++)
        textbuf_fini(&parsed[i].was);
    if (ok)
        answer_end(r, out);
    return ok ? 0 : -EINVAL;
}

/* ---- time ---- */

/* Gives a knob's lasting value back, if it fits to what else was changed meanwhile. */
static bool revert_knob(struct tuning *t, const struct knob *k, uint32_t i)
{
    const struct config_source source = {.file = t->start->file};
    struct textbuf problems = {0}, value = {0};
    struct config candidate = t->now;
    struct loader l = loader_of(t, &candidate, &source, &problems);

    ASSERT(k->phase == KNOB_RUNTIME);
    knob_copy(k, &t->lasting, &candidate);
    candidate.origin[i] = t->lasting.origin[i];
    check_all(&l, t);
    if (l.n_problems == 0) {
        t->now = candidate;
        t->term[i] = (struct tuning_term){0};
        knob_value(k, &t->now, &value);
        log_info("tuning", "%s = %s again: its time is over", k->name, textbuf_str(&value));
    } else if (!t->term[i].stuck) {
        t->term[i].stuck = true;
        log_warn("tuning", "%s keeps its value although its time is over: %.*s", k->name,
                 (int)strcspn(textbuf_str(&problems), "\n"), textbuf_str(&problems));
    }
    textbuf_fini(&problems);
    textbuf_fini(&value);
    return l.n_problems == 0;
}

static bool revert_types(struct tuning *t, int64_t now_us)
{
    bool any = false;

    ASSERT(now_us > 0);
    for (uint32_t i = 0; i < t->n_types; i++) {
        struct tuning_type *type = &t->type[i];

        if (type->term.due_us == 0 || type->term.due_us > now_us)
            continue;
        type->now = type->lasting;
        type->term = (struct tuning_term){0};
        any = true;
        log_info("tuning", "the sampling of type %s is as before: its time is over", type->name);
    }
    return any;
}

void tuning_tick(struct tuning *t)
{
    int64_t now_us = clock_monotonic_us();
    bool types, changed = false;
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    pthread_mutex_lock(&t->lock);
    types = revert_types(t, now_us);
    for (uint32_t i = 0; i < n; i++) {
        ASSERT(t->term[i].due_us == 0 || k[i].phase == KNOB_RUNTIME);
        if (t->term[i].due_us > 0 && t->term[i].due_us <= now_us && revert_knob(t, &k[i], i)) {
            changed = true;
            types |= strcmp(k[i].name, "types.sampling") == 0;
        }
    }
    types |= tuning_pauses_expire(t);
    if (changed || types)
        tuning_publish(t, types);
    pthread_mutex_unlock(&t->lock);
}

int64_t tuning_due_us(struct tuning *t, int64_t max_us)
{
    int64_t now_us = clock_monotonic_us(), wall_us = clock_wall_us(), due = max_us;
    uint32_t n;

    (void)knobs_all(&n);
    ASSERT(max_us > 0);
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < n; i++) {
        if (t->term[i].due_us > 0 && !t->term[i].stuck && t->term[i].due_us - now_us < due)
            due = t->term[i].due_us - now_us;
    }
    for (uint32_t i = 0; i < t->n_types; i++) {
        if (t->type[i].term.due_us > 0 && t->type[i].term.due_us - now_us < due)
            due = t->type[i].term.due_us - now_us;
    }
    for (uint32_t i = 0; i < t->n_pauses; i++) {
        if (t->pause[i].until_us > 0 && t->pause[i].until_us - wall_us < due)
            due = t->pause[i].until_us - wall_us;
    }
    pthread_mutex_unlock(&t->lock);
    return due > 0 ? due : 0;
}
