/*
 * Goal: /metrics is valid Prometheus text with every family declared once, and the JSON answers of
 * the CLI are valid JSON, also with hostile type names. Method: a whole daemon in this process,
 * small, whose cloud nobody serves; a few events over HTTP; an own checker of the text format.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/admin.h"
#include "control/cli.h"
#include "control/metrics.h"
#include "control/totals.h"
#include "dataplane/base/log.h"
#include "dataplane/json/json.h"

static char base[] = "/tmp/penstock-metrics-XXXXXX";
static struct config *config;
static struct daemon *d;

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0 && bind(fd, (const struct sockaddr *)&a, len) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static int start(void **state)
{
    struct textbuf yaml = {0}, problems = {0};
    struct config_source source = {.file = "test.yaml"};
    int rc;

    (void)state;
    log_set_level(LOG_LEVEL_WARN);
    assert_non_null(mkdtemp(base));
    textbuf_add(
        &yaml,
        "data_dir: %s/data\nhttp: {listen: '127.0.0.1:%u'}\nadmin: {listen: '127.0.0.1:%u'}\n"
        "journal: {limit: 64MiB, segment: 8MiB, spares: 1}\ngroup: {memory: 64MiB, bytes_max: "
        "1MiB}\n"
        "gcs: {bucket: nowhere, endpoint: 'http://127.0.0.1:1'}\nbigquery: {enabled: "
        "false}\nshutdown: {grace: 100ms}\n"
        "delivery_log: {file: 8MiB}\ntypes: {list: [{name: configured}]}\n",
        base, free_port(), free_port());
    source.text = yaml.ptr;
    source.text_len = yaml.len;
    rc = config_load(&source, &config, &problems);
    if (rc != 0)
        print_error("%s", textbuf_str(&problems));
    textbuf_fini(&yaml);
    textbuf_fini(&problems);
    return rc != 0 ? rc : daemon_start(config, false, &d);
}

static int stop(void **state)
{
    char command[64];

    (void)state;
    if (d != NULL) {
        daemon_quiesce(d);
        assert_true(daemon_stop(d));
    }
    config_destroy(config);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

/* Sends one body and waits for 200. */
static void post(const char *body)
{
    const struct sockaddr_in *a = (const struct sockaddr_in *)&config->http_address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char request[1024], answer[512] = "";
    int n = snprintf(request, sizeof(request),
                     "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                     strlen(body), body);

    assert_true(fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0);
    assert_int_equal(write(fd, request, (size_t)n), n);
    assert_true(read(fd, answer, sizeof(answer) - 1) > 0);
    assert_non_null(strstr(answer, " 200 "));
    close(fd);
}

/* ---- the checker: https://prometheus.io/docs/instrumenting/exposition_formats/ ---- */

#define FAMILIES_MAX 512

struct checker {
    char family[FAMILIES_MAX][128];
    bool counter[FAMILIES_MAX];
    bool histogram; /* the family under way is one */
    double bucket;  /* its last one: they may not fall */
    int n;
    int samples;
};

static size_t name_length(const char *p)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789");

    return n > 0 && (p[0] < '0' || p[0] > '9') ? n : 0;
}

/* Passes over {a="b",c="d"}. @return behind it, or NULL when it is malformed. */
static const char *pass_labels(const char *p)
{
    if (*p != '{')
        return p;
    do {
        size_t n = name_length(++p);

        if (n == 0 || p[n] != '=' || p[n + 1] != '"')
            return NULL;
        for (p += n + 2; *p != '"'; p++) {
            if (*p == '\0' || *p == '\n' || (*p == '\\' && strchr("\\\"n", *++p) == NULL))
                return NULL;
        }
        p++;
    } while (*p == ',');
    return *p == '}' ? p + 1 : NULL;
}

/* The length of a sample's name without what a histogram adds. */
static size_t family_length(const struct checker *c, const char *line, size_t n)
{
    static const char *const tail[] = {"_bucket", "_sum", "_count"};

    for (size_t i = 0; c->histogram && i < ARRAY_LEN(tail); i++) {
        size_t len = strlen(tail[i]);

        if (n > len && strncmp(line + n - len, tail[i], len) == 0)
            return n - len;
    }
    return c->histogram ? 0 : n;
}

static void check_sample(struct checker *c, const char *line)
{
    size_t n = name_length(line), family = family_length(c, line, n);
    const char *p = n > 0 ? pass_labels(line + n) : NULL;
    double v;
    char *end;

    if (p == NULL || *p != ' ' || c->n == 0)
        fail_msg("malformed: %s", line);
    if (strlen(c->family[c->n - 1]) != family || strncmp(c->family[c->n - 1], line, family) != 0)
        fail_msg("outside its family %s: %s", c->family[c->n - 1], line);
    v = strtod(p + 1, &end);
    if (v < 0 || *end != '\0')
        fail_msg("bad value: %s", line);
    if (strncmp(line + family, "_bucket", 7) == 0) {
        assert_true(v >= c->bucket);
        c->bucket = v;
    } else if (strncmp(line + family, "_count", 6) == 0) {
        assert_true(v == c->bucket); /* le="+Inf" */
    }
    c->samples++;
}

static void check_type(struct checker *c, const char *line)
{
    char name[128], type[16];

    if (sscanf(line, "# TYPE %127s %15s", name, type) != 2)
        fail_msg("malformed: %s", line);
    c->histogram = strcmp(type, "histogram") == 0;
    c->bucket = 0;
    assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || c->histogram);
    assert_true(c->n < FAMILIES_MAX);
    for (int i = 0; i < c->n; i++) {
        if (strcmp(c->family[i], name) == 0)
            fail_msg("declared twice: %s", name);
    }
    c->counter[c->n] = strcmp(type, "counter") == 0;
    if (c->counter[c->n] != (strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0))
        fail_msg("counters, and only they, end in _total: %s", name);
    snprintf(c->family[c->n++], sizeof(c->family[0]), "%s", name);
}

static void check_text(const char *text, struct checker *c)
{
    char line[4096];

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        assert_true(len < sizeof(line) && text[len] == '\n');
        memcpy(line, text, len);
        line[len] = '\0';
        if (strncmp(line, "# TYPE ", 7) == 0)
            check_type(c, line);
        else if (strncmp(line, "# HELP ", 7) != 0)
            check_sample(c, line);
        text += len + 1;
    }
}

static void metrics_are_valid(void **state)
{
    static struct checker c;
    struct textbuf b = {0};

    (void)state;
    post("{\"event_type\":\"configured\",\"a\":1}\n{\"event_type\":\"a\\\"b\\\\c\\n{}\",\"a\":1}\n{"
         "\"bad\n");
    metrics_write(d, &b);
    check_text(textbuf_str(&b), &c);
    assert_true(c.n > 80);
    assert_true(c.samples > 100);
    assert_non_null(strstr(b.ptr, "penstock_events_total{worker=\"0\"} 2\n"));
    assert_non_null(strstr(b.ptr, "reason=\"bad_json\"} 1\n"));
    assert_non_null(strstr(b.ptr, "penstock_type_events_total{type=\"configured\"} 1\n"));
    assert_non_null(strstr(b.ptr, "penstock_type_events_total{type=\"a\\\"b\\\\c?{}\"} 1\n"));
    assert_non_null(strstr(b.ptr, "penstock_http_answer_seconds_count 1\n"));
    assert_non_null(strstr(b.ptr, "penstock_paused{what=\"gcs\"} 0\n"));
    assert_non_null(strstr(b.ptr, "process_resident_memory_bytes "));
    textbuf_fini(&b);
}

static void answers_are_json(void **state)
{
    static const char *const lines[] = {"status --json",
                                        "types --json",
                                        "sinks --json",
                                        "help --json",
                                        "flush --timeout 10ms --json",
                                        "get --json",
                                        "get types. --json",
                                        "set --json group.age_max=1s log.level=info",
                                        "set --json types.configured.sampling 0.5 --for 1m",
                                        "pause --json type configured",
                                        "pause --json gcs --for 1m",
                                        "status --json",
                                        "types --json",
                                        "sinks --json",
                                        "top --json --interval 100ms",
                                        "resume all --json"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct cli_request r;
        struct textbuf b = {0};
        char padding[JSON_PADDING_BYTES] = "";
        size_t len, offset = 0;

        assert_int_equal(cli_parse(lines[i], strlen(lines[i]), &r, &b), PROTOCOL_OK);
        assert_true(commands_run(d, &r, &b) <= PROTOCOL_ERROR);
        len = b.len;
        textbuf_bytes(&b, padding, sizeof(padding));
        if (json_validate(b.ptr, len, &offset) != JSON_ERROR_NONE)
            fail_msg("%s: not JSON at %zu: %s", lines[i], offset, b.ptr);
        textbuf_fini(&b);
    }
}

static void ready_until_drained(void **state)
{
    struct textbuf why = {0};

    (void)state;
    assert_true(admin_ready(d, &why));
    assert_int_equal(daemon_drain(d, 5000000), 0);
    assert_false(admin_ready(d, &why));
    assert_string_equal(textbuf_str(&why), "drained by command\n");
    textbuf_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_valid),
        cmocka_unit_test(answers_are_json),
        cmocka_unit_test(ready_until_drained),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
