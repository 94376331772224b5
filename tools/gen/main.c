/* COLD. penstock-gen: makes events and sends them to a server, or writes them to a file; checks what
 * arrived. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_check.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_options.h"
#include "tools/gen/gen_report.h"
#include "tools/gen/gen_run.h"
#include "tools/gen/gen_sample.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static _Atomic int stop;

/* The first signal ends the run in order, the second at once. */
static void on_signal(int signal_number)
{
    (void)signal_number;
    atomic_store(&stop, atomic_load(&stop) == GEN_STOP_NOT ? GEN_STOP_SOON : GEN_STOP_NOW);
}

static void catch_signals(void)
{
    struct sigaction stopping = {.sa_handler = on_signal};
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGINT, &stopping, NULL);
    (void)sigaction(SIGTERM, &stopping, NULL);
    (void)sigaction(SIGPIPE, &ignored, NULL); /* a closed pipe is an error of write() */
}

static int run(const struct gen_options *o)
{
    struct gen_result *result = gen_memory_zeroed(1, sizeof(*result));
    catch_signals();
    int rc = o->out != NULL ? gen_run_file(o, &stop, result) : gen_run(o, &stop, result);
    gen_report_text(stderr, result);
    if (o->json) {
        gen_report_json(stdout, result);
    }
    if (result->error[0] != '\0') {
        fprintf(stderr, "penstock-gen: %s\n", result->error);
    }
    free(result);
    return rc == 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    static struct gen_options options;
    switch (gen_options_parse(&options, argc, argv)) {
    case GEN_OPTIONS_RUN:
        break;
    case GEN_OPTIONS_DONE:
        return EXIT_DONE;
    case GEN_OPTIONS_USAGE:
    default:
        return EXIT_USAGE;
    }
    if (options.sample != NULL) {
        gen_sample_print(&options.events, gen_options_type(options.sample, strlen(options.sample)));
        return EXIT_DONE;
    }
    if (options.check) {
        return gen_check(&options);
    }
    return run(&options);
}
