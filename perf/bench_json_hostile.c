/*
 * The JSON parser on input that was made to be slow: 4, 8 and 16 MiB of each kind (tests/unit/tjson.h), by
 * every variant that this CPU has, as lines and picking members. Time that grows with the size, no faster,
 * shows as the same nanoseconds a byte at each size.
 *
 *     bench_json_hostile PASSES
 *
 * Prints one line a pass: CASE, ISA, BYTES and nanoseconds of this thread's CPU time, with tabs between.
 */
#include "perf/bench.h"
#include "tests/unit/tjson.h"

#define SMALLEST ((size_t)4 << 20)
#define SIZES    3
#define BATCH    64

static uint64_t cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t read_all(struct json_parser *parser, const char *buf, size_t len)
{
    struct json_event ev[BATCH];
    struct json_stream s;
    size_t events = 0;
    int n;

    json_stream_init(&s, parser, buf, len, JSON_FRAMING_LINES);
    while ((n = json_next(&s, ev, BATCH)) > 0)
        events += (size_t)n;
    return events;
}

/* One pass of every variant over one text; all have to find as many events. */
static void measure(const struct tjson *t, const struct tjson_growth *g, const char *buf,
                    size_t len)
{
    size_t events = 0;

    for (int v = 0; v < t->n; v++) {
        const uint64_t start = cpu_now();
        const size_t found = read_all(t->parser[v], buf, len);
        const uint64_t ns = cpu_now() - start;

        if (v > 0 && found != events) {
            fprintf(stderr, "bench_json_hostile: %s: other events\n", g->name);
            exit(1);
        }
        events = found;
        printf("%s\t%s\t%zu\t%" PRIu64 "\n", g->name, json_isa_name(t->isa[v]), len, ns);
    }
}

int main(int argc, char **argv)
{
    char *buf = malloc((SMALLEST << (SIZES - 1)) + JSON_PADDING_BYTES);
    static struct tjson t;

    if (argc != 2 || buf == NULL) {
        fprintf(stderr, "usage: bench_json_hostile PASSES\n");
        return 2;
    }
    tjson_init(&t, tjson_paths, tjson_n_paths);
    for (long pass = strtol(argv[1], NULL, 10); pass > 0; pass--) {
        for (size_t i = 0; i < tjson_n_growths; i++) {
            for (unsigned size = 0; size < SIZES; size++) {
                const size_t len = tjson_grow(&tjson_growths[i], buf, SMALLEST << size);

                memset(buf + len, ' ', JSON_PADDING_BYTES);
                measure(&t, &tjson_growths[i], buf, len);
            }
        }
    }
    tjson_fini(&t);
    free(buf);
    return 0;
}
