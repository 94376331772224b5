/*
 * Goal: a resumable upload stores the object once, byte for byte, whatever happens to its chunks,
 * and never spins, leaks its session's address or sends it elsewhere. Method: a scripted server for
 * each branch of the state machine, every chunk compared with what its Content-Range promises; the
 * real local cloud with its faults for the whole path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* The parts under test with an allocator that fails on demand. */
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
#include "sinks/gcs/gcs_put.c"
#include "sinks/gcs/gcs_session.c"
#undef malloc
#undef calloc
#undef realloc

#include "dataplane/base/crc32c.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define UNIT  ((size_t)262144)
#define TOTAL (3 * UNIT + 8)
#define PARTS 7
#define NAME  "output/t/n 1.json"

static char content[TOTAL + 64];
static char ours[512], other_log[512], wrong_crc[512]; /* object resources */
static char location[256];                             /* header of the server's own origin */

#define ANSWER(s, h, b)                                                \
    {                                                                  \
        .act = TCLOUD_ANSWER, .status = (s), .headers = h, .body = (b) \
    }
#define OPENED  ANSWER(200, location, NULL)
#define STORED  ANSWER(200, NULL, ours)
#define NONE    ANSWER(308, NULL, NULL)
#define HAVE(k) ANSWER(308, "Range: bytes=0-" k "\r\n", NULL)
#define ERROR(s, r) \
    ANSWER(s, NULL, "{\"error\":{\"message\":\"told so\",\"errors\":[{\"reason\":\"" r "\"}]}}")
#define BUSY ERROR(503, "backendError")
#define LOST               \
    {                      \
        .act = TCLOUD_LOSE \
    }
#define RESET               \
    {                       \
        .act = TCLOUD_RESET \
    }
/* An answer that breaks off: a closed connection alone would make curl send it again by itself. */
#define CUT                                                 \
    {                                                       \
        .act = TCLOUD_TRUNCATE, .status = 200, .body = ours \
    }
#define ONE   HAVE("262143")
#define TWO   HAVE("524287")
#define THREE HAVE("786431")
#define ALL   HAVE("786439")

struct outcome {
    struct gcs_put put;
    bool over;
    enum gcs_result result;
    char text[REASON_TEXT_BYTES];
    struct gcs_stats stats;
    uint32_t requests, cancels;
    char path[64][40]; /* method and kind of each request */
    uint64_t sent;     /* bytes of all chunks */
    char first_headers[4096];
};

static void on_put(struct gcs_put *p, enum gcs_result result, int64_t generation, const char *text)
{
    struct outcome *o = container_of(p, struct outcome, put);

    (void)generation;
    assert_false(o->over);
    o->over = true;
    o->result = result;
    snprintf(o->text, sizeof(o->text), "%s", text);
}

static void fill(struct gcs_put *p, struct iovec *body)
{
    size_t at = 0;

    *p = (struct gcs_put){.name = NAME,
                          .content_type = "application/x-ndjson",
                          .body = body,
                          .body_parts = PARTS,
                          .bytes = TOTAL,
                          .crc32c = crc32c(0, content, TOTAL),
                          .plan_id = 42,
                          .events = 1,
                          .log_id = "log1",
                          .done = on_put};
    for (int i = 0; i < PARTS; i++) { /* uneven parts, one of them empty */
        size_t len = i == PARTS - 1 ? TOTAL - at : i == 2 ? 0 : 100003;

        body[i] = (struct iovec){.iov_base = content + at, .iov_len = len};
        at += len;
    }
}

/* A chunk holds the bytes that its Content-Range says, and chunks but the last are whole units. */
static void chunk_check(const struct tcloud_seen *seen, uint64_t *sent)
{
    const char *h = strcasestr(seen->headers, "\r\nContent-Range: bytes ");
    unsigned long long from, to, total;

    assert_non_null(h);
    assert_non_null(strcasestr(seen->headers, "\r\nContent-Length: "));
    if (sscanf(h + 23, "%llu-%llu/%llu", &from, &to, &total) != 3) {
        assert_int_equal(sscanf(h + 23, "*/%llu", &total), 1);
        assert_int_equal(seen->body_len, 0);
    } else {
        assert_true(from <= to && to < total);
        assert_true(to + 1 == total || (to + 1 - from) % UNIT == 0);
        if (seen->body_len == to + 1 - from) /* not cut by the script */
            *sent += seen->body_len;
        assert_memory_equal(seen->body, content + from,
                            seen->body_len < 60000 ? seen->body_len : 60000);
    }
    assert_int_equal(total, TOTAL);
}

static void look(struct tcloud_server *server, struct outcome *o)
{
    o->requests = tcloud_server_count(server);
    o->cancels = tcloud_server_cancels(server);
    for (uint32_t i = 0; i < o->requests; i++) {
        const struct tcloud_seen *seen = tcloud_server_seen(server, i);
        bool session = strstr(seen->path, "upload_id=") != NULL;

        snprintf(o->path[i], sizeof(o->path[i]), "%s %s", seen->method,
                 session                                              ? "session"
                 : strstr(seen->path, "uploadType=resumable") != NULL ? "open"
                                                                      : "object");
        if (session)
            chunk_check(seen, &o->sent);
    }
    if (o->requests > 0)
        memcpy(o->first_headers, tcloud_server_seen(server, 0)->headers, 4096);
}

/* turns >= 0: takes the client down after so many turns of the loop. */
static struct outcome *run_script(const struct tcloud_step *steps, uint32_t n, int turns,
                                  uint32_t stall_ms, uint32_t cancels)
{
    struct outcome *o = calloc(1, sizeof(*o));
    struct tcloud_server *server = tcloud_server_start(steps, n);
    struct gcs_config config = {.endpoint = tcloud_server_url(server),
                                .bucket = "bkt",
                                .node = "node1",
                                .resumable_bytes = UNIT,
                                .chunk_bytes = UNIT};
    struct iovec body[PARTS];
    struct tcloud_bed bed;
    struct gcs *g;

    assert_non_null(o);
    snprintf(location, sizeof(location),
             "Location: %s/upload/storage/v1/b/bkt/o?uploadType=resumable&upload_id=SECRET\r\n",
             tcloud_server_url(server));
    tcloud_bed_init(&bed, stall_ms);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o->stats, &g), 0);
    fill(&o->put, body);
    assert_int_equal(gcs_put_start(g, &o->put), 0);
    for (int i = 0; !o->over && (turns < 0 ? i < 4000 : i < turns); i++) {
        (void)loop_run_once(bed.loop, 5000);
        assert_true(o->put.waiting == NULL || strstr(o->put.waiting, "SECRET") == NULL);
    }
    for (int i = 0; i < 1000 && tcloud_server_cancels(server) < cancels; i++)
        (void)loop_run_once(bed.loop, 5000);
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    look(server, o);
    tcloud_server_stop(server);
    assert_null(strstr(o->text, "SECRET"));
    return o;
}

static struct outcome *expect(const struct tcloud_step *steps, uint32_t n, enum gcs_result result,
                              uint32_t cancels)
{
    struct outcome *o = run_script(steps, n, -1, 2000, cancels);

    if (!o->over || o->result != result || o->requests != n)
        print_message("over %d, result %d, %u requests: %s\n", o->over, (int)o->result, o->requests,
                      o->text);
    assert_true(o->over);
    assert_int_equal(o->result, result);
    assert_int_equal(o->requests, n);
    assert_int_equal(o->cancels, cancels);
    assert_int_equal(o->stats.objects, result == GCS_DONE ? 1 : 0);
    assert_int_equal(o->stats.permanent, result == GCS_PERMANENT ? 1 : 0);
    return o;
}

#define DONE_BY(steps)    free(expect(steps, ARRAY_LEN(steps), GCS_DONE, 0))
#define REFUSED(steps, k) expect(steps, ARRAY_LEN(steps), GCS_PERMANENT, k)

static void test_whole(void **state)
{
    static const struct tcloud_step steps[] = {OPENED, ONE, TWO, THREE, STORED};
    static const struct tcloud_step created[] = {OPENED, ONE, TWO, THREE, ANSWER(201, NULL, ours)};
    struct outcome *o = expect(steps, 5, GCS_DONE, 0);

    (void)state;
    assert_string_equal(o->path[0], "POST open");
    for (int i = 1; i < 5; i++)
        assert_string_equal(o->path[i], "PUT session");
    assert_non_null(strstr(o->first_headers,
                           "/upload/storage/v1/b/bkt/o?uploadType=resumable&ifGenerationMatch=0 "));
    assert_non_null(strstr(o->first_headers, "X-Upload-Content-Length: 786440\r\n"));
    assert_non_null(strstr(o->first_headers, "X-Upload-Content-Type: application/x-ndjson\r\n"));
    assert_int_equal(o->sent, TOTAL);
    assert_int_equal(o->stats.sessions, 1);
    assert_int_equal(o->stats.resumed + o->stats.sessions_lost + o->stats.recognised, 0);
    free(o);
    DONE_BY(created);
}

/* What the server says it has is where the next chunk begins. */
static void test_partial(void **state)
{
    static const struct tcloud_step less[] = {OPENED, HAVE("99999"), HAVE("300000"), HAVE("562144"),
                                              STORED};
    static const struct tcloud_step none[] = {OPENED, NONE, ONE, NONE, ONE, TWO, THREE, STORED};
    static const struct tcloud_step all[] = {OPENED, ONE, TWO, ALL, STORED};
    static const struct tcloud_step junk[] = {
        OPENED, HAVE("9x"), ERROR(404, "notFound"), OPENED, ONE, TWO, THREE, STORED};
    static const struct tcloud_step more[] = {
        OPENED, HAVE("786440"), ERROR(404, "notFound"), OPENED, ONE, TWO, THREE, STORED};

    (void)state;
    DONE_BY(less);
    DONE_BY(none);
    DONE_BY(all);
    free(expect(junk, ARRAY_LEN(junk), GCS_DONE, 1));
    free(expect(more, ARRAY_LEN(more), GCS_DONE, 1));
}

static void test_interrupted(void **state)
{
    static const struct tcloud_step busy[] = {OPENED, ONE, BUSY, ONE, TWO, THREE, STORED};
    static const struct tcloud_step slow[] = {
        OPENED, ERROR(429, "rateLimitExceeded"), NONE, ONE, ERROR(408, ""), TWO, THREE, STORED};
    static const struct tcloud_step lost[] = {OPENED, LOST, ONE, TWO,   RESET,
                                              BUSY,   LOST, TWO, THREE, STORED};
    static const struct tcloud_step final[] = {OPENED, ONE, TWO, THREE, CUT, STORED};
    static const struct tcloud_step opening[] = {BUSY, LOST, OPENED, ONE, TWO, THREE, STORED};
    struct outcome *o = expect(busy, ARRAY_LEN(busy), GCS_DONE, 0);

    (void)state;
    assert_int_equal(o->stats.resumed, 1);
    assert_int_equal(o->stats.sessions, 1);
    free(o);
    DONE_BY(slow);
    DONE_BY(lost);
    DONE_BY(opening);
    o = expect(final, ARRAY_LEN(final), GCS_DONE, 0);
    assert_int_equal(o->stats.recognised, 1);
    free(o);
}

static void test_session_gone(void **state)
{
    static const struct tcloud_step gone[] = {OPENED,
                                              ONE,
                                              ERROR(404, "notFound"),
                                              OPENED,
                                              ONE,
                                              TWO,
                                              ERROR(410, "gone"),
                                              OPENED,
                                              ONE,
                                              TWO,
                                              THREE,
                                              STORED};
    static const struct tcloud_step asked[] = {
        OPENED, ONE, BUSY, ERROR(410, "gone"), OPENED, ONE, TWO, THREE, STORED};
    static const struct tcloud_step final[] = {
        OPENED, ONE, TWO, THREE, CUT, ERROR(404, "notFound"), ERROR(412, "conditionNotMet"),
        STORED};
    struct outcome *o = expect(gone, ARRAY_LEN(gone), GCS_DONE, 0);

    (void)state;
    assert_int_equal(o->stats.sessions, 3);
    assert_int_equal(o->stats.sessions_lost, 2);
    free(o);
    DONE_BY(asked);
    o = expect(final, ARRAY_LEN(final), GCS_DONE, 0);
    assert_int_equal(o->stats.recognised, 1);
    assert_string_equal(o->path[7], "GET object");
    free(o);
}

static void test_precondition(void **state)
{
    static const struct tcloud_step opening[] = {ERROR(412, "conditionNotMet"), STORED};
    static const struct tcloud_step end[] = {OPENED, ONE, TWO, THREE, ERROR(412, "conditionNotMet"),
                                             STORED};
    static const struct tcloud_step others[] = {
        OPENED, ONE, TWO, THREE, ERROR(412, "conditionNotMet"), ANSWER(200, NULL, other_log)};
    static const struct tcloud_step vanished[] = {
        ERROR(412, "conditionNotMet"), ERROR(404, "notFound"), OPENED, ONE, TWO, THREE, STORED};
    static const struct tcloud_step odd[] = {OPENED, ONE, TWO, THREE, ANSWER(200, NULL, wrong_crc),
                                             STORED};

    (void)state;
    DONE_BY(opening);
    DONE_BY(end);
    free(expect(others, ARRAY_LEN(others), GCS_CONFLICT, 0));
    DONE_BY(vanished);
    DONE_BY(odd);
}

static void test_refused(void **state)
{
    static const struct tcloud_step checksum[] = {OPENED, ONE, TWO, THREE, ERROR(400, "invalid")};
    static const struct tcloud_step forbidden[] = {OPENED, ONE, ERROR(403, "forbidden")};
    static const struct tcloud_step bucket[] = {ERROR(404, "notFound")};
    static const struct tcloud_step once[] = {OPENED, ONE,   ERROR(401, "authError"),
                                              TWO,    THREE, STORED};
    static const struct tcloud_step twice[] = {OPENED, ERROR(401, "authError"),
                                               ERROR(401, "authError")};
    struct outcome *o = REFUSED(checksum, 0);

    (void)state;
    assert_non_null(
        strstr(o->text, "the server refuses the bytes of the upload: 400 invalid: told so"));
    free(o);
    free(REFUSED(forbidden, 1));
    free(REFUSED(bucket, 0));
    DONE_BY(once);
    free(REFUSED(twice, 1));
}

/* No progress: again after a wait, in another session, and in the end not at all. */
static void test_stuck(void **state)
{
    static const struct tcloud_step never[] = {OPENED, NONE, NONE, NONE, OPENED, NONE, NONE, NONE};
    static const struct tcloud_step back[] = {OPENED, ONE, TWO, ONE,   TWO,   ONE,
                                              OPENED, ONE, TWO, THREE, STORED};
    struct outcome *o = REFUSED(never, 2);

    (void)state;
    assert_non_null(strstr(o->text, "keeps 0 of 786440 bytes of the upload and takes no more, 6"));
    assert_int_equal(o->stats.retries, 5);
    free(o);
    free(expect(back, ARRAY_LEN(back), GCS_DONE, 1));
}

static void test_address(void **state)
{
    static const struct tcloud_step foreign[] = {
        ANSWER(200, "Location: http://127.0.0.1:1/upload?upload_id=SECRET\r\n", NULL)};
    static const struct tcloud_step without[] = {
        ANSWER(200, NULL, NULL), ERROR(404, "notFound"), OPENED, ONE, TWO, THREE, STORED};
    static const struct {
        const char *endpoint, *url;
        bool good;
    } cases[] = {
        {"https://storage.googleapis.com", "https://storage.googleapis.com/upload/x?upload_id=1",
         true},
        {"https://storage.googleapis.com", "https://STORAGE.googleapis.com:443/x", true},
        {"https://storage.googleapis.com", "https://europe-west1-storage.googleapis.com/x", true},
        {"https://private.example", "https://storage.googleapis.com/x", true},
        {"https://private.example:8443", "https://private.example:8443/x", true},
        {"https://private.example:8443", "https://private.example/x", false},
        {"http://[::1]:9", "http://[::1]:9/x", true},
        {"http://[::1]", "http://[::1]:80/x", true},
        {"http://h:1", "http://h:2/x", false},
        {"http://h", "https://h/x", false},
        {"https://storage.googleapis.com", "http://storage.googleapis.com/x", false},
        {"https://storage.googleapis.com", "https://storage.googleapis.com:444/x", false},
        {"https://storage.googleapis.com", "https://storage.googleapis.com@evil.test/x", false},
        {"https://storage.googleapis.com", "https://evil.test/?.googleapis.com", false},
        {"https://storage.googleapis.com", "https://evil.test#.googleapis.com", false},
        {"https://storage.googleapis.com", "https://evil.test\\.googleapis.com", false},
        {"https://storage.googleapis.com", "https://evilgoogleapis.com/x", false},
        {"https://storage.googleapis.com", "https://.googleapis.com/x", false},
        {"https://storage.googleapis.com", "//storage.googleapis.com/x", false},
        {"https://storage.googleapis.com", "https:///x", false},
        {"https://storage.googleapis.com", "ftp://storage.googleapis.com/x", false},
        {"https://storage.googleapis.com", "https://storage.googleapis.com/x y", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (session_url_good(cases[i].endpoint, span_of(cases[i].url)) != cases[i].good)
            print_message("%s for %s\n", cases[i].url, cases[i].endpoint);
        assert_int_equal(session_url_good(cases[i].endpoint, span_of(cases[i].url)), cases[i].good);
    }
    free(REFUSED(foreign, 0));
    DONE_BY(without);
}

/* The client goes away at any moment. */
static void test_cancel(void **state)
{
    static const struct tcloud_step scripts[][4] = {
        {OPENED, {.act = TCLOUD_STALL}},
        {OPENED, ONE, BUSY, {.act = TCLOUD_STALL}},
        {OPENED, ERROR(404, "notFound"), OPENED, {.act = TCLOUD_STALL}},
        {OPENED, ONE, ERROR(403, "forbidden"), {.act = TCLOUD_STALL}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        for (int turns = 0; turns < 14; turns++) {
            struct outcome *o = run_script(scripts[i], 4, turns, 2000, 0);

            assert_true(o->over == (o->put._op == NULL && o->text[0] != '\0'));
            assert_null(o->put.waiting);
            free(o);
        }
    }
}

static void test_stall(void **state)
{
    static const struct tcloud_step steps[] = {OPENED, ONE,   {.act = TCLOUD_STALL}, ONE, TWO,
                                               THREE,  STORED};
    struct outcome *o = run_script(steps, 7, -1, 100, 0);

    (void)state;
    assert_int_equal(o->result, GCS_DONE);
    assert_int_equal(o->requests, 7);
    free(o);
}

/* Memory is short at the start: refused without a trace, or got over. */
static void test_allocation(void **state)
{
    static const struct tcloud_step steps[] = {OPENED, ONE, TWO, BUSY, TWO, THREE, STORED};
    struct iovec body[PARTS];
    int refused = 0;

    (void)state;
    for (int n = 0; n < 8; n++) {
        struct tcloud_server *server = tcloud_server_start(steps, 7);
        struct gcs_config config = {.endpoint = tcloud_server_url(server),
                                    .bucket = "bkt",
                                    .node = "n",
                                    .resumable_bytes = UNIT,
                                    .chunk_bytes = UNIT};
        struct outcome *o = calloc(1, sizeof(*o));
        struct tcloud_bed bed;
        struct gcs *g;

        snprintf(location, sizeof(location), "Location: %s/u?upload_id=SECRET\r\n",
                 tcloud_server_url(server));
        tcloud_bed_init(&bed, 2000);
        assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &o->stats, &g), 0);
        fill(&o->put, body);
        allocations_left = n;
        if (gcs_put_start(g, &o->put) != 0) {
            assert_null(o->put._op);
            refused++;
        } else {
            allocations_left = INT64_MAX; /* memory is back */
            assert_true(tcloud_bed_run(&bed, &o->over));
            assert_int_equal(o->result, GCS_DONE);
        }
        allocations_left = INT64_MAX;
        gcs_destroy(g);
        tcloud_bed_fini(&bed);
        tcloud_server_stop(server);
        free(o);
    }
    assert_in_range(refused, 2, 7);
}

/* ---- against the local cloud ---- */

static bool on_listed(void *ctx, const struct gcs_listed *o)
{
    assert_int_equal(o->bytes, TOTAL);
    assert_int_equal(o->crc32c, crc32c(0, content, TOTAL));
    assert_string_equal(o->plan_id, "42");
    (*(uint32_t *)ctx)++;
    return true;
}

static void test_local_cloud(void **state)
{
    static const char *const faults[] = {
        "{\"method\":\"PUT\",\"lose_answer\":true,\"count\":1,\"skip\":3}",
        "{\"method\":\"PUT\",\"reset\":true,\"count\":1,\"skip\":1}",
        "{\"method\":\"PUT\",\"status\":503,\"count\":2,\"skip\":1}",
        "{\"persist_bytes\":100000,\"count\":3}",
        "{\"persist_bytes\":0,\"count\":2}",
        "{\"drop_session\":404,\"count\":1,\"skip\":2}",
        "{\"drop_session\":410,\"count\":1,\"skip\":1}",
        "{\"method\":\"POST\",\"lose_answer\":true,\"count\":1}",
    };
    struct tcloud_local *cloud = tcloud_local_start();
    struct gcs_stats stats = {0};
    struct gcs_config config = {
        .bucket = "bkt", .node = "n1", .resumable_bytes = UNIT, .chunk_bytes = UNIT};
    struct iovec body[PARTS];
    struct tcloud_bed bed;
    char error[256];
    uint32_t listed = 0;
    struct gcs *g;

    (void)state;
    if (cloud == NULL)
        skip();
    config.endpoint = tcloud_local_url(cloud);
    tcloud_bed_init(&bed, 5000);
    assert_int_equal(gcs_create(bed.loop, bed.http, &bed.auth, &config, &stats, &g), 0);
    for (uint32_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct outcome *o = calloc(1, sizeof(*o));
        char name[32];

        fill(&o->put, body);
        snprintf(name, sizeof(name), "a/%u.json", i);
        o->put.name = name;
        tcloud_local_fault(cloud, faults[i]);
        assert_int_equal(gcs_put_start(g, &o->put), 0);
        assert_true(tcloud_bed_run(&bed, &o->over));
        if (o->result != GCS_DONE)
            print_message("%s: %s\n", faults[i], o->text);
        assert_int_equal(o->result, GCS_DONE);
        free(o);
    }
    for (int turns = 0; turns < 20; turns++) { /* no memory for a while, somewhere on the way */
        struct outcome *o = calloc(1, sizeof(*o));
        char name[32];

        fill(&o->put, body);
        snprintf(name, sizeof(name), "m/%d.json", turns);
        o->put.name = name;
        assert_int_equal(gcs_put_start(g, &o->put), 0);
        for (int i = 0; i < turns && !o->over; i++)
            (void)loop_run_once(bed.loop, 1000);
        allocations_left = 0;
        for (int i = 0; i < 8 && !o->over; i++)
            (void)loop_run_once(bed.loop, 1000);
        allocations_left = INT64_MAX;
        assert_true(tcloud_bed_run(&bed, &o->over));
        if (o->result != GCS_DONE)
            print_message("after %d turns: %s\n", turns, o->text);
        assert_int_equal(o->result, GCS_DONE);
        free(o);
    }
    assert_int_equal(gcs_list(&config, &bed.auth, "a/", on_listed, &listed, error, sizeof(error)),
                     0);
    assert_int_equal(listed, ARRAY_LEN(faults));
    assert_true(stats.sessions_lost >= 2);
    assert_true(stats.resumed >= 1);
    gcs_destroy(g);
    tcloud_bed_fini(&bed);
    tcloud_local_stop(cloud);
}

static void resources_make(void)
{
    static const char form[] =
        "{\"generation\":\"17\",\"size\":\"%zu\",\"crc32c\":\"%s\",\"metadata\":{"
        "\"penstock-plan\":\"42\",\"penstock-log\":\"%s\"}}";
    char crc[CRC_TEXT_BYTES];

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    crc_text(crc32c(0, content, TOTAL), crc);
    snprintf(ours, sizeof(ours), form, TOTAL, crc, "log1");
    snprintf(other_log, sizeof(other_log), form, TOTAL, crc, "log2");
    snprintf(wrong_crc, sizeof(wrong_crc), form, TOTAL, "AAAAAA==", "log1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_interrupted),  cmocka_unit_test(test_session_gone),
        cmocka_unit_test(test_precondition), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_stuck),        cmocka_unit_test(test_address),
        cmocka_unit_test(test_cancel),       cmocka_unit_test(test_stall),
        cmocka_unit_test(test_allocation),   cmocka_unit_test(test_local_cloud),
    };

    resources_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
