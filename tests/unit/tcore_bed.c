/* See tcore_bed.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/tcore_bed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base/clock.h"

#define ANSWER_BYTES_MAX 16384

static const char order_schema[] =
    "[{\"name\":\"event_type\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},"
    "{\"name\":\"timestamp\",\"type\":\"TIMESTAMP\"},"
    "{\"name\":\"order_id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},"
    "{\"name\":\"total\",\"type\":\"FLOAT\"}]";

/*
 * A port that was free a moment ago, for TCP and for UDP: workers share ports on purpose (SO_REUSEPORT), so a
 * datagram to one that is only free for TCP may end in another test's worker.
 */
static uint16_t free_port(void)
{
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        bool both;

        assert_true(tcp >= 0 && udp >= 0);
        assert_int_equal(bind(tcp, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(tcp, (struct sockaddr *)&a, &len), 0);
        both = bind(udp, (struct sockaddr *)&a, len) == 0;
        close(tcp);
        close(udp);
        if (both)
            return ntohs(a.sin_port);
    }
}

static void types_init(struct tcore_bed *b)
{
    char error[200] = "";

    if (schema_compile(span_of(order_schema), &b->order_schema, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    assert_int_equal(schema_for_json(&b->json_schema), 0);
    b->type[0] = (struct type_config){.name = "order", .schema = b->order_schema};
    b->type[1] = (struct type_config){
        .name = "strict", .schema = b->order_schema, .unknown = UNKNOWN_DEAD_LETTER};
    b->types = (struct type_set){
        .type_field = "event_type",
        .time_field = "timestamp",
        .unlisted = UNLISTED_JSON,
        .lateness_us = 600 * INT64_C(1000000),
        .json_schema = b->json_schema,
        .n_types = ARRAY_LEN(b->type),
        .type = b->type,
    };
}

void tcore_bed_init(struct tcore_bed *b, bool with_disk)
{
    char path[300];

    memset(b, 0, sizeof(*b));
    b->config = (struct worker_config){
        .core = -1,
        .connections_max = 64,
        .body_bytes_max = 1u << 20,
        .event_bytes_max = 256u << 10,
        .header_bytes_max = 8192,
        .blocks = 40,
        .block_bytes = 64u << 10,
        .lane_blocks_max = 8,
        .leases_small = 32,
        .leases_middle = 8,
        .leases_medium = 8,
        .leases_large = 4,
        .receive_buffers = 32,
        .streams_max = 64,
        .stream_buffers = 8,
        .datagram_bytes_max = 8192,
        .datagram_buffers = 16,
        .udp_socket_bytes = 1u << 20,
        .types_max = 4096,
        .idle_timeout_ms = 60000,
        .request_timeout_ms = 60000,
    };
    b->journal_config = (struct journal_config){
        .segment_bytes = TCORE_SEGMENT_BYTES, .limit_bytes = 64u << 20, .spares = 3};
    b->dir = tcore_mkdir(!with_disk);
    snprintf(path, sizeof(path), "%s/journal", b->dir);
    b->journal_dir = strdup(path);
    if (with_disk)
        b->disk = tcore_storage_create(TCORE_RING);
    types_init(b);
}

const struct storage *tcore_bed_storage(const struct tcore_bed *b)
{
    return b->disk != NULL ? tcore_storage_ops(b->disk) : &storage_posix;
}

static void journal_up(struct tcore_bed *b)
{
    char error[400] = "";

    if (journal_open(b->journal_dir, "machine", &b->journal_config, tcore_bed_storage(b),
                     &b->journal, error, sizeof(error)) != 0)
        fail_msg("%s", error);
}

static void *keeper_main(void *arg)
{
    struct tcore_bed *b = arg;

    while (!atomic_load(&b->keeper_stop)) {
        (void)journal_keep(b->journal, atomic_load(&b->free_lsn));
        usleep(2000);
    }
    return NULL;
}

static uint16_t listen_on(struct sockaddr_storage *address)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t port = free_port();

    a.sin_port = htons(port);
    memset(address, 0, sizeof(*address));
    memcpy(address, &a, sizeof(a));
    return port;
}

void tcore_bed_start(struct tcore_bed *b)
{
    char error[400] = "";

    journal_up(b);
    (void)journal_keep(b->journal, 0);
    b->port = listen_on(&b->config.http_address);
    b->tcp_port = listen_on(&b->config.tcp_address);
    b->udp_port = listen_on(&b->config.udp_address);
    b->acked_port = listen_on(&b->config.tcp_acked_address);
    if (worker_create(&b->config, &b->types, b->journal, b->lane, b->n_lanes, &b->worker, error,
                      sizeof(error)) != 0)
        fail_msg("%s", error);
    assert_int_equal(worker_start(b->worker), 0);
    atomic_store(&b->keeper_stop, false);
    assert_int_equal(pthread_create(&b->keeper, NULL, keeper_main, b), 0);
    b->keeping = true;
}

void tcore_bed_stop(struct tcore_bed *b)
{
    if (b->worker == NULL)
        return;
    worker_stop(b->worker);
    atomic_store(&b->keeper_stop, true);
    pthread_join(b->keeper, NULL);
    worker_destroy(b->worker);
    journal_close(b->journal);
    b->worker = NULL;
    b->journal = NULL;
}

void tcore_bed_fini(struct tcore_bed *b)
{
    tcore_bed_stop(b);
    if (b->disk != NULL)
        tcore_storage_destroy(b->disk);
    schema_destroy(b->order_schema);
    schema_destroy(b->json_schema);
    free(b->journal_dir);
    tcore_rmdir(b->dir);
}

int tcore_bed_read(struct tcore_bed *b, tcore_line line, void *ctx)
{
    struct tcore_reader r;
    int n;

    assert_null(b->worker);
    journal_up(b);
    tcore_reader_init(&r, b->journal, tcore_bed_storage(b), journal_start(b->journal),
                      TCORE_SEGMENT_BYTES);
    n = tcore_read_all(&r, line, ctx);
    if (n < 0)
        print_error("%s\n", r.error);
    tcore_reader_fini(&r);
    journal_close(b->journal);
    b->journal = NULL;
    return n;
}

bool tcore_wait(const _Atomic uint64_t *counter, uint64_t v, int timeout_ms)
{
    int64_t end_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;

    while (atomic_load(counter) < v) {
        if (clock_monotonic_us() > end_us)
            return false;
        usleep(500);
    }
    return true;
}

/* ---- clients ---- */

int tcore_connect(const struct tcore_bed *b)
{
    return tcore_connect_port(b->port);
}

int tcore_connect_port(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

bool tcore_send(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

void tcore_post(int fd, const char *path, const char *body, size_t len)
{
    char head[400];
    int n = snprintf(head, sizeof(head),
                     "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: "
                     "application/json\r\nContent-Length: %zu\r\n\r\n",
                     path, len);

    assert_true(tcore_send(fd, head, (size_t)n) && tcore_send(fd, body, len));
}

bool tcore_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) > 0;
}

int tcore_answer(int fd, char *body, size_t body_len, int timeout_ms)
{
    char text[ANSWER_BYTES_MAX + 1];
    size_t len = 0, head = 0, want = SIZE_MAX;
    int status = 0;

    while (len < want) {
        const char *end;
        ssize_t n;

        if (!tcore_readable(fd, timeout_ms))
            return -1;
        n = recv(fd, text + len, want == SIZE_MAX ? 1 : want - len,
                 0); /* never a byte of the next answer */
        if (n <= 0)
            return 0;
        len += (size_t)n;
        text[len] = 0;
        assert_true(len < ANSWER_BYTES_MAX);
        if (want == SIZE_MAX && len >= 4 && strcmp(text + len - 4, "\r\n\r\n") == 0) {
            head = len;
            end = strcasestr(text, "content-length:");
            assert_non_null(end);
            want = head + strtoul(end + 15, NULL, 10);
        }
    }
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &status), 1);
    if (body != NULL)
        snprintf(body, body_len, "%s", text + head);
    return status;
}
