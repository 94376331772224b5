/*
 * penstock: asks a running penstockd over its unix socket and prints the answer; `schema infer` and
 * `schema ddl` work on files instead (schema.h), `token` makes tokens (token.h), `ingest` sends files
 * (ingest.c).
 * Exit status: 0 done, 1 error (or differences), 2 wrong usage; ingest has more.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/protocol.h"
#include "tools/penstock/client.h"
#include "tools/penstock/ingest_internal.h"
#include "tools/penstock/journal.h"
#include "tools/penstock/schema.h"
#include "tools/penstock/token.h"
#include "tools/penstock/top.h"

#define COPY_BYTES 65536

/* The command line, read. */
struct arguments {
    const char *socket;
    char line[PROTOCOL_LINE_BYTES]; /* the request without its line end */
    size_t len;
    bool help;
    bool top, once, json;
    int ingest_at; /* the word `ingest` in argv; 0: another command */
};

static void print_usage(FILE *to)
{
    static const struct {
        const char *name, *arguments, *help;
    } list[] = {
#define X(symbol, name, arguments, help) {name, arguments, help},
        PROTOCOL_COMMAND_LIST(X)
#undef X
    };

    fprintf(to, "usage: penstock [--socket PATH] [--json] COMMAND\n\n");
    for (int i = 0; i < PROTOCOL_COMMANDS; i++) {
        char head[64];

        snprintf(head, sizeof(head), "%s %s", list[i].name, list[i].arguments);
        fprintf(to, "  %-28s %s\n", head, list[i].help);
    }
    fprintf(to, "  %-28s %s\n", "ingest FILE...",
            "store the documents of files exactly once; `ingest --help` says more");
    fprintf(to, "\nwithout a daemon:\n");
    schema_usage(to);
    token_usage(to);
    journal_usage(to);
    fprintf(
        to,
        "\n  --socket PATH   the daemon's control.socket (PENSTOCK_SOCKET, or " PROTOCOL_SOCKET_PATH
        ")\n"
        "  --json          JSON instead of text\n"
        "\nexit status: 0 done, 1 error or differences, 2 wrong usage\n");
}

static int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int usage_error(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "penstock: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return PROTOCOL_USAGE;
}

static int add_word(struct arguments *a, const char *word)
{
    size_t len = strlen(word);

    if (a->len + len + 2 >= sizeof(a->line))
        return usage_error("the command is too long");
    for (size_t i = 0; i < len; i++) {
        if (word[i] <= 0x20 || word[i] > 0x7E)
            return usage_error("\"%s\" holds a character that no command takes", word);
    }
    if (a->len > 0)
        a->line[a->len++] = ' ';
    memcpy(a->line + a->len, word, len);
    a->len += len;
    a->line[a->len] = '\0';
    return PROTOCOL_OK;
}

/* As add_word() for words that may hold any byte: see protocol.h on "dlq". */
static int add_escaped(struct arguments *a, const char *word)
{
    char escaped[PROTOCOL_LINE_BYTES];
    size_t n = 0;

    if (word[0] == '\0')
        return usage_error("an argument is empty");
    for (; *word != '\0'; word++) {
        unsigned char c = (unsigned char)*word;

        if (n + 4 > sizeof(escaped))
            return usage_error("the command is too long");
        if (c > 0x20 && c < 0x7F && c != '%')
            escaped[n++] = *word;
        else
            n += (size_t)snprintf(escaped + n, 4, "%%%02X", c);
    }
    escaped[n] = '\0';
    return add_word(a, escaped);
}

static int check_command(const char *word)
{
    const char *near;

    if (protocol_command(word) >= 0)
        return PROTOCOL_OK;
    near = protocol_nearest(word);
    if (near == NULL && nearest_is_close(word, nearest_distance(word, "ingest")))
        near = "ingest";
    if (near == NULL && nearest_is_close(word, nearest_distance(word, "token")))
        near = "token";
    if (near == NULL && nearest_is_close(word, nearest_distance(word, "journal")))
        near = "journal";
    if (near != NULL)
        return usage_error("unknown command \"%s\"; did you mean \"%s\"?", word, near);
    return usage_error("unknown command \"%s\"; `penstock help` lists all", word);
}

static int reset_line(struct arguments *a, const char *line)
{
    a->len = (size_t)snprintf(a->line, sizeof(a->line), "%s", line);
    return PROTOCOL_OK;
}

static int parse(int argc, char **argv, struct arguments *a)
{
    bool json = false, named = false, dlq = false;

    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        int status = PROTOCOL_OK;

        if (strcmp(arg, "--json") == 0)
            json = true;
        else if (dlq && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0))
            return reset_line(a, "dlq help");
        else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 ||
                 (!named && strcmp(arg, "help") == 0))
            a->help = true;
        else if (strncmp(arg, "--socket=", 9) == 0)
            a->socket = arg + 9;
        else if (strcmp(arg, "--socket") == 0 && i + 1 < argc)
            a->socket = argv[++i];
        else if (strcmp(arg, "--socket") == 0)
            status = usage_error("--socket needs a path");
        else if (!named && arg[0] == '-')
            status = usage_error("unknown option \"%s\"; there is --socket PATH, --json and --help",
                                 arg);
        else if (!named && strcmp(arg, "ingest") == 0) {
            a->ingest_at = i;
            a->json = json;
            return PROTOCOL_OK;
        } else if (!named && (status = check_command(arg)) == PROTOCOL_OK) {
            named = true;
            dlq = strcmp(arg, "dlq") == 0;
            a->top = strcmp(arg, "top") == 0;
            status = add_word(a, arg);
        } else if (a->top && strcmp(arg, "--once") == 0)
            a->once = true;
        else if (named)
            status = dlq ? add_escaped(a, arg) : add_word(a, arg);
        if (status != PROTOCOL_OK)
            return status;
    }
    if (!named && !a->help) {
        print_usage(stderr);
        return PROTOCOL_USAGE;
    }
    a->json = json;
    return json ? add_word(a, "--json") : PROTOCOL_OK;
}

static bool copy_body(FILE *in, size_t bytes, FILE *to)
{
    static char buf[COPY_BYTES];

    while (bytes > 0) {
        size_t n = fread(buf, 1, bytes < sizeof(buf) ? bytes : sizeof(buf), in);

        if (n == 0 || fwrite(buf, 1, n, to) != n)
            return false;
        bytes -= n;
    }
    return fflush(to) == 0;
}

static int ask(struct arguments *a)
{
    int fd = client_connect(a->socket), status = -1;
    size_t bytes = 0;
    FILE *in;

    if (fd < 0)
        return PROTOCOL_ERROR;
    in = fdopen(fd, "r");
    if (in == NULL) {
        close(fd);
        return PROTOCOL_ERROR;
    }
    (void)client_send(fd, a->line); /* a daemon that takes no request says why */
    status = client_read_head(in, &bytes);
    if (status >= 0 && !copy_body(in, bytes, status == PROTOCOL_USAGE ? stderr : stdout))
        status = -1;
    if (status < 0 && ferror(stdout))
        fprintf(stderr, "penstock: cannot write the answer: %s\n", strerror(errno));
    else if (status < 0)
        fprintf(stderr, "penstock: the daemon ended the connection without a whole answer\n");
    fclose(in);
    return status < 0 ? PROTOCOL_ERROR : status;
}

/* Whether a person asks for what changes many letters: then it is shown first. */
static bool wants_confirming(const struct arguments *a)
{
    static const char *const settled[] = {" --yes", " --dry-run", " --id", " --json"};

    if (strncmp(a->line, "dlq replay", 10) != 0 && strncmp(a->line, "dlq drop", 8) != 0)
        return false;
    for (size_t i = 0; i < sizeof(settled) / sizeof(settled[0]); i++) {
        if (strstr(a->line, settled[i]) != NULL)
            return false;
    }
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* Shows what would be done, and does it after a yes. */
static int ask_first(struct arguments *a)
{
    size_t len = a->len;
    char reply[16] = "";
    int status = add_word(a, "--dry-run");

    if (status == PROTOCOL_OK)
        status = ask(a);
    if (status == PROTOCOL_USAGE)
        return status;
    printf("do it? [y/N] ");
    fflush(stdout);
    if (fgets(reply, sizeof(reply), stdin) == NULL || (reply[0] != 'y' && reply[0] != 'Y')) {
        printf("nothing was done\n");
        return PROTOCOL_ERROR;
    }
    a->len = len;
    a->line[len] = '\0';
    status = add_word(a, "--yes");
    return status == PROTOCOL_OK ? ask(a) : status;
}

/* Where the command stands, behind the options for all commands; json: one of these was --json. */
static int command_at(int argc, char **argv, bool *json)
{
    int i = 1;

    ASSERT(argv != NULL);
    while (i < argc && (strcmp(argv[i], "--json") == 0 || strncmp(argv[i], "--socket", 8) == 0)) {
        *json |= strcmp(argv[i], "--json") == 0;
        i += strcmp(argv[i], "--socket") == 0 ? 2 : 1;
    }
    return i < argc ? i : 0;
}

/* Whether the command at i is `schema infer|ddl`; `schema show` asks the daemon. */
static bool is_schema(int argc, char **argv, int i)
{
    ASSERT(i >= 0);
    return i > 0 && strcmp(argv[i], "schema") == 0 &&
           !(i + 1 < argc && strcmp(argv[i + 1], "show") == 0);
}

int main(int argc, char **argv)
{
    const char *from_environment = getenv("PENSTOCK_SOCKET");
    struct arguments a = {.socket = PROTOCOL_SOCKET_PATH};
    bool json = false;
    int status, at = command_at(argc, argv, &json);

    if (is_schema(argc, argv, at))
        return schema_main(argc - at - 1, argv + at + 1);
    if (at > 0 && strcmp(argv[at], "journal") == 0)
        return journal_main(json, argc - at - 1, argv + at + 1);
    if (at > 0 && strcmp(argv[at], "token") == 0)
        return token_main(json, argc - at - 1, argv + at + 1);
    if (from_environment != NULL && from_environment[0] != '\0')
        a.socket = from_environment;
    status = parse(argc, argv, &a);
    if (status != PROTOCOL_OK)
        return status;
    if (a.help) {
        print_usage(stdout);
        return PROTOCOL_OK;
    }
    if (a.ingest_at > 0)
        return ingest_main(a.socket, a.json, argc - a.ingest_at, argv + a.ingest_at);
    if (a.top)
        return top_run(&(struct top_request){
            .socket = a.socket, .line = a.line, .once = a.once, .json = a.json});
    return wants_confirming(&a) ? ask_first(&a) : ask(&a);
}
