/* COLD. The command line of penstockd, see options.h. */
#include "control/options.h"

#include <errno.h>

#include "control/nearest.h"

static const char *const known[] = {
    "--config", "--set", "--check", "--version", "--help", "--print-config-docs", "--adopt"};

const char *options_help(void)
{
    return "usage: penstockd --config FILE [--set key=value]... [--check | --adopt]\n"
           "       penstockd --version | --help | --print-config-docs\n"
           "\n"
           "  --config FILE         the YAML configuration; docs/configuration.md lists every key\n"
           "  --set key=value       wins over the file; repeatable\n"
           "  --check               report every mistake in the configuration and exit\n"
           "  --adopt               this data_dir is the one to use, although it was copied, "
           "restored "
           "or moved\n"
           "                        from another machine; no other copy may be in use\n"
           "  --print-config-docs   write docs/configuration.md to standard output\n"
           "\n"
           "exit status: 0 done or stopped by SIGTERM or SIGINT, 1 failure at run time, 2 wrong "
           "usage or\n"
           "configuration\n";
}

static int unknown_option(const char *option, struct textbuf *error)
{
    const char *best = NULL;
    unsigned least = NEAREST_WORD_MAX;

    ASSERT(option != NULL);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        unsigned d = nearest_distance(option, known[i]);

        if (d < least && nearest_is_close(option, d)) {
            least = d;
            best = known[i];
        }
    }
    textbuf_add(error, "unknown option \"");
    textbuf_printable(error, span_of(option));
    textbuf_add(error, "\"%s%s%s", best != NULL ? "; did you mean " : "", best != NULL ? best : "",
                best != NULL ? "?" : "");
    return -EINVAL;
}

/* The value of an option: "--key value" or "--key=value". @return NULL when argv[*i] is another
 * option. */
static const char *option_value(int argc, char *const *argv, int *i, const char *name,
                                struct textbuf *error)
{
    size_t len = strlen(name);

    ASSERT(*i < argc);
    if (strncmp(argv[*i], name, len) != 0)
        return NULL;
    if (argv[*i][len] == '=')
        return argv[*i] + len + 1;
    if (argv[*i][len] != '\0')
        return NULL;
    if (*i + 1 < argc)
        return argv[++*i];
    textbuf_add(error, "%s needs a value", name);
    return NULL;
}

static int parse_one(int argc, char *const *argv, int *i, struct options *out,
                     struct textbuf *error)
{
    const char *arg = argv[*i], *value;

    ASSERT(arg != NULL);
    if (strcmp(arg, "--check") == 0)
        out->mode = OPTIONS_CHECK;
    else if (strcmp(arg, "--adopt") == 0)
        out->adopt = true;
    else if (strcmp(arg, "--version") == 0)
        out->mode = OPTIONS_VERSION;
    else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        out->mode = OPTIONS_HELP;
    else if (strcmp(arg, "--print-config-docs") == 0)
        out->mode = OPTIONS_DOCS;
    else if ((value = option_value(argc, argv, i, "--config", error)) != NULL)
        out->config = value;
    else if ((value = option_value(argc, argv, i, "--set", error)) != NULL &&
             out->n_sets < OPTIONS_SETS_MAX)
        out->sets[out->n_sets++] = value;
    else if (value != NULL)
        textbuf_add(error, "more than %d times --set", OPTIONS_SETS_MAX);
    else if (error->len == 0)
        return unknown_option(arg, error);
    return error->len > 0 ? -EINVAL : 0;
}

int options_parse(int argc, char *const *argv, struct options *out, struct textbuf *error)
{
    ASSERT(out != NULL);
    *out = (struct options){0};
    for (int i = 1; i < argc; i++) {
        if (parse_one(argc, argv, &i, out, error) != 0)
            return -EINVAL;
    }
    if ((out->mode == OPTIONS_RUN || out->mode == OPTIONS_CHECK) && out->config == NULL) {
        textbuf_add(error, "--config FILE is missing");
        return -EINVAL;
    }
    return 0;
}
