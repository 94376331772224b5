/*
 * See journal.h. DIR is a data_dir, with journals in journal/NN and the delivery log in delivery/, or one
 * journal, or one delivery log. Files are only read. `inspect` says what is there; `verify` reads every
 * block as well and says what is damaged, by file and offset.
 */
#include "tools/penstock/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "control/protocol.h"
#include "dataplane/journal/inspect.h"
#include "sinks/delivery/dlog_inspect.h"

#define JOURNALS_SHOWN_MAX 64
#define HEX_BYTES          33

/* One run of the command. */
struct run {
    bool json, whole;
    bool any; /* something of a JSON list is written */
    uint64_t problems;
    uint32_t n_journals;
    struct known_journal { /* for comparing with the delivery log */
        char path[PATH_MAX];
        struct inspected_journal found;
        bool seen; /* the delivery log knows it */
    } journal[JOURNALS_SHOWN_MAX];
};

void journal_usage(FILE *to)
{
    fprintf(to, "  %-28s %s\n", "journal inspect DIR",
            "what a data_dir's journals and delivery log hold");
    fprintf(to, "  %-28s %s\n", "journal verify DIR", "the same, and whether every block verifies");
}

static void hex_of(const struct journal_uuid *u, char out[HEX_BYTES])
{
    journal_uuid_hex(u, out);
    out[HEX_BYTES - 1] = '\0';
}

/* A string as JSON; paths and sentences hold no control characters that matter. */
static void json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void separate(struct run *r)
{
    if (r->any)
        putchar(',');
    r->any = true;
}

static void on_problem(void *ctx, const char *path, uint64_t offset, const char *what)
{
    struct run *r = ctx;

    r->problems++;
    if (!r->json) {
        printf("DAMAGED %s offset %" PRIu64 ": %s\n", path, offset, what);
        return;
    }
    separate(r);
    printf("{\"problem\":");
    json_text(what);
    printf(",\"file\":");
    json_text(path);
    printf(",\"offset\":%" PRIu64 "}", offset);
}

static void time_text(int64_t us, char out[32])
{
    time_t s = (time_t)(us / 1000000);
    struct tm t;

    out[0] = '\0';
    if (us != 0 && gmtime_r(&s, &t) != NULL)
        (void)strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &t);
}

static void on_segment(void *ctx, const struct inspected_segment *s)
{
    struct run *r = ctx;
    char first[32], last[32];

    time_text(s->first_us, first);
    time_text(s->last_us, last);
    if (!r->json) {
        if (!s->counts)
            printf("  %08" PRIx32 ".seg  not in use\n", s->number);
        else
            printf("  %08" PRIx32 ".seg  %" PRIu64 " blocks, %" PRIu64 " events behind %" PRIu64
                   ", to offset %" PRIu32 "%s%s%s%s%s\n",
                   s->number, s->blocks, s->events, s->events_before, lsn_offset(s->end),
                   s->blocks > 0 ? ", " : "", first, s->blocks > 0 ? " to " : "", last,
                   s->last ? " (last)" : "");
        return;
    }
    separate(r);
    printf("{\"segment\":%" PRIu32 ",\"counts\":%s", s->number, s->counts ? "true" : "false");
    if (s->counts)
        printf(",\"last\":%s,\"blocks\":%" PRIu64 ",\"events\":%" PRIu64
               ",\"events_before\":%" PRIu64 ",\"end\":%" PRIu32
               ",\"first\":\"%s\",\"newest\":\"%s\"",
               s->last ? "true" : "false", s->blocks, s->events, s->events_before,
               lsn_offset(s->end), first, last);
    putchar('}');
}

static void print_journal(const struct run *r, const char *path, const struct inspected_journal *j)
{
    char hex[HEX_BYTES];

    hex_of(&j->uuid, hex);
    if (!r->json) {
        printf("  %s, machine %s\n  durable to %08" PRIx32 ":%08" PRIx32 ", %" PRIu64
               " events ever\n",
               hex, j->machine, lsn_segment(j->durable), lsn_offset(j->durable), j->events);
        return;
    }
    printf("],\"journal\":");
    json_text(path);
    printf(",\"uuid\":\"%s\",\"machine\":", hex);
    json_text(j->machine);
    printf(",\"durable\":\"%016" PRIx64 "\",\"start\":\"%016" PRIx64 "\",\"events\":%" PRIu64 "}",
           j->durable, j->start, j->events);
}

/* @return whether it could be read. */
static bool inspect_journal(struct run *r, const char *path)
{
    struct inspect_hooks hooks = {.segment = on_segment, .problem = on_problem, .ctx = r};
    struct known_journal *k = &r->journal[r->n_journals];
    bool any = r->any;
    char error[1024];
    int rc;

    if (r->n_journals == JOURNALS_SHOWN_MAX) {
        fprintf(stderr, "penstock: more than %d journals\n", JOURNALS_SHOWN_MAX);
        return false;
    }
    if (r->json)
        printf("%s{\"found\":[", any ? "," : "");
    else
        printf("journal %s\n", path);
    r->any = false;
    rc = journal_inspect(path, &storage_posix, r->whole, &hooks, &k->found, error, sizeof(error));
    if (rc < 0)
        on_problem(r, path, 0, error);
    snprintf(k->path, sizeof(k->path), "%s", path);
    print_journal(r, path, &k->found);
    r->any = true;
    r->n_journals += rc == 0 ? 1 : 0;
    return true;
}

/* What the delivery log says of a journal must lie in it. */
static void on_floor(void *ctx, const struct journal_uuid *uuid, lsn_t floor, lsn_t free)
{
    struct run *r = ctx;
    char hex[HEX_BYTES];

    hex_of(uuid, hex);
    if (!r->json) {
        printf("  journal %s: planned to %08" PRIx32 ":%08" PRIx32 ", needed from %08" PRIx32
               ":%08" PRIx32 "\n",
               hex, lsn_segment(floor), lsn_offset(floor), lsn_segment(free), lsn_offset(free));
    } else {
        separate(r);
        printf("{\"journal\":\"%s\",\"planned\":\"%016" PRIx64 "\",\"needed\":\"%016" PRIx64 "\"}",
               hex, floor, free);
    }
    for (uint32_t i = 0; i < r->n_journals; i++) {
        struct known_journal *k = &r->journal[i];

        if (memcmp(&k->found.uuid, uuid, sizeof(*uuid)) != 0)
            continue;
        k->seen = true;
        if (floor > k->found.durable || free < k->found.start)
            on_problem(r, k->path, 0,
                       "the delivery log does not fit this journal: one of them is older, or cut");
    }
}

static void print_log_file(const struct run *r, const struct inspected_log *l, int f)
{
    const struct inspected_log_file *x = &l->file[f];

    if (!r->json)
        printf("  dlog-%d  %s%s, file %" PRIu64 ", %" PRIu64 " bytes, frames to offset %" PRIu64
               "\n",
               f,
               !x->there     ? "missing"
               : !x->header  ? "not in use"
               : x->complete ? "whole"
                             : "begun",
               l->counts == f ? ", counts" : "", x->seq, x->bytes, x->end);
    else
        printf("%s{\"file\":\"dlog-%d\",\"whole\":%s,\"counts\":%s,\"seq\":%" PRIu64
               ",\"bytes\":%" PRIu64 ",\"end\":%" PRIu64 "}",
               f > 0 ? "," : "", f, x->complete ? "true" : "false",
               l->counts == f ? "true" : "false", x->seq, x->bytes, x->end);
}

static void print_log(struct run *r, const char *path, const struct inspected_log *l)
{
    char hex[HEX_BYTES];

    hex_of(&l->id, hex);
    if (r->json) {
        printf("],\"delivery_log\":");
        json_text(path);
        printf(",\"id\":\"%s\",\"records\":%" PRIu64 ",\"plans\":{\"pending\":%" PRIu64
               ",\"parked\":%" PRIu64 ",\"spooled\":%" PRIu64 ",\"stored\":%" PRIu64
               "},\"loads\":%" PRIu64 ",\"loads_parked\":%" PRIu64 ",\"files\":[",
               hex, l->last_seq, l->pending, l->parked, l->spooled, l->stored, l->loads,
               l->loads_parked);
    } else {
        printf("  %s, %" PRIu64 " records, %" PRIu64 " behind the snapshot\n  unfinished: %" PRIu64
               " plans to send, %" PRIu64 " parked, %" PRIu64 " spooled, %" PRIu64
               " stored and to be loaded; %" PRIu64 " loads, %" PRIu64 " parked\n",
               hex, l->last_seq, l->records, l->pending, l->parked, l->spooled, l->stored, l->loads,
               l->loads_parked);
    }
    for (int f = 0; f < INSPECTED_LOG_FILES; f++)
        print_log_file(r, l, f);
    if (r->json)
        printf("]}");
}

/* @return whether there is one. */
static bool inspect_log(struct run *r, const char *path)
{
    struct log_inspect_hooks hooks = {.journal = on_floor, .problem = on_problem, .ctx = r};
    struct inspected_log *l = calloc(1, sizeof(*l));
    bool any = r->any;
    char error[1024];
    int rc;

    if (l == NULL)
        return false;
    if (r->json)
        printf("%s{\"found\":[", any ? "," : "");
    else
        printf("delivery log %s\n", path);
    r->any = false;
    rc = dlog_inspect(path, &storage_posix, &hooks, l, error, sizeof(error));
    if (rc < 0)
        on_problem(r, path, 0, error);
    print_log(r, path, l);
    r->any = true;
    free(l);
    return true;
}

static bool exists(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%.3800s/%s", dir, name);
    return stat(path, &st) == 0;
}

static int take_name(void *arg, const char *name)
{
    uint8_t *there = arg;
    int number = 0, used = 0;

    if (sscanf(name, "%2d%n", &number, &used) == 1 && name[used] == '\0' && number >= 0 &&
        number < 100)
        there[number] = 1;
    return 0;
}

/* All of a data_dir. */
static bool inspect_data_dir(struct run *r, const char *dir)
{
    uint8_t there[100] = {0};
    char path[PATH_MAX];
    bool good = true;
    int rc;

    snprintf(path, sizeof(path), "%.3800s/journal", dir);
    rc = storage_posix.ops->list(storage_posix.ctx, path, take_name, there);
    if (rc < 0) {
        fprintf(stderr, "penstock: cannot list %s: %s\n", path, strerror(-rc));
        return false;
    }
    for (int i = 0; i < 100 && good; i++) {
        snprintf(path, sizeof(path), "%.3800s/journal/%02d", dir, i);
        good = there[i] == 0 || inspect_journal(r, path);
    }
    snprintf(path, sizeof(path), "%.3800s/delivery", dir);
    good = good && inspect_log(r, path);
    for (uint32_t i = 0; i < r->n_journals && good && r->json == false; i++) {
        if (!r->journal[i].seen && r->journal[i].found.events > 0)
            printf("journal %s: nothing of it is delivered yet\n", r->journal[i].path);
    }
    return good;
}

static int usage(const char *why)
{
    fprintf(stderr, "penstock: %s\nusage: penstock journal inspect|verify DIR [--json]\n", why);
    return PROTOCOL_USAGE;
}

static int run_on(struct run *r, const char *dir)
{
    bool good;

    if (!exists(dir, "journal") && !exists(dir, "meta") && !exists(dir, "dlog-0")) {
        fprintf(stderr, "penstock: %s is neither a data_dir, nor a journal, nor a delivery log\n",
                dir);
        return PROTOCOL_ERROR;
    }
    if (r->json)
        putchar('[');
    if (exists(dir, "journal"))
        good = inspect_data_dir(r, dir);
    else if (exists(dir, "meta"))
        good = inspect_journal(r, dir);
    else
        good = inspect_log(r, dir);
    if (r->json)
        printf("]\n");
    else if (r->problems > 0)
        printf("%" PRIu64 " damaged places\n", r->problems);
    else if (good)
        printf(r->whole ? "no damage: every block and record verifies\n"
                        : "no damage seen; `penstock journal verify` reads every block\n");
    return good && r->problems == 0 && fflush(stdout) == 0 ? PROTOCOL_OK : PROTOCOL_ERROR;
}

int journal_main(bool json, int argc, char **argv)
{
    const char *command = NULL, *dir = NULL;
    struct run *r;
    int status;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-')
            return usage("unknown option");
        else if (command == NULL)
            command = argv[i];
        else if (dir == NULL)
            dir = argv[i];
        else
            return usage("one directory at a time");
    }
    if (command == NULL || (strcmp(command, "inspect") != 0 && strcmp(command, "verify") != 0))
        return usage("journal inspect or journal verify?");
    if (dir == NULL)
        return usage("which directory?");
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return PROTOCOL_ERROR;
    r->json = json;
    r->whole = strcmp(command, "verify") == 0;
    status = run_on(r, dir);
    free(r);
    return status;
}
