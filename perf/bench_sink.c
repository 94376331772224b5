/*
 * The ceiling of TCP and UDP inputs: receives and throws away. TCP as a bare loop over epoll with one
 * receive of 64 KiB at a time, UDP with recvmmsg of 64 datagrams.
 *
 *     bench_sink tcp|udp PORT
 *
 * On SIGUSR1 it prints `BYTES MESSAGES` so far; messages are receives of TCP, datagrams of UDP.
 *
 *     bench_sink send PORT FILE LINES SECONDS RATE
 *
 * The sender of datagrams, because one system call for each would make it the slower side: sendmmsg of 32
 * at a time from each of 16 sockets in turn, LINES lines of FILE in each, again and again; RATE is
 * datagrams a second, 0: as fast as it can. At its end it prints datagrams, bytes, and nanoseconds of time
 * and of CPU time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BYTES 65536
#define DATAGRAMS     64
#define EVENTS        256
#define SOCKET_BYTES  (8 << 20) /* as udp.receive_buffer */
#define SOCKETS       16
#define SENT_AT_ONCE  32
#define MESSAGES_MAX  (1 << 20)

static uint64_t bytes, messages;
static volatile sig_atomic_t asked;

static void on_signal(int number)
{
    (void)number;
    asked = 1;
}

static void tell(void)
{
    if (!asked)
        return;
    asked = 0;
    printf("%" PRIu64 " %" PRIu64 "\n", bytes, messages);
    fflush(stdout);
}

static int open_socket(int type, uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1, size = SOCKET_BYTES;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        (type == SOCK_STREAM && listen(fd, 4096) != 0)) {
        perror("bench_sink");
        exit(1);
    }
    if (type == SOCK_DGRAM &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) != 0)
        perror("bench_sink: socket buffer");
    return fd;
}

/* One receive from a connection that has something. */
static void take(int fd)
{
    static char buf[RECEIVE_BYTES];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n > 0) {
        bytes += (uint64_t)n;
        messages++;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(fd);
    }
}

static void serve_tcp(int listener)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, got[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, got, EVENTS, -1);

        tell();
        for (int i = 0; i < n; i++) {
            if (got[i].data.fd != listener) {
                take(got[i].data.fd);
                continue;
            }
            event.data.fd = accept(listener, NULL, NULL);
            if (event.data.fd >= 0)
                epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        }
    }
}

static void serve_udp(int fd)
{
    static char buf[DATAGRAMS][RECEIVE_BYTES];
    struct mmsghdr msg[DATAGRAMS] = {0};
    struct iovec iov[DATAGRAMS];

    for (int i = 0; i < DATAGRAMS; i++) {
        iov[i] = (struct iovec){.iov_base = buf[i], .iov_len = RECEIVE_BYTES};
        msg[i].msg_hdr.msg_iov = &iov[i];
        msg[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) {
        int n = recvmmsg(fd, msg, DATAGRAMS, MSG_WAITFORONE, NULL);

        tell();
        for (int i = 0; i < n; i++)
            bytes += msg[i].msg_len;
        messages += n > 0 ? (uint64_t)n : 0;
    }
}

/* ---- the sender ---- */

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Datagrams of so many lines each; what is left over at the end is not sent. */
static uint32_t load(const char *path, uint32_t lines, struct iovec *out)
{
    FILE *file = fopen(path, "rb");
    char *text, *from, *at;
    uint32_t n = 0, n_lines = 0;
    size_t len;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (len = (size_t)ftell(file)) == 0 ||
        (text = malloc(len)) == NULL || fseek(file, 0, SEEK_SET) != 0 ||
        fread(text, 1, len, file) != len) {
        perror(path);
        exit(1);
    }
    fclose(file);
    from = text;
    while (n < MESSAGES_MAX && (at = memchr(from, '\n', (size_t)(text + len - from))) != NULL) {
        if (++n_lines % lines == 0)
            out[n++] = (struct iovec){.iov_base = text, .iov_len = (size_t)(at + 1 - text)};
        from = at + 1;
        if (n_lines % lines == 0) {
            len -= (size_t)(from - text);
            text = from;
        }
    }
    return n;
}

static int connected_socket(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        perror("bench_sink: connect");
        exit(1);
    }
    return fd;
}

/* How many are due by now; all of them without a rate. */
static uint32_t due(uint64_t started, double rate)
{
    double wanted = rate * (double)(nanoseconds(CLOCK_MONOTONIC) - started) / 1e9;

    if (rate == 0 || wanted >= (double)(messages + SENT_AT_ONCE))
        return SENT_AT_ONCE;
    return wanted > (double)messages ? (uint32_t)(wanted - (double)messages) : 0;
}

static void send_all(uint16_t port, const char *path, uint32_t lines, double seconds, double rate)
{
    struct iovec *iov = calloc(MESSAGES_MAX, sizeof(*iov));
    struct mmsghdr msg[SENT_AT_ONCE] = {0};
    uint32_t n = iov != NULL ? load(path, lines, iov) : 0, next = 0;
    uint64_t started, cpu, end;
    int fd[SOCKETS];

    if (n == 0) {
        fprintf(stderr, "bench_sink: %s holds nothing to send\n", path);
        exit(1);
    }
    for (int i = 0; i < SOCKETS; i++)
        fd[i] = connected_socket(port);
    started = nanoseconds(CLOCK_MONOTONIC);
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    end = started + (uint64_t)(seconds * 1e9);
    for (int turn = 0; nanoseconds(CLOCK_MONOTONIC) < end; turn = (turn + 1) % SOCKETS) {
        uint32_t wanted = due(started, rate);
        int sent;

        for (uint32_t i = 0; i < wanted; i++) {
            msg[i].msg_hdr.msg_iov = &iov[(next + i) % n];
            msg[i].msg_hdr.msg_iovlen = 1;
        }
        sent = wanted > 0 ? sendmmsg(fd[turn], msg, wanted, 0) : 0;
        for (int i = 0; i < sent; i++)
            bytes += msg[i].msg_len;
        messages += sent > 0 ? (uint64_t)sent : 0;
        next = (next + (sent > 0 ? (uint32_t)sent : 0)) % n;
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", messages, bytes,
           nanoseconds(CLOCK_MONOTONIC) - started, nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal}; /* interrupts waiting: no SA_RESTART */

    if (argc == 7 && strcmp(argv[1], "send") == 0 && strtoul(argv[4], NULL, 10) > 0) {
        send_all((uint16_t)strtoul(argv[2], NULL, 10), argv[3],
                 (uint32_t)strtoul(argv[4], NULL, 10), strtod(argv[5], NULL),
                 strtod(argv[6], NULL));
        return 0;
    }
    if (argc != 3 || (strcmp(argv[1], "tcp") != 0 && strcmp(argv[1], "udp") != 0)) {
        fprintf(stderr,
                "usage: bench_sink tcp|udp PORT; bench_sink send PORT FILE LINES SECONDS RATE\n");
        return 2;
    }
    sigaction(SIGUSR1, &action, NULL);
    if (argv[1][0] == 't')
        serve_tcp(open_socket(SOCK_STREAM, (uint16_t)strtoul(argv[2], NULL, 10)));
    else
        serve_udp(open_socket(SOCK_DGRAM, (uint16_t)strtoul(argv[2], NULL, 10)));
    return 0;
}
