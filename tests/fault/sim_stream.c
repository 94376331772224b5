/*
 * BigQuery's streaming end, behind request.h: the product's own bq_insert.c makes the requests and reads
 * the answers. Rows are taken, refused or stopped, one by one; an answer is lost, is none, or makes no
 * sense. insertIds are remembered for a while.
 *
 * What arrives is real JSON and is parsed as such; answers are texts as BigQuery gives them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/json/json.h"
#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"
#include "tests/fault/sim.h"

#define BODY_BYTES  (1u << 20)
#define ROWS_MAX    256u
#define MEMORY_US   INT64_C(10000000) /* of insertIds: BigQuery promises about a minute, if that */
#define TAKEN_MAX   SERIALS_MAX
#define ANSWER_KIND "\"kind\":\"bigquery#tableDataInsertAllResponse\""

/* What becomes of a row. */
enum fate { FATE_IN, FATE_INVALID, FATE_STOPPED, FATE_TIMEOUT };

/* A request as it arrives. */
struct arrival {
    char table[64];
    uint32_t n_rows;
    uint32_t serial[ROWS_MAX];
    uint64_t id[ROWS_MAX]; /* of the insertId */
    uint8_t fate[ROWS_MAX];
    uint32_t n_bad;
};

static struct {
    int64_t taken_us[TAKEN_MAX]; /* by serial: when its insertId was last taken; 0: never */
    uint64_t id[TAKEN_MAX];
    char *body, *answer; /* BODY_BYTES, padded */
} stream;

void stream_reset(void)
{
    memset(stream.taken_us, 0, sizeof(stream.taken_us));
    if (stream.body == NULL) {
        stream.body = malloc(BODY_BYTES + JSON_PADDING_BYTES);
        stream.answer = malloc(BODY_BYTES + JSON_PADDING_BYTES);
    }
    ASSERT(stream.body != NULL && stream.answer != NULL);
}

/* ---- what arrives ---- */

static uint64_t id_sum(struct span text)
{
    uint64_t sum = 14695981039346656037u;

    for (size_t i = 0; i < text.len; i++)
        sum = (sum ^ (uint8_t)text.ptr[i]) * 1099511628211u;
    return sum;
}

/* The event in a row: the row itself, or the text in its column of JSON. */
static uint32_t row_serial(struct json_value row)
{
    static char text[4 * EVENT_BYTES];
    struct json_value event;
    struct span raw;

    if (!json_find(row, span_of("event"), &event))
        return model_line((struct span){row.ptr, row.len});
    if (event.type != JSON_STRING)
        return 0;
    raw = json_string_body(event);
    if (raw.len > sizeof(text))
        return 0;
    return model_line((struct span){text, json_unescape(raw, text)});
}

static void row_take(struct arrival *a, struct json_value entry)
{
    struct json_value id, row, own;
    uint32_t serial = 0;

    if (entry.type == JSON_OBJECT && json_find(entry, span_of("insertId"), &id) &&
        json_find(entry, span_of("json"), &row) && row.type == JSON_OBJECT &&
        id.type == JSON_STRING)
        serial = row_serial(row);
    if (serial == 0 || a->n_rows == ROWS_MAX) {
        sim_wrong("a row for %s is none of ours: %.*s", a->table,
                  (int)(entry.len < 80 ? entry.len : 80), entry.ptr);
        return;
    }
    if (!json_find(row, span_of("penstock_id"), &own) ||
        !span_equal(json_string_body(own), json_string_body(id)))
        sim_wrong("the insertId of event %u is not its penstock_id", serial);
    a->serial[a->n_rows] = serial;
    a->id[a->n_rows++] = id_sum(json_string_body(id));
    a->n_bad += model_is_good(serial) ? 0 : 1;
}

/* The bytes of a request, in stream.body. */
static void body_read(size_t len, const char *table, struct arrival *out)
{
    struct json_value root, rows, entry;
    struct json_walk w;

    *out = (struct arrival){.n_rows = 0};
    snprintf(out->table, sizeof(out->table), "%s", table);
    memset(stream.body + len, 0, JSON_PADDING_BYTES);
    if (!answer_object((struct span){stream.body, len}, &root) ||
        !json_find(root, span_of("rows"), &rows) || rows.type != JSON_ARRAY) {
        sim_wrong("a request for %s is no JSON of rows", table);
        return;
    }
    json_walk_init(&w, rows);
    while (json_walk_element(&w, &entry))
        row_take(out, entry);
    if (out->n_rows == 0)
        sim_wrong("a request for %s has no rows", table);
}

/* What is sent, and where to: the URL of a request is "TABLE/insertAll". */
static void request_read(const struct request *r, struct arrival *out)
{
    char table[64];
    size_t len = 0;

    snprintf(table, sizeof(table), "%.*s", (int)(r->url.len - strlen("/insertAll")), r->url.ptr);
    for (uint32_t i = 0; i < r->body_parts; i++) {
        ASSERT(len + r->body[i].iov_len <= BODY_BYTES);
        memcpy(stream.body + len, r->body[i].iov_base, r->body[i].iov_len);
        len += r->body[i].iov_len;
    }
    body_read(len, table, out);
}

/* ---- what becomes of it ---- */

/* The table takes the rows that it is to take. */
static void rows_in(const struct arrival *a)
{
    for (uint32_t i = 0; i < a->n_rows; i++) {
        uint32_t serial = a->serial[i];
        int64_t since = sim.now_us - stream.taken_us[serial];

        if (a->fate[i] != FATE_IN)
            continue;
        if (stream.taken_us[serial] != 0 && stream.id[serial] != a->id[i])
            sim_wrong("event %u is sent under another insertId than before", serial);
        if (stream.taken_us[serial] == 0 || since >= MEMORY_US)
            model_streamed(serial, a->table);
        stream.taken_us[serial] = sim.now_us;
        stream.id[serial] = a->id[i];
    }
}

/* Rows at fault are refused; now and then they stop others, or some fail for a moment. */
static void fates_choose(struct arrival *a)
{
    bool stops = a->n_bad > 0 && sim_once_in(3), fails = sim_once_in(6);

    for (uint32_t i = 0; i < a->n_rows; i++) {
        a->fate[i] = FATE_IN;
        if (!model_is_good(a->serial[i]))
            a->fate[i] = FATE_INVALID;
        else if (stops && sim_below(2) == 0)
            a->fate[i] = FATE_STOPPED;
        else if (fails && sim_below(3) == 0)
            a->fate[i] = FATE_TIMEOUT;
    }
}

static void fates_all(struct arrival *a, enum fate fate)
{
    for (uint32_t i = 0; i < a->n_rows; i++)
        a->fate[i] = (uint8_t)fate;
}

/* Writes an answer. @return its length. */
static size_t PRINTF(1, 2) say(const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(stream.answer, BODY_BYTES, format, ap);
    va_end(ap);
    ASSERT(n >= 0 && n < (int)BODY_BYTES);
    return (size_t)n;
}

/* What BigQuery says of the rows. The words for the same row are not always the same. */
static size_t answer_write(const struct arrival *a)
{
    static const char *const reason[] = {
        [FATE_INVALID] = "invalid", [FATE_STOPPED] = "stopped", [FATE_TIMEOUT] = "timeout"};
    char *out = stream.answer;
    size_t n = say("{" ANSWER_KIND);
    bool first = true;

    for (uint32_t i = 0; i < a->n_rows; i++) {
        if (a->fate[i] == FATE_IN)
            continue;
        n += (size_t)snprintf(out + n, BODY_BYTES - n,
                              "%s{\"index\":%u,\"errors\":[{\"reason\":\"%s\",\"location\":\"x\","
                              "\"message\":\"simulated%s\"}]}",
                              first ? ",\"insertErrors\":[" : ",", i, reason[a->fate[i]],
                              sim_once_in(6) ? ", in other words" : "");
        first = false;
    }
    n += (size_t)snprintf(out + n, BODY_BYTES - n, first ? "}" : "]}");
    return n;
}

/* 200, and no sense in it. */
static size_t odd_write(const struct arrival *a)
{
    static const char *const odd[] = {
        "",
        "<html>well</html>",
        "{}",
        "{" ANSWER_KIND ",\"insertErrors\":{}}",
        "{" ANSWER_KIND ",\"insertErrors\":[{\"errors\":[{\"reason\":\"invalid\"}]}]}",
        "{" ANSWER_KIND ",\"insertErrors\":[{\"index\":0,\"errors\":[]}]}",
        "{" ANSWER_KIND ",\"insertErrors\":[{\"index\":0,\"errors\":[{\"message\":\"?\"}]}]}",
        "{" ANSWER_KIND ",\"insertErrors\":[{\"index\":0,\"errors\":[{\"reason\":\"stopped\"}]},"
        "{\"index\":0,\"errors\":[{\"reason\":\"invalid\"}]}]}",
    };
    uint32_t i = sim_below(ARRAY_LEN(odd) + 1);

    if (i < ARRAY_LEN(odd))
        return say("%s", odd[i]);
    return say("{" ANSWER_KIND
               ",\"insertErrors\":[{\"index\":%u,\"errors\":[{\"reason\":\"stopped\"}]}]}",
               a->n_rows);
}

static size_t error_write(const char *reason)
{
    return say("{\"error\":{\"errors\":[{\"reason\":\"%s\",\"message\":\"simulated\"}],"
               "\"message\":\"simulated\"}}",
               reason);
}

/* A refusal of the whole request, without effect. @return its status. */
static int refuse(const struct arrival *a, size_t *len)
{
    static const struct {
        int status;
        const char *reason;
    } how[] = {{403, "rateLimitExceeded"}, {403, "quotaExceeded"},    {403, "accessDenied"},
               {404, "notFound"},          {400, "tableUnavailable"}, {503, "backendError"}};
    uint32_t i = sim_below(ARRAY_LEN(how) + 2);

    if (i == ARRAY_LEN(how) && a->n_rows > 1) {
        *len = 0;
        return 413;
    }
    if (i > ARRAY_LEN(how) && a->n_bad > 0) { /* about one of its rows, which it does not name */
        *len = error_write("invalid");
        return 400;
    }
    i = i < ARRAY_LEN(how) ? i : 0;
    *len = error_write(how[i].reason);
    return how[i].status;
}

/* What the sender hears. The request is not ours any more afterwards. */
static void answer(struct request *r, int status, size_t len, const struct arrival *a)
{
    struct http_answer h = {.status = status,
                            .error = status == 0 ? "connection reset (simulated)" : NULL,
                            .body = {stream.answer, status == 0 ? 0 : len},
                            .retry_after_s = -1};

    sim_trace("  cloud: insertAll of %u rows into %s: %d %.*s", a->n_rows, a->table, status,
              (int)(len < 100 ? len : 100), stream.answer);
    memset(stream.answer + len, 0, JSON_PADDING_BYTES);
    r->answered(r, answer_classify(&h), &h);
}

static void answer_well(struct request *r, struct arrival *a)
{
    fates_choose(a);
    rows_in(a);
    for (uint32_t i = 0; i < a->n_rows; i++) {
        if (a->fate[i] == FATE_IN)
            model_row_told(a->serial[i]);
    }
    answer(r, 200, answer_write(a), a);
}

void stream_arrive(struct request *r)
{
    uint32_t what = sim.calm ? 9 : sim_below(14);
    struct arrival a;
    size_t len = 0;
    int status;

    request_read(r, &a);
    if (sim.error[0] != '\0')
        return;
    sim.totals.inserts++;
    fates_all(&a, FATE_STOPPED);
    switch (what) {
    case 0: /* it never arrives */
        answer(r, 0, 0, &a);
        break;
    case 1: /* its answer does not, or is of something in between */
        fates_choose(&a);
        rows_in(&a);
        answer(r, sim_below(2) == 0 ? 0 : 502, 0, &a);
        break;
    case 2: /* nothing, all or some of it happened */
    case 3:
        fates_choose(&a);
        if (what == 3)
            rows_in(&a);
        len = odd_write(&a);
        answer(r, 200, len, &a);
        break;
    case 4:
        status = refuse(&a, &len);
        answer(r, status, len, &a);
        break;
    default:
        answer_well(r, &a);
        break;
    }
}

void stream_arrive_late(const char *body, size_t len, const char *table)
{
    struct arrival a;

    ASSERT(len <= BODY_BYTES);
    memcpy(stream.body, body, len);
    body_read(len, table, &a);
    fates_choose(&a);
    if (sim.error[0] == '\0')
        rows_in(&a);
}

/* ---- request.h: for bq_insert.c alone ---- */

void request_init(struct request *r, struct request_env *env)
{
    ASSERT(r->answered != NULL && r->resume != NULL);
    r->env = env;
}

struct text *request_reset(struct request *r, const char *method)
{
    text_reset(&r->url);
    r->method = method;
    return &r->url;
}

void request_body(struct request *r, const struct text *json)
{
    ASSERT(json->len > 0);
    r->_text_body = (struct iovec){.iov_base = json->ptr, .iov_len = json->len};
    r->body = &r->_text_body;
    r->body_parts = 1;
    r->body_bytes = json->len;
}

void request_send(struct request *r)
{
    struct arrival a;

    request_read(r, &a);
    for (uint32_t i = 0; i < a.n_rows; i++)
        model_row_sent(a.serial[i]);
    sim_trace("  insertAll of %u rows into %s", a.n_rows, a.table);
    cloud_insert(r);
}

void request_fini(struct request *r)
{
    cloud_insert_cancel(r);
    text_fini(&r->url);
}

/* ---- bigquery.h, as far as bq_insert.c needs it ---- */

void bq_table_url(struct text *t, const struct bq_config *config, const char *table)
{
    (void)config;
    text_adds(t, table);
}

int bq_create(struct loop *l, struct http_client *http, struct auth *auth,
              const struct bq_config *config, struct bq_stats *stats, struct bq **out)
{
    struct bq *b = calloc(1, sizeof(*b));

    (void)l, (void)http, (void)auth;
    ASSERT(b != NULL);
    b->config = config;
    b->stats = stats;
    *out = b;
    return 0;
}

void bq_destroy(struct bq *b)
{
    while (b != NULL && b->inserts != NULL)
        insert_op_destroy(b->inserts);
    free(b);
}
