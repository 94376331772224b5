/*
 * Goal: after an outage the first request that goes through wakes the others, but only after an
 * outage, and not before a time that the server asked for. Method: delays of hours, so that what
 * ends at all was woken; a scripted server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sinks/engine/request.h"
#include "sinks/engine/retry_internal.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define HOUR_US INT64_C(3600000000)

#define OK                                  \
    {                                       \
        .act = TCLOUD_ANSWER, .status = 200 \
    }
#define BUSY                                \
    {                                       \
        .act = TCLOUD_ANSWER, .status = 503 \
    }
#define BUSY_HOUR                                                               \
    {                                                                           \
        .act = TCLOUD_ANSWER, .status = 503, .headers = "Retry-After: 3600\r\n" \
    }
#define LIMIT                               \
    {                                       \
        .act = TCLOUD_ANSWER, .status = 429 \
    }

struct call {
    struct request r;
    const char *url;
    const char *waiting;
    bool over;
    uint32_t answers;
};

struct place {
    struct tcloud_bed bed;
    struct tcloud_server *server;
    struct request_env env;
    _Atomic uint64_t calls, retries;
    struct call call[4];
};

static void on_answer(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct call *k = container_of(r, struct call, r);

    k->answers++;
    if (c == ANSWER_TRANSIENT)
        request_later(r, c, a);
    else
        k->over = true;
}

static void on_resume(struct request *r)
{
    struct call *k = container_of(r, struct call, r);

    text_adds(request_reset(r, "GET"), k->url);
    request_send(r);
}

static void up(struct place *p, const struct tcloud_step *steps, uint32_t n)
{
    *p = (struct place){.server = tcloud_server_start(steps, n)};
    tcloud_bed_init(&p->bed, 2000);
    retry_base_us = HOUR_US;
    p->env = (struct request_env){
        .loop = p->bed.loop, .http = p->bed.http, .calls = &p->calls, .retries = &p->retries};
    for (size_t i = 0; i < ARRAY_LEN(p->call); i++) {
        struct call *k = &p->call[i];

        k->url = tcloud_server_url(p->server);
        k->r.answered = on_answer;
        k->r.resume = on_resume;
        k->r.waiting = &k->waiting;
        request_init(&k->r, &p->env);
    }
}

static void down(struct place *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->call); i++)
        request_fini(&p->call[i].r);
    assert_null(p->env._prober);
    assert_null(p->env._waiting);
    tcloud_bed_fini(&p->bed);
    tcloud_server_stop(p->server);
}

/* Sends one and runs until its answer is in. */
static void send_one(struct place *p, int i)
{
    uint32_t before = p->call[i].answers;

    on_resume(&p->call[i].r);
    for (int turn = 0; turn < 2000 && p->call[i].answers == before; turn++)
        (void)loop_run_once(p->bed.loop, 5000);
    assert_int_equal(p->call[i].answers, before + 1);
}

/* Longer than a woken request waits. */
static void pass_time(struct place *p)
{
    for (int turn = 0; turn < 80; turn++)
        (void)loop_run_once(p->bed.loop, 5000);
}

static void test_woken(void **state)
{
    static const struct tcloud_step steps[] = {BUSY, BUSY, BUSY, OK, OK, OK, OK};
    struct place p;

    (void)state;
    up(&p, steps, 7);
    for (int i = 0; i < 3; i++)
        send_one(&p, i);
    assert_ptr_equal(p.env._prober, &p.call[2].r); /* the third in a row */
    assert_non_null(p.call[0].waiting);
    send_one(&p, 3);
    for (int i = 0; i < 4; i++)
        assert_true(tcloud_bed_run(&p.bed, &p.call[i].over));
    assert_null(p.call[0].waiting);
    assert_int_equal(tcloud_server_count(p.server), 7);
    down(&p);
}

/* What fails while others go through keeps its delay; so does what hit a limit. */
static void test_no_outage(void **state)
{
    static const struct tcloud_step few[] = {BUSY, BUSY, OK, OK};
    static const struct tcloud_step limits[] = {LIMIT, LIMIT, LIMIT, OK};
    struct place p;

    (void)state;
    up(&p, few, 4);
    send_one(&p, 0);
    send_one(&p, 1);
    send_one(&p, 2);
    send_one(&p, 3);
    pass_time(&p);
    assert_int_equal(tcloud_server_count(p.server), 4);
    assert_false(p.call[0].over);
    down(&p);
    up(&p, limits, 4);
    for (int i = 0; i < 4; i++)
        send_one(&p, i);
    pass_time(&p);
    assert_int_equal(tcloud_server_count(p.server), 4);
    down(&p);
}

static void test_retry_after(void **state)
{
    static const struct tcloud_step steps[] = {BUSY, BUSY_HOUR, BUSY, OK, OK, OK};
    struct place p;

    (void)state;
    up(&p, steps, 6);
    for (int i = 0; i < 4; i++)
        send_one(&p, i);
    assert_true(tcloud_bed_run(&p.bed, &p.call[0].over));
    assert_true(tcloud_bed_run(&p.bed, &p.call[2].over));
    pass_time(&p);
    assert_false(p.call[1].over);
    assert_int_equal(tcloud_server_count(p.server), 6);
    down(&p);
}

/* There is always one that probes, and it probes often. */
static void test_prober(void **state)
{
    static const struct tcloud_step steps[] = {BUSY, BUSY, BUSY, BUSY, BUSY, OK, OK, OK};
    struct place p;

    (void)state;
    up(&p, steps, 8);
    for (int i = 0; i < 4; i++)
        send_one(&p, i);
    assert_ptr_equal(p.env._prober, &p.call[2].r);
    retry_base_us = 1000;
    request_cancel(&p.call[2].r); /* its place is taken, by one with a short delay now */
    assert_non_null(p.env._prober);
    assert_ptr_not_equal(p.env._prober, &p.call[2].r);
    for (int i = 0; i < 4; i++) {
        if (i != 2)
            assert_true(tcloud_bed_run(&p.bed, &p.call[i].over));
    }
    assert_int_equal(tcloud_server_count(p.server), 8);
    down(&p);
}

static void test_circuit(void **state)
{
    struct http_answer busy = {.status = 503, .retry_after_s = -1}, none = {.retry_after_s = -1};
    struct http_answer slow = {.status = 408, .retry_after_s = 7}, ok = {.status = 200};
    struct http_answer limit = {.status = 429}, refused = {.status = 403};
    struct retry_circuit c = {0};
    struct retry_state r = {0};

    (void)state;
    retry_base_us = 1000000;
    assert_false(retry_circuit_heard(&c, &busy));
    assert_false(retry_circuit_heard(&c, &none));
    assert_false(retry_circuit_open(&c));
    assert_false(retry_circuit_heard(&c, &ok)); /* it was not open */
    for (int i = 0; i < 5; i++)
        assert_false(retry_circuit_heard(&c, i == 1 ? &slow : &none));
    assert_true(retry_circuit_open(&c));
    assert_true(retry_circuit_heard(&c, &refused)); /* an answer is an answer */
    assert_false(retry_circuit_heard(&c, &refused));
    assert_true(retry_is_outage(&busy) && retry_is_outage(&none) && retry_is_outage(&slow));
    assert_false(retry_is_outage(&limit) || retry_is_outage(&ok) || retry_is_outage(&refused));
    for (int i = 0; i < 1000; i++) {
        int64_t probe = retry_probe_us(&r, &busy), wake = retry_wake_us(&r);

        assert_true(probe >= 2000000 && probe < 4000000);
        assert_true(wake >= 0 && wake < 250000);
    }
    assert_true(retry_probe_us(&r, &slow) == 7000000);
    assert_int_equal(r.tries, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circuit),   cmocka_unit_test(test_woken),
        cmocka_unit_test(test_no_outage), cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_prober),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
