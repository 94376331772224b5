/*
 * Goal: tables come to be with our columns whatever races with us, and a load job counts once and
 * only if it is ours. Method: a scripted server for each misbehaviour; the real local cloud for the
 * whole path. Every test takes the client down, also in the middle of operations, so leaks show
 * under ASan.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/base/crc32c.h"
#include "sinks/bigquery/bigquery.h"
#include "sinks/bigquery/bq_internal.h"
#include "sinks/gcs/gcs.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define SCHEMA "[{\"name\":\"user\",\"type\":\"STRING\"},{\"name\":\"n\",\"type\":\"INTEGER\"}]"
#define ADDED                                                                                  \
    "{\"name\":\"event_date\",\"type\":\"DATE\"},{\"name\":\"processed_timestamp\",\"type\":"  \
    "\"TIMESTAMP\"},"                                                                          \
    "{\"name\":\"penstock_id\",\"type\":\"STRING\"},{\"name\":\"penstock_overflow\",\"type\":" \
    "\"JSON\"}"
#define TABLE(fields) "{\"etag\":\"\\\"e1\\\"\",\"schema\":{\"fields\":[" fields "]}}"
#define WHOLE \
    TABLE("{\"name\":\"user\",\"type\":\"STRING\"},{\"name\":\"n\",\"type\":\"INTEGER\"}," ADDED)
#define LACKS_N TABLE("{\"name\":\"user\",\"type\":\"STRING\"}," ADDED)
#define OTHER_TYPE \
    TABLE("{\"name\":\"user\",\"type\":\"STRING\"},{\"name\":\"n\",\"type\":\"DATE\"}," ADDED)

#define ERROR(code, reason)                                                                    \
    "{\"error\":{\"code\":" #code ",\"message\":\"told so\",\"errors\":[{\"reason\":\"" reason \
    "\"}]}}"
#define OK_STEP(b)                                     \
    {                                                  \
        .act = TCLOUD_ANSWER, .status = 200, .body = b \
    }
#define ERROR_STEP(c, r)                                       \
    {                                                          \
        .act = TCLOUD_ANSWER, .status = c, .body = ERROR(c, r) \
    }
#define LOST               \
    {                      \
        .act = TCLOUD_LOSE \
    }

static struct tcloud_bed bed;
static struct bq_config config;
static struct bq_stats stats;
static struct tcloud_server *server;
static struct schema *schema;
static struct bq *client;
static const struct bq_label labels[] = {{"team", "data"}, {"managed_by", "us"}};

static bool over;
static enum bq_result result;
static uint64_t rows;
static char last_text[REASON_TEXT_BYTES];
static struct bq_refusal last_refusal;

static void begin_at(const char *endpoint, uint32_t stall_ms)
{
    char error[256];
    struct span text = {.ptr = SCHEMA, .len = sizeof(SCHEMA) - 1};

    config = (struct bq_config){.endpoint = endpoint,
                                .project = "p1",
                                .dataset = "ds",
                                .location = "EU",
                                .table_expiration_ms = 86400000,
                                .labels = labels,
                                .n_labels = 2};
    stats = (struct bq_stats){0};
    over = false;
    rows = 0;
    tcloud_bed_init(&bed, stall_ms);
    assert_int_equal(schema_compile(text, &schema, error, sizeof(error)), 0);
    assert_int_equal(bq_create(bed.loop, bed.http, &bed.auth, &config, &stats, &client), 0);
}

static void begin(const struct tcloud_step *steps, uint32_t n)
{
    server = tcloud_server_start(steps, n);
    begin_at(tcloud_server_url(server), 2000);
}

static void end(void)
{
    bq_destroy(client);
    tcloud_bed_fini(&bed);
    schema_destroy(schema);
    if (server != NULL)
        tcloud_server_stop(server);
    server = NULL;
}

/* ---- ensure ---- */

static void on_ensure(struct bq_ensure *e, enum bq_result r, const char *text)
{
    assert_false(over);
    assert_null(e->_op);
    over = true;
    result = r;
    snprintf(last_text, sizeof(last_text), "%s", text);
}

static struct bq_table_spec spec(void)
{
    return (struct bq_table_spec){.table = "t_One",
                                  .schema = schema,
                                  .description = "\"events\"",
                                  .clustering = {"user", "n"},
                                  .n_clustering = 2};
}

static void expect_ensure(const struct tcloud_step *steps, uint32_t n, enum bq_result want)
{
    struct bq_table_spec s;
    struct bq_ensure e = {.done = on_ensure, .spec = &s};

    begin(steps, n);
    s = spec();
    assert_int_equal(bq_ensure_start(client, &e), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    if (result != want)
        print_message("got %d: %s\n", (int)result, last_text);
    assert_int_equal(result, want);
    assert_int_equal(tcloud_server_count(server), n);
    end();
}

static void test_ensure_there(void **state)
{
    static const struct tcloud_step whole[] = {OK_STEP(WHOLE)};
    static const struct tcloud_step other[] = {OK_STEP(OTHER_TYPE)};
    static const struct tcloud_step odd[] = {
        OK_STEP("{"), {.status = 503, .body = "<html>"}, OK_STEP(WHOLE)};
    static const struct tcloud_step senseless[] = {OK_STEP("x"), OK_STEP("x"), OK_STEP("x"),
                                                   OK_STEP("x"), OK_STEP("x"), OK_STEP("x")};
    static const struct tcloud_step forbidden[] = {ERROR_STEP(403, "accessDenied")};
    static const struct tcloud_step rate[] = {ERROR_STEP(403, "rateLimitExceeded"), LOST,
                                              OK_STEP(WHOLE)};
    static const struct tcloud_step once[] = {ERROR_STEP(401, "authError"), OK_STEP(WHOLE)};
    static const struct tcloud_step twice[] = {ERROR_STEP(401, "authError"),
                                               ERROR_STEP(401, "authError")};

    (void)state;
    expect_ensure(whole, 1, BQ_DONE);
    expect_ensure(other, 1, BQ_CONFLICT);
    expect_ensure(odd, 3, BQ_DONE);
    expect_ensure(senseless, 6, BQ_PERMANENT);
    expect_ensure(forbidden, 1, BQ_PERMANENT);
    expect_ensure(rate, 3, BQ_DONE);
    expect_ensure(once, 2, BQ_DONE);
    expect_ensure(twice, 2, BQ_PERMANENT);
}

static void test_ensure_creates(void **state)
{
    static const struct tcloud_step plain[] = {ERROR_STEP(404, "notFound"), OK_STEP("{}")};
    static const struct tcloud_step dataset[] = {
        ERROR_STEP(404, "notFound"), ERROR_STEP(404, "notFound"), OK_STEP("{}"), OK_STEP("{}")};
    static const struct tcloud_step dataset_race[] = {
        ERROR_STEP(404, "notFound"), ERROR_STEP(404, "notFound"), ERROR_STEP(409, "duplicate"),
        ERROR_STEP(404, "notFound"), ERROR_STEP(404, "notFound"), OK_STEP("{}")};
    static const struct tcloud_step table_race[] = {ERROR_STEP(404, "notFound"),
                                                    ERROR_STEP(409, "duplicate"),
                                                    ERROR_STEP(404, "notFound"), OK_STEP(WHOLE)};
    static const struct tcloud_step lost[] = {ERROR_STEP(404, "notFound"), LOST,
                                              ERROR_STEP(409, "duplicate"), OK_STEP(WHOLE)};
    static const struct tcloud_step race_lacks[] = {ERROR_STEP(404, "notFound"),
                                                    ERROR_STEP(409, "duplicate"), OK_STEP(LACKS_N),
                                                    OK_STEP(WHOLE)};
    static const struct tcloud_step refused[] = {ERROR_STEP(404, "notFound"),
                                                 ERROR_STEP(400, "invalid")};

    (void)state;
    expect_ensure(plain, 2, BQ_DONE);
    assert_int_equal(stats.tables_created, 1);
    expect_ensure(dataset, 4, BQ_DONE);
    expect_ensure(dataset_race, 6, BQ_DONE);
    expect_ensure(table_race, 4, BQ_DONE);
    assert_int_equal(stats.tables_created, 0);
    expect_ensure(lost, 4, BQ_DONE);
    expect_ensure(race_lacks, 4, BQ_DONE);
    expect_ensure(refused, 2, BQ_PERMANENT);
}

static void test_ensure_patches(void **state)
{
    static const struct tcloud_step plain[] = {OK_STEP(LACKS_N), OK_STEP(WHOLE)};
    static const struct tcloud_step stale[] = {OK_STEP(LACKS_N), ERROR_STEP(412, "conditionNotMet"),
                                               OK_STEP(LACKS_N), OK_STEP(WHOLE)};
    static const struct tcloud_step lost[] = {OK_STEP(LACKS_N), LOST, OK_STEP(WHOLE)};
    static const struct tcloud_step gone[] = {OK_STEP(LACKS_N), ERROR_STEP(404, "notFound"),
                                              ERROR_STEP(404, "notFound"), OK_STEP("{}")};
    static const struct tcloud_step refused[] = {OK_STEP(LACKS_N), ERROR_STEP(400, "invalid")};

    (void)state;
    expect_ensure(plain, 2, BQ_DONE);
    assert_int_equal(stats.tables_patched, 1);
    expect_ensure(stale, 4, BQ_DONE);
    expect_ensure(lost, 3, BQ_DONE);
    expect_ensure(gone, 4, BQ_DONE);
    expect_ensure(refused, 2, BQ_PERMANENT);
}

/* What goes out when everything is made. */
static void test_ensure_requests(void **state)
{
    static const struct tcloud_step steps[] = {ERROR_STEP(404, "notFound"),
                                               ERROR_STEP(404, "notFound"),
                                               OK_STEP("{}"),
                                               ERROR_STEP(409, "duplicate"),
                                               OK_STEP(LACKS_N),
                                               OK_STEP(WHOLE)};
    struct bq_table_spec s;
    struct bq_ensure e = {.done = on_ensure, .spec = &s};
    const struct tcloud_seen *seen;

    (void)state;
    begin(steps, 6);
    s = spec();
    assert_int_equal(bq_ensure_start(client, &e), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    assert_int_equal(result, BQ_DONE);
    seen = tcloud_server_seen(server, 0);
    assert_string_equal(seen->path, "/bigquery/v2/projects/p1/datasets/ds/tables/t_One");
    seen = tcloud_server_seen(server, 2);
    assert_string_equal(seen->path, "/bigquery/v2/projects/p1/datasets");
    assert_string_equal(
        seen->body,
        "{\"datasetReference\":{\"projectId\":\"p1\",\"datasetId\":\"ds\"},\"location\":\"EU\","
        "\"defaultTableExpirationMs\":\"86400000\",\"labels\":{\"team\":\"data\","
        "\"managed_by\":\"us\",\"auto_created\":\"true\"}}");
    seen = tcloud_server_seen(server, 3);
    assert_string_equal(seen->path, "/bigquery/v2/projects/p1/datasets/ds/tables");
    assert_non_null(
        strstr(seen->body, "\"timePartitioning\":{\"type\":\"DAY\",\"field\":\"event_date\"}"));
    assert_non_null(strstr(seen->body, "\"clustering\":{\"fields\":[\"user\",\"n\"]}"));
    assert_non_null(strstr(seen->body, "\"description\":\"\\\"events\\\"\""));
    assert_non_null(strstr(seen->body, "\"table_type\":\"t_one\""));
    assert_non_null(strstr(seen->body, "\"schema\":{\"fields\":["));
    seen = tcloud_server_seen(server, 5);
    assert_string_equal(seen->method, "PATCH");
    assert_non_null(strstr(seen->headers, "If-Match: \"e1\"\r\n"));
    assert_non_null(strstr(seen->body, "\"name\":\"n\""));
    end();
}

/* ---- load ---- */

#define URI1 "gs://bkt/a 1.json"
#define URI2 "gs://bkt/b.json"
#define JOB(state, more)                                                                           \
    "{\"jobReference\":{\"projectId\":\"p1\",\"jobId\":\"j_a1\",\"location\":\"EU\"},\"status\":{" \
    "\"state\":\"" state "\"" more "}"
#define RUNNING   JOB("RUNNING", "}")
#define DONE_ROWS JOB("DONE", "},\"statistics\":{\"load\":{\"outputRows\":\"7\"}}")
#define DONE_ERROR(r)                                                          \
    JOB("DONE", ",\"errorResult\":{\"reason\":\"" r                            \
                "\",\"message\":\"sum\"},\"errors\":[{\"reason\":\"invalid\"," \
                "\"message\":\"row 3\"}]}")
#define CONFIGURED(state, dataset, uris)                                                          \
    "{\"status\":{\"state\":\"" state                                                             \
    "\"},\"statistics\":{\"load\":{\"outputRows\":7}},\"configuration\":{"                        \
    "\"labels\":{\"penstock_uris\":\"%s\"},\"load\":{\"destinationTable\":{\"projectId\":\"p1\"," \
    "\"datasetId\":\"" dataset "\",\"tableId\":\"t\"},\"sourceUris\":[" uris "]}}}"
#define BOTH "\"" URI1 "\",\"" URI2 "\""

static const char *const uris[] = {URI1, URI2};

static void on_load(struct bq_load *l, enum bq_result r, uint64_t n, const char *text)
{
    assert_false(over);
    assert_null(l->_op);
    over = true;
    result = r;
    rows = n;
    last_refusal = l->refusal;
    snprintf(last_text, sizeof(last_text), "%s", text);
}

static struct bq_load load(void)
{
    return (struct bq_load){
        .job_id = "j_a1", .table = "t", .uris = uris, .n_uris = 2, .done = on_load};
}

/* A jobs.get answer whose label is right. */
static const char *labelled(char *out, size_t size, const char *format)
{
    struct bq_config c = {.dataset = "ds"};
    struct bq_load l = load();
    const char *at = strstr(format, "%s");
    char label[40];

    bq_uris_label(&c, &l, label);
    snprintf(out, size, "%.*s%s%s", (int)(at - format), format, label, at + 2);
    return out;
}

static void expect_load(const struct tcloud_step *steps, uint32_t n, enum bq_result want)
{
    struct bq_load l = load();

    begin(steps, n);
    assert_int_equal(bq_load_start(client, &l), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    if (result != want)
        print_message("got %d: %s\n", (int)result, last_text);
    assert_int_equal(result, want);
    assert_int_equal(rows, want == BQ_DONE ? 7 : 0);
    assert_int_equal(stats.rows, rows);
    assert_int_equal(tcloud_server_count(server), n);
    end();
}

static void test_load_plain(void **state)
{
    static const struct tcloud_step at_once[] = {OK_STEP(DONE_ROWS)};
    static const struct tcloud_step polled[] = {OK_STEP(RUNNING), OK_STEP(JOB("PENDING", "}")),
                                                OK_STEP(DONE_ROWS)};
    static const struct tcloud_step bumpy[] = {OK_STEP(RUNNING), LOST,
                                               ERROR_STEP(503, "backendError"), OK_STEP(DONE_ROWS)};

    (void)state;
    expect_load(at_once, 1, BQ_DONE);
    expect_load(polled, 3, BQ_DONE);
    expect_load(bumpy, 4, BQ_DONE);
}

static void test_load_request(void **state)
{
    static const struct tcloud_step steps[] = {OK_STEP(RUNNING), OK_STEP(DONE_ROWS)};
    struct bq_load l = load();
    const struct tcloud_seen *seen;

    (void)state;
    begin(steps, 2);
    assert_int_equal(bq_load_start(client, &l), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    seen = tcloud_server_seen(server, 0);
    assert_string_equal(seen->method, "POST");
    assert_ptr_equal(strstr(seen->path, "/bigquery/v2/projects/p1/jobs?"), seen->path);
    assert_non_null(
        strstr(seen->body,
               "\"jobReference\":{\"projectId\":\"p1\",\"jobId\":\"j_a1\",\"location\":\"EU\"}"));
    assert_non_null(strstr(seen->body, "\"sourceUris\":[" BOTH "]"));
    assert_non_null(strstr(seen->body, "\"createDisposition\":\"CREATE_NEVER\""));
    assert_non_null(strstr(seen->body, "\"writeDisposition\":\"WRITE_APPEND\""));
    assert_non_null(strstr(seen->body, "\"penstock\":\"1\""));
    seen = tcloud_server_seen(server, 1);
    assert_string_equal(seen->method, "GET");
    assert_ptr_equal(strstr(seen->path, "/bigquery/v2/projects/p1/jobs/j_a1?"), seen->path);
    assert_non_null(strstr(seen->path, "location=EU"));
    assert_int_equal(stats.jobs, 1);
    end();
}

static void test_load_outcomes(void **state)
{
    static const char *const transient[] = {
        DONE_ERROR("backendError"),    DONE_ERROR("internalError"),
        DONE_ERROR("jobBackendError"), DONE_ERROR("rateLimitExceeded"),
        DONE_ERROR("quotaExceeded"),   DONE_ERROR("tableUnavailable"),
        DONE_ERROR("timeout")};
    static const char *const refused[] = {DONE_ERROR("invalid"), DONE_ERROR("notFound"),
                                          DONE_ERROR("accessDenied")};
    struct tcloud_step step = {.status = 200};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(transient); i++) {
        step.body = transient[i];
        expect_load(&step, 1, BQ_JOB_FAILED);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        step.body = refused[i];
        expect_load(&step, 1, BQ_JOB_REFUSED);
    }
    assert_string_equal(last_text, "accessDenied: row 3 (sum)");
    assert_int_equal(stats.jobs_failed, 1);
}

#define DONE_BAD(reason, location, message, errors)                                           \
    "{\"status\":{\"state\":\"DONE\",\"errorResult\":{\"reason\":\"" reason                   \
    "\",\"location\":\"" location "\",\"message\":\"" message "\"},\"errors\":[" errors "]}," \
    "\"jobReference\":{\"location\":\"EU\"}}"

/* What a refused job says of files and rows: see struct bq_refusal. */
static void test_refusals(void **state)
{
    static const struct {
        const char *body, *uri;
        int64_t position;
        bool rows, missing;
    } cases[] = {
        {DONE_BAD("invalid", "", "too many errors", ""), "", -1, true, false},
        {DONE_BAD("invalid", "gs://b/x/1.json", "sum", "{\"message\":\"sum\"}"), "gs://b/x/1.json",
         -1, true, false},
        {DONE_BAD(
             "invalid", "gs://b/1", "sum",
             "7,{\"location\":\"gs://b/2\",\"message\":\"row starting at position 5: x\"},"
             "{\"location\":\"gs://b/1\",\"message\":\"in row starting at position 123: bad\"}"),
         "gs://b/1", 123, true, false},
        {DONE_BAD("invalid", "query", "Error. File: gs://b/a.json; starting at position 9", ""),
         "gs://b/a.json", 9, true, false},
        {DONE_BAD("invalid", "gs://b/1", "starting at position 99999999999999999999", ""),
         "gs://b/1", -1, true, false},
        {DONE_BAD("notFound", "", "Not found: URI gs://b/gone.json", ""), "gs://b/gone.json", -1,
         true, true},
        {DONE_BAD("notFound", "t", "Not found: Table p:d.t", ""), "", -1, false, false},
        {DONE_BAD("accessDenied", "gs://b/1", "no", ""), "gs://b/1", -1, false, false},
    };
    struct tcloud_step step = {.status = 200};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        step.body = cases[i].body;
        expect_load(&step, 1, BQ_JOB_REFUSED);
        assert_string_equal(last_refusal.uri, cases[i].uri);
        assert_int_equal(last_refusal.position, cases[i].position);
        assert_int_equal(last_refusal.rows, cases[i].rows);
        assert_int_equal(last_refusal.missing, cases[i].missing);
    }
}

static void test_load_found(void **state)
{
    char ours[1024], running[1024], others[1024], fewer[1024], dataset[1024];
    struct tcloud_step steps[4] = {ERROR_STEP(409, "duplicate")};

    (void)state;
    steps[1] = (struct tcloud_step){
        .status = 200, .body = labelled(ours, sizeof(ours), CONFIGURED("DONE", "ds", BOTH))};
    expect_load(steps, 2, BQ_DONE); /* it ran before a crash */
    steps[0] = (struct tcloud_step)LOST;
    expect_load(steps, 2, BQ_DONE); /* the answer was lost */
    steps[0] = (struct tcloud_step){.act = TCLOUD_TRUNCATE, .status = 200, .body = RUNNING};
    expect_load(steps, 2, BQ_DONE);
    steps[0] = (struct tcloud_step)OK_STEP("<html>");
    expect_load(steps, 2, BQ_DONE);
    steps[0] = (struct tcloud_step)ERROR_STEP(409, "duplicate");
    steps[1].body = labelled(running, sizeof(running), CONFIGURED("RUNNING", "ds", BOTH));
    steps[2] = (struct tcloud_step)OK_STEP(DONE_ROWS);
    expect_load(steps, 3, BQ_DONE);
    steps[1].body =
        labelled(others, sizeof(others), CONFIGURED("DONE", "ds", "\"" URI1 "\",\"gs://x/y\""));
    expect_load(steps, 2, BQ_CONFLICT);
    steps[1].body = labelled(fewer, sizeof(fewer), CONFIGURED("DONE", "ds", "\"" URI1 "\""));
    expect_load(steps, 2, BQ_CONFLICT);
    steps[1].body = labelled(dataset, sizeof(dataset), CONFIGURED("DONE", "ds2", BOTH));
    expect_load(steps, 2, BQ_CONFLICT);
    steps[1].body = CONFIGURED("DONE", "ds", BOTH); /* without our label */
    expect_load(steps, 2, BQ_CONFLICT);
    steps[1].body = DONE_ROWS; /* no configuration: nothing shows that it is ours */
    expect_load(steps, 2, BQ_CONFLICT);
}

static void test_load_again(void **state)
{
    static const struct tcloud_step unknown[] = {LOST, ERROR_STEP(404, "notFound"),
                                                 OK_STEP(DONE_ROWS)};
    static const struct tcloud_step rate[] = {ERROR_STEP(403, "rateLimitExceeded"),
                                              {.status = 429, .headers = "Retry-After: 1\r\n"},
                                              OK_STEP(DONE_ROWS)};
    static const struct tcloud_step job_error[] = {ERROR_STEP(400, "jobBackendError"),
                                                   ERROR_STEP(404, "notFound"), OK_STEP(DONE_ROWS)};
    static const struct tcloud_step forbidden[] = {ERROR_STEP(403, "accessDenied")};
    static const struct tcloud_step no_table[] = {ERROR_STEP(404, "notFound")};
    static const struct tcloud_step expired[] = {OK_STEP(RUNNING), ERROR_STEP(401, "authError"),
                                                 OK_STEP(DONE_ROWS)};

    (void)state;
    expect_load(unknown, 3, BQ_DONE);
    expect_load(rate, 3, BQ_DONE);
    expect_load(job_error, 3, BQ_DONE);
    expect_load(forbidden, 1, BQ_PERMANENT);
    expect_load(no_table, 1, BQ_PERMANENT);
    expect_load(expired, 3, BQ_DONE);
}

/* 409 and 404 in turn: the job is in another location, and no retry will find it. */
static void test_load_elsewhere(void **state)
{
    static struct tcloud_step steps[22];

    (void)state;
    for (int i = 0; i < 22; i++)
        steps[i] = i % 2 == 0 ? (struct tcloud_step)ERROR_STEP(409, "duplicate")
                              : (struct tcloud_step)ERROR_STEP(404, "notFound");
    expect_load(steps, 22, BQ_PERMANENT);
    assert_non_null(strstr(last_text, "location"));
}

static void test_cancel(void **state)
{
    static const struct tcloud_step scripts[][3] = {
        {{.act = TCLOUD_STALL}, {.act = TCLOUD_STALL}, {.act = TCLOUD_STALL}},
        {ERROR_STEP(404, "notFound"), ERROR_STEP(404, "notFound"), {.act = TCLOUD_STALL}},
        {OK_STEP(RUNNING), OK_STEP(LACKS_N), {.act = TCLOUD_STALL}},
        {ERROR_STEP(503, "x"), ERROR_STEP(503, "x"), {.act = TCLOUD_STALL}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        for (int turns = 0; turns < 10; turns++) {
            struct bq_table_spec s;
            struct bq_load l = load();
            struct bq_ensure e = {.done = on_ensure, .spec = &s};

            begin(scripts[i], 3);
            s = spec();
            assert_int_equal(
                turns % 2 == 0 ? bq_load_start(client, &l) : bq_ensure_start(client, &e), 0);
            for (int turn = 0; turn < turns && !over; turn++)
                (void)loop_run_once(bed.loop, 5000);
            end();
            assert_null(l._op);
            assert_null(e._op);
            assert_null(l.waiting);
        }
    }
}

/* ---- rows, blocking ---- */

static void test_count(void **state)
{
    static const struct tcloud_step steps[] = {
        {.status = 503},
        OK_STEP("{\"jobComplete\":false,\"jobReference\":{\"jobId\":\"q1\",\"location\":\"EU\"}}"),
        OK_STEP("{\"jobComplete\":true,\"rows\":[{\"f\":[{\"v\":\"12\"}]}]}"),
        ERROR_STEP(404, "notFound"),
        OK_STEP("{\"jobComplete\":true}"),
    };
    char error[256];
    uint64_t n = 0;

    (void)state;
    begin(steps, 5);
    assert_int_equal(bq_count_rows(&config, &bed.auth, "t", &n, error, sizeof(error)), 0);
    assert_int_equal(n, 12);
    assert_non_null(strstr(tcloud_server_seen(server, 0)->body, "FROM `p1.ds.t`"));
    assert_non_null(strstr(tcloud_server_seen(server, 0)->body, "\"useLegacySql\":false"));
    assert_string_equal(
        tcloud_server_seen(server, 2)->path,
        "/bigquery/v2/projects/p1/queries/q1?timeoutMs=10000&maxResults=10000&location=EU");
    assert_int_equal(bq_count_rows(&config, &bed.auth, "t", &n, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "notFound"));
    assert_int_equal(bq_count_rows(&config, &bed.auth, "t", &n, error, sizeof(error)), -EBADMSG);
    assert_int_equal(bq_count_rows(&config, &bed.auth, "t`; DROP", &n, error, sizeof(error)),
                     -EINVAL);
    end();
}

/* ---- against the local cloud ---- */

static bool put_over;

static void on_put(struct gcs_put *p, enum gcs_result r, int64_t generation, const char *text)
{
    (void)p, (void)generation;
    if (r != GCS_DONE)
        print_message("%s\n", text);
    assert_int_equal(r, GCS_DONE);
    put_over = true;
}

static void store(const char *name, const char *lines)
{
    struct gcs_stats gs = {0};
    struct gcs_config gc = {.endpoint = config.endpoint, .bucket = "bkt", .node = "n"};
    struct iovec body = {.iov_base = (char *)(uintptr_t)lines, .iov_len = strlen(lines)};
    struct gcs_put p = {.name = name,
                        .content_type = "application/x-ndjson",
                        .body = &body,
                        .body_parts = 1,
                        .bytes = body.iov_len,
                        .log_id = "l",
                        .done = on_put};
    struct gcs *g;

    p.crc32c = crc32c(0, lines, strlen(lines));
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &gc, &gs, &g), 0);
    put_over = false;
    assert_int_equal(gcs_put_start(g, &p), 0);
    assert_true(tcloud_bed_run(&bed, &put_over));
    gcs_destroy(g);
}

static void ensure_now(enum bq_result want)
{
    struct bq_table_spec s = spec();
    struct bq_ensure e = {.done = on_ensure, .spec = &s};

    over = false;
    assert_int_equal(bq_ensure_start(client, &e), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    if (result != want)
        print_message("%s\n", last_text);
    assert_int_equal(result, want);
}

static void load_now(const char *job, const char *uri, enum bq_result want, uint64_t want_rows)
{
    struct bq_load l = {
        .job_id = job, .table = "t_One", .uris = &uri, .n_uris = 1, .done = on_load};

    over = false;
    assert_int_equal(bq_load_start(client, &l), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    if (result != want)
        print_message("%s\n", last_text);
    assert_int_equal(result, want);
    assert_int_equal(rows, want_rows);
}

static void with_local(struct tcloud_local *cloud)
{
    struct schema *wider;
    char error[256];
    uint64_t n = 0;
    static const char more[] =
        "[{\"name\":\"user\",\"type\":\"STRING\"},{\"name\":\"n\",\"type\":\"INTEGER\"},"
        "{\"name\":\"extra\",\"type\":\"FLOAT\"}]";

    assert_int_equal(bq_count_rows(&config, &bed.auth, "t_One", &n, error, sizeof(error)), -ENOENT);
    ensure_now(BQ_DONE);
    assert_int_equal(stats.tables_created, 1);
    ensure_now(BQ_DONE);
    store("a.json",
          "{\"user\":\"u\",\"n\":1,\"event_date\":\"2026-01-02\"}\n{\"user\":\"v\",\"n\":2}\n");
    store("bad.json", "{\"user\":\"u\",\"n\":\"word\"}\n");
    load_now("job_a1", "gs://bkt/a.json", BQ_DONE, 2);
    load_now("job_a1", "gs://bkt/a.json", BQ_DONE, 2);       /* found again */
    load_now("job_a1", "gs://bkt/bad.json", BQ_CONFLICT, 0); /* the id with other URIs */
    load_now("job_b1", "gs://bkt/bad.json", BQ_JOB_REFUSED, 0);
    tcloud_local_fault(cloud,
                       "{\"service\":\"bigquery\",\"method\":\"POST\",\"path_contains\":\"/jobs\","
                       "\"lose_answer\":true,\"count\":1}");
    load_now("job_c1", "gs://bkt/a.json", BQ_DONE, 2);
    assert_int_equal(bq_count_rows(&config, &bed.auth, "t_One", &n, error, sizeof(error)), 0);
    assert_int_equal(n, 4);
    assert_int_equal(schema_compile(span_of(more), &wider, error, sizeof(error)), 0);
    schema_destroy(schema);
    schema = wider;
    ensure_now(BQ_DONE);
    assert_int_equal(stats.tables_patched, 1);
    ensure_now(BQ_DONE);
    assert_int_equal(stats.tables_patched, 1);
}

static void test_local_cloud(void **state)
{
    struct tcloud_local *cloud = tcloud_local_start();

    (void)state;
    if (cloud == NULL)
        skip();
    begin_at(tcloud_local_url(cloud), 5000);
    with_local(cloud);
    end();
    tcloud_local_stop(cloud);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ensure_there),   cmocka_unit_test(test_ensure_creates),
        cmocka_unit_test(test_ensure_patches), cmocka_unit_test(test_ensure_requests),
        cmocka_unit_test(test_load_plain),     cmocka_unit_test(test_load_request),
        cmocka_unit_test(test_load_outcomes),  cmocka_unit_test(test_load_found),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_load_again),
        cmocka_unit_test(test_load_elsewhere), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_count),          cmocka_unit_test(test_local_cloud),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
