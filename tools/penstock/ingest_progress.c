/* How far `penstock ingest` is, on stderr: one line that is rewritten on a terminal, a line every
 * ten seconds elsewhere. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tools/penstock/ingest_internal.h"

#define TTY_EVERY_US   500000
#define PLAIN_EVERY_US 10000000

int64_t progress_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char *bytes_text(uint64_t bytes, char *out, size_t len)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;

    for (; v >= 1000 && u + 1 < ARRAY_LEN(unit); u++)
        v /= 1000;
    ASSERT(len >= 16);
    snprintf(out, len, u == 0 ? "%.0f %s" : "%.1f %s", v, unit[u]);
    return out;
}

static void print_left(double seconds)
{
    uint64_t s = seconds > 0 && seconds < 1e9 ? (uint64_t)seconds : 0;

    fprintf(stderr, ", %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " left", s / 3600, s / 60 % 60,
            s % 60);
}

static void print_line(const struct ingest_progress *p, double seconds, const char *waiting)
{
    const struct source *in = p->reading == NULL ? NULL : documents_source(p->reading);
    uint64_t taken = in == NULL ? 0 : source_taken(in), size = in == NULL ? 0 : source_size(in);
    const struct ingest_counts *c = p->counts;
    char text[32];

    fprintf(stderr, "penstock: %s", p->name);
    if (p->n_files > 1)
        fprintf(stderr, " (%d of %d)", p->file + 1, p->n_files);
    if (size > 0)
        fprintf(stderr, ": %.1f%% of %s", 100.0 * (double)taken / (double)size,
                bytes_text(size, text, sizeof(text)));
    else
        fprintf(stderr, ": %s", bytes_text(taken, text, sizeof(text)));
    fprintf(stderr, ", %" PRIu64 " documents", c->documents + c->before);
    if (seconds > 0)
        fprintf(stderr, ", %.0f/s", (double)c->documents / seconds);
    if (c->dead > 0)
        fprintf(stderr, ", %" PRIu64 " dead letters", c->dead);
    if (waiting != NULL)
        fprintf(stderr, "; %s", waiting);
    else if (size > taken && taken > 0)
        print_left(seconds * (double)(size - taken) / (double)taken);
}

void progress_show(struct ingest_progress *p, const char *waiting)
{
    int64_t now = progress_now_us();

    ASSERT(p->name != NULL);
    if (p->next_us == 0) /* what is done soon needs no progress */
        p->next_us = now + (p->tty ? TTY_EVERY_US : PLAIN_EVERY_US);
    if (p->quiet || now < p->next_us)
        return;
    p->next_us = now + (p->tty ? TTY_EVERY_US : PLAIN_EVERY_US);
    if (p->tty)
        fprintf(stderr, "\r\033[K");
    print_line(p, (double)(now - p->began_us) / 1e6, waiting);
    if (!p->tty)
        fprintf(stderr, "\n");
    fflush(stderr);
    p->shown = true;
}

void progress_clear(struct ingest_progress *p)
{
    ASSERT(p != NULL);
    if (p->tty && p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}

void progress_sum(FILE *to, const char *name, const struct ingest_counts *c)
{
    char text[32];

    ASSERT(to != NULL);
    fprintf(to, "%s: %" PRIu64 " documents stored", name, c->accepted + c->dead + c->unknown);
    if (c->dead > 0)
        fprintf(to, ", %" PRIu64 " of them as dead letters", c->dead);
    if (c->unknown > 0)
        fprintf(to, ", of %" PRIu64 " the answer was lost", c->unknown);
    if (c->before > 0)
        fprintf(to, "; %" PRIu64 " were stored before", c->before);
    fprintf(to, "; %s in %.1f s", bytes_text(c->bytes, text, sizeof(text)), c->seconds);
    if (c->seconds > 0)
        fprintf(to, ", %.0f documents/s", (double)c->documents / c->seconds);
    fprintf(to, "\n");
}
