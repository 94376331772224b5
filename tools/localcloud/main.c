// Role: command line, start, stop. See README.md for what localcloud is.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq.h"
#include "tools/localcloud/cat.h"
#include "tools/localcloud/checksum.h"
#include "tools/localcloud/fault.h"
#include "tools/localcloud/server.h"
#include "tools/localcloud/stats.h"
#include "tools/localcloud/storage.h"
#include "tools/localcloud/token.h"
#include "tools/localcloud/util.h"

enum { BUCKETS_MAX = 64, EXIT_USAGE = 2, DELAY_MS_MAX = 600000 };

struct options {
    const char *listen;
    const char *data;
    const char *project;
    const char *sql;
    const char *cat;
    bool json;
    struct lc_bq_options bq;
    struct lc_token_options tokens;
    const char *buckets[BUCKETS_MAX];
    size_t bucket_count;
};

static const char help[] =
    "localcloud: a strict Cloud Storage and BigQuery on this machine\n"
    "\n"
    "usage: localcloud --data DIR [--listen ADDR:PORT] [--create-bucket NAME]...\n"
    "       localcloud --data DIR --sql 'SELECT ...' [--project ID] [--json]\n"
    "       localcloud --data DIR --cat gs://BUCKET/PREFIX\n"
    "\n"
    "  --data DIR            where objects and tables are kept; made when it does not exist\n"
    "  --listen ADDR:PORT    address to serve on, default 127.0.0.1:9050; port 0 takes a free one\n"
    "  --create-bucket NAME  make this bucket unless it is there; may be given many times\n"
    "  --job-delay MS        time that a job stays PENDING and RUNNING at least, default 20\n"
    "  --table-delay MS      time that insertAll does not find a new table, default 0\n"
    "  --dedupe MS           time that an insertId is remembered, default 60000\n"
    "  --require-auth        API calls need a bearer token of this server's: POST /token\n"
    "  --token-key FILE      public key (PEM) of a service account; may be given many times\n"
    "  --refresh-token TEXT  the refresh token that is accepted\n"
    "  --token-seconds N     life of an access token, default 3600\n"
    "  --sql QUERY           print the answer to a GoogleSQL query and exit, beside a running "
    "server or not\n"
    "  --project ID          project of table names that have none, with --sql\n"
    "  --json                with --sql: one JSON object a row instead of a table\n"
    "  --cat URL             print all objects whose address begins with gs://BUCKET/PREFIX and "
    "exit\n"
    "  --help                this text\n";

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"data", required_argument, NULL, 'd'},
    {"create-bucket", required_argument, NULL, 'b'},
    {"job-delay", required_argument, NULL, 'j'},
    {"table-delay", required_argument, NULL, 't'},
    {"dedupe", required_argument, NULL, 'D'},
    {"require-auth", no_argument, NULL, 'A'},
    {"token-key", required_argument, NULL, 'K'},
    {"refresh-token", required_argument, NULL, 'R'},
    {"token-seconds", required_argument, NULL, 'S'},
    {"sql", required_argument, NULL, 's'},
    {"project", required_argument, NULL, 'p'},
    {"json", no_argument, NULL, 'J'},
    {"cat", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int usage_error(const char *message)
{
    if (message)
        fprintf(stderr, "localcloud: %s\n", message);
    fputs("localcloud: try --help\n", stderr);
    return EXIT_USAGE;
}

static int read_ms(const char *wrong, int64_t *out)
{
    bool ok = lc_parse_i64(optarg, out) && *out >= 0 && *out <= DELAY_MS_MAX;
    return ok ? -1 : usage_error(wrong);
}

// @return -1 to go on, else the exit code.
static int read_token_option(struct lc_token_options *t, int c)
{
    if (c == 'A') {
        t->require = true;
    } else if (c == 'R') {
        t->refresh_token = optarg;
    } else if (c == 'S') {
        if (!lc_parse_i64(optarg, &t->seconds) || t->seconds < 1 || t->seconds > 86400)
            return usage_error("--token-seconds must be 1 to 86400");
    } else {
        if (t->key_count == LC_TOKEN_KEYS_MAX)
            return usage_error("too many --token-key");
        t->keys[t->key_count++] = optarg;
    }
    return -1;
}

// @return -1 to go on, else the exit code.
static int read_option(struct options *o, int c)
{
    switch (c) {
    case 'l':
        o->listen = optarg;
        return -1;
    case 'd':
        o->data = optarg;
        return -1;
    case 'b':
        if (o->bucket_count == BUCKETS_MAX)
            return usage_error("too many --create-bucket");
        o->buckets[o->bucket_count++] = optarg;
        return -1;
    case 'j':
        return read_ms("--job-delay must be 0 to 600000 milliseconds", &o->bq.job_delay_ms);
    case 't':
        return read_ms("--table-delay must be 0 to 600000 milliseconds", &o->bq.table_delay_ms);
    case 'D':
        return read_ms("--dedupe must be 0 to 600000 milliseconds", &o->bq.dedupe_ms);
    case 'A':
    case 'K':
    case 'R':
    case 'S':
        return read_token_option(&o->tokens, c);
    case 's':
        o->sql = optarg;
        return -1;
    case 'p':
        o->project = optarg;
        return -1;
    case 'c':
        o->cat = optarg;
        return -1;
    case 'J':
        o->json = true;
        return -1;
    case 'h':
        fputs(help, stdout);
        return 0;
    default:
        return usage_error(NULL);
    }
}

static int read_options(struct options *o, int argc, char **argv)
{
    int c, code;
    *o = (struct options){.listen = "127.0.0.1:9050",
                          .tokens = {.seconds = 3600},
                          .bq = {.job_delay_ms = 20, .dedupe_ms = 60000}};
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if ((code = read_option(o, c)) >= 0)
            return code;
    if (optind < argc)
        return usage_error("arguments without -- are not understood");
    if (!o->data || !*o->data)
        return usage_error("--data DIR is needed");
    if (o->sql && o->cat)
        return usage_error("--sql and --cat: give one of them");
    if (!o->sql && (o->json || o->project))
        return usage_error("--json and --project go with --sql");
    return -1;
}

static bool create_buckets(struct lc_storage *s, const struct options *o)
{
    for (size_t i = 0; i < o->bucket_count; i++) {
        const char *wrong = lc_storage_create_bucket(s, "", o->buckets[i]);
        if (wrong) {
            fprintf(stderr, "localcloud: --create-bucket %s: %s\n", o->buckets[i], wrong);
            return false;
        }
    }
    return true;
}

static void wait_for_end(void)
{
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigwait(&set, &got);
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // threads inherit this; wait_for_end takes the signals
    signal(SIGPIPE, SIG_IGN);
}

static int serve(const struct options *o)
{
    char err[512] = "";
    struct lc_app app = {.data_dir = o->data};
    struct lc_server *server = NULL;
    block_signals();
    app.storage = lc_storage_open(o->data, err, sizeof err);
    bool ok = app.storage && create_buckets(app.storage, o);
    if (ok)
        app.bq = lc_bq_open(o->data, app.storage, &o->bq, err, sizeof err);
    app.faults = lc_faults_create();
    app.stats = lc_stats_create();
    if (app.bq)
        app.tokens = lc_tokens_create(&o->tokens, err, sizeof err);
    if (app.tokens)
        server = lc_server_start(&app, o->listen, err, sizeof err);
    if (server) {
        printf("localcloud: serving on port %d, data in %s\n", lc_server_port(server), o->data);
        fflush(stdout);
        wait_for_end();
    } else if (*err) {
        fprintf(stderr, "localcloud: %s\n", err);
    }
    lc_server_stop(server);
    lc_bq_close(app.bq);
    lc_storage_close(app.storage);
    lc_stats_destroy(app.stats);
    lc_tokens_destroy(app.tokens);
    lc_faults_destroy(app.faults);
    return server ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o;
    int code = read_options(&o, argc, argv);
    if (code >= 0)
        return code;
    lc_crc32c_init();
    if (o.sql)
        return lc_bq_print_query(o.data, o.project ? o.project : "", o.sql, o.json);
    if (o.cat)
        return lc_cat(o.data, o.cat);
    return serve(&o);
}
