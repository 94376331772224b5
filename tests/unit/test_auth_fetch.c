/*
 * Goal: tokens are renewed early, once, and never lost to a failing server; calls wait for them, and
 * a 401 costs one more try.
 * Method: a scripted server that is token server and API in one, and a clock of the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/blocking.h"
#include "tests/unit/tauth_files.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define GIVE(t, s)                            \
    {                                         \
        TCLOUD_ANSWER, 200, NULL, TOKEN(t, s) \
    }
#define FLAVORED(t, s)                                                 \
    {                                                                  \
        TCLOUD_ANSWER, 200, "Metadata-Flavor: Google\r\n", TOKEN(t, s) \
    }
#define REFUSE(status, text)              \
    {                                     \
        TCLOUD_ANSWER, status, NULL, text \
    }

static const char *write_key_for(const char *name, const char *url)
{
    char member[128];

    snprintf(member, sizeof(member), "\"token_uri\":\"%s/token\",", url);
    return write_key(name, member);
}

/* ---- fetching ---- */

/* A bed, a scripted server that is token server and API in one, and an auth on them. */
struct play {
    struct tcloud_bed bed;
    struct tcloud_server *server;
    struct auth auth;
    char file[256];
};

static void play_begin(struct play *p, const struct tcloud_step *steps, uint32_t n)
{
    struct auth_config c = {.key_file = p->file, .refused_retry_us = 30000};
    char error[AUTH_ERROR_BYTES];

    tcloud_bed_init(&p->bed, 2000);
    p->server = tcloud_server_start(steps, n);
    snprintf(p->file, sizeof(p->file), "%s",
             write_key_for("play.json", tcloud_server_url(p->server)));
    assert_int_equal(auth_init(&p->auth, &c, error, sizeof(error)), 0);
    auth_bind(&p->auth, p->bed.loop, p->bed.http);
}

static void play_end(struct play *p)
{
    auth_unbind(&p->auth);
    auth_fini(&p->auth);
    tcloud_bed_fini(&p->bed);
    tcloud_server_stop(p->server);
}

/* Runs the loop until count requests were seen and, unless the server stalls, the fetch is over. */
static void play_run_to(struct play *p, uint32_t count, bool stalled)
{
    int64_t end_us = clock_monotonic_us() + 5000000;

    while (tcloud_server_count(p->server) < count && clock_monotonic_us() < end_us)
        (void)loop_run_once(p->bed.loop, 5000);
    assert_int_equal(tcloud_server_count(p->server), count);
    while (p->auth._call._handle != NULL && !stalled && clock_monotonic_us() < end_us)
        (void)loop_run_once(p->bed.loop, 5000);
}

static void play_run(struct play *p, uint32_t count)
{
    play_run_to(p, count, false);
}

struct counter {
    struct auth_waiter w;
    uint32_t runs;
};

static void counter_ready(struct auth_waiter *w)
{
    struct counter *c = container_of(w, struct counter, w);

    c->runs++;
}

static void single_flight(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600)};
    struct play p = {0};
    struct counter c[5] = {0};
    const char *header;
    uint64_t generation;

    (void)state;
    play_begin(&p, steps, 1);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i].w.ready = counter_ready;
        assert_false(auth_take(&p.auth, &header, &generation));
        auth_wait(&p.auth, &c[i].w);
    }
    auth_wait_cancel(&c[2].w);
    auth_wait_cancel(&c[2].w); /* twice is fine */
    play_run(&p, 1);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(c[i].runs, i == 2 ? 0 : 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    assert_string_equal(tcloud_server_seen(p.server, 0)->method, "POST");
    assert_string_equal(tcloud_server_seen(p.server, 0)->path, "/token");
    assert_non_null(strcasestr(tcloud_server_seen(p.server, 0)->headers,
                               "content-type: application/x-www-form-urlencoded\r\n"));
    assert_memory_equal(tcloud_server_seen(p.server, 0)->body,
                        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"
                        "assertion=eyJ",
                        77);
    play_end(&p);
}

static void early_refresh(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), GIVE("two", 100),
                                               GIVE("three", 100)};
    struct play p = {0};
    const char *header;
    uint64_t generation;

    (void)state;
    tauth_now_us = 1000000;
    play_begin(&p, steps, 3);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    tauth_now_us += INT64_C(3299) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* not yet due */
    assert_int_equal(p.auth._call._handle != NULL, 0);
    tauth_now_us += 1000000; /* five minutes before the end */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* used on meanwhile */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    play_run(&p, 2);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    tauth_now_us += INT64_C(49) * 1000000; /* a short one is renewed in the middle of its life */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_null(p.auth._call._handle);
    tauth_now_us += 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    play_run(&p, 3);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer three");
    play_end(&p);
}

static void old_token_while_failing(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), REFUSE(503, "busy"),
                                               REFUSE(400, GRANT), GIVE("two", 3600)};
    struct play p = {0};
    const char *header;
    uint64_t generation;
    struct counter c = {.w.ready = counter_ready};

    (void)state;
    tauth_now_us = 1000000;
    play_begin(&p, steps, 4);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    tauth_now_us += INT64_C(3400) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    play_run(&p, 2); /* 503 */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    assert_non_null(strstr(auth_why(&p.auth), "/token: 503"));
    assert_false(auth_is_refused(&p.auth));
    tauth_now_us += INT64_C(199) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* its last second */
    tauth_now_us += 1000000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 4); /* 400, a pause, and then it is accepted */
    assert_int_equal(c.runs, 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_false(p.auth._failing);
    play_end(&p);
}

static void refused_key(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT), GIVE("one", 3600)};
    struct play p = {0};
    struct counter c = {.w.ready = counter_ready};
    const char *header;
    uint64_t generation;
    char want[256];

    (void)state;
    play_begin(&p, steps, 2);
    p.auth._config.refused_retry_us = 300000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 1);
    snprintf(want, sizeof(want),
             "no access token: %s/token: 400 invalid_grant: Invalid JWT Signature.",
             tcloud_server_url(p.server));
    assert_string_equal(auth_why(&p.auth), want);
    assert_true(auth_is_refused(&p.auth));
    assert_int_equal(c.runs, 0);
    write_file("play.json", "{}"); /* a broken file does not take the key away */
    play_run(&p, 2);
    assert_int_equal(c.runs, 1);
    play_end(&p);
}

static void replaced_key(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(401, GRANT)};
    static const struct tcloud_step others[] = {GIVE("new", 3600)};
    struct tcloud_server *other = tcloud_server_start(others, 1);
    struct play p = {0};
    struct counter c = {.w.ready = counter_ready};
    const char *header;
    uint64_t generation;

    (void)state;
    play_begin(&p, steps, 1);
    p.auth._config.refused_retry_us = 100000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 1);
    write_key_for("play.json", tcloud_server_url(other));
    for (int i = 0; i < 100 && c.runs == 0; i++)
        (void)loop_run_once(p.bed.loop, 20000);
    assert_int_equal(c.runs, 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer new");
    play_end(&p);
    tcloud_server_stop(other);
}

static void late_refusals(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), GIVE("two", 3600)};
    struct play p = {0};
    const char *header;
    uint64_t first, second;

    (void)state;
    play_begin(&p, steps, 2);
    assert_false(auth_take(&p.auth, &header, &first));
    play_run(&p, 1);
    assert_true(auth_take(&p.auth, &header, &first));
    auth_refused(&p.auth, first);
    assert_false(auth_take(&p.auth, &header, &second)); /* dropped at once */
    play_run(&p, 2);
    assert_true(auth_take(&p.auth, &header, &second));
    auth_refused(&p.auth, first); /* of a call that was sent with the old one */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_null(p.auth._call._handle);
    play_end(&p);
}

static void metadata_server(void **state)
{
    static const struct tcloud_step steps[] = {
        GIVE("false", 3600),
        FLAVORED("true", 3600),
        {TCLOUD_ANSWER, 404, "Metadata-Flavor: Google\r\n", "<html>no service account</html>"}};
    struct auth_config c = {.source = AUTH_SOURCE_METADATA, .refused_retry_us = 20000};
    struct play p = {0};
    char error[AUTH_ERROR_BYTES];
    const char *header;
    uint64_t generation;

    (void)state;
    tcloud_bed_init(&p.bed, 2000);
    p.server = tcloud_server_start(steps, 3);
    setenv("GCE_METADATA_HOST", tcloud_server_url(p.server) + 7, 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* nobody listens there */
    assert_int_equal(auth_init(&p.auth, &c, error, sizeof(error)), 0);
    auth_bind(&p.auth, p.bed.loop, p.bed.http);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    assert_non_null(strstr(auth_why(&p.auth), "that is no metadata server"));
    play_run(&p, 2);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer true");
    assert_string_equal(tcloud_server_seen(p.server, 0)->method, "GET");
    assert_string_equal(tcloud_server_seen(p.server, 0)->path,
                        "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 0)->headers, "metadata-flavor: google\r\n"));
    auth_refused(&p.auth, p.auth._generation);
    play_run(&p, 3);
    assert_non_null(strstr(auth_why(&p.auth), "/default/token: 404"));
    assert_true(auth_is_refused(&p.auth));
    unsetenv("http_proxy");
    play_end(&p);
}

static void no_credentials(void **state)
{
    struct auth_config c = {.endpoints = {"https://storage.googleapis.com", NULL}};
    char error[AUTH_ERROR_BYTES];
    struct play p = {0};
    const char *header;
    uint64_t generation;
    int64_t end_us = clock_monotonic_us() + 5000000;

    (void)state;
    setenv("GCE_METADATA_IP", "127.0.0.1:1", 1);
    setenv("CLOUDSDK_CONFIG", "/nowhere", 1);
    tcloud_bed_init(&p.bed, 2000);
    assert_int_equal(auth_init(&p.auth, &c, error, sizeof(error)), 0);
    auth_bind(&p.auth, p.bed.loop, p.bed.http);
    assert_false(auth_take(&p.auth, &header, &generation));
    while (!auth_is_refused(&p.auth) && clock_monotonic_us() < end_us)
        (void)loop_run_once(p.bed.loop, 5000);
    assert_non_null(strstr(auth_why(&p.auth), "no credentials: set credentials.file or "
                                              "GOOGLE_APPLICATION_CREDENTIALS"));
    assert_non_null(strstr(auth_why(&p.auth), "/nowhere/application_default_credentials.json"));
    auth_unbind(&p.auth);
    auth_fini(&p.auth);
    tcloud_bed_fini(&p.bed);
}

/* ---- requests ---- */

struct asking {
    struct request r;
    struct request_env env;
    _Atomic uint64_t calls, retries;
    const char *waiting;
    bool over;
    enum answer_class class;
};

static void asking_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct asking *k = container_of(r, struct asking, r);

    (void)a;
    k->over = true;
    k->class = c;
}

static void asking_resume(struct request *r)
{
    request_send(r);
}

static void ask(struct asking *k, struct play *p, const char *payer)
{
    *k = (struct asking){.r = {.answered = asking_answered, .resume = asking_resume}};
    k->env = (struct request_env){.loop = p->bed.loop,
                                  .http = p->bed.http,
                                  .auth = &p->auth,
                                  .user_project = payer,
                                  .calls = &k->calls,
                                  .retries = &k->retries};
    k->r.waiting = &k->waiting;
    request_init(&k->r, &k->env);
    text_adds(request_reset(&k->r, "GET"), tcloud_server_url(p->server));
    text_adds(&k->r.url, "/thing");
    request_send(&k->r);
}

static void request_waits(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT),
                                               GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 200, NULL, "{}"},
                                               {TCLOUD_ANSWER, 200, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    snprintf(p.auth._quota_project, sizeof(p.auth._quota_project), "key-payer");
    ask(&k, &p, NULL);
    assert_true(request_waits_for_token(&k.r));
    assert_non_null(strstr(k.waiting, "no access token yet"));
    play_run(&p, 1);
    assert_non_null(strstr(k.waiting, "400 invalid_grant")); /* status tells, in place */
    assert_false(k.over);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_OK);
    assert_null(k.waiting);
    assert_int_equal(k.calls, 1);
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 2)->headers, "authorization: Bearer one\r\n"));
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 2)->headers, "x-goog-user-project: key-payer\r\n"));
    request_fini(&k.r);
    ask(&k, &p, "own-payer");
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 3)->headers, "x-goog-user-project: own-payer\r\n"));
    request_fini(&k.r);
    play_end(&p);
}

static void refused_once(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"},
                                               GIVE("two", 3600),
                                               {TCLOUD_ANSWER, 200, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    ask(&k, &p, NULL);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_OK);
    assert_int_equal(tcloud_server_count(p.server), 4);
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 3)->headers, "authorization: Bearer two\r\n"));
    request_fini(&k.r);
    play_end(&p);
}

static void refused_twice(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"},
                                               GIVE("two", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    ask(&k, &p, NULL);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_PERMANENT);
    assert_int_equal(tcloud_server_count(p.server), 4);
    request_fini(&k.r);
    play_end(&p);
}

static void cancelled_while_waiting(void **state)
{
    static const struct tcloud_step steps[] = {{TCLOUD_STALL, 0, NULL, NULL}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 1);
    ask(&k, &p, NULL);
    play_run_to(&p, 1, true);
    assert_true(request_waits_for_token(&k.r));
    request_fini(&k.r);
    assert_null(k.waiting);
    assert_false(k.over);
    play_end(&p);
}

static void blocking_is_told(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT)};
    struct auth_config c = {0};
    struct auth auth;
    struct tcloud_server *server = tcloud_server_start(steps, 1);
    char error[AUTH_ERROR_BYTES], text[REASON_TEXT_BYTES];
    struct http_answer a;
    struct blocking *b;

    (void)state;
    c.key_file = write_key_for("blocking.json", tcloud_server_url(server));
    assert_int_equal(auth_init(&auth, &c, error, sizeof(error)), 0);
    assert_int_equal(blocking_create(&auth, NULL, &b), 0);
    text_adds(blocking_url(b, "GET"), tcloud_server_url(server));
    assert_int_equal(blocking_call(b, NULL, &a), ANSWER_PERMANENT);
    answer_describe(&a, text);
    assert_non_null(strstr(text, "400 invalid_grant: Invalid JWT Signature."));
    blocking_destroy(b);
    auth_fini(&auth);
    tcloud_server_stop(server);
}

#define T(name) cmocka_unit_test_setup(name, tauth_each)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(single_flight),    T(early_refresh),  T(old_token_while_failing),
        T(refused_key),      T(replaced_key),   T(late_refusals),
        T(metadata_server),  T(no_credentials), T(request_waits),
        T(refused_once),     T(refused_twice),  T(cancelled_while_waiting),
        T(blocking_is_told),
    };

    return cmocka_run_group_tests(tests, tauth_setup, tauth_teardown);
}
