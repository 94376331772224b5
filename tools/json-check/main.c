/*
 * json-check: says of each document of its files whether it is valid JSON, and where and why it is not. It
 * is also the example of how to use dataplane/json on its own: a parser, a buffer with its padding, a
 * stream, events. Nothing else of Penstock is linked.
 *
 *     json-check [--isa avx512|avx2|scalar] [--ndjson] [--names] FILE...
 *
 * Exit status: 0 all valid, 1 some are not, 2 wrong usage, or a file that cannot be read.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/json/json.h"

#define FIRST_BYTES ((size_t)1 << 20)
#define BYTES_MAX   ((size_t)UINT32_MAX) /* of one stream; one byte of it is needed to see the end */
#define BATCH       64

enum { ALL_VALID = 0, SOME_INVALID = 1, TROUBLE = 2 };

struct checker {
    struct json_parser *parser;
    enum json_framing framing;
    bool names;
    int status;
    /* What has been read and not checked yet. Behind cap is the padding that the parser may read. */
    char *buf;
    size_t len, cap;
    /* The file at hand. */
    const char *name;
    uintmax_t line; /* where buf starts, from 1 */
};

static int trouble(const char *name, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "json-check: %s: %s\n", name, what);
    return TROUBLE;
}

/* Says what became of one document. Offsets count from start: white space in front is part of it. */
static void report(struct checker *c, size_t offset, enum json_error error)
{
    if (c->names && c->framing == JSON_FRAMING_LINES)
        printf("%s:%ju: ", c->name, c->line);
    else if (c->names)
        printf("%s: ", c->name);
    if (error == JSON_ERROR_NONE) {
        puts("valid");
        return;
    }
    printf("invalid %zu %s\n", offset, json_error_text(error));
    if (c->status == ALL_VALID)
        c->status = SOME_INVALID;
}

/* Moves from the end of one document on to the line in which the next one starts, counting lines. */
static const char *next_line(struct checker *c, const char *from, const char *to)
{
    const char *newline;

    while ((newline = memchr(from, '\n', (size_t)(to - from))) != NULL) {
        from = newline + 1;
        c->line++;
    }
    return from;
}

/* Checks the first len bytes of buf: one document, or lines. */
static void check(struct checker *c, size_t len)
{
    const bool lines = c->framing == JSON_FRAMING_LINES;
    struct json_stream stream;
    struct json_event ev[BATCH];
    const char *from = c->buf;
    size_t documents = 0;
    int n;

    json_stream_init(&stream, c->parser, c->buf, len, c->framing);
    while ((n = json_next(&stream, ev, BATCH)) > 0) {
        documents += (size_t)n;
        for (int i = 0; i < n; i++) {
            if (lines)
                from = next_line(c, from, ev[i].ptr);
            report(c, (size_t)(ev[i].ptr - from) + ev[i].error_offset,
                   (enum json_error)ev[i].error);
            if (lines)
                from = ev[i].ptr + ev[i].len;
        }
    }
    if (lines)
        next_line(c, from, c->buf + len);
    else if (documents == 0)
        report(c, len, JSON_ERROR_EMPTY);
}

/* Checks the lines that are complete, the last `fresh` bytes being new, and keeps the rest. */
static void check_lines(struct checker *c, size_t fresh)
{
    const char *newline = memrchr(c->buf + c->len - fresh, '\n', fresh);
    size_t whole;

    if (newline == NULL)
        return;
    whole = (size_t)(newline - c->buf) + 1;
    check(c, whole);
    c->len -= whole;
    memmove(c->buf, c->buf + whole, c->len);
}

static int too_large(const struct checker *c)
{
    return trouble(c->name,
                   c->framing == JSON_FRAMING_LINES
                       ? "a line may have 4294967294 bytes at most"
                       : "a document may have 4294967294 bytes at most; --ndjson takes any "
                         "number of lines");
}

/* Makes room for more than cap bytes. */
static int grow(struct checker *c)
{
    const size_t wanted = c->cap == 0 ? FIRST_BYTES : 2 * c->cap;
    const size_t cap = wanted < BYTES_MAX ? wanted : BYTES_MAX;
    char *buf;

    if (c->cap == BYTES_MAX)
        return too_large(c);
    buf = realloc(c->buf, cap + JSON_PADDING_BYTES);
    if (buf == NULL)
        return trouble(c->name, "there is not enough memory for so large a document");
    c->buf = buf;
    c->cap = cap;
    return 0;
}

/* Reads and checks one file. @return 0, or TROUBLE. */
static int check_file(struct checker *c, int fd)
{
    struct stat st;

    if (c->framing == JSON_FRAMING_SINGLE && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (uintmax_t)st.st_size >= BYTES_MAX)
        return too_large(c); /* before it is read */
    c->len = 0;
    c->line = 1;
    for (;;) {
        ssize_t got;

        if (c->len == c->cap && grow(c) != 0)
            return TROUBLE;
        got = read(fd, c->buf + c->len, c->cap - c->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return trouble(c->name, strerror(errno));
        if (got == 0)
            break;
        c->len += (size_t)got;
        if (c->framing == JSON_FRAMING_LINES)
            check_lines(c, (size_t)got);
    }
    check(c, c->len); /* the last line may lack its end */
    return 0;
}

static int check_named(struct checker *c, const char *name)
{
    const bool standard = strcmp(name, "-") == 0;
    const int fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    int rc;

    c->name = standard ? "(standard input)" : name;
    if (fd < 0)
        return trouble(name, strerror(errno));
    rc = check_file(c, fd);
    if (!standard)
        close(fd);
    return rc;
}

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: json-check [--isa avx512|avx2|scalar] [--ndjson] [--names] FILE...\n\n"
        "Prints for each document `valid` or `invalid OFFSET REASON`. OFFSET is the byte, from 0, "
        "with\n"
        "which no valid document can go on; `-` is standard input. A file is one document over "
        "any\n"
        "number of lines; nothing but a document, so no byte order mark either.\n\n"
        "  --isa ISA   what to run on; the fastest that this CPU has, which is %s here\n"
        "  --ndjson    each line is a document, and offsets count from its start; empty lines are\n"
        "              passed over\n"
        "  --names     prints FILE: or FILE:LINE: before each answer\n"
        "  --help      prints this\n\n"
        "exit status: 0 all valid, 1 some invalid, 2 wrong usage or a file that cannot be read\n",
        json_isa_name(json_isa_best()));
}

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "json-check: %s%s (`json-check --help` says more)\n", what, value);
    return TROUBLE;
}

static int read_isa(const char *name, enum json_isa *isa)
{
    switch (json_isa_parse(name, isa)) {
    case 0:
        return 0;
    case -ENOTSUP:
        return usage_error("this CPU has no ", name);
    default:
        return usage_error("--isa takes avx512, avx2, scalar or auto, not ", name);
    }
}

/* @return 0 to go on; -1 when all is done; TROUBLE. */
static int read_options(struct checker *c, int argc, char **argv, enum json_isa *isa)
{
    static const struct option options[] = {{"isa", required_argument, NULL, 'i'},
                                            {"ndjson", no_argument, NULL, 'l'},
                                            {"names", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int option;

    opterr = 0; /* it would say less */
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (option) {
        case 'i':
            if (read_isa(optarg, isa) != 0)
                return TROUBLE;
            break;
        case 'l':
            c->framing = JSON_FRAMING_LINES;
            break;
        case 'n':
            c->names = true;
            break;
        case 'h':
            usage(stdout);
            return -1;
        case ':':
            return usage_error("a value is missing behind ", argv[optind - 1]);
        default:
            return usage_error("there is no option ", argv[optind - 1]);
        }
    }
    return optind < argc ? 0 : usage_error("no FILE was named", "");
}

/* The status, once all answers have reached who asked. */
static int written(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return trouble("standard output", strerror(errno));
    return status;
}

int main(int argc, char **argv)
{
    struct checker c = {.framing = JSON_FRAMING_SINGLE};
    enum json_isa isa = json_isa_best();
    const int rc = read_options(&c, argc, argv, &isa);

    if (rc != 0)
        return rc < 0 ? written(ALL_VALID) : TROUBLE;
    if (json_parser_create(NULL, isa, &c.parser) != 0)
        return trouble("parser", "not enough memory");
    for (int i = optind; i < argc; i++) {
        if (check_named(&c, argv[i]) != 0)
            c.status = TROUBLE;
    }
    json_parser_destroy(c.parser);
    free(c.buf);
    return written(c.status);
}
