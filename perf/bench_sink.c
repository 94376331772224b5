/*
 * The ceiling of TCP and UDP inputs: receives and throws away. TCP as a bare loop over epoll with one
 * receive of 64 KiB at a time, UDP with recvmmsg of 64 datagrams.
 *
 *     bench_sink tcp|udp PORT
 *
 * On SIGUSR1 it prints `BYTES MESSAGES` so far; messages are receives of TCP, datagrams of UDP.
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
#include <unistd.h>

#define RECEIVE_BYTES 65536
#define DATAGRAMS     64
#define EVENTS        256
#define SOCKET_BYTES  (8 << 20) /* as udp.receive_buffer */

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

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal}; /* interrupts waiting: no SA_RESTART */

    if (argc != 3 || (strcmp(argv[1], "tcp") != 0 && strcmp(argv[1], "udp") != 0)) {
        fprintf(stderr, "usage: bench_sink tcp|udp PORT\n");
        return 2;
    }
    sigaction(SIGUSR1, &action, NULL);
    if (argv[1][0] == 't')
        serve_tcp(open_socket(SOCK_STREAM, (uint16_t)strtoul(argv[2], NULL, 10)));
    else
        serve_udp(open_socket(SOCK_DGRAM, (uint16_t)strtoul(argv[2], NULL, 10)));
    return 0;
}
