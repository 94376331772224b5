/*
 * Goal: a change of knobs is taken as a whole or not at all, with a message that names the mistake
 * and the fix; values that were set for a time come back; pauses outlive the process.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/knobs.h"
#include "control/tuning.h"
#include "control/tuning_internal.h"
#include "dataplane/json/json.h"

struct rig {
    char dir[64];
    struct config *config;
    struct tuning *t;
    struct live_reader *reader;
    struct textbuf out;
};

static void open_tuning(struct rig *r)
{
    char error[512];

    assert_int_equal(tuning_create(r->config, &r->t, error, sizeof(error)), 0);
    r->reader = live_join(tuning_live(r->t));
    assert_non_null(r->reader);
}

static int rig_start(void **state)
{
    static const char text[] = "data_dir: %s\ngcs: {bucket: test-bucket}\n"
                               "bigquery: {project: test-project}\ngroup: {age_max: 5s}\n"
                               "types:\n  list:\n    - {name: order, sampling: 0.5}\n"
                               "    - {name: plain}\n";
    struct rig *r = calloc(1, sizeof(*r));
    struct textbuf yaml = {0};
    struct config_source source = {.file = "test.yaml", .no_schemas = true};

    assert_non_null(r);
    snprintf(r->dir, sizeof(r->dir), "/tmp/test-tuning-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    textbuf_add(&yaml, text, r->dir);
    source.text = yaml.ptr;
    source.text_len = yaml.len;
    assert_int_equal(config_load(&source, &r->config, &r->out), 0);
    textbuf_fini(&yaml);
    open_tuning(r);
    *state = r;
    return 0;
}

static int rig_stop(void **state)
{
    struct rig *r = *state;
    char path[80];

    tuning_destroy(r->t);
    config_destroy(r->config);
    textbuf_fini(&r->out);
    snprintf(path, sizeof(path), "%s/paused", r->dir);
    (void)unlink(path);
    assert_int_equal(rmdir(r->dir), 0); /* nothing else is left there */
    free(r);
    return 0;
}

static bool known(void *ctx, const char *type)
{
    (void)ctx;
    return strcmp(type, "order") == 0 || strcmp(type, "plain") == 0 || strcmp(type, "a b") == 0;
}

static const char *nearest(void *ctx, const char *type)
{
    (void)ctx;
    return type[0] == 'o' ? "order" : NULL;
}

static uint32_t settled(void *ctx)
{
    (void)ctx;
    return 0;
}

static int set_many(struct rig *r, const struct tuning_change *change, uint32_t n, int64_t for_us)
{
    struct tuning_request q = {
        .change = change,
        .n = n,
        .for_us = for_us,
        .type_known = known,
        .type_nearest = nearest,
        .settle = settled,
    };

    textbuf_fini(&r->out);
    return tuning_set(r->t, &q, &r->out);
}

static int set(struct rig *r, const char *name, const char *value, int64_t for_us)
{
    struct tuning_change c = {name, value};

    return set_many(r, &c, 1, for_us);
}

static void has(const struct rig *r, const char *part)
{
    if (strstr(textbuf_str(&r->out), part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, textbuf_str(&r->out));
}

static const struct live_settings *seen(const struct rig *r)
{
    return live_read(r->reader);
}

static void changes(void **state)
{
    struct rig *r = *state;
    const struct tuning_change two[] = {{"group.age_max", "1s"}, {"gcs.concurrency", "3"}};
    const struct tuning_change bad[] = {{"group.age_max", "2s"}, {"gcs.concurrency", "none"}};
    const struct tuning_change same[] = {{"group.age_max", "2s"}, {"group.age_max", "3s"}};

    assert_int_equal(seen(r)->sink.group_age_us_max, 5000000);
    assert_int_equal(set_many(r, two, 2, 0), 0);
    has(r, "group.age_max = 1s (was 5s)");
    has(r, "forgotten at the next start");
    assert_int_equal(seen(r)->sink.group_age_us_max, 1000000);
    assert_int_equal(seen(r)->sink.puts_max, 3);
    assert_int_equal(set_many(r, bad, 2, 0), -EINVAL);
    has(r, "gcs.concurrency: found \"none\"; allowed: a whole number from 1 to 1024");
    assert_int_equal(seen(r)->sink.group_age_us_max, 1000000);
    assert_int_equal(set_many(r, same, 2, 0), -EINVAL);
    has(r, "given twice");
    assert_int_equal(tuning_number(r->t, "group.age_max"), 1000000);
    assert_int_equal(r->config->group_age_max, 5000000);
}

static void mistakes(void **state)
{
    struct rig *r = *state;
    uint64_t version = seen(r)->version;

    assert_int_equal(set(r, "group.agemax", "1s", 0), -EINVAL);
    has(r, "did you mean \"group.age_max\"?");
    assert_int_equal(set(r, "group.memory", "1GiB", 0), -EINVAL);
    has(r, "needs a restart: change it in test.yaml");
    assert_int_equal(set(r, "group.age_max", "1ms", 0), -EINVAL);
    has(r, "a duration from 10ms to 1d");
    assert_int_equal(set(r, "group.bytes_max", "200MiB", 0), -EINVAL); /* half of group.memory */
    has(r, "at most half of group.memory");
    assert_int_equal(set(r, "block.bytes", "2MiB", 0), -EINVAL);
    has(r, "at most 1MiB, its value at start");
    assert_int_equal(set(r, "block.bytes", "64KiB", 0), -EINVAL); /* a body would not fit */
    has(r, "(block.count - 2) * block.bytes");
    assert_int_equal(set(r, "types.odrer.sampling", "1", 0), -EINVAL);
    has(r, "did you mean \"order\"?");
    assert_int_equal(set(r, "types.order.sampling", "1.5", 0), -EINVAL);
    has(r, "a number from 0 to 1");
    assert_int_equal(set(r, "types.%zz.sampling", "1", 0), -EINVAL);
    has(r, "percent-encoded");
    assert_int_equal(seen(r)->version, version);
}

/* Lets the time of everything that was set for a time be over. */
static void let_time_pass(struct tuning *t)
{
    for (int i = 0; i < CONFIG_KNOBS_MAX; i++)
        t->term[i].due_us = t->term[i].due_us > 0 ? 1 : 0;
    for (uint32_t i = 0; i < t->n_types; i++)
        t->type[i].term.due_us = t->type[i].term.due_us > 0 ? 1 : 0;
    for (uint32_t i = 0; i < t->n_pauses; i++)
        t->pause[i].until_us = t->pause[i].until_us > 0 ? 1 : 0;
    tuning_tick(t);
}

static void for_a_time(void **state)
{
    struct rig *r = *state;

    assert_int_equal(set(r, "group.age_max", "1s", 60000000), 0);
    has(r, "then 5s again");
    assert_int_equal(set(r, "group.age_max", "2s", 60000000), 0); /* replaces it */
    has(r, "then 5s again");
    tuning_tick(r->t);
    assert_int_equal(seen(r)->sink.group_age_us_max, 2000000);
    assert_true(tuning_due_us(r->t, 3600000000) <= 60000000);
    let_time_pass(r->t);
    assert_int_equal(seen(r)->sink.group_age_us_max, 5000000);
    assert_int_equal(tuning_due_us(r->t, 3600000000), 3600000000);
    assert_int_equal(set(r, "group.age_max", "1s", 60000000), 0);
    assert_int_equal(set(r, "group.age_max", "3s", 0), 0); /* for good */
    let_time_pass(r->t);
    assert_int_equal(seen(r)->sink.group_age_us_max, 3000000);
    textbuf_fini(&r->out);
    assert_int_equal(tuning_get(r->t, "group.age_max", false, &r->out), 0);
    has(r, "group.age_max = 3s");
    has(r, "from     live");
}

/* What was lowered for a time cannot come back when something else relies on it. */
static void coming_back_must_fit(void **state)
{
    struct rig *r = *state;

    assert_int_equal(set(r, "group.bytes_max", "1MiB", 60000000), 0);
    r->t->now.group_memory = 64 << 20; /* as if it could be set */
    let_time_pass(r->t);
    assert_int_equal(seen(r)->sink.group_bytes_max, 1 << 20);
    r->t->now.group_memory = 256 << 20;
    let_time_pass(r->t);
    assert_int_equal(seen(r)->sink.group_bytes_max, 64 << 20);
}

static uint32_t sampling_of(const struct rig *r, const char *type)
{
    const struct live_settings *s = seen(r);
    const struct live_type *t = live_type_find(s, span_of(type));

    return t != NULL ? t->sampling_ppm : s->worker.sampling_ppm;
}

static void sampling(void **state)
{
    struct rig *r = *state;
    uint64_t version = seen(r)->types_version;

    assert_int_equal(sampling_of(r, "order"), 500000);
    assert_int_equal(sampling_of(r, "plain"), LIVE_SAMPLING_ALL);
    assert_int_equal(set(r, "types.order.sampling", "0.000001", 60000000), 0);
    has(r, "then 0.5 again");
    assert_int_equal(sampling_of(r, "order"), 1);
    assert_true(seen(r)->types_version > version);
    assert_int_equal(set(r, "types.sampling", "0", 0), 0);
    assert_int_equal(sampling_of(r, "plain"), 0);
    assert_int_equal(sampling_of(r, "order"), 1);
    assert_int_equal(set(r, "types.a%20b.sampling", "1", 0), 0);
    assert_int_equal(sampling_of(r, "a b"), LIVE_SAMPLING_ALL);
    textbuf_fini(&r->out);
    assert_int_equal(tuning_get(r->t, "types.a%20b.sampling", true, &r->out), 0);
    has(r, "\"name\":\"types.a%20b.sampling\",\"value\":\"1\",\"number\":1000000");
    let_time_pass(r->t);
    assert_int_equal(sampling_of(r, "order"), 500000);
    version = seen(r)->types_version;
    assert_int_equal(set(r, "group.age_max", "1s", 0), 0);
    assert_int_equal(seen(r)->types_version, version); /* workers need not look at their types */
}

static void listing(void **state)
{
    struct rig *r = *state;
    size_t offset = 0;
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    textbuf_fini(&r->out);
    assert_int_equal(tuning_get(r->t, "", true, &r->out), 0);
    assert_int_equal(json_validate(r->out.ptr, r->out.len - 1, &offset), JSON_ERROR_NONE);
    for (uint32_t i = 0; i < n; i++)
        has(r, k[i].name);
    has(r, "\"from\":\"file:4\"");
    textbuf_fini(&r->out);
    assert_int_equal(tuning_get(r->t, "grup", false, &r->out), -ENOENT);
    has(r, "get: no knob \"grup\"");
    for (uint32_t i = 0; i < n; i++) { /* what may be set live is a number, a choice or a boolean */
        if (k[i].phase == KNOB_RUNTIME)
            (void)knob_number(&k[i], r->config);
    }
}

static void reopen(struct rig *r)
{
    tuning_destroy(r->t);
    r->t = NULL;
    open_tuning(r);
}

static void pauses(void **state)
{
    struct rig *r = *state;
    struct tuning_pause *p;

    assert_int_equal(tuning_pause(r->t, TUNING_GCS, "", 0), 0);
    assert_int_equal(tuning_pause(r->t, TUNING_TYPE, "a b", 60000000), 0);
    assert_true(seen(r)->sink.gcs_paused && !seen(r)->sink.bigquery_paused);
    assert_true(live_type_find(seen(r), span_of("a b"))->paused);
    assert_int_equal(sampling_of(r, "a b"), LIVE_SAMPLING_ALL);
    reopen(r);
    assert_int_equal(tuning_pauses(r->t, &p), 2);
    assert_int_equal(p[1].what, TUNING_TYPE);
    assert_string_equal(p[1].type, "a b");
    assert_true(p[1].until_us - p[1].since_us == 60000000);
    free(p);
    assert_true(seen(r)->sink.gcs_paused);
    assert_int_equal(tuning_resume(r->t, TUNING_GCS, ""), 0);
    assert_int_equal(tuning_resume(r->t, TUNING_GCS, ""), -ENOENT);
    assert_false(seen(r)->sink.gcs_paused);
    let_time_pass(r->t);
    assert_null(live_type_find(seen(r), span_of("a b")));
    reopen(r);
    assert_int_equal(tuning_pauses(r->t, &p), 0);
    free(p);
}

static void pauses_that_are_not_ours(void **state)
{
    struct rig *r = *state;
    char path[80], error[512];
    struct tuning *t;
    FILE *f;

    snprintf(path, sizeof(path), "%s/paused", r->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "gcs - 5 0\ngcs everything\n");
    fclose(f);
    assert_int_equal(tuning_create(r->config, &t, error, sizeof(error)), -EBADMSG);
    assert_non_null(strstr(error, "line 2"));
    assert_non_null(strstr(error, "delete the file"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_start, rig_stop)
    const struct CMUnitTest tests[] = {
        TEST(changes),  TEST(mistakes), TEST(for_a_time), TEST(coming_back_must_fit),
        TEST(sampling), TEST(listing),  TEST(pauses),     TEST(pauses_that_are_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
