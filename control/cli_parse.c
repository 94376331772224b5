/* COLD. Takes a request line of the CLI socket apart: anything may stand in it. */
#include "control/cli.h"
#include "control/knobs.h"
#include "control/top.h"
#include "control/tuning.h"
#include "control/values.h"

#define WORD_BYTES 512 /* a percent-encoded event type and more */

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

/* How many arguments a command takes beside options. */
struct grammar {
    uint32_t args_min, args_max;
    const char *usage; /* when arguments are missing */
};

static const struct grammar *grammar_of(enum protocol_command command)
{
    static const struct grammar list[PROTOCOL_COMMANDS] = {
        [PROTOCOL_GET] = {.args_max = 1},
        [PROTOCOL_SET] = {.args_min = 1,
                          .args_max = PROTOCOL_ARGS_MAX,
                          .usage = "set NAME VALUE, or set NAME=VALUE..."},
        [PROTOCOL_PAUSE] = {.args_min = 1,
                            .args_max = 2,
                            .usage = "pause gcs|bigquery|type NAME [--for DURATION]"},
        [PROTOCOL_SCHEMA] = {.args_min = 2, .args_max = 2, .usage = "schema show TYPE"},
        [PROTOCOL_RESUME] = {.args_min = 1,
                             .args_max = 2,
                             .usage = "resume gcs|bigquery|type NAME|all"},
    };

    ASSERT(command < PROTOCOL_COMMANDS);
    return &list[command];
}

/* An option with a value. */
struct option {
    const char *name;
    uint64_t commands; /* that take it, as bits */
    enum knob_kind kind;
    uint64_t min, max; /* 1: not worth a word */
    size_t at;         /* int64_t of a duration, uint32_t of a count */
    const char *example;
};

#define BIT(command) (UINT64_C(1) << PROTOCOL_##command)
#define DAY_US       (UINT64_C(86400) * 1000000)
#define AT(field)    offsetof(struct cli_request, field)

static const struct option options[] = {
    {"--timeout", BIT(FLUSH) | BIT(DRAIN), KNOB_DURATION, 1, DAY_US, AT(timeout_us), "60s"},
    {"--for", BIT(SET) | BIT(PAUSE), KNOB_DURATION, TUNING_FOR_US_MIN, TUNING_FOR_US_MAX,
     AT(for_us), "10m"},
    {"--interval", BIT(TOP), KNOB_DURATION, TOP_INTERVAL_US_MIN, TOP_INTERVAL_US_MAX,
     AT(interval_us), "1s"},
    {"--rows", BIT(TOP), KNOB_COUNT, 1, 10000, AT(rows), "24"},
    {"--columns", BIT(TOP), KNOB_COUNT, 20, 1000, AT(columns), "80"},
};
static_assert(PROTOCOL_COMMANDS <= 64, "commands are bits");

static int refuse_value(const struct option *o, const char *value, struct textbuf *error)
{
    const char *what = o->kind == KNOB_DURATION ? "a duration" : "a whole number";

    ASSERT(o->min < o->max);
    if (value == NULL || value[0] == '\0') {
        textbuf_add(error, "%s needs %s, such as %s\n", o->name, what, o->example);
        return PROTOCOL_USAGE;
    }
    textbuf_add(error, "%s: found \"%s\"; allowed: %s ", o->name, value, what);
    if (o->min > 1) {
        textbuf_add(error, "from ");
        knob_format(o->kind, o->min, error);
        textbuf_add(error, " ");
    }
    textbuf_add(error, "up to ");
    knob_format(o->kind, o->max, error);
    textbuf_add(error, ", such as %s\n", o->example);
    return PROTOCOL_USAGE;
}

static int parse_option(const struct option *o, const char *value, struct cli_request *out,
                        struct textbuf *error)
{
    uint64_t v = 0;
    int rc = -1;

    if (value != NULL)
        rc = o->kind == KNOB_DURATION ? value_duration(value, &v) : value_count(value, &v);
    if (rc != 0 || v < o->min || v > o->max)
        return refuse_value(o, value, error);
    ASSERT(o->kind == KNOB_DURATION || v <= UINT32_MAX);
    if (o->kind == KNOB_DURATION)
        memcpy((char *)out + o->at, &v, sizeof(int64_t));
    else
        memcpy((char *)out + o->at, &(uint32_t){(uint32_t)v}, sizeof(uint32_t));
    return PROTOCOL_OK;
}

/* An option's value: behind '=' or the next word. @return false when word is another option. */
static bool option_is(const char *word, const char *option, const char *line, size_t len,
                      size_t *at, char *buf, const char **value)
{
    size_t n = strlen(option);

    ASSERT(n > 0);
    if (strncmp(word, option, n) != 0 || (word[n] != '=' && word[n] != '\0'))
        return false;
    *value = word[n] == '=' ? word + n + 1 : next_word(line, len, at, buf) > 0 ? buf : NULL;
    return true;
}

/* Keeps an argument. @return false when there are too many for this command. */
static bool keep_argument(const char *word, const struct grammar *g, struct cli_request *out,
                          size_t *used)
{
    size_t len = strlen(word) + 1;

    if (out->n_args >= g->args_max)
        return false;
    ASSERT(*used + len <= sizeof(out->_text)); /* words are shorter than their line */
    memcpy(out->_text + *used, word, len);
    out->arg[out->n_args++] = out->_text + *used;
    *used += len;
    return true;
}

/* Reads one argument behind the command. */
static int parse_argument(const char *line, size_t len, size_t *at, const char *word,
                          struct cli_request *out, size_t *used, struct textbuf *error)
{
    const struct grammar *g = grammar_of(out->command);
    const char *value = NULL;
    char buf[WORD_BYTES];

    ASSERT(word[0] != '\0');
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if ((options[i].commands >> out->command & 1) != 0 &&
            option_is(word, options[i].name, line, len, at, buf, &value))
            return parse_option(&options[i], value, out, error);
    }
    if (word[0] != '-' && keep_argument(word, g, out, used))
        return PROTOCOL_OK;
    usage(error, "unknown argument", word);
    textbuf_add(error, "\n");
    return PROTOCOL_USAGE;
}

static int check_arguments(const struct cli_request *r, struct textbuf *error)
{
    const struct grammar *g = grammar_of(r->command);

    ASSERT(r->n_args <= g->args_max);
    if (r->n_args >= g->args_min)
        return PROTOCOL_OK;
    textbuf_add(error, "usage: %s\n", g->usage);
    return PROTOCOL_USAGE;
}

int cli_parse(const char *line, size_t len, struct cli_request *out, struct textbuf *error)
{
    char word[WORD_BYTES];
    bool named = false;
    size_t at = 0, used = 0;
    int n, status;

    ASSERT(out != NULL);
    memset(out, 0, offsetof(struct cli_request, _text));
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
        status = named ? parse_argument(line, len, &at, word, out, &used, error)
                       : parse_command(word, out, error);
        if (status != PROTOCOL_OK)
            return status;
        named = true;
        if (out->command == PROTOCOL_DLQ) { /* has words of its own: dlq_options.h */
            out->words = (struct span){.ptr = line + at, .len = len - at};
            return PROTOCOL_OK;
        }
    }
    return named ? check_arguments(out, error)
                 : usage(error, "no command; `penstock help` lists all\n", NULL);
}
