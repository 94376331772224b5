/* COLD. Takes a request line of the CLI socket apart: anything may stand in it. */
#include "control/cli.h"
#include "control/values.h"

#define WORD_BYTES 64

/* Copies the next word. @return its length; 0 at the end; -1 when it is too long. */
static int next_word(const char *line, size_t len, size_t *at, char *word)
{
    size_t start, n;

    ASSERT(*at <= len);
    while (*at < len && line[*at] == ' ')
        (*at)++;
    start = *at;
    while (*at < len && line[*at] != ' ')
        (*at)++;
    n = *at - start;
    if (n >= WORD_BYTES)
        return -1;
    memcpy(word, line + start, n);
    word[n] = '\0';
    return (int)n;
}

static int usage(struct textbuf *error, const char *what, const char *word)
{
    ASSERT(what != NULL);
    textbuf_add(error, "%s", what);
    if (word != NULL)
        textbuf_add(error, " \"%s\"", word);
    return PROTOCOL_USAGE;
}

static int parse_command(const char *word, struct cli_request *out, struct textbuf *error)
{
    int command = protocol_command(word);
    const char *near;

    ASSERT(out != NULL);
    if (command >= 0) {
        out->command = (enum protocol_command)command;
        return PROTOCOL_OK;
    }
    near = protocol_nearest(word);
    usage(error, "unknown command", word);
    textbuf_add(error, "%s%s%s; `penstock help` lists all\n",
                near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                near != NULL ? "\"?" : "");
    return PROTOCOL_USAGE;
}

static int parse_timeout(const char *value, struct cli_request *out, struct textbuf *error)
{
    uint64_t us;

    ASSERT(value != NULL);
    if (value_duration(value, &us) != 0 || us == 0 || us > (uint64_t)86400 * 1000000) {
        usage(error, "--timeout: found", value);
        textbuf_add(error, "; allowed: a duration up to 1d, such as 60s\n");
        return PROTOCOL_USAGE;
    }
    out->timeout_us = (int64_t)us;
    return PROTOCOL_OK;
}

/* Reads one argument behind the command. */
static int parse_argument(const char *line, size_t len, size_t *at, const char *word,
                          struct cli_request *out, struct textbuf *error)
{
    bool timed = out->command == PROTOCOL_FLUSH || out->command == PROTOCOL_DRAIN;
    char value[WORD_BYTES];

    ASSERT(word[0] != '\0');
    if (timed && strncmp(word, "--timeout=", 10) == 0)
        return parse_timeout(word + 10, out, error);
    if (timed && strcmp(word, "--timeout") == 0) {
        if (next_word(line, len, at, value) > 0)
            return parse_timeout(value, out, error);
        return usage(error, "--timeout needs a duration, such as 60s\n", NULL);
    }
    usage(error, "unknown argument", word);
    textbuf_add(error, "\n");
    return PROTOCOL_USAGE;
}

int cli_parse(const char *line, size_t len, struct cli_request *out, struct textbuf *error)
{
    char word[WORD_BYTES];
    bool named = false;
    size_t at = 0;
    int n, status;

    ASSERT(out != NULL);
    *out = (struct cli_request){0};
    for (size_t i = 0; i < len; i++) {
        if (line[i] < 0x20 || line[i] > 0x7E)
            return usage(error, "a request is printable ASCII\n", NULL);
    }
    for (int words = 0; (n = next_word(line, len, &at, word)) != 0; words++) {
        if (n < 0 || words == PROTOCOL_ARGS_MAX)
            return usage(error, n < 0 ? "a word is too long\n" : "too many words\n", NULL);
        if (strcmp(word, "--json") == 0) {
            out->json = true;
            continue;
        }
        status = named ? parse_argument(line, len, &at, word, out, error)
                       : parse_command(word, out, error);
        if (status != PROTOCOL_OK)
            return status;
        named = true;
    }
    return named ? PROTOCOL_OK : usage(error, "no command; `penstock help` lists all\n", NULL);
}
