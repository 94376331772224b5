/*
 * See token.h. A token is 32 random bytes as text; the daemon's file holds its SHA-256 only, so
 * nobody who reads that file can send events.
 */
#include "tools/penstock/token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/protocol.h"
#include "dataplane/input/tokens.h"

#define PREFIX        "pst_" /* lets scanners for leaked secrets recognise it */
#define RANDOM_BYTES  32
#define TOKEN_CHARS   (sizeof(PREFIX) - 1 + 43)
#define INPUT_BYTES   8192
#define LINE_BYTES    8192
#define FILE_MODE     0640
#define FILE_ROOM_MAX ((off_t)64 << 20)

/* The words of `token new`. */
struct options {
    const char *name, *types, *events, *bytes, *file;
};

void token_usage(FILE *to)
{
    fprintf(to, "  %-28s %s\n", "token new NAME [OPTION...]",
            "a new bearer token, and its line for the file of http.tokens");
    fprintf(to, "  %-28s %s\n", "",
            "--types LIST --events N --bytes SIZE: what it may; --file FILE: appends the line");
    fprintf(to, "  %-28s %s\n", "token hash", "the SHA-256 of the token on standard input");
}

static int fail(const char *what, const char *why)
{
    ASSERT(what != NULL);
    fprintf(stderr, "penstock: token: %s%s%s\n", what, why[0] != '\0' ? ": " : "", why);
    return PROTOCOL_ERROR;
}

static int usage(const char *what, const char *word)
{
    ASSERT(what != NULL);
    fprintf(stderr, "penstock: token: %s%s%s\nusage:\n", what, word[0] != '\0' ? " " : "", word);
    token_usage(stderr);
    return PROTOCOL_USAGE;
}

static bool digest_hex(const char *token, size_t len, char *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(token, len, digest, &n, EVP_sha256(), NULL) != 1)
        return false;
    ASSERT(n == TOKEN_DIGEST_BYTES);
    for (unsigned i = 0; i < n; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
    return true;
}

static bool token_make(char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[RANDOM_BYTES + 1] = {0};
    unsigned bits = 0, n_bits = 0;
    size_t at = 0, n = sizeof(PREFIX) - 1;

    if (getrandom(random, RANDOM_BYTES, 0) != RANDOM_BYTES)
        return false;
    memcpy(out, PREFIX, n);
    while (n < TOKEN_CHARS) {
        if (n_bits < 6) {
            bits = bits << 8 | random[at++];
            n_bits += 8;
        }
        n_bits -= 6;
        out[n++] = digits[bits >> n_bits & 63];
    }
    ASSERT(at <= sizeof(random));
    out[n] = '\0';
    return true;
}

/* ---- the file ---- */

/* Checks a line together with what the file has. @return 0, or why it cannot be added. */
static int check_line(const char *text, size_t len)
{
    struct tokens *tokens = NULL;
    char error[400];
    int rc = tokens_parse(text, len, &tokens, error, sizeof(error));

    tokens_destroy(tokens);
    ASSERT(rc <= 0);
    return rc == 0 ? PROTOCOL_OK : fail("nothing was written", error);
}

/* What is in the file now, with room behind it; an empty text when there is none yet. */
static char *file_text(int fd, size_t more, size_t *len)
{
    struct stat s;
    char *text;

    if (fstat(fd, &s) != 0 || s.st_size > FILE_ROOM_MAX)
        return NULL;
    text = malloc((size_t)s.st_size + more);
    *len = 0;
    while (text != NULL && *len < (size_t)s.st_size) {
        ssize_t n = pread(fd, text + *len, (size_t)s.st_size - *len, (off_t)*len);

        if (n <= 0)
            break;
        *len += (size_t)n;
    }
    return text;
}

/* Appends a line with one write, behind a line break if the last line lacks one. */
static int append(const char *file, const char *line)
{
    int fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, FILE_MODE), status;
    size_t len = 0, before, add = strlen(line) + 2;
    char *text = fd >= 0 ? file_text(fd, add, &len) : NULL;

    if (text == NULL) {
        status = fail(file, strerror(errno));
    } else {
        before = len;
        if (len > 0 && text[len - 1] != '\n')
            text[len++] = '\n';
        memcpy(text + len, line, add - 2);
        len += add - 2;
        text[len++] = '\n';
        status = check_line(text, len);
        if (status == PROTOCOL_OK &&
            (write(fd, text + before, len - before) != (ssize_t)(len - before) || fsync(fd) != 0))
            status = fail(file, strerror(errno));
    }
    free(text);
    if (fd >= 0)
        close(fd);
    return status;
}

/* ---- commands ---- */

static int format_line(const struct options *o, const char *hex, char *out)
{
    int n = snprintf(out, LINE_BYTES, "%s %s%s%s%s%s%s%s", o->name, hex,
                     o->types != NULL ? " types=" : "", o->types != NULL ? o->types : "",
                     o->events != NULL ? " events=" : "", o->events != NULL ? o->events : "",
                     o->bytes != NULL ? " bytes=" : "", o->bytes != NULL ? o->bytes : "");

    if (n < 0 || n >= LINE_BYTES)
        return fail("the line would be longer than 8192 bytes", "");
    ASSERT(hex[0] != '\0');
    return check_line(out, (size_t)n);
}

static int run_new(bool json, const struct options *o)
{
    char token[TOKEN_CHARS + 1], hex[2 * TOKEN_DIGEST_BYTES + 1], line[LINE_BYTES];
    int status;

    ASSERT(o->name != NULL);
    if (!token_make(token) || !digest_hex(token, TOKEN_CHARS, hex))
        return fail("no random bytes", "");
    status = format_line(o, hex, line);
    if (status == PROTOCOL_OK && o->file != NULL)
        status = append(o->file, line);
    if (status != PROTOCOL_OK)
        return status;
    if (json)
        printf("{\"name\":\"%s\",\"token\":\"%s\",\"sha256\":\"%s\"}\n", o->name, token, hex);
    else if (o->file != NULL)
        printf("%s\n", token);
    else
        printf("token: %s\nline:  %s\n", token, line);
    return fflush(stdout) == 0 ? PROTOCOL_OK : fail("cannot write the token", strerror(errno));
}

static int run_hash(bool json)
{
    char input[INPUT_BYTES], hex[2 * TOKEN_DIGEST_BYTES + 1];
    size_t len = fread(input, 1, sizeof(input), stdin);

    if (len == sizeof(input))
        return fail("longer than a token can be", "");
    while (len > 0 && (input[len - 1] == '\n' || input[len - 1] == '\r'))
        len--;
    if (len == 0)
        return fail("there is no token on standard input", "");
    for (size_t i = 0; i < len; i++) {
        if (input[i] <= ' ' || input[i] > '~')
            return fail("a token is printable ASCII without spaces, on one line", "");
    }
    ASSERT(len < sizeof(input));
    if (!digest_hex(input, len, hex))
        return fail("no SHA-256", "");
    printf("%s%s%s\n", json ? "{\"sha256\":\"" : "", hex, json ? "\"}" : "");
    return PROTOCOL_OK;
}

/* Reads the words behind `new`. */
static int parse_new(int argc, char **argv, struct options *o, bool *json)
{
    const struct {
        const char *name;
        const char **value;
    } known[] = {{"--types", &o->types},
                 {"--events", &o->events},
                 {"--bytes", &o->bytes},
                 {"--file", &o->file}};

    for (int i = 0; i < argc; i++) {
        size_t k = 0;

        if (strcmp(argv[i], "--json") == 0) {
            *json = true;
            continue;
        }
        while (k < ARRAY_LEN(known) && strcmp(argv[i], known[k].name) != 0)
            k++;
        if (k < ARRAY_LEN(known)) {
            if (i + 1 == argc)
                return usage(known[k].name, "needs a value");
            *known[k].value = argv[++i];
        } else if (argv[i][0] == '-' || o->name != NULL) {
            return usage("unknown argument", argv[i]);
        } else {
            o->name = argv[i];
        }
    }
    if (o->name == NULL || !token_name_valid(span_of(o->name)))
        return usage("new needs a name: 1 to 63 letters, digits, '.', '_' and '-'", "");
    return PROTOCOL_OK;
}

int token_main(bool json, int argc, char **argv)
{
    struct options o = {0};
    int status;

    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        token_usage(stdout);
        return PROTOCOL_OK;
    }
    if (argc > 0 && strcmp(argv[0], "new") == 0) {
        status = parse_new(argc - 1, argv + 1, &o, &json);
        return status == PROTOCOL_OK ? run_new(json, &o) : status;
    }
    if (argc == 2 && strcmp(argv[1], "--json") == 0)
        json = true;
    if (argc > 0 && strcmp(argv[0], "hash") == 0 && argc <= (json ? 2 : 1))
        return run_hash(json);
    return usage("there is `token new` and `token hash`; the token is read from standard input",
                 "");
}
