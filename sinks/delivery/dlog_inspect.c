/* COLD. See dlog_inspect.h. */
#include "sinks/delivery/dlog_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/delivery/dlog_recover.h"

#define CHUNK_BYTES (4u << 20)

static_assert(INSPECTED_LOG_FILES == DLOG_FILES, "the same files");

/* One inspection under way. */
struct inspection {
    const struct log_inspect_hooks *hooks;
    struct inspected_log *out;
    char path[DLOG_FILES][PATH_MAX + 16];
};

static void problem(struct inspection *i, int file, uint64_t offset, const char *what)
{
    ASSERT(file >= 0 && file < DLOG_FILES);
    i->out->problems++;
    if (i->hooks->problem != NULL)
        i->hooks->problem(i->hooks->ctx, i->path[file], offset, what);
}

static int read_file(const struct storage *s, const char *path, struct log_image *out)
{
    int fd = s->ops->open(s->ctx, path, O_RDONLY, 0);
    ssize_t n = 1;

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    while (n > 0) {
        uint8_t *larger = realloc(out->data, out->len + CHUNK_BYTES);

        n = -ENOMEM;
        if (larger != NULL) {
            out->data = larger;
            n = s->ops->pread(s->ctx, fd, out->data + out->len, CHUNK_BYTES, out->len);
        }
        out->len += n > 0 ? (size_t)n : 0;
    }
    s->ops->close(s->ctx, fd);
    return (int)n;
}

static void file_inspect(struct inspection *i, int file, const struct log_image *image)
{
    struct inspected_log_file *f = &i->out->file[file];
    struct file_scan scan;

    f->there = image->data != NULL;
    f->bytes = image->len;
    if (!f->there)
        return;
    dlog_scan_file(image, &scan);
    ASSERT(!scan.has_header || (scan.end >= FILE_HEADER_BYTES && scan.last <= scan.end));
    f->header = scan.has_header;
    f->complete = scan.complete;
    f->seq = scan.has_header ? scan.header.file_seq : 0;
    f->end = scan.end;
    if (scan.damage != 0)
        problem(i, file, scan.end, "no valid frame, and acknowledged records follow it");
}

static void visit_plan(void *ctx, const struct plan *plan, enum plan_status status,
                       uint64_t load_id, const char *text)
{
    struct inspection *i = ctx;

    (void)load_id, (void)text;
    ASSERT(plan != NULL);
    i->out->pending += status == PLAN_PENDING ? 1 : 0;
    i->out->parked += status == PLAN_PARKED ? 1 : 0;
    i->out->spooled += status == PLAN_SPOOLED ? 1 : 0;
    i->out->stored += status == PLAN_CONFIRMED ? 1 : 0;
}

static void visit_load(void *ctx, const struct load *load, enum load_status status,
                       const char *text)
{
    struct inspection *i = ctx;

    (void)text;
    ASSERT(load != NULL);
    i->out->loads += status != LOAD_DONE ? 1 : 0;
    i->out->loads_parked += status == LOAD_PARKED ? 1 : 0;
}

static void state_inspect(struct inspection *i, struct delivery_state *s)
{
    state_each_plan(s, visit_plan, i);
    state_each_load(s, visit_load, i);
    for (uint32_t k = 0; k < s->n_journals && i->hooks->journal != NULL; k++) {
        const struct journal_uuid *u = &s->journal[k].uuid;

        i->hooks->journal(i->hooks->ctx, u, state_floor(s, u), state_free_lsn(s, u));
    }
}

/* What the files add up to; damage that the files alone do not show is named by recovery. */
static void log_inspect(struct inspection *i, const struct log_image *image)
{
    struct recover_hooks none = {0};
    struct recovered r;
    char why[512];
    int rc = dlog_recover(image, &none, &r, why, sizeof(why));

    i->out->counts = rc == 0 ? r.winner : -1;
    if (rc != 0) {
        if (i->out->problems == 0)
            problem(i, image[0].data != NULL ? 0 : 1, 0, why);
        return;
    }
    ASSERT(r.state != NULL);
    i->out->id = r.log;
    i->out->last_seq = r.last_seq;
    i->out->records = r.records;
    state_inspect(i, r.state);
    state_destroy(r.state);
}

int dlog_inspect(const char *dir, const struct storage *storage,
                 const struct log_inspect_hooks *hooks, struct inspected_log *out, char *error,
                 size_t error_len)
{
    struct inspection i = {.hooks = hooks, .out = out};
    struct log_image image[DLOG_FILES] = {{0}, {0}};
    int rc = 0;

    ASSERT(error_len > 0);
    *out = (struct inspected_log){.counts = -1};
    for (int f = 0; f < DLOG_FILES && rc == 0; f++) {
        snprintf(i.path[f], sizeof(i.path[f]), "%.4000s/dlog-%d", dir, f);
        rc = read_file(storage, i.path[f], &image[f]);
        if (rc < 0)
            snprintf(error, error_len, "%.400s cannot be read: %s", i.path[f], strerror(-rc));
        else
            file_inspect(&i, f, &image[f]);
    }
    if (rc == 0 && !out->file[0].there && !out->file[1].there) {
        snprintf(error, error_len, "%.400s holds no delivery log", dir);
        rc = -ENOENT;
    }
    if (rc == 0)
        log_inspect(&i, image);
    for (int f = 0; f < DLOG_FILES; f++)
        free(image[f].data);
    return rc;
}
