/*
 * `penstock ingest`: stores the documents of files, each exactly once, whatever crashes.
 *
 * A file's session follows from its content (ingest_identity.h); seq is the offset behind a
 * document in the expanded text, and note holds the CRC of all bytes up to there. So the same file
 * goes on behind what is stored, wherever it lies now, and one that has changed in that part is
 * found out. Nothing is kept on the client's side.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/json/json.h"
#include "tools/penstock/ingest_internal.h"

#define ERROR_BYTES   512
#define WAIT_S        60.0
#define SHOW_EVERY    1024 /* documents */
#define WAIT_S_MAX    8640000.0
#define DRY_BYTES_MAX (1u << 20) /* http.event_max as it is without a configuration */

volatile sig_atomic_t ingest_stop;

struct ingest {
    struct ingest_options options;
    struct ingest_sender sender;
    struct ingest_progress progress;
    struct ingest_counts sum;
    int failed, skipped, done; /* files */
    bool stream;               /* the one under way can be read only once */
    bool met;                  /* the daemon has answered: it may be waited for */
};

/* ---- options ---- */

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: penstock [--socket PATH] [--json] ingest [OPTION...] FILE...\n\n"
        "Stores the documents of files: NDJSON, JSON arrays, objects over several lines; plain,\n"
        "gzip or zstd. \"-\" is standard input. The same command again goes on behind what is\n"
        "stored already; a file that is stored is passed over. What can be read only once "
        "(standard\n"
        "input, pipes) is stored anew each time, unless --session names it.\n\n"
        "  --type T         event type of all documents; without it each names its own\n"
        "  --session NAME   of standard input or one file: makes it resumable, if the same bytes\n"
        "                   come again (a file's session follows from its content)\n"
        "  --again          store files again that were stored already\n"
        "  --rate N         at most N documents a second\n"
        "  --wait DURATION  how long a daemon may be away, such as 500ms, 90s or 10m (60s)\n"
        "  --dry-run        only read and validate; no daemon is needed\n"
        "  --quiet          no progress\n\n"
        "exit status: 0 all stored, 1 error, 2 wrong usage, 3 stored, some as dead letters,\n"
        "130 stopped by a signal: the same command goes on\n");
}

static int wrong(const char *what, const char *value)
{
    fprintf(stderr, "penstock: ingest: %s%s%s%s; `penstock ingest --help` lists the options\n",
            what, value != NULL ? " \"" : "", value != NULL ? value : "",
            value != NULL ? "\"" : "");
    return INGEST_USAGE;
}

static int parse_number(const char *text, double max, double *out)
{
    char *end;

    errno = 0;
    *out = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(*out > 0) || *out > max)
        return -EINVAL;
    return 0;
}

/* As the other commands take durations, and bare seconds. */
static int parse_wait(const char *text, double *out)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1},   {"us", 1e-6}, {"ms", 1e-3}, {"s", 1},
                 {"m", 60}, {"h", 3600},  {"d", 86400}};
    size_t digits = strspn(text, "0123456789.");
    char number[32];

    if (digits == 0 || digits >= sizeof(number))
        return -EINVAL;
    memcpy(number, text, digits);
    number[digits] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(text + digits, units[i].name) != 0)
            continue;
        if (parse_number(number, WAIT_S_MAX / units[i].seconds, out) != 0)
            return -EINVAL;
        *out *= units[i].seconds;
        ASSERT(*out > 0);
        return 0;
    }
    return -EINVAL;
}

/* An option with a value. @return INGEST_DONE or INGEST_USAGE. */
static int take_value(struct ingest_options *o, const char *name, const char *value)
{
    double number;

    if (strcmp(name, "--type") == 0) {
        if (value[0] == '\0' || strlen(value) > 128 || strchr(value, '\n') != NULL)
            return wrong("--type takes 1 to 128 bytes, found", value);
        o->type = value;
    } else if (strcmp(name, "--session") == 0) {
        if (value[0] == '\0')
            return wrong("--session needs a name", NULL);
        o->session = value;
    } else if (strcmp(name, "--rate") == 0) {
        if (parse_number(value, 1e9, &number) != 0 || number < 1)
            return wrong("--rate takes 1 to 1000000000 documents a second, found", value);
        o->rate = (uint64_t)number;
    } else {
        if (parse_wait(value, &o->wait_s) != 0)
            return wrong("--wait takes a duration, such as 90s, up to 100d, found", value);
    }
    return INGEST_DONE;
}

static bool is_flag(struct ingest_options *o, const char *arg)
{
    bool *flag = strcmp(arg, "--again") == 0     ? &o->again
                 : strcmp(arg, "--dry-run") == 0 ? &o->dry_run
                 : strcmp(arg, "--quiet") == 0   ? &o->quiet
                 : strcmp(arg, "--json") == 0    ? &o->json
                                                 : NULL;

    ASSERT(arg != NULL);
    if (flag != NULL)
        *flag = true;
    return flag != NULL;
}

/* @return INGEST_DONE, INGEST_USAGE, or -1 when help was asked for. */
static int parse_options(struct ingest_options *o, int argc, char **argv)
{
    static const char *const valued[] = {"--type", "--session", "--rate", "--wait", "--socket"};

    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = NULL;
        size_t v = 0, len = strcspn(arg, "=");

        if (arg[0] != '-' || arg[1] == '\0') {
            o->files[o->n_files++] = argv[i];
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            while (++i < argc)
                o->files[o->n_files++] = argv[i];
            break;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
            return -1;
        if (is_flag(o, arg))
            continue;
        while (v < ARRAY_LEN(valued) &&
               (strlen(valued[v]) != len || strncmp(valued[v], arg, len) != 0))
            v++;
        if (v == ARRAY_LEN(valued))
            return wrong("unknown option", arg);
        value = arg[len] == '=' ? arg + len + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL)
            return wrong("a value is missing behind", arg);
        if (strcmp(valued[v], "--socket") == 0)
            o->socket = value;
        else if (take_value(o, valued[v], value) != INGEST_DONE)
            return INGEST_USAGE;
    }
    if (o->n_files == 0)
        return wrong("no file is named", NULL);
    if (o->session != NULL && o->n_files != 1)
        return wrong("--session goes with one file", NULL);
    return INGEST_DONE;
}

/* ---- one file ---- */

static int fail(struct ingest *g, const char *name, const char *format, const char *text)
{
    ASSERT(name != NULL && text != NULL);
    progress_clear(&g->progress);
    fprintf(stderr, "penstock: %s: ", name);
    fprintf(stderr, format, text);
    fprintf(stderr, "\n");
    g->failed++;
    return INGEST_ERROR;
}

/* What dead letters show of a path: printable, its end if it is long. */
static void show_name(const char *path, bool in_array, char *out)
{
    const char *suffix = in_array ? " element" : "";
    size_t room = INGEST_NAME_BYTES_MAX - 1 - strlen(suffix), len = strlen(path), at = 0;

    if (strcmp(path, "-") == 0) {
        path = "stdin";
        len = strlen(path);
    }
    if (len > room) {
        path += len - (room - 3);
        while (((unsigned char)*path & 0xC0) == 0x80) /* a whole character */
            path++;
        memcpy(out, "...", 3);
        at = 3;
    }
    for (; *path != '\0'; path++)
        out[at++] = (unsigned char)*path < 0x20 || *path == 0x7F ? '?' : *path;
    ASSERT(at <= room);
    memcpy(out + at, suffix, strlen(suffix) + 1);
}

/* What is kept with a document's seq: the CRC up to it, and what else must be the same. */
static uint64_t note_of(const struct ingest_options *o, uint32_t crc)
{
    uint32_t type = o->type == NULL ? 0 : crc32c(1, o->type, strlen(o->type));

    return (uint64_t)crc << 32 | type;
}

/* Finds the file's session. @return INGEST_DONE or INGEST_ERROR. */
static int find_session(struct ingest *g, const char *path, struct ingest_sender *s,
                        struct identity *id)
{
    struct known_session *known;
    char error[ERROR_BYTES];
    size_t n;
    int rc;

    if (g->options.session == NULL && g->stream) {
        show_name(path, false, s->shown);
        return getrandom(s->session, sizeof(s->session), 0) == (ssize_t)sizeof(s->session)
                   ? INGEST_DONE
                   : fail(g, path, "%s", strerror(errno));
    }
    snprintf(error, sizeof(error), "out of memory");
    rc = g->options.session != NULL ? identity_of_name(g->options.session, id)
                                    : identity_read(path, id, error, sizeof(error));
    if (rc != 0)
        return fail(g, path, "%s", error);
    if (id->n == 0)
        return INGEST_DONE;
    show_name(path, id->in_array, s->shown);
    if (sender_sessions(s, g->met) != WIRE_OK)
        return fail(g, path, "%s", s->wire.error);
    g->met = true;
    if (identity_parse_known(s->wire.body, &known, &n) != 0)
        return fail(g, path, "%s", "the daemon's answer cannot be read");
    identity_choose(id, known, n, g->options.again, s->session);
    free(known);
    return INGEST_DONE;
}

/* Reads over what is stored. @return 1 when a document follows, which stands in doc; 0 at the end;
 * -1 on an error. */
static int skip_stored(struct ingest *g, struct documents *d, struct document *doc)
{
    struct ingest_sender *s = &g->sender;
    uint64_t end = 0, note = 0;
    char error[ERROR_BYTES];
    int rc = 1;

    while (rc == 1 && end < s->last_seq && !ingest_stop) {
        rc = documents_next(d, doc, error, sizeof(error));
        if (rc == 1) {
            end = doc->end;
            note = note_of(&g->options, doc->crc32c);
            s->counts->before++;
            if (s->counts->before % SHOW_EVERY == 0)
                progress_show(&g->progress, "reading what is stored");
        }
    }
    if (rc < 0) {
        fail(g, s->name, "%s", error);
        return -1;
    }
    if (ingest_stop || s->last_seq == 0)
        return 1;
    if (end == s->last_seq && note == s->last_note)
        return rc;
    if (end == s->last_seq && note >> 32 == s->last_note >> 32)
        fail(g, s->name, "%s",
             "a part of it was stored with another --type; give the same one, or --again");
    else
        fail(g, s->name, "%s",
             "it has changed in the part that is stored already; nothing was sent. "
             "--again stores all of it as a new file");
    return -1;
}

/* Sends what follows. @return INGEST_DONE or INGEST_ERROR. */
static int send_rest(struct ingest *g, struct documents *d)
{
    struct ingest_sender *s = &g->sender;
    struct document doc;
    char error[ERROR_BYTES];
    enum wire_result w = WIRE_OK;
    int rc = 1;

    while (w == WIRE_OK && !ingest_stop) {
        if (documents_wait(d))
            w = sender_flush(s, true);
        if (w == WIRE_OK)
            rc = documents_next(d, &doc, error, sizeof(error));
        if (w != WIRE_OK || rc != 1)
            break;
        w = sender_add(s, &doc, note_of(&g->options, doc.crc32c));
        s->counts->bytes = doc.end;
    }
    if (w == WIRE_OK)
        w = sender_flush(s, true);
    if (ingest_stop)
        return INGEST_DONE;
    if (w != WIRE_OK)
        return fail(g, s->name, "%s", s->wire.error);
    if (rc < 0)
        return fail(g, s->name, rc == -EBADMSG ? "%s; what stands in front of it is stored" : "%s",
                    error);
    return INGEST_DONE;
}

static int send_file(struct ingest *g, const char *path)
{
    struct ingest_sender *s = &g->sender;
    struct documents_options options = {0};
    struct documents *d;
    struct document doc;
    char error[ERROR_BYTES];
    int rc;

    if (sender_open(s, g->met) != WIRE_OK)
        return fail(g, s->name, "%s", s->wire.error);
    g->met = true;
    options.bytes_max = s->event_max;
    /* A stream does not come again: there it becomes a dead letter. */
    options.unfinished = !g->stream || g->options.session != NULL;
    if (documents_open(path, &options, &d, error, sizeof(error)) != 0)
        return fail(g, s->name, "%s", error);
    g->progress.reading = d;
    rc = skip_stored(g, d, &doc) < 0 ? INGEST_ERROR : send_rest(g, d);
    g->progress.reading = NULL;
    documents_close(d);
    return rc;
}

static void add_counts(struct ingest_counts *to, const struct ingest_counts *c)
{
    to->documents += c->documents;
    to->accepted += c->accepted;
    to->dead += c->dead;
    to->unknown += c->unknown;
    to->before += c->before;
    to->bytes += c->bytes;
    to->seconds += c->seconds;
}

/* Says what became of a file. */
static void report_file(struct ingest *g, const struct ingest_counts *c, int rc)
{
    const char *name = g->sender.name;

    ASSERT(name != NULL);
    progress_clear(&g->progress);
    if (ingest_stop && rc == INGEST_DONE) {
        fprintf(stderr, "penstock: %s: stopped; %" PRIu64 " documents are stored%s\n", name,
                c->before + c->accepted + c->dead + c->unknown,
                g->stream && g->options.session == NULL ? ""
                                                        : "; the same command goes on behind them");
        return;
    }
    if (rc != INGEST_DONE)
        return;
    g->done++;
    if (c->documents == 0 && c->before > 0) {
        g->skipped++;
        fprintf(stderr,
                "penstock: %s: all %" PRIu64 " documents are stored already; --again stores them "
                "once more\n",
                name, c->before);
    } else if (!g->options.json) {
        progress_sum(stdout, name, c);
    }
}

static void ingest_file(struct ingest *g, int index)
{
    const char *path = g->options.files[index];
    struct ingest_counts counts = {0};
    struct identity id = {0};
    int rc;

    g->stream = source_is_stream(path);
    g->progress.file = index;
    g->progress.name = path;
    g->progress.counts = &counts;
    g->progress.began_us = progress_now_us();
    if (sender_init(&g->sender, &g->options) != 0) {
        fail(g, path, "%s", "out of memory");
        return;
    }
    g->sender.name = path;
    g->sender.counts = &counts;
    g->sender.progress = &g->progress;
    rc = find_session(g, path, &g->sender, &id);
    if (rc == INGEST_DONE && (id.n > 0 || g->stream))
        rc = send_file(g, path);
    counts.seconds = (double)(progress_now_us() - g->progress.began_us) / 1e6;
    report_file(g, &counts, rc);
    add_counts(&g->sum, &counts);
    identity_free(&id);
    sender_fini(&g->sender);
}

/* ---- without a daemon ---- */

static void dry_run_file(struct ingest *g, const char *path)
{
    struct documents_options options = {.bytes_max = DRY_BYTES_MAX,
                                        .unfinished = !source_is_stream(path)};
    struct ingest_counts counts = {0};
    struct documents *d;
    struct document doc;
    char error[ERROR_BYTES];
    uint64_t listed = 0;
    int rc = documents_open(path, &options, &d, error, sizeof(error));

    if (rc != 0) {
        fail(g, path, "%s", error);
        return;
    }
    while (!ingest_stop && (rc = documents_next(d, &doc, error, sizeof(error))) == 1) {
        size_t offset = 0;
        enum json_error e =
            doc.whole > doc.len ? JSON_ERROR_NONE : json_validate(doc.ptr, doc.len, &offset);
        bool bad = e != JSON_ERROR_NONE || doc.ptr[0] != '{';

        counts.documents++;
        counts.bytes = doc.end;
        counts.dead += bad;
        if (bad && listed++ < INGEST_LISTED_MAX)
            fprintf(stderr, "penstock: %s:%" PRIu64 ": %s\n", path,
                    doc.element > 0 ? doc.element : doc.line,
                    e != JSON_ERROR_NONE ? json_error_text(e) : "valid JSON, but not an object");
    }
    documents_close(d);
    if (rc < 0)
        fail(g, path, "%s", error);
    if (!g->options.json)
        printf("%s: %" PRIu64 " documents, %" PRIu64 " of them would become dead letters; "
               "nothing was sent\n",
               path, counts.documents, counts.dead);
    add_counts(&g->sum, &counts);
}

/* ---- all files ---- */

static void on_signal(int number)
{
    (void)number;
    ingest_stop = 1;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL); /* a second one ends at once */
    sigaction(SIGTERM, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void print_json(const struct ingest *g, int status)
{
    const struct ingest_counts *c = &g->sum;

    printf("{\"status\":%d,\"files\":%d,\"files_done\":%d,\"files_skipped\":%d,"
           "\"files_failed\":%d,\"documents\":%" PRIu64 ",\"accepted\":%" PRIu64
           ",\"dead_lettered\":%" PRIu64 ",\"answer_lost\":%" PRIu64 ",\"stored_before\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"seconds\":%.3f}\n",
           status, g->options.n_files, g->done, g->skipped, g->failed, c->documents, c->accepted,
           c->dead, c->unknown, c->before, c->bytes, c->seconds);
}

static int run(struct ingest *g)
{
    int status;

    ASSERT(g->options.n_files > 0);
    for (int i = 0; i < g->options.n_files && !ingest_stop; i++) {
        if (g->options.dry_run)
            dry_run_file(g, g->options.files[i]);
        else
            ingest_file(g, i);
    }
    status = g->failed > 0     ? INGEST_ERROR
             : ingest_stop     ? INGEST_STOPPED
             : g->sum.dead > 0 ? INGEST_DEAD
                               : INGEST_DONE;
    if (g->options.json)
        print_json(g, status);
    else if (g->options.n_files > 1 && !g->options.dry_run)
        progress_sum(stdout, "all files", &g->sum);
    return status;
}

int ingest_main(const char *socket, bool json, int argc, char **argv)
{
    struct ingest *g = calloc(1, sizeof(*g));
    int status = INGEST_ERROR;

    ASSERT(argc > 0);
    if (g != NULL)
        g->options.files = calloc((size_t)argc, sizeof(char *));
    if (g == NULL || g->options.files == NULL) {
        free(g);
        fprintf(stderr, "penstock: out of memory\n");
        return status;
    }
    g->options.socket = socket;
    g->options.json = json;
    g->options.wait_s = WAIT_S;
    status = parse_options(&g->options, argc, argv);
    if (status < 0) {
        usage(stdout);
        status = INGEST_DONE;
    } else if (status == INGEST_DONE) {
        g->progress.tty = isatty(STDERR_FILENO);
        g->progress.quiet = g->options.quiet;
        g->progress.n_files = g->options.n_files;
        catch_signals();
        status = run(g);
    }
    free(g->options.files);
    free(g);
    return status;
}
