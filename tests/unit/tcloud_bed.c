/* COLD. Loop, client and local cloud for tests. */
#include "tests/unit/tcloud_bed.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/blocking.h"
#include "sinks/engine/retry_internal.h"

#define RUN_US_MAX ((int64_t)10 * 1000000)

void tcloud_bed_init(struct tcloud_bed *b, uint32_t stall_ms)
{
    struct http_config config = {.connections_max = 4,
                                 .connect_timeout_ms = 2000,
                                 .stall_timeout_ms = stall_ms,
                                 .user_agent = "penstock/test"};
    const struct auth_config none = {.source = AUTH_SOURCE_NONE};
    char error[128];
    int rc;

    retry_base_us = 4000;
    *b = (struct tcloud_bed){.loop = NULL};
    rc = loop_create(&b->loop);
    ASSERT(rc == 0);
    rc = http_client_create(b->loop, &config, &b->http);
    ASSERT(rc == 0);
    rc = auth_init(&b->auth, &none, error, sizeof(error));
    ASSERT(rc == 0);
}

void tcloud_bed_fini(struct tcloud_bed *b)
{
    http_client_destroy(b->http);
    loop_destroy(b->loop);
}

bool tcloud_bed_run(struct tcloud_bed *b, const bool *flag)
{
    int64_t end_us = clock_monotonic_us() + RUN_US_MAX;

    while (!*flag && clock_monotonic_us() < end_us)
        (void)loop_run_once(b->loop, 50000);
    return *flag;
}

struct tcloud_local {
    pid_t pid;
    char dir[64];
    char url[64];
};

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    close(fd);
    return ntohs(a.sin_port);
}

static void child(const char *program, const char *address, const char *dir)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (freopen("/dev/null", "w", stdout) != NULL && freopen("/dev/null", "w", stderr) != NULL)
        execl(program, program, "--listen", address, "--data", dir, "--create-bucket", "bkt",
              (char *)NULL);
    _exit(127);
}

static bool answers(const struct tcloud_local *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int rc;

    a.sin_port = htons((uint16_t)strtoul(strrchr(c->url, ':') + 1, NULL, 10));
    rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
    close(fd);
    return rc == 0;
}

struct tcloud_local *tcloud_local_start(void)
{
    const char *build = getenv("BUILD") != NULL ? getenv("BUILD") : "build";
    struct tcloud_local *c = calloc(1, sizeof(*c));
    char program[512], address[32];

    ASSERT(c != NULL);
    snprintf(program, sizeof(program), "%s/bin/localcloud", build);
    if (access(program, X_OK) != 0) {
        free(c);
        return NULL;
    }
    snprintf(c->dir, sizeof(c->dir), "/tmp/penstock-test-XXXXXX");
    ASSERT(mkdtemp(c->dir) != NULL);
    snprintf(address, sizeof(address), "127.0.0.1:%u", free_port());
    snprintf(c->url, sizeof(c->url), "http://%s", address);
    c->pid = fork();
    ASSERT(c->pid >= 0);
    if (c->pid == 0)
        child(program, address, c->dir);
    for (int i = 0; i < 500 && !answers(c); i++)
        usleep(10000);
    ASSERT(answers(c));
    return c;
}

const char *tcloud_local_url(const struct tcloud_local *c)
{
    return c->url;
}

void tcloud_local_fault(struct tcloud_local *c, const char *json)
{
    struct text body = {0};
    struct http_answer a;
    struct blocking *b;
    int rc = blocking_create(NULL, NULL, &b);
    struct text *url;

    ASSERT(rc == 0);
    url = blocking_url(b, "POST");
    text_adds(url, c->url);
    text_adds(url, "/localcloud/faults");
    text_adds(&body, json);
    ASSERT(blocking_call(b, &body, &a) == ANSWER_OK);
    text_fini(&body);
    blocking_destroy(b);
}

void tcloud_local_stop(struct tcloud_local *c)
{
    char command[128];

    kill(c->pid, SIGTERM);
    waitpid(c->pid, NULL, 0);
    snprintf(command, sizeof(command), "rm -rf %s", c->dir);
    if (system(command) != 0)
        fprintf(stderr, "could not remove %s\n", c->dir);
    free(c);
}
