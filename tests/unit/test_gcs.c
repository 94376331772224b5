/*
 * Goal: the Cloud Storage client creates each object once and says so rightly, whatever the server
 * and the network do. Method: a scripted server for each misbehaviour; the real local cloud for the
 * whole path. Leaks and stale callbacks show under ASan: every test takes the client down, also in
 * the middle of operations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* The parts under test with an allocator that fails on demand; the library's own copies are not
 * linked then. */
static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void)
{
    return allocations_left-- <= 0;
}

#define malloc(n)     (allocation_fails() ? NULL : malloc(n))
#define calloc(n, m)  (allocation_fails() ? NULL : calloc(n, m))
#define realloc(p, n) (allocation_fails() ? NULL : realloc(p, n))
#include "sinks/engine/http_transfer.c"
#include "sinks/engine/text.c"
#include "sinks/gcs/gcs_delete.c"
#include "sinks/gcs/gcs_put.c"
#undef malloc
#undef calloc
#undef realloc

#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"
#include "sinks/gcs/gcs.h"
#include "sinks/gcs/gcs_internal.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define BODY "{\"a\":1}\n"
#define CRC  "M3Q35g==" /* of BODY */
#define NAME "output/t/2026/01/02/03/04/n 1.json"

#define RESOURCE(size, crc, plan, log)                                                          \
    "{\"kind\":\"storage#object\",\"name\":\"" NAME "\",\"generation\":\"17\",\"size\":\"" size \
    "\",\"crc32c\":\"" crc "\",\"metadata\":{\"penstock-plan\":\"" plan                         \
    "\",\"penstock-log\":\"" log "\"}}"
#define OURS RESOURCE("8", CRC, "42", "log1")

#define ERROR(code, reason)                                                                    \
    "{\"error\":{\"code\":" #code ",\"message\":\"told so\",\"errors\":[{\"reason\":\"" reason \
    "\"}]}}"

#define OK_STEP(b)                                     \
    {                                                  \
        .act = TCLOUD_ANSWER, .status = 200, .body = b \
    }
#define LOST               \
    {                      \
        .act = TCLOUD_LOSE \
    }
#define ERROR_STEP(c, r)                                       \
    {                                                          \
        .act = TCLOUD_ANSWER, .status = c, .body = ERROR(c, r) \
    }

struct outcome {
    struct gcs_put put;
    bool over;
    enum gcs_result result;
    int64_t generation;
    char text[REASON_TEXT_BYTES];
    struct gcs_stats stats;
    uint32_t requests;
    struct tcloud_seen first; /* request */
    bool saw_waiting;
};

static void on_put(struct gcs_put *p, enum gcs_result result, int64_t generation, const char *text)
{
    struct outcome *o = container_of(p, struct outcome, put);

    assert_false(o->over);
    o->over = true;
    o->result = result;
    o->generation = generation;
    snprintf(o->text, sizeof(o->text), "%s", text);
}

static void fill(struct gcs_put *p, const struct iovec *body, uint32_t parts)
{
    *p = (struct gcs_put){.name = NAME,
                          .content_type = "application/x-ndjson",
                          .body = body,
                          .body_parts = parts,
                          .plan_id = 42,
                          .events = 1,
                          .log_id = "log1",
                          .done = on_put};
    for (uint32_t i = 0; i < parts; i++) {
        p->bytes += body[i].iov_len;
        p->crc32c = crc32c(p->crc32c, body[i].iov_base, body[i].iov_len);
    }
}

/* Puts BODY against a script. turns >= 0: takes the client down after so many turns of the loop. */
static struct outcome *run_script(const struct tcloud_step *steps, uint32_t n, int turns,
                                  uint32_t stall_ms)
{
    struct outcome *o = calloc(1, sizeof(*o));
    struct tcloud_server *server = tcloud_server_start(steps, n);
    struct gcs_config config = {
        .endpoint = tcloud_server_url(server), .bucket = "bkt", .node = "node\"1"};
    struct iovec body[2] = {{.iov_base = (char *)BODY, .iov_len = 3},
                            {.iov_base = (char *)BODY + 3, .iov_len = 5}};
    struct tcloud_bed bed;
    struct gcs *g;

    assert_non_null(o);
    tcloud_bed_init(&bed, stall_ms);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o->stats, &g), 0);
    fill(&o->put, body, 2);
    assert_int_equal(gcs_put_start(g, &o->put), 0);
    if (turns < 0) {
        assert_true(tcloud_bed_run(&bed, &o->over));
        assert_null(o->put._op);
        assert_null(o->put.waiting);
    }
    for (int i = 0; i < turns && !o->over; i++) {
        (void)loop_run_once(bed.loop, 5000);
        o->saw_waiting = o->saw_waiting || o->put.waiting != NULL;
    }
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    o->requests = tcloud_server_count(server);
    tcloud_server_stop(server);
    return o;
}

static void expect(const struct tcloud_step *steps, uint32_t n, enum gcs_result result,
                   uint64_t recognised)
{
    struct outcome *o = run_script(steps, n, -1, 2000);

    if (o->result != result)
        print_message("got %d: %s\n", (int)o->result, o->text);
    assert_int_equal(o->result, result);
    assert_int_equal(o->requests, n);
    assert_int_equal(o->stats.recognised, recognised);
    assert_int_equal(o->stats.objects, result == GCS_DONE ? 1 : 0);
    assert_int_equal(o->stats.conflicts, result == GCS_CONFLICT ? 1 : 0);
    assert_int_equal(o->stats.permanent, result == GCS_PERMANENT ? 1 : 0);
    assert_int_equal(o->stats.calls, n);
    free(o);
}

static void test_crc_text(void **state)
{
    char text[CRC_TEXT_BYTES];
    uint32_t crc;

    (void)state;
    crc_text(0xE3069283, text);
    assert_string_equal(text, "4waSgw==");
    assert_true(crc_parse("4waSgw==", &crc));
    assert_int_equal(crc, 0xE3069283);
    crc_text(0, text);
    assert_string_equal(text, "AAAAAA==");
    assert_false(crc_parse("4waS!w==", &crc));
    assert_false(crc_parse("4wa", &crc));
}

static void test_put_plain(void **state)
{
    static const struct tcloud_step steps[] = {OK_STEP(OURS)};

    (void)state;
    expect(steps, 1, GCS_DONE, 0);
}

/* The request is what the JSON API wants: query, parts, metadata, body. */
static void test_put_request(void **state)
{
    static const struct tcloud_step steps[] = {OK_STEP(OURS)};
    struct tcloud_server *server = tcloud_server_start(steps, 1);
    struct gcs_config config = {.endpoint = tcloud_server_url(server),
                                .bucket = "b/k",
                                .node = "n\"1",
                                .user_project = "quota"};
    struct iovec body = {.iov_base = (char *)BODY, .iov_len = sizeof(BODY) - 1};
    struct outcome o = {.over = false};
    const struct tcloud_seen *seen;
    struct tcloud_bed bed;
    struct gcs *g;

    (void)state;
    tcloud_bed_init(&bed, 2000);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o.stats, &g), 0);
    fill(&o.put, &body, 1);
    assert_int_equal(gcs_put_start(g, &o.put), 0);
    assert_true(tcloud_bed_run(&bed, &o.over));
    assert_int_equal(o.generation, 17);
    seen = tcloud_server_seen(server, 0);
    assert_string_equal(seen->method, "POST");
    assert_string_equal(seen->path,
                        "/upload/storage/v1/b/b%2Fk/o?uploadType=multipart&ifGenerationMatch=0");
    assert_non_null(strstr(seen->headers, "multipart/related; boundary="));
    assert_non_null(strstr(seen->headers, "x-goog-user-project: quota"));
    assert_non_null(strstr(seen->headers, "User-Agent: penstock/test"));
    assert_null(strcasestr(seen->headers, "expect:"));
    assert_null(strcasestr(seen->headers, "authorization:"));
    assert_non_null(strstr(seen->body, "\"name\":\"" NAME "\""));
    assert_non_null(strstr(seen->body, "\"crc32c\":\"" CRC "\""));
    assert_non_null(strstr(seen->body, "\"penstock-plan\":\"42\""));
    assert_non_null(strstr(seen->body, "\"penstock-node\":\"n\\\"1\""));
    assert_non_null(strstr(seen->body, "\r\n\r\n" BODY "\r\n--"));
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    tcloud_server_stop(server);
}

static void test_put_412(void **state)
{
    static const struct tcloud_step ours[] = {ERROR_STEP(412, "conditionNotMet"), OK_STEP(OURS)};
    static const struct tcloud_step plan[] = {ERROR_STEP(412, "conditionNotMet"),
                                              OK_STEP(RESOURCE("8", CRC, "43", "log1"))};
    static const struct tcloud_step log[] = {ERROR_STEP(412, "conditionNotMet"),
                                             OK_STEP(RESOURCE("8", CRC, "42", "log2"))};
    static const struct tcloud_step size[] = {ERROR_STEP(412, "conditionNotMet"),
                                              OK_STEP(RESOURCE("9", CRC, "42", "log1"))};
    static const struct tcloud_step crc[] = {ERROR_STEP(412, "conditionNotMet"),
                                             OK_STEP(RESOURCE("8", "AAAAAA==", "42", "log1"))};
    static const struct tcloud_step gone[] = {ERROR_STEP(412, "conditionNotMet"),
                                              ERROR_STEP(404, "notFound"), OK_STEP(OURS)};

    (void)state;
    expect(ours, 2, GCS_DONE, 1);
    expect(plan, 2, GCS_CONFLICT, 0);
    expect(log, 2, GCS_CONFLICT, 0);
    expect(size, 2, GCS_CONFLICT, 0);
    expect(crc, 2, GCS_CONFLICT, 0);
    expect(gone, 3, GCS_DONE, 0);
}

#define GZIP(size, crc, plan, plain)                                                       \
    "{\"generation\":\"17\",\"size\":\"" size "\",\"crc32c\":\"" crc "\",\"metadata\":{"   \
    "\"penstock-plan\":\"" plan "\",\"penstock-log\":\"log1\",\"penstock-bytes\":\"900\"," \
    "\"penstock-crc32c\":\"" plain "\"}}"

/* A gzip object is ours by its plain lines, whatever another zlib made of them; what was just sent
 * must be stored bit by bit. */
static void test_put_gzip(void **state)
{
    static const struct {
        struct tcloud_step steps[3];
        uint32_t n;
        enum gcs_result result;
    } cases[] = {
        {{OK_STEP(GZIP("8", CRC, "42", "4waSgw=="))}, 1, GCS_DONE},
        {{OK_STEP(GZIP("9", CRC, "42", "4waSgw==")), OK_STEP(GZIP("9", CRC, "42", "4waSgw=="))},
         2,
         GCS_DONE},
        {{ERROR_STEP(412, "conditionNotMet"), OK_STEP(GZIP("7", "AAAAAA==", "42", "4waSgw=="))},
         2,
         GCS_DONE},
        {{ERROR_STEP(412, "conditionNotMet"), OK_STEP(GZIP("8", CRC, "42", "AAAAAA=="))},
         2,
         GCS_CONFLICT},
        {{ERROR_STEP(412, "conditionNotMet"), OK_STEP(GZIP("8", CRC, "43", "4waSgw=="))},
         2,
         GCS_CONFLICT},
        {{ERROR_STEP(412, "conditionNotMet"), OK_STEP(OURS)}, 2, GCS_CONFLICT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tcloud_server *server = tcloud_server_start(cases[i].steps, cases[i].n);
        struct gcs_config config = {
            .endpoint = tcloud_server_url(server), .bucket = "bkt", .node = "n"};
        struct iovec body = {.iov_base = (char *)BODY, .iov_len = sizeof(BODY) - 1};
        struct outcome o = {.over = false};
        struct tcloud_bed bed;
        struct gcs *g;

        tcloud_bed_init(&bed, 2000);
        assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o.stats, &g), 0);
        fill(&o.put, &body, 1);
        o.put.content_type = "application/gzip";
        o.put.gzip = true;
        o.put.plain_bytes = 900;
        o.put.plain_crc32c = 0xE3069283;
        assert_int_equal(gcs_put_start(g, &o.put), 0);
        assert_true(tcloud_bed_run(&bed, &o.over));
        assert_int_equal(o.result, cases[i].result);
        assert_int_equal(tcloud_server_count(server), cases[i].n);
        assert_non_null(strstr(tcloud_server_seen(server, 0)->body,
                               "\"penstock-bytes\":\"900\",\"penstock-crc32c\":\"4waSgw==\"}}"));
        gcs_destroy(g);
        tcloud_bed_fini(&bed);
        tcloud_server_stop(server);
    }
}

static void test_put_unknown_outcome(void **state)
{
    static const struct tcloud_step lost[] = {{.act = TCLOUD_LOSE}, OK_STEP(OURS)};
    static const struct tcloud_step lost_before[] = {
        {.act = TCLOUD_LOSE}, ERROR_STEP(404, "notFound"), OK_STEP(OURS)};
    static const struct tcloud_step truncated[] = {
        {.act = TCLOUD_TRUNCATE, .status = 200, .body = OURS}, OK_STEP(OURS)};
    static const struct tcloud_step garbage[] = {OK_STEP("{\"generation\":"), OK_STEP("<html>"),
                                                 OK_STEP("[]"), OK_STEP(OURS)};
    static const struct tcloud_step html[] = {
        {.act = TCLOUD_ANSWER, .status = 503, .body = "<html>busy</html>"},
        {.act = TCLOUD_ANSWER, .status = 502},
        OK_STEP(OURS)};
    static const struct tcloud_step wrong_crc[] = {OK_STEP(RESOURCE("8", "AAAAAA==", "42", "log1")),
                                                   OK_STEP(OURS)};
    static const struct tcloud_step wrong_crc_stays[] = {
        OK_STEP(RESOURCE("8", "AAAAAA==", "42", "log1")),
        OK_STEP(RESOURCE("8", "AAAAAA==", "42", "log1"))};

    (void)state;
    expect(lost, 2, GCS_DONE, 1);
    expect(lost_before, 3, GCS_DONE, 0);
    expect(truncated, 2, GCS_DONE, 1);
    expect(garbage, 4, GCS_DONE, 1);
    expect(html, 3, GCS_DONE, 1);
    expect(wrong_crc, 2, GCS_DONE, 1);
    expect(wrong_crc_stays, 2, GCS_CONFLICT, 0);
}

static void test_put_refusals(void **state)
{
    static const struct tcloud_step rate[] = {ERROR_STEP(429, "rateLimitExceeded"),
                                              ERROR_STEP(403, "rateLimitExceeded"), OK_STEP(OURS)};
    static const struct tcloud_step forbidden[] = {ERROR_STEP(403, "forbidden")};
    static const struct tcloud_step html[] = {
        {.act = TCLOUD_ANSWER, .status = 403, .body = "<html>no</html>"}};
    static const struct tcloud_step bucket[] = {ERROR_STEP(404, "notFound")};
    static const struct tcloud_step once[] = {ERROR_STEP(401, "authError"), OK_STEP(OURS)};
    static const struct tcloud_step twice[] = {ERROR_STEP(401, "authError"),
                                               ERROR_STEP(401, "authError")};
    static const struct tcloud_step senseless[] = {OK_STEP("x"), OK_STEP("x"), OK_STEP("x"),
                                                   OK_STEP("x"), OK_STEP("x"), OK_STEP("x")};

    (void)state;
    expect(rate, 3, GCS_DONE, 0);
    expect(forbidden, 1, GCS_PERMANENT, 0);
    expect(html, 1, GCS_PERMANENT, 0);
    expect(bucket, 1, GCS_PERMANENT, 0);
    expect(once, 2, GCS_DONE, 0);
    expect(twice, 2, GCS_PERMANENT, 0);
    expect(senseless, 6, GCS_PERMANENT, 0);
}

static void test_put_stall(void **state)
{
    static const struct tcloud_step steps[] = {{.act = TCLOUD_STALL}, OK_STEP(OURS)};
    struct outcome *o = run_script(steps, 2, -1, 100);

    (void)state;
    assert_int_equal(o->result, GCS_DONE);
    assert_int_equal(o->stats.recognised, 1);
    free(o);
}

/* One wait between an upload that failed and the next: not another one after the look in between,
 * unless that came at once. */
static void test_put_waits_once(void **state)
{
    static const struct tcloud_step lost[] = {ERROR_STEP(503, "backendError"),
                                              ERROR_STEP(404, "notFound"), OK_STEP(OURS)};
    static const struct tcloud_step twice[] = {ERROR_STEP(503, "backendError"),
                                               ERROR_STEP(404, "notFound"),
                                               ERROR_STEP(412, "condition"),
                                               ERROR_STEP(404, "notFound"),
                                               ERROR_STEP(412, "condition"),
                                               ERROR_STEP(404, "notFound"),
                                               OK_STEP(OURS)};
    struct outcome *o = run_script(lost, 3, -1, 2000);

    (void)state;
    assert_int_equal(o->result, GCS_DONE);
    assert_int_equal(o->stats.retries, 1);
    free(o);
    o = run_script(twice, 7, -1, 2000);
    assert_int_equal(o->result, GCS_DONE);
    assert_int_equal(o->stats.retries, 3);
    free(o);
}

/* The client goes away while the operation sends, waits for an answer, waits to retry, checks. */
static void test_put_cancel(void **state)
{
    static const struct tcloud_step scripts[][3] = {
        {{.act = TCLOUD_STALL}},
        {ERROR_STEP(429, "rateLimitExceeded"), {.act = TCLOUD_STALL}},
        {ERROR_STEP(503, "backendError"), {.act = TCLOUD_STALL}},
        {ERROR_STEP(503, "backendError"), ERROR_STEP(404, "notFound"), {.act = TCLOUD_STALL}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        for (int turns = 0; turns < 12; turns++) {
            struct outcome *o = run_script(scripts[i], 3, turns, 2000);

            assert_false(o->over);
            assert_null(o->put._op);
            assert_null(o->put.waiting);
            free(o);
        }
    }
}

/* The n-th allocation fails: the start says so and done never runs, or the operation gets over it.
 */
static void test_put_allocation(void **state)
{
    static const struct tcloud_step steps[] = {LOST, ERROR_STEP(404, "notFound"), OK_STEP(OURS),
                                               OK_STEP(OURS)};
    struct iovec body = {.iov_base = (char *)BODY, .iov_len = sizeof(BODY) - 1};
    int refused = 0;

    (void)state;
    for (int64_t n = 0; n < 24; n++) {
        struct tcloud_server *server = tcloud_server_start(steps, 4);
        struct gcs_config config = {
            .endpoint = tcloud_server_url(server), .bucket = "bkt", .node = "n"};
        struct outcome o = {.over = false};
        struct tcloud_bed bed;
        struct gcs *g;

        tcloud_bed_init(&bed, 2000);
        assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o.stats, &g), 0);
        fill(&o.put, &body, 1);
        allocations_left = n;
        if (gcs_put_start(g, &o.put) != 0) {
            assert_false(o.over);
            assert_null(o.put._op);
            refused++;
        } else {
            allocations_left = INT64_MAX; /* memory is back */
            assert_true(tcloud_bed_run(&bed, &o.over));
            assert_int_equal(o.result, GCS_DONE);
        }
        allocations_left = INT64_MAX;
        gcs_destroy(g);
        tcloud_bed_fini(&bed);
        tcloud_server_stop(server);
    }
    assert_in_range(refused, 3, 10);
}

/* Memory runs out later, in the middle of the operation, for a while. */
static void test_put_allocation_later(void **state)
{
    static const struct tcloud_step steps[] = {LOST, ERROR_STEP(404, "notFound"), OK_STEP(OURS),
                                               OK_STEP(OURS), OK_STEP(OURS)};
    struct iovec body = {.iov_base = (char *)BODY, .iov_len = sizeof(BODY) - 1};

    (void)state;
    for (int turns = 0; turns < 20; turns++) {
        struct tcloud_server *server = tcloud_server_start(steps, 5);
        struct gcs_config config = {
            .endpoint = tcloud_server_url(server), .bucket = "bkt", .node = "n"};
        struct outcome o = {.over = false};
        struct tcloud_bed bed;
        struct gcs *g;

        tcloud_bed_init(&bed, 2000);
        assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o.stats, &g), 0);
        fill(&o.put, &body, 1);
        assert_int_equal(gcs_put_start(g, &o.put), 0);
        for (int i = 0; i < turns && !o.over; i++)
            (void)loop_run_once(bed.loop, 1000);
        allocations_left = 0;
        for (int i = 0; i < 10 && !o.over; i++)
            (void)loop_run_once(bed.loop, 1000);
        allocations_left = INT64_MAX;
        assert_true(tcloud_bed_run(&bed, &o.over));
        assert_int_equal(o.result, GCS_DONE);
        gcs_destroy(g);
        tcloud_bed_fini(&bed);
        tcloud_server_stop(server);
    }
}

/* ---- against the local cloud ---- */

#define BIG_PARTS 40
#define PART      ((size_t)256 << 10)

struct put_many {
    struct gcs_put put[3];
    uint32_t left;
    bool over;
    enum gcs_result last;
};

static struct put_many many;

static void on_many(struct gcs_put *p, enum gcs_result result, int64_t generation, const char *text)
{
    (void)p;
    if (result != GCS_DONE)
        print_message("%s\n", text);
    assert_true(result != GCS_DONE || generation > 0);
    many.last = result;
    many.over = --many.left == 0;
}

static bool on_listed(void *ctx, const struct gcs_listed *o)
{
    uint32_t *n = ctx;

    assert_non_null(o->plan_id);
    assert_string_equal(o->plan_id, "42");
    assert_string_equal(o->events, "1");
    assert_true(o->bytes > 0);
    (*n)++;
    return true;
}

static bool deleted;

static void on_deleted(struct gcs_delete *d, enum gcs_result result, const char *text)
{
    (void)d, (void)text;
    assert_int_equal(result, GCS_DONE);
    deleted = true;
}

static void put_all(struct tcloud_bed *bed, struct gcs *g, const char *const *names, uint32_t n,
                    const struct iovec *body, uint32_t parts)
{
    many = (struct put_many){.left = n};
    for (uint32_t i = 0; i < n; i++) {
        fill(&many.put[i], body, parts);
        many.put[i].name = names[i];
        many.put[i].done = on_many;
        assert_int_equal(gcs_put_start(g, &many.put[i]), 0);
    }
    assert_true(tcloud_bed_run(bed, &many.over));
}

static void delete_one(struct tcloud_bed *bed, struct gcs *g, const char *name)
{
    struct gcs_delete d = {.name = name, .done = on_deleted};

    deleted = false;
    assert_int_equal(gcs_delete_start(g, &d), 0);
    assert_true(tcloud_bed_run(bed, &deleted));
}

#define DELETES 60

struct deletes {
    struct gcs_delete del[DELETES];
    uint32_t left;
};

static struct deletes deletes;

static void on_one_deleted(struct gcs_delete *d, enum gcs_result result, const char *text)
{
    (void)d, (void)text;
    assert_int_equal(result, GCS_DONE);
    deletes.left--;
}

/* A load may leave thousands: a few are under way, the rest queues; the client may go at any time. */
static void delete_many(struct tcloud_bed *bed, struct gcs *g)
{
    deletes.left = DELETES;
    for (int i = 0; i < DELETES; i++) {
        deletes.del[i] = (struct gcs_delete){.name = "none/x", .done = on_one_deleted};
        assert_int_equal(gcs_delete_start(g, &deletes.del[i]), 0);
        assert_true(g->n_deletes <= GCS_DELETES_MAX);
    }
    for (int i = 0; i < 4000 && deletes.left > 0; i++) {
        (void)loop_run_once(bed->loop, 5000);
        assert_true(g->n_deletes <= GCS_DELETES_MAX);
    }
    assert_int_equal(deletes.left, 0);
    assert_int_equal(g->n_deletes, 0);
    for (int i = 0; i < DELETES; i++) {
        deletes.del[i] = (struct gcs_delete){.name = "none/x", .done = on_one_deleted};
        assert_int_equal(gcs_delete_start(g, &deletes.del[i]), 0);
    }
    deletes.left = DELETES; /* gcs_destroy() cancels them */
}

/* Uploads wait for the ramp and say so. */
static void put_slowly(struct tcloud_bed *bed, struct gcs *g, struct gcs_config *config,
                       const struct iovec *body)
{
    static const char *const names[] = {"r/1", "r/2", "r/3"};
    struct gcs_ramp ramp;
    bool said = false;

    gcs_ramp_init(&ramp, 4, clock_monotonic_us()); /* one now, one more in burst, then a wait */
    config->ramp = &ramp;
    many = (struct put_many){.left = 3};
    for (int i = 0; i < 3; i++) {
        fill(&many.put[i], body, 1);
        many.put[i].name = names[i];
        many.put[i].done = on_many;
        assert_int_equal(gcs_put_start(g, &many.put[i]), 0);
        said |= many.put[i].waiting != NULL && strstr(many.put[i].waiting, "lets 4 objects a sec");
    }
    assert_true(tcloud_bed_run(bed, &many.over));
    assert_int_equal(many.last, GCS_DONE);
    assert_true(said);
    config->ramp = NULL;
}

static void with_local(struct tcloud_local *cloud, struct tcloud_bed *bed, struct gcs *g,
                       struct gcs_config *config, struct gcs_stats *stats)
{
    static const char *const names[] = {"a/1 \xc3\xa4.json", "a/2.json", "a/3.json"};
    static const char *const big[] = {"b/big.json"};
    static const char *const lost[] = {"c/lost.json"};
    static char part[PART];
    struct iovec small = {.iov_base = (char *)BODY, .iov_len = sizeof(BODY) - 1};
    struct iovec parts[BIG_PARTS];
    char error[256];
    uint32_t n = 0;

    memset(part, 'x', sizeof(part));
    for (int i = 0; i < BIG_PARTS; i++)
        parts[i] = (struct iovec){.iov_base = part, .iov_len = sizeof(part) - (size_t)i};
    put_all(bed, g, names, 3, &small, 1);
    assert_int_equal(many.last, GCS_DONE);
    put_all(bed, g, names, 1, &small, 1); /* again: 412, recognised */
    assert_int_equal(many.last, GCS_DONE);
    assert_int_equal(stats->recognised, 1);
    put_all(bed, g, names, 1, parts, 1); /* other bytes under the same name */
    assert_int_equal(many.last, GCS_CONFLICT);
    put_all(bed, g, big, 1, parts, BIG_PARTS);
    assert_int_equal(many.last, GCS_DONE);
    tcloud_local_fault(
        cloud, "{\"service\":\"storage\",\"method\":\"POST\",\"lose_answer\":true,\"count\":1}");
    put_all(bed, g, lost, 1, parts, 3);
    assert_int_equal(many.last, GCS_DONE);
    assert_int_equal(stats->recognised, 2);
    assert_int_equal(gcs_list(config, &bed->auth, "a/", on_listed, &n, error, sizeof(error)), 0);
    assert_int_equal(n, 3);
    tcloud_local_fault(
        cloud, "{\"service\":\"storage\",\"method\":\"DELETE\",\"lose_answer\":true,\"count\":1}");
    delete_one(bed, g, names[0]);
    delete_one(bed, g, names[0]);
    put_slowly(bed, g, config, &small);
    assert_int_equal(stats->ramp_waits, 1);
    assert_int_equal(stats->ramp_per_s, 4);
    n = 0;
    assert_int_equal(gcs_list(config, &bed->auth, "", on_listed, &n, error, sizeof(error)), 0);
    assert_int_equal(n, 7);
    delete_many(bed, g);
}

/* Reads what a script gives; what was read is put together. */
struct reading {
    struct gcs_get get;
    bool over, gives_up;
    enum gcs_result result;
    char *bytes;
    size_t len;
};

static bool on_bytes(struct gcs_get *get, struct span piece)
{
    struct reading *r = container_of(get, struct reading, get);

    r->bytes = realloc(r->bytes, r->len + piece.len);
    assert_non_null(r->bytes);
    memcpy(r->bytes + r->len, piece.ptr, piece.len);
    r->len += piece.len;
    return !r->gives_up;
}

static void on_got(struct gcs_get *get, enum gcs_result result, const char *text)
{
    struct reading *r = container_of(get, struct reading, get);

    assert_true(!r->over && text != NULL);
    r->over = true;
    r->result = result;
}

static void expect_read(const struct tcloud_step *steps, uint32_t n, bool gives_up,
                        enum gcs_result result, size_t len)
{
    struct reading r = {.gives_up = gives_up,
                        .get = {.name = NAME, .take = on_bytes, .done = on_got}};
    struct tcloud_server *server = tcloud_server_start(steps, n);
    struct gcs_config config = {
        .endpoint = tcloud_server_url(server), .bucket = "bkt", .node = "n"};
    struct gcs_stats stats = {0};
    struct tcloud_bed bed;
    struct gcs *g;

    tcloud_bed_init(&bed, 2000);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &stats, &g), 0);
    assert_int_equal(gcs_get_start(g, &r.get), 0);
    assert_true(tcloud_bed_run(&bed, &r.over));
    assert_int_equal(r.result, result);
    assert_int_equal(r.len, len);
    assert_int_equal(tcloud_server_count(server), n);
    assert_non_null(strstr(tcloud_server_seen(server, 0)->headers, "Range: bytes=0-2097151"));
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    tcloud_server_stop(server);
    free(r.bytes);
}

static void test_get(void **state)
{
    static char range[2097152 + 1];
    struct tcloud_step steps[3] = {{.status = 206, .body = "all"}};

    (void)state;
    memset(range, 'x', sizeof(range) - 1);
    expect_read(steps, 1, false, GCS_DONE, 3);
    steps[0].status = 200; /* whoever knows no ranges */
    expect_read(steps, 1, false, GCS_DONE, 3);
    expect_read(steps, 1, true, GCS_PERMANENT, 3);
    steps[0] = (struct tcloud_step){.status = 206, .body = range};
    steps[1] = (struct tcloud_step)ERROR_STEP(503, "backendError");
    steps[2] = (struct tcloud_step){.status = 206, .body = "the rest"};
    expect_read(steps, 3, false, GCS_DONE, sizeof(range) - 1 + 8);
    steps[1] = (struct tcloud_step){.status = 416, .body = ""}; /* it was the last */
    expect_read(steps, 2, false, GCS_DONE, sizeof(range) - 1);
    steps[1] = (struct tcloud_step){.status = 200, .body = "all of it"};
    expect_read(steps, 2, false, GCS_PERMANENT, sizeof(range) - 1);
    steps[0] = (struct tcloud_step)ERROR_STEP(404, "notFound");
    expect_read(steps, 1, false, GCS_PERMANENT, 0);
}

static void test_local_cloud(void **state)
{
    struct tcloud_local *cloud = tcloud_local_start();
    struct gcs_stats stats = {0};
    struct gcs_config config = {.bucket = "bkt", .node = "n1"};
    struct tcloud_bed bed;
    struct gcs *g;

    (void)state;
    if (cloud == NULL)
        skip();
    config.endpoint = tcloud_local_url(cloud);
    tcloud_bed_init(&bed, 5000);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &stats, &g), 0);
    with_local(cloud, &bed, g, &config, &stats);
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    tcloud_local_stop(cloud);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc_text),
        cmocka_unit_test(test_put_plain),
        cmocka_unit_test(test_put_request),
        cmocka_unit_test(test_put_412),
        cmocka_unit_test(test_put_gzip),
        cmocka_unit_test(test_put_unknown_outcome),
        cmocka_unit_test(test_put_refusals),
        cmocka_unit_test(test_put_stall),
        cmocka_unit_test(test_put_waits_once),
        cmocka_unit_test(test_put_cancel),
        cmocka_unit_test(test_put_allocation),
        cmocka_unit_test(test_put_allocation_later),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_local_cloud),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
