/*
 * JSON: ours and peers over a file of events, in one process and in turns.
 *
 *     bench_json fields|rows fresh|stream CORPUS FILE PASSES [PEER.so]...
 *     bench_json fields|rows once CORPUS FILE ISA
 *
 * fresh: pieces of 256 KiB, each read once into the second cache and then worked on once; only the latter is
 * timed. A pass goes through the whole file, so that no byte comes twice in it, and what learns is made anew
 * for each pass. stream: the whole file at once, out of memory.
 *
 * once: our variant of that ISA goes over the file once, for tools that count instructions; prints nothing.
 *
 * Prints one line a pass, with tabs between: subject, ISA, compiler or "-", job, "all" or "some" (what it
 * validates), bytes, nanoseconds. Those are CPU time of this thread, less what reading that clock costs.
 * Before the first pass every subject must find the same number of events and of bytes in the extracted
 * values, and of rows even the same sum of all bytes: else nothing is measured. Of a subject that several
 * compilers have built the fastest stays, by three passes over a part of the file.
 */
#include <dlfcn.h>
#include <sys/mman.h>

#include "dataplane/base/compiler.h"
#include "perf/bench.h"
#include "perf/json_peer.h"

#define SLICE_BYTES  (256u << 10)
#define SLOW_BYTES   (4u << 20)
#define TRIAL_BYTES  (16u << 20)
#define TRIAL_STREAM (64u << 20) /* past the caches */
#define TRIALS       3
#define SUBJECTS_MAX 512

struct entry {
    struct json_subject subject;
    void *state;
    uint64_t trial_ns;
    bool out; /* cannot do this, or another compiler does it better */
};

static struct entry entries[SUBJECTS_MAX];
static int n_entries;
static const char *corpus_text;
static bool fresh;
static uint64_t clock_ns; /* what one reading costs */

static uint64_t cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, const struct entry *e)
{
    fprintf(stderr, "bench_json: %s: %s%s%s %s\n", corpus_text, e != NULL ? e->subject.name : "",
            e != NULL && e->subject.compiler != NULL ? ", by "
            : e != NULL                              ? ":"
                                                     : "",
            e != NULL && e->subject.compiler != NULL ? e->subject.compiler : "", what);
    exit(1);
}

static void measure_clock(void)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 1000; i++) {
        uint64_t start = cpu_now(), taken = cpu_now() - start;

        best = taken < best ? taken : best;
    }
    clock_ns = best;
}

static void load_peer(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    json_subjects_table table = library != NULL ? dlsym(library, "json_subjects") : NULL;

    if (table == NULL) {
        fprintf(stderr, "bench_json: %s\n", dlerror());
        exit(1);
    }
    for (; table->name != NULL; table++) {
        if (n_entries == SUBJECTS_MAX)
            fail("too many subjects", NULL);
        entries[n_entries++].subject = *table;
    }
}

static enum json_corpus parse_corpus(const char *name)
{
    static const char *const names[JSON_CORPORA_COUNT] = {
#define X(symbol, text, type, outer, inner, time) text,
        JSON_CORPORA(X)
#undef X
            "mixed",
    };
    int c = 0;

    while (c < JSON_CORPORA_COUNT && strcmp(names[c], name) != 0)
        c++;
    if (c == JSON_CORPORA_COUNT)
        fail("no such corpus", NULL);
    return (enum json_corpus)c;
}

/* The file on huge pages where the system has some, with room behind it. */
static char *load(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    size_t room;
    char *buf;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(f);
    rewind(f);
    room = (*len + JSON_BUFFER_PADDING + (2u << 20) - 1) / (2u << 20) * (2u << 20);
    buf = aligned_alloc(2u << 20, room);
    if (buf != NULL)
        madvise(buf, room, MADV_HUGEPAGE);
    if (buf == NULL || fread(buf, 1, *len, f) != *len || *len == 0 || buf[*len - 1] != '\n') {
        fprintf(stderr, "bench_json: %s: cannot be read, or does not end with a line break\n",
                path);
        exit(1);
    }
    memset(buf + *len, 0, room - *len);
    fclose(f);
    return buf;
}

/* The end of the piece at p: some whole lines. */
static size_t slice_at(const char *p, size_t len)
{
    const char *last;

    if (!fresh || len <= SLICE_BYTES)
        return len;
    last = memrchr(p, '\n', SLICE_BYTES);
    if (last == NULL)
        fail("a line is longer than a piece", NULL);
    return (size_t)(last + 1 - p);
}

/* The first whole lines, at most max bytes of them; all when that is less. */
static size_t head_of(const char *buf, size_t len, size_t max)
{
    return len <= max ? len : (size_t)((const char *)memrchr(buf, '\n', max) + 1 - buf);
}

/* Reads a piece into the caches. */
static void warm(const char *p, size_t len)
{
    unsigned sum = 0;

    for (size_t i = 0; i < len; i += 64)
        sum += (unsigned char)p[i];
    __asm__ volatile("" ::"r"(sum));
}

static uint64_t run_pass(struct entry *e, const char *buf, size_t len, struct json_found *found)
{
    uint64_t total = 0;

    for (size_t at = 0, n; at < len; at += n) {
        uint64_t start;
        bool good;

        n = slice_at(buf + at, len - at);
        if (fresh)
            warm(buf + at, n);
        start = cpu_now();
        good = e->subject.run(e->state, buf + at, n, found);
        total += cpu_now() - start - clock_ns;
        if (!good)
            fail("does not take every event", e);
    }
    return total;
}

static void renew(struct entry *e, enum json_corpus corpus, size_t len)
{
    if (e->state != NULL)
        e->subject.destroy(e->state);
    e->state = e->subject.create(corpus, fresh ? SLICE_BYTES : len);
}

/* All find the same, or nothing is measured. Who cannot do the job or the corpus is left out. */
static void check_equal(enum json_job job, enum json_corpus corpus, const char *buf, size_t len)
{
    struct json_found first = {0};
    const struct entry *who = NULL;

    for (int i = 0; i < n_entries; i++) {
        struct entry *e = &entries[i];
        struct json_found found = {.want_sum = true};

        e->out =
            e->subject.job != job && (e->subject.job != JSON_JOB_CEILING || job == JSON_JOB_ROWS);
        if (!e->out)
            renew(e, corpus, len);
        e->out |= e->state == NULL;
        if (e->out)
            continue;
        run_pass(e, buf, len, &found);
        if (e->subject.job != job || (e->subject.own_bytes && who == NULL))
            continue;
        if (e->subject.own_bytes) {
            found.bytes = first.bytes;
            found.sum = first.sum;
        } else if (who == NULL) {
            who = e;
            first = found;
        }
        if (found.events != first.events || found.bytes != first.bytes || found.sum != first.sum) {
            fprintf(stderr,
                    "bench_json: %s finds %" PRIu64 " events, %" PRIu64 " bytes, sum %" PRIu64
                    "; %s finds %" PRIu64 ", %" PRIu64 ", %" PRIu64 "\n",
                    who->subject.name, first.events, first.bytes, first.sum, e->subject.name,
                    found.events, found.bytes, found.sum);
            exit(1);
        }
    }
    if (who != NULL)
        fprintf(stderr, "bench_json: %s: all find %" PRIu64 " events, %" PRIu64 " bytes\n",
                corpus_text, first.events, first.bytes);
}

static bool same_subject(const struct entry *a, const struct entry *b)
{
    return strcmp(a->subject.name, b->subject.name) == 0 &&
           strcmp(a->subject.isa, b->subject.isa) == 0;
}

/* Of what several compilers have built the fastest stays. */
static void choose_builds(enum json_corpus corpus, const char *buf, size_t len)
{
    const size_t part = head_of(buf, len, fresh ? TRIAL_BYTES : TRIAL_STREAM);

    for (int trial = 0; trial < TRIALS; trial++)
        for (int i = 0; i < n_entries; i++) {
            struct entry *e = &entries[i];
            struct json_found found = {0};
            uint64_t taken;

            if (e->out)
                continue;
            if (e->subject.learns)
                renew(e, corpus, len);
            taken =
                run_pass(e, buf, e->subject.slow ? head_of(buf, len, SLOW_BYTES) : part, &found);
            e->trial_ns = trial == 0 || taken < e->trial_ns ? taken : e->trial_ns;
        }
    for (int i = 0; i < n_entries; i++)
        for (int k = 0; k < n_entries && !entries[i].out; k++)
            entries[i].out = k != i && !entries[k].out && same_subject(&entries[i], &entries[k]) &&
                             (entries[k].trial_ns < entries[i].trial_ns ||
                              (entries[k].trial_ns == entries[i].trial_ns && k < i));
}

static void tell(const struct entry *e, size_t len, uint64_t ns)
{
    static const char *const jobs[] = {"fields", "rows", "ceiling"};
    const struct json_subject *s = &e->subject;

    printf("%s\t%s\t%s\t%s\t%s\t%zu\t%" PRIu64 "\n", s->name, s->isa,
           s->compiler != NULL ? s->compiler : "-", jobs[s->job], s->validates ? "all" : "some",
           len, ns);
    fflush(stdout);
}

/* Ours, once. */
static int run_once(enum json_job job, enum json_corpus corpus, const char *path, const char *isa)
{
    struct json_found found = {0};
    struct entry *e = entries;
    size_t len;
    char *buf = load(path, &len);

    while (e < entries + n_entries &&
           (e->subject.job != job || !e->subject.learns || strcmp(e->subject.isa, isa) != 0))
        e++;
    if (e == entries + n_entries)
        fail("there is no such variant", NULL);
    renew(e, corpus, len);
    if (e->state == NULL)
        fail("this CPU does not run it", e);
    run_pass(e, buf, len, &found);
    e->subject.destroy(e->state);
    free(buf);
    return 0;
}

static void measure(enum json_corpus corpus, const char *buf, size_t len, long passes)
{
    for (long pass = 0; pass < passes; pass++)
        for (int i = 0; i < n_entries; i++) {
            struct entry *e = &entries[(i + pass) % n_entries];
            struct json_found found = {0};

            if (e->out)
                continue;
            if (e->subject.learns)
                renew(e, corpus, len);
            const size_t part = e->subject.slow ? head_of(buf, len, SLOW_BYTES) : len;
            tell(e, part, run_pass(e, buf, part, &found));
        }
}

int main(int argc, char **argv)
{
    struct json_subject ours[SUBJECTS_MAX];
    enum json_corpus corpus;
    enum json_job job;
    size_t len;
    char *buf;

    if (argc < 6 || (strcmp(argv[1], "fields") != 0 && strcmp(argv[1], "rows") != 0) ||
        (strcmp(argv[2], "fresh") != 0 && strcmp(argv[2], "stream") != 0 &&
         strcmp(argv[2], "once") != 0)) {
        fprintf(stderr,
                "usage: bench_json fields|rows fresh|stream CORPUS FILE PASSES [PEER.so]...\n"
                "       bench_json fields|rows once CORPUS FILE ISA\n");
        return 2;
    }
    job = argv[1][0] == 'f' ? JSON_JOB_FIELDS : JSON_JOB_ROWS;
    fresh = argv[2][0] == 'f';
    corpus_text = argv[3];
    corpus = parse_corpus(argv[3]);
    n_entries = json_ours(ours, SUBJECTS_MAX);
    for (int i = 0; i < n_entries; i++)
        entries[i].subject = ours[i];
    if (argv[2][0] == 'o')
        return run_once(job, corpus, argv[4], argv[5]);
    for (int i = 6; i < argc; i++)
        load_peer(argv[i]);
    buf = load(argv[4], &len);
    measure_clock();
    check_equal(job, corpus, buf, len);
    choose_builds(corpus, buf, len);
    measure(corpus, buf, len, strtol(argv[5], NULL, 10));
    for (int i = 0; i < n_entries; i++)
        if (entries[i].state != NULL)
            entries[i].subject.destroy(entries[i].state);
    free(buf);
    return 0;
}
