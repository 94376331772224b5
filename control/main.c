/*
 * COLD. penstockd: reads the command line and the configuration, starts the daemon, runs it, stops
 * it. Exit status: 0 done, 1 failure at run time, 2 wrong usage or configuration.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/daemon.h"
#include "control/options.h"
#include "control/version.h"
#include "dataplane/base/log.h"
#include "dataplane/packet/nics.h"

/* DPDK's drivers call this one: see nics_leave.c. */
int munmap(void *address, size_t len)
{
    return nics_unmap(address, len);
}

/* Stop signals are taken by daemon_run(); every thread inherits the block. A client that goes away
 * is no signal. */
static void block_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    ASSERT(rc == 0);
    sigaction(SIGPIPE, &ignore, NULL);
}

static int run(const struct config *c, bool adopt)
{
    struct daemon *d;
    int status;

    ASSERT(c != NULL);
    log_set_level((enum log_level)c->log_level);
    block_signals();
    umask(077);
    if (daemon_start(c, adopt, &d) != 0)
        return EXIT_RUNTIME;
    status = daemon_run(d) ? EXIT_OK : EXIT_RUNTIME;
    if (status == EXIT_OK)
        daemon_quiesce(d);
    if (!daemon_stop(d))
        _exit(status);
    return status;
}

static int load_and_run(const struct options *o)
{
    struct config_source source = {.file = o->config, .sets = o->sets, .n_sets = o->n_sets};
    struct textbuf problems = {0};
    struct config *c = NULL;
    int status = EXIT_OK, rc = config_load(&source, &c, &problems);

    ASSERT(o->config != NULL);
    if (rc != 0) {
        fprintf(stderr, "%s%s", textbuf_str(&problems), rc == -EINVAL ? "" : "out of memory\n");
        status = EXIT_USAGE;
    } else if (o->mode == OPTIONS_CHECK) {
        printf("%s: valid\n", o->config);
    } else {
        status = run(c, o->adopt);
    }
    config_destroy(c);
    textbuf_fini(&problems);
    return status;
}

static int print_docs(void)
{
    struct textbuf docs = {0};
    int status;

    config_print_docs(&docs);
    ASSERT(docs.len > 0);
    status = fwrite(docs.ptr, 1, docs.len, stdout) == docs.len && fflush(stdout) == 0
                 ? EXIT_OK
                 : EXIT_RUNTIME;
    textbuf_fini(&docs);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    struct textbuf error = {0};

    if (options_parse(argc, argv, &o, &error) != 0) {
        fprintf(stderr, "penstockd: %s\n%s", textbuf_str(&error), options_help());
        textbuf_fini(&error);
        return EXIT_USAGE;
    }
    ASSERT(error.len == 0);
    switch (o.mode) {
    case OPTIONS_VERSION:
        printf("penstockd %s\n", penstock_version());
        return EXIT_OK;
    case OPTIONS_HELP:
        fputs(options_help(), stdout);
        return EXIT_OK;
    case OPTIONS_DOCS:
        return print_docs();
    default:
        return load_and_run(&o);
    }
}
