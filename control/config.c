/*
 * COLD. Loads a configuration: defaults, environment, file, --set, then the checks. Problems are
 * collected, never just the first one reported.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/config_internal.h"

#define PROBLEM_BYTES 1024
#define KEY_BYTES     256

struct config_memory {
    struct config_memory *next;
    max_align_t data[];
};

void *config_alloc(struct config *c, size_t bytes)
{
    struct config_memory *m = calloc(1, sizeof(*m) + bytes);

    ASSERT(c != NULL);
    if (m == NULL)
        return NULL;
    m->next = c->_memory;
    c->_memory = m;
    return m->data;
}

const char *config_keep(struct config *c, const char *text, size_t len)
{
    char *copy = config_alloc(c, len + 1);

    ASSERT(text != NULL);
    if (copy == NULL)
        return "";
    memcpy(copy, text, len);
    return copy;
}

void problem_at(struct loader *l, struct place at, const char *key, const char *format, ...)
{
    char line[PROBLEM_BYTES];
    va_list args;

    ASSERT(format != NULL);
    l->n_problems++;
    if (l->n_problems > CONFIG_PROBLEMS_MAX) {
        if (l->n_problems == CONFIG_PROBLEMS_MAX + 1)
            textbuf_add(l->problems, "%s: more problems follow\n", l->source->file);
        return;
    }
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (at.line > 0)
        textbuf_add(l->problems, "%s:%" PRIu32 ": ", l->source->file, at.line);
    else
        textbuf_add(l->problems, "%s: ", at.from != NULL ? at.from : l->source->file);
    if (key[0] != '\0') {
        textbuf_printable(l->problems, span_of(key));
        textbuf_add(l->problems, ": ");
    }
    textbuf_printable(l->problems, span_of(line));
    textbuf_add(l->problems, "\n");
}

struct place config_where(const struct loader *l, const char *key)
{
    int i = knob_index(key);

    ASSERT(i >= 0);
    return (struct place){.line = l->c->origin[i].line, .from = l->c->origin[i].from};
}

/* The defaults are values like any other: a wrong one is our mistake. */
static void assign_defaults(struct loader *l)
{
    uint32_t n;
    const struct knob *k = knobs_all(&n);
    struct place at = {.line = 0, .from = "default"};

    for (uint32_t i = 0; i < n; i++) {
        size_t before = l->n_problems;

        if (k[i].kind == KNOB_TYPES || k[i].kind == KNOB_LIST || k[i].kind == KNOB_MAP)
            l->c->origin[i].from = at.from;
        else
            config_assign(l, &k[i], k[i].fallback, at);
        ASSERT(l->n_problems == before);
    }
}

/* An emulator's host as Google's clients read it: with or without scheme; a path is dropped. */
static void assign_emulator(struct loader *l, const char *variable, const char *key)
{
    const char *value = getenv(variable);
    char url[PROBLEM_BYTES];
    const char *host, *slash;

    if (value == NULL || value[0] == '\0')
        return;
    host = strstr(value, "://");
    host = host != NULL ? host + 3 : value;
    slash = strchr(host, '/');
    snprintf(url, sizeof(url), "%.*s%.*s", host == value ? 7 : (int)(host - value),
             host == value ? "http://" : value,
             slash != NULL ? (int)(slash - host) : (int)strlen(host), host);
    ASSERT(strlen(url) < sizeof(url));
    config_assign(l, knob_get(key), url, (struct place){.line = 0, .from = variable});
}

static void assign_environment(struct loader *l)
{
    const char *project = getenv("GOOGLE_CLOUD_PROJECT");

    assign_emulator(l, "STORAGE_EMULATOR_HOST", "gcs.endpoint");
    assign_emulator(l, "BIGQUERY_EMULATOR_HOST", "bigquery.endpoint");
    if (project != NULL && project[0] != '\0')
        config_assign(l, knob_get("bigquery.project"), project,
                      (struct place){.line = 0, .from = "GOOGLE_CLOUD_PROJECT"});
    ASSERT(l->c != NULL);
}

static void assign_set(struct loader *l, const char *text)
{
    struct place at = {.line = 0, .from = "--set"};
    const char *equal = strchr(text, '=');
    char key[KEY_BYTES];
    const char *near;

    if (equal == NULL || equal == text || (size_t)(equal - text) >= sizeof(key)) {
        problem_at(l, at, "", "found \"%s\"; allowed: key=value", text);
        return;
    }
    memcpy(key, text, (size_t)(equal - text));
    key[equal - text] = '\0';
    if (knob_index(key) >= 0) {
        config_assign(l, knob_get(key), equal + 1, at);
        return;
    }
    near = knob_nearest(key);
    problem_at(l, at, key, "unknown key%s%s%s", near != NULL ? "; did you mean \"" : "",
               near != NULL ? near : "", near != NULL ? "\"?" : "");
    ASSERT(l->n_problems > 0);
}

/* Reads the whole file. @return heap memory, or NULL with a problem reported. */
static char *read_file(struct loader *l, size_t *len)
{
    struct place nowhere = {0};
    int fd = open(l->source->file, O_RDONLY | O_CLOEXEC);
    char *buf = malloc(CONFIG_FILE_BYTES_MAX + 1);
    ssize_t n = -1;

    ASSERT(len != NULL);
    if (fd >= 0 && buf != NULL) {
        *len = 0;
        while (*len <= CONFIG_FILE_BYTES_MAX &&
               (n = read(fd, buf + *len, CONFIG_FILE_BYTES_MAX + 1 - *len)) > 0)
            *len += (size_t)n;
    }
    if (n < 0)
        problem_at(l, nowhere, "", "cannot read: %s", strerror(errno));
    else if (*len > CONFIG_FILE_BYTES_MAX)
        problem_at(l, nowhere, "", "larger than 1MiB");
    if (fd >= 0)
        close(fd);
    if (n == 0 && *len <= CONFIG_FILE_BYTES_MAX)
        return buf;
    free(buf);
    return NULL;
}

/* @return false when the source could not be read, with problems reported. */
static bool read_source(struct loader *l)
{
    bool ok = false;
    size_t len;
    char *text;

    ASSERT(l->source->file != NULL);
    if (l->source->text != NULL)
        return config_read_yaml(l, l->source->text, l->source->text_len);
    text = read_file(l, &len);
    if (text != NULL)
        ok = config_read_yaml(l, text, len);
    free(text);
    return ok;
}

int config_load(const struct config_source *source, struct config **out, struct textbuf *problems)
{
    struct config *c = calloc(1, sizeof(*c));
    struct loader l = {.c = c, .source = source, .problems = problems};

    ASSERT(source->file != NULL);
    *out = NULL;
    if (c == NULL)
        return -ENOMEM;
    c->file = config_keep(c, source->file, strlen(source->file));
    assign_defaults(&l);
    assign_environment(&l);
    if (!read_source(&l)) {
        config_destroy(c);
        return -EINVAL; /* nothing more: that defaults lack what the file may say helps nobody */
    }
    for (uint32_t i = 0; i < source->n_sets; i++)
        assign_set(&l, source->sets[i]);
    config_check(&l);
    config_check_types(&l);
    if (l.n_problems > 0) {
        config_destroy(c);
        return -EINVAL;
    }
    *out = c;
    return 0;
}

void config_destroy(struct config *c)
{
    struct config_memory *next;

    if (c == NULL)
        return;
    ASSERT(c->types.n_types == 0 || c->types.type != NULL);
    for (uint32_t i = 0; i < c->types.n_types; i++)
        schema_destroy((struct schema *)(uintptr_t)c->types.type[i].schema);
    schema_destroy((struct schema *)(uintptr_t)c->types.json_schema);
    for (struct config_memory *m = c->_memory; m != NULL; m = next) {
        next = m->next;
        free(m);
    }
    free(c);
}
