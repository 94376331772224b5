/* COLD. What `penstock`'s commands do; the longer answers are in status.c, report.c and verify.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "control/commands.h"
#include "control/dlq.h"
#include "control/door.h"
#include "control/report.h"
#include "control/top.h"
#include "control/totals.h"
#include "control/verify.h"
#include "dataplane/base/clock.h"

#define TIMEOUT_DEFAULT_US INT64_C(60000000)

static int run_help(bool json, struct textbuf *body)
{
    static const struct {
        const char *name, *arguments, *help;
    } list[] = {
#define X(symbol, name, arguments, help) {name, arguments, help},
        PROTOCOL_COMMAND_LIST(X)
#undef X
    };

    ASSERT(ARRAY_LEN(list) == PROTOCOL_COMMANDS);
    textbuf_add(body, json ? "{\"commands\":[" : "");
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        char head[64];

        snprintf(head, sizeof(head), "%s %s", list[i].name, list[i].arguments);
        if (json)
            textbuf_add(body, "%s{\"name\":\"%s\",\"arguments\":\"%s\",\"help\":\"%s\"}",
                        i > 0 ? "," : "", list[i].name, list[i].arguments, list[i].help);
        else
            textbuf_add(body, "%-28s %s\n", head, list[i].help);
    }
    textbuf_add(body, json ? "]}\n" : "");
    return PROTOCOL_OK;
}

/* The answer of flush and drain: what is pending when the waiting ended. */
static int answer_pending(struct daemon *d, const struct cli_request *r, const char *done, int rc,
                          int64_t began_us, struct textbuf *body)
{
    double seconds = (double)(clock_monotonic_us() - began_us) / 1e6;
    struct textbuf paused = {0};
    bool waits = commands_paused(d, r->json, &paused);
    const char *error = rc == -ETIMEDOUT ? "timeout" : rc != 0 ? "stopping" : waits ? "paused" : "";
    uint64_t gcs, bigquery;
    struct totals t;

    dlog_ledger_sync(d->dlog);
    totals_collect(d, true, &t);
    gcs = totals_pending_gcs(&t);
    bigquery = d->config->bigquery_enabled ? totals_pending_bigquery(&t) : 0;
    ASSERT(rc <= 0);
    if (r->json)
        textbuf_add(body,
                    "{\"done\":%s,\"seconds\":%.3f,\"durable\":%" PRIu64
                    ",\"pending\":{\"gcs\":%" PRIu64 ",\"bigquery\":%" PRIu64
                    "},\"error\":\"%s\",\"paused\":[%s]}\n",
                    error[0] == '\0' ? "true" : "false", seconds, t.durable_ever, gcs, bigquery,
                    error, textbuf_str(&paused));
    else if (error[0] == '\0')
        textbuf_add(body, "%s in %.1f s: everything that was durable is %s\n", done, seconds,
                    t.discard ? "thrown away (sinks.discard)" : "delivered");
    else
        textbuf_add(body,
                    "%s after %.1f s; pending: %" PRIu64 " for Cloud Storage, %" PRIu64
                    " for BigQuery\n%s%s",
                    error, seconds, gcs, bigquery, textbuf_str(&paused),
                    waits ? "`penstock resume` ends a pause; the rest is delivered\n" : "");
    totals_fini(&t);
    textbuf_fini(&paused);
    return error[0] == '\0' ? PROTOCOL_OK : PROTOCOL_ERROR;
}

static int run_flush(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    int64_t began = clock_monotonic_us();
    int64_t timeout = r->timeout_us > 0 ? r->timeout_us : TIMEOUT_DEFAULT_US;

    ASSERT(r->command == PROTOCOL_FLUSH);
    return answer_pending(d, r, "flushed", daemon_flush(d, timeout), began, body);
}

static int run_drain(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    int64_t began = clock_monotonic_us();
    int64_t timeout = r->timeout_us > 0 ? r->timeout_us : TIMEOUT_DEFAULT_US;
    int rc = daemon_drain(d, timeout);

    ASSERT(r->command == PROTOCOL_DRAIN);
    if (rc == 0) {
        int64_t left = began + timeout - clock_monotonic_us();

        rc = daemon_flush(d, left > 0 ? left : 0);
    }
    return answer_pending(d, r, "drained", rc, began, body);
}

int commands_run(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    ASSERT(r->command < PROTOCOL_COMMANDS);
    switch (r->command) {
    case PROTOCOL_STATUS:
        report_status(d, r->json, body);
        return PROTOCOL_OK;
    case PROTOCOL_TYPES:
        report_types(d, r->json, body);
        return PROTOCOL_OK;
    case PROTOCOL_SINKS:
        report_sinks(d, r->json, body);
        return PROTOCOL_OK;
    case PROTOCOL_FLUSH:
        return run_flush(d, r, body);
    case PROTOCOL_DRAIN:
        return run_drain(d, r, body);
    case PROTOCOL_GET:
        return commands_get(d, r, body);
    case PROTOCOL_SET:
        return commands_set(d, r, body);
    case PROTOCOL_TOP:
        top_run(d,
                &(struct top_options){.json = r->json,
                                      .interval_us = r->interval_us,
                                      .rows = r->rows,
                                      .columns = r->columns},
                body);
        return PROTOCOL_OK;
    case PROTOCOL_PAUSE:
        return commands_pause(d, r, body);
    case PROTOCOL_RESUME:
        return commands_resume(d, r, body);
    case PROTOCOL_DLQ:
        return dlq_run(d, r->words, r->json, r->uid, r->fd, body);
    case PROTOCOL_SCHEMA:
        return commands_schema(d, r, body);
    case PROTOCOL_RELOAD:
        return door_reload(d->door, r->json, body) == 0 ? PROTOCOL_OK : PROTOCOL_ERROR;
    case PROTOCOL_VERIFY:
        return verify_run(d, r->json, body);
    default:
        return run_help(r->json, body);
    }
}
