// Role: the fault rules. A rule matches by service, method and path, decides by probability (own
// seeded generator, so a run repeats) or count, and ends after its lifetime.
#include "tools/localcloud/fault.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/route.h"

enum { FAULTS_MAX = 64 };

struct fault {
    json_t *spec; // as given; also what the list shows
    const char *service;
    const char *method;
    const char *path_prefix;
    const char *path_contains;
    double probability;
    int64_t skip;    // matches to let through first
    int64_t count;   // hits left, -1 without limit
    int64_t ends_us; // 0: never
    int64_t hits;
    int64_t seen;
    uint64_t random;
    bool refuse;
    enum lc_fault_kind kind;
    struct lc_fault_action action;
};

struct lc_faults {
    pthread_mutex_t lock;
    struct fault list[FAULTS_MAX];
    size_t count;
};

struct lc_faults *lc_faults_create(void)
{
    struct lc_faults *f = lc_alloc(sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

static void clear(struct lc_faults *f)
{
    for (size_t i = 0; i < f->count; i++)
        json_decref(f->list[i].spec);
    f->count = 0;
}

void lc_faults_destroy(struct lc_faults *f)
{
    if (!f)
        return;
    clear(f);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static bool alive(const struct fault *x)
{
    return x->count != 0 && (x->ends_us == 0 || lc_now_us() < x->ends_us);
}

static double draw(struct fault *x) // xorshift64*: uniform in [0, 1)
{
    x->random ^= x->random >> 12;
    x->random ^= x->random << 25;
    x->random ^= x->random >> 27;
    return (double)(x->random * 0x2545f4914f6cdd1dull >> 11) / 9007199254740992.0;
}

static bool fits(const struct fault *x, const char *service, const char *method, const char *path)
{
    return (!x->service || strcmp(x->service, service) == 0) &&
           (!x->method || strcasecmp(x->method, method) == 0) &&
           (!x->path_prefix || lc_starts_with(path, x->path_prefix)) &&
           (!x->path_contains || strstr(path, x->path_contains));
}

bool lc_fault_match(struct lc_faults *f, enum lc_fault_kind kind, const char *service,
                    const char *method, const char *path, struct lc_fault_action *action)
{
    bool hit = false;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->count && !hit; i++) {
        struct fault *x = &f->list[i];
        if (x->refuse || x->kind != kind || !alive(x) || !fits(x, service, method, path))
            continue;
        if (x->seen++ < x->skip || (x->probability < 1 && draw(x) >= x->probability))
            continue;
        x->hits++;
        x->count -= x->count > 0;
        *action = x->action;
        hit = true;
    }
    pthread_mutex_unlock(&f->lock);
    return hit;
}

bool lc_fault_match_req(struct lc_req *r, enum lc_fault_kind kind, struct lc_fault_action *action)
{
    return lc_fault_match(r->app->faults, kind, lc_route_service(r), r->method, r->uri, action);
}

bool lc_fault_refuses(struct lc_faults *f)
{
    bool refuses = false;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->count; i++) {
        struct fault *x = &f->list[i];
        if (x->refuse && alive(x)) {
            x->hits++;
            refuses = true;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return refuses;
}

static bool known_key(const char *key)
{
    static const char *const known[] = {
        "service",   "method",       "path_prefix",   "path_contains", "status",
        "reason",    "message",      "probability",   "count",         "skip",
        "delay_ms",  "reset",        "lose_answer",   "refuse",        "seconds",
        "seed",      "retry_after",  "persist_bytes", "drop_session",  "row_reason",
        "row_every", "row_contains", "job_reason",    "job_rows",      "corrupt",
        "load_row",  "load_uri",     "load_silent",   "object_prefix"};
    for (size_t i = 0; i < LC_ARRAY_LEN(known); i++)
        if (strcmp(known[i], key) == 0)
            return true;
    return false;
}

// Numbers of a rule with their bounds. @return NULL, or what is wrong.
static const char *read_numbers(struct fault *x, const json_t *spec)
{
    int64_t seconds = 0, seed = 1, status = 0;
    x->count = -1;
    x->probability = 1;
    if (lc_json_i64(spec, "status", &status) < 0 || (status && (status < 400 || status > 599)))
        return "status must be 400 to 599";
    if (lc_json_i64(spec, "count", &x->count) < 0 || x->count < -1)
        return "count must be a number of hits";
    if (lc_json_i64(spec, "skip", &x->skip) < 0 || x->skip < 0)
        return "skip must be a number of calls";
    if (lc_json_i64(spec, "delay_ms", &x->action.delay_ms) < 0 || x->action.delay_ms < 0 ||
        x->action.delay_ms > 600000)
        return "delay_ms must be 0 to 600000";
    if (lc_json_i64(spec, "seconds", &seconds) < 0 || seconds < 0)
        return "seconds must be a number";
    if (lc_json_i64(spec, "retry_after", &x->action.retry_after_s) < 0)
        return "retry_after must be a number of seconds";
    if (lc_json_i64(spec, "seed", &seed) < 0)
        return "seed must be a number";
    const json_t *p = json_object_get(spec, "probability");
    if (p && (!json_is_number(p) || json_number_value(p) < 0 || json_number_value(p) > 1))
        return "probability must be 0 to 1";
    if (p)
        x->probability = json_number_value(p);
    x->action.status = (int)status;
    x->ends_us = seconds ? lc_now_us() + seconds * 1000000 : 0;
    x->random = (uint64_t)seed * 0x9e3779b97f4a7c15ull + 1; // never 0 in practice; 0 would stick
    return NULL;
}

// Keys of chunks, rows and load jobs, which decide the kind of the rule. @return NULL, or what is
// wrong.
static const char *read_special(struct fault *x, const json_t *spec)
{
    struct lc_fault_action *a = &x->action;
    int64_t gone = 0;
    const char *row = lc_json_str(spec, "row_reason"), *part = lc_json_str(spec, "row_contains");
    const char *job = lc_json_str(spec, "job_reason");
    bool chunk = json_object_get(spec, "persist_bytes") || json_object_get(spec, "drop_session");
    bool corrupt = json_is_true(json_object_get(spec, "corrupt"));
    const char *load_row = lc_json_str(spec, "load_row"), *load_uri = lc_json_str(spec, "load_uri");
    bool load = job || json_object_get(spec, "job_rows") || load_row || load_uri;
    a->persist_bytes = -1;
    a->row_every = 1;
    if (lc_json_i64(spec, "persist_bytes", &a->persist_bytes) < 0 || a->persist_bytes < -1)
        return "persist_bytes must be a number of bytes";
    if (lc_json_i64(spec, "drop_session", &gone) < 0 || (gone && gone != 404 && gone != 410))
        return "drop_session must be 404 or 410";
    if (lc_json_i64(spec, "row_every", &a->row_every) < 0 || a->row_every < 1)
        return "row_every must be 1 or more";
    if (lc_json_i64(spec, "job_rows", &a->job_rows) < 0)
        return "job_rows must be a number of rows";
    if (chunk + corrupt + load + (row != NULL) > 1)
        return "one rule is for chunks, for bytes, for rows or for jobs";
    a->drop_session = (int)gone;
    snprintf(a->row_reason, sizeof a->row_reason, "%s", row ? row : "");
    snprintf(a->row_contains, sizeof a->row_contains, "%s", part ? part : "");
    snprintf(a->load_row, sizeof a->load_row, "%s", load_row ? load_row : "");
    snprintf(a->load_uri, sizeof a->load_uri, "%s", load_uri ? load_uri : "");
    a->load_silent = json_is_true(json_object_get(spec, "load_silent"));
    snprintf(a->job_reason, sizeof a->job_reason, "%s", job ? job : "");
    x->kind = chunk     ? LC_FAULT_CHUNK
              : corrupt ? LC_FAULT_BODY
              : row     ? LC_FAULT_ROWS
              : load    ? LC_FAULT_LOAD
                        : LC_FAULT_CALL;
    if (lc_json_str(spec, "object_prefix")) {
        if (x->kind != LC_FAULT_CALL || !a->status || a->delay_ms || a->lose_answer)
            return "object_prefix takes a status, and no other effect";
        x->kind = LC_FAULT_WRITE;
        x->path_prefix = lc_json_str(spec, "object_prefix");
        return NULL;
    }
    if (x->kind != LC_FAULT_CALL &&
        (a->status || a->delay_ms || a->reset || a->lose_answer || x->refuse))
        return "a rule for chunks, bytes, rows or jobs has no other effect";
    return NULL;
}

// Fills x from spec, whose strings it keeps pointing to. @return NULL, or what is wrong.
static const char *read_spec(struct fault *x, json_t *spec)
{
    const char *key;
    json_t *value;
    json_object_foreach(
        spec, key, value) if (!known_key(key)) return "unknown key: see tools/localcloud/README.md "
                                                      "for the keys of a fault";
    const char *wrong = read_numbers(x, spec);
    if (wrong)
        return wrong;
    x->service = lc_json_str(spec, "service");
    x->method = lc_json_str(spec, "method");
    x->path_prefix = lc_json_str(spec, "path_prefix");
    x->path_contains = lc_json_str(spec, "path_contains");
    x->action.reset = json_is_true(json_object_get(spec, "reset"));
    x->action.lose_answer = json_is_true(json_object_get(spec, "lose_answer"));
    x->refuse = json_is_true(json_object_get(spec, "refuse"));
    if (x->service && strcmp(x->service, "storage") != 0 && strcmp(x->service, "bigquery") != 0)
        return "service must be storage or bigquery";
    if (x->refuse && !x->ends_us)
        return "refuse needs seconds: this address is closed too while it lasts";
    wrong = read_special(x, spec);
    if (wrong)
        return wrong;
    if (x->kind == LC_FAULT_CALL && !x->action.status && !x->action.delay_ms && !x->action.reset &&
        !x->action.lose_answer && !x->refuse)
        return "give an effect: status, delay_ms, reset, lose_answer, refuse, persist_bytes, "
               "drop_session, corrupt, row_reason, job_reason, job_rows, load_row or load_uri";
    const char *reason = lc_json_str(spec, "reason");
    const char *message = lc_json_str(spec, "message");
    snprintf(x->action.reason, sizeof x->action.reason, "%s", reason ? reason : "backendError");
    snprintf(x->action.message, sizeof x->action.message, "%s",
             message ? message : "injected fault");
    return NULL;
}

void lc_fault_add_handler(struct lc_req *r)
{
    json_t *spec = lc_body_json(r);
    if (!spec)
        return;
    struct fault x = {.spec = spec};
    const char *wrong = read_spec(&x, spec);
    struct lc_faults *f = r->app->faults;
    pthread_mutex_lock(&f->lock);
    if (!wrong && f->count == FAULTS_MAX)
        wrong = "too many rules: delete them first";
    if (!wrong)
        f->list[f->count++] = x;
    pthread_mutex_unlock(&f->lock);
    if (wrong) {
        json_decref(spec);
        lc_fail(r, 400, "invalid", "fault: %s", wrong);
        return;
    }
    lc_reply_json(r, 200, json_deep_copy(spec));
}

void lc_fault_list_handler(struct lc_req *r)
{
    struct lc_faults *f = r->app->faults;
    json_t *list = json_array();
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->count; i++) {
        json_t *item = json_deep_copy(f->list[i].spec);
        json_object_set_new(item, "hits", json_integer(f->list[i].hits));
        json_object_set_new(item, "active", json_boolean(alive(&f->list[i])));
        json_array_append_new(list, item);
    }
    pthread_mutex_unlock(&f->lock);
    lc_reply_json(r, 200, json_pack("{s:o}", "faults", list));
}

void lc_fault_clear_handler(struct lc_req *r)
{
    struct lc_faults *f = r->app->faults;
    pthread_mutex_lock(&f->lock);
    clear(f);
    pthread_mutex_unlock(&f->lock);
    lc_reply_empty(r, 204);
}
