/*
 * `penstock schema infer`: every event grows the columns of its type, as a daemon with inferred tables
 * would grow them; then the files are read again, to say which events a table with this schema would
 * not take. Memory holds the columns and one event.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/event/check.h"
#include "dataplane/event/names.h"
#include "tools/penstock/documents.h"
#include "tools/penstock/schema.h"

#define TYPES_MAX       1000
#define WHY_BYTES       256
#define EVENT_BYTES_MAX ((size_t)16 << 20) /* a larger one is named and left out */
#define BAD_SHOWN       20
#define COLUMNS_SHOWN   20

static bool failed(const char *what, const char *why)
{
    fprintf(stderr, "penstock schema: %s: %s\n", what, why);
    return false;
}

/* The value at a path of names with dots between; keys repeat: the last counts, as for the daemon. */
static bool value_at(struct json_value object, const char *path, struct json_value *out)
{
    *out = object;
    while (*path != '\0') {
        size_t n = strcspn(path, ".");

        if (out->type != JSON_OBJECT || !json_find(*out, (struct span){path, n}, out))
            return false;
        path += n + (path[n] == '.' ? 1 : 0);
    }
    return true;
}

enum type_result { TYPE_FOUND, TYPE_NONE, TYPE_OTHER };

/* The type of an event; name holds TYPE_NAME_BYTES_MAX + 1. */
static enum type_result type_of(const struct schema_options *o, struct json_value event, char *name)
{
    struct json_value v;
    size_t n;

    name[0] = '\0';
    if (o->type_field == NULL)
        return TYPE_FOUND;
    if (!value_at(event, o->type_field, &v) || v.type != JSON_STRING || v.len < 3 ||
        v.len - 2 > TYPE_NAME_BYTES_MAX)
        return TYPE_NONE;
    n = json_unescape(json_string_body(v), name);
    name[n] = '\0';
    if (o->type != NULL && strcmp(o->type, name) != 0)
        return TYPE_OTHER;
    return strlen(name) == n ? TYPE_FOUND : TYPE_NONE;
}

static struct inferred *find_type(struct inference *in, const char *type)
{
    struct rows_start start = {.time_path = in->options->time_field,
                               .columns_max = SCHEMA_FIELDS_MAX};
    struct inferred *t;

    for (uint32_t i = 0; i < in->n; i++) {
        t = &in->list[(in->last + i) % in->n];
        if (strcmp(t->type, type) == 0) {
            in->last = (uint32_t)(t - in->list);
            return t;
        }
    }
    if (in->n == TYPES_MAX) {
        failed(type, "more than 1000 types: is --type-field the event's type?");
        return NULL;
    }
    t = &in->list[in->n];
    t->type = strdup(type);
    if (t->type == NULL || rows_start(&start, &t->rows) != 0) {
        free(t->type);
        failed(type, strerror(ENOMEM));
        return NULL;
    }
    in->last = in->n++;
    return t;
}

/* The event on one line, with a brace for added fields to stand before. */
static bool one_line(struct inference *in, struct json_value event)
{
    size_t need = rows_encoded_max(event.len);

    if (in->line_room < event.len || in->out_room < need) {
        free(in->line);
        free(in->out);
        in->line_room = event.len * 2;
        in->out_room = rows_encoded_max(in->line_room);
        in->line = malloc(in->line_room);
        in->out = malloc(in->out_room);
        if (in->line == NULL || in->out == NULL)
            return failed("events", strerror(ENOMEM));
    }
    for (size_t i = 0; i < event.len; i++) /* breaks stand outside strings only */
        in->line[i] = event.ptr[i] == '\n' || event.ptr[i] == '\r' ? ' ' : event.ptr[i];
    return true;
}

static bool take_event(struct inference *in, struct inferred *t, struct json_value event)
{
    struct rows_counts counts;
    struct rows *next = NULL;
    size_t len;
    int rc = 0;

    if (!one_line(in, event))
        return false;
    t->events++;
    do {
        counts = (struct rows_counts){0};
        if (rows_encode_counted(t->rows, (struct span){in->line, event.len}, 0, in->out, &len,
                                &counts) == ROWS_OK)
            break;
        rc = rows_grow(t->rows, (struct span){in->line, event.len}, 0, &next);
        if (rc == 0) {
            rows_destroy(t->rows);
            t->rows = next;
        }
    } while (rc == 0);
    in->counts.overflowed += counts.overflowed;
    in->counts.whole += counts.whole;
    return rc == 0 || rc == -EALREADY ? true : failed("events", strerror(-rc));
}

/* The event of a document. @return NULL, or why it is none. */
static const char *event_of(const struct document *d, struct json_value *event)
{
    size_t offset = 0;
    enum json_error e;

    if (d->whole > d->len)
        return "larger than 16 MiB";
    e = json_validate(d->ptr, d->len, &offset);
    if (e != JSON_ERROR_NONE)
        return json_error_text(e);
    *event = json_value_at(d->ptr, d->len);
    return event->type == JSON_OBJECT ? NULL : "not an object";
}

/* One document of the first reading. */
static bool take(struct inference *in, const struct document *d, const char *file)
{
    char name[TYPE_NAME_BYTES_MAX + 1];
    struct json_value event;
    const char *wrong = event_of(d, &event);
    struct inferred *t;

    if (wrong != NULL) {
        if (in->bad++ < BAD_SHOWN)
            fprintf(stderr, "%s: line %llu: %s\n", file, (unsigned long long)d->line, wrong);
        return true;
    }
    in->events++;
    switch (type_of(in->options, event, name)) {
    case TYPE_NONE:
        if (in->untyped++ == 0)
            fprintf(stderr, "%s: line %llu: no %s that is a type (first of its kind)\n", file,
                    (unsigned long long)d->line, in->options->type_field);
        return true;
    case TYPE_OTHER:
        in->other_types++;
        return true;
    default:
        t = find_type(in, name);
        return t != NULL && take_event(in, t, event);
    }
}

bool inference_run(struct inference *in, const struct schema_options *options)
{
    bool ok = true;

    memset(in, 0, sizeof(*in));
    in->options = options;
    in->list = calloc(TYPES_MAX, sizeof(in->list[0]));
    if (in->list == NULL)
        return failed("events", strerror(ENOMEM));
    for (int i = 0; i < options->n_files && ok; i++) {
        struct documents_options form = {.bytes_max = EVENT_BYTES_MAX};
        struct documents *d = NULL;
        struct document document;
        char why[WHY_BYTES] = "";
        int rc = documents_open(options->files[i], &form, &d, why, sizeof(why));

        if (rc != 0)
            return failed(options->files[i], why);
        while (ok && (rc = documents_next(d, &document, why, sizeof(why))) == 1)
            ok = take(in, &document, options->files[i]);
        if (rc < 0)
            ok = failed(options->files[i], why);
        documents_close(d);
    }
    return ok;
}

void inference_fini(struct inference *in)
{
    for (uint32_t i = 0; i < in->n; i++) {
        free(in->list[i].type);
        rows_destroy(in->list[i].rows);
    }
    free(in->list);
    free(in->line);
    free(in->out);
}

/* ---- What the table would not take ---- */

/* Events of one file that the check refuses, by reason. */
struct refusals {
    uint64_t n[REASON_DEAD_END];
    uint64_t line[REASON_DEAD_END]; /* of the first */
    char detail[REASON_DEAD_END][CHECK_DETAIL_BYTES];
};

static void check_event_again(struct inference *in, const struct document *d, struct refusals *r)
{
    static struct check_result result;
    char name[TYPE_NAME_BYTES_MAX + 1];
    const struct inferred *t;
    struct json_value event;

    if (event_of(d, &event) != NULL || type_of(in->options, event, name) != TYPE_FOUND)
        return;
    t = find_type(in, name);
    if (t == NULL)
        return;
    check_event(t->rows->schema, event, &result);
    if (result.reason == REASON_NONE)
        return;
    if (r->n[result.reason]++ == 0) {
        r->line[result.reason] = d->line;
        memcpy(r->detail[result.reason], result.detail, sizeof(result.detail));
    }
}

/* Reads a file again; a pipe cannot be. */
static void check_file(struct inference *in, const char *file)
{
    static struct refusals r;
    struct documents_options form = {.bytes_max = EVENT_BYTES_MAX};
    struct documents *d = NULL;
    struct document document;
    char why[WHY_BYTES];
    struct stat st;

    if (stat(file, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    memset(&r, 0, sizeof(r));
    if (documents_open(file, &form, &d, why, sizeof(why)) != 0)
        return;
    while (documents_next(d, &document, why, sizeof(why)) == 1)
        check_event_again(in, &document, &r);
    documents_close(d);
    for (int i = 0; i < REASON_DEAD_END; i++) {
        if (r.n[i] > 0)
            fprintf(stderr, "%s: %llu events would become dead letters (%s), first line %llu: %s\n",
                    file, (unsigned long long)r.n[i], reason_name((enum reason)i),
                    (unsigned long long)r.line[i], r.detail[i]);
    }
}

/* ---- The report ---- */

/* What a walk over the columns counts and names. */
struct columns {
    uint32_t json, mapped;
    bool print;
};

static void count_columns(const struct schema_field *record, struct json_value fields,
                          struct columns *c)
{
    struct json_walk w;
    struct json_value v, source, below;

    json_walk_init(&w, fields);
    for (uint32_t i = 0; i < record->n_fields && json_walk_element(&w, &v); i++) {
        const struct schema_field *f = &record->fields[i];

        if (!json_find(v, span_of("source"), &source))
            continue;
        if (f->type == COLUMN_JSON && c->json++ < COLUMNS_SHOWN && c->print)
            fprintf(stderr, "  %s: JSON, because its values have no common type\n", f->path);
        if (json_key_equal(json_string_body(source), true, (struct span){f->name, f->name_len})) {
            /* its own name */
        } else if (c->mapped++ < COLUMNS_SHOWN && c->print) {
            fprintf(stderr, "  %s: from the field %.*s\n", f->path, (int)source.len, source.ptr);
        }
        if (f->type == COLUMN_RECORD && json_find(v, span_of("fields"), &below))
            count_columns(f, below, c);
    }
}

static struct json_value fields_of(const struct rows *r)
{
    struct json_value fields = {0};
    bool there = json_find(json_value_at(r->text, r->text_len), span_of("fields"), &fields);

    ASSERT(there);
    return fields;
}

static uint32_t columns_found(const struct rows *r)
{
    return r->n_columns - 4; /* those that Penstock adds */
}

static void report_type(const struct inferred *t)
{
    struct columns c = {.print = true}, count = {0};
    struct json_value fields = fields_of(t->rows);

    count_columns(&t->rows->schema->root, fields, &count);
    fprintf(stderr, "%s%s%llu events, %u columns, %u conflicts, %u mapped names\n", t->type,
            t->type[0] != '\0' ? ": " : "", (unsigned long long)t->events, columns_found(t->rows),
            count.json, count.mapped);
    count_columns(&t->rows->schema->root, fields, &c);
    if (c.json > COLUMNS_SHOWN || c.mapped > COLUMNS_SHOWN)
        fprintf(stderr, "  and more\n");
}

int inference_report(struct inference *in)
{
    bool empty = in->n == 0;

    for (uint32_t i = 0; i < in->n; i++) {
        report_type(&in->list[i]);
        empty = empty || columns_found(in->list[i].rows) == 0;
    }
    if (in->bad > BAD_SHOWN)
        fprintf(stderr, "and %llu bad documents more\n", (unsigned long long)(in->bad - BAD_SHOWN));
    if (in->bad > 0)
        fprintf(stderr, "%llu bad documents are not in the schema\n", (unsigned long long)in->bad);
    if (in->untyped > 0)
        fprintf(stderr, "%llu events without a type are not in a schema\n",
                (unsigned long long)in->untyped);
    if (in->counts.overflowed > 0)
        fprintf(stderr,
                "%llu values have no column and would go to penstock_overflow (empty objects and "
                "arrays, repeated keys)\n",
                (unsigned long long)in->counts.overflowed);
    for (int i = 0; i < in->options->n_files; i++)
        check_file(in, in->options->files[i]);
    if (empty)
        fprintf(stderr, "penstock schema: no %s that shows a column\n",
                in->options->type_field != NULL ? "event of some type" : "event");
    return empty || in->bad > 0 ? 1 : 0;
}

/* ---- The schema ---- */

static void print_fields(FILE *to, const struct schema_field *record, struct json_value fields,
                         int indent)
{
    struct json_walk w;
    struct json_value v, source, more;
    bool first = true;

    json_walk_init(&w, fields);
    fprintf(to, "[");
    for (uint32_t i = 0; i < record->n_fields && json_walk_element(&w, &v); i++) {
        const struct schema_field *f = &record->fields[i];

        if (!json_find(v, span_of("source"), &source))
            continue;
        fprintf(to, "%s\n%*s{\"name\": \"%s\", \"type\": \"%s\", \"mode\": \"%s\"",
                first ? "" : ",", indent + 2, "", f->name, column_type_name(f->type),
                f->mode == COLUMN_REPEATED ? "REPEATED" : "NULLABLE");
        first = false;
        if (json_find(v, span_of("description"), &more))
            fprintf(to, ", \"description\": %.*s", (int)more.len, more.ptr);
        if (f->type == COLUMN_RECORD && json_find(v, span_of("fields"), &more)) {
            fprintf(to, ", \"fields\": ");
            print_fields(to, f, more, indent + 2);
        }
        fprintf(to, "}");
    }
    fprintf(to, "\n%*s]", indent, "");
}

/* {"source": "a.b", "column": "a_b"} for every name that changed; sources keep their JSON form. */
static void print_names(FILE *to, const struct schema_field *record, struct json_value fields,
                        const char *above, bool *first)
{
    struct json_walk w;
    struct json_value v, source, below;

    json_walk_init(&w, fields);
    for (uint32_t i = 0; i < record->n_fields && json_walk_element(&w, &v); i++) {
        const struct schema_field *f = &record->fields[i];
        char *path = NULL;

        if (!json_find(v, span_of("source"), &source) ||
            asprintf(&path, "%s%s%.*s", above, above[0] != '\0' ? "." : "", (int)source.len - 2,
                     source.ptr + 1) < 0)
            continue;
        if (!json_key_equal(json_string_body(source), true, (struct span){f->name, f->name_len})) {
            fprintf(to, "%s\n  {\"source\": \"%s\", \"column\": \"%s\"}", *first ? "" : ",", path,
                    f->path);
            *first = false;
        }
        if (f->type == COLUMN_RECORD && json_find(v, span_of("fields"), &below))
            print_names(to, f, below, path, first);
        free(path);
    }
}

static void print_one(FILE *to, const struct inference *in, const struct inferred *t, int indent)
{
    bool first = true;

    if (!in->options->name_map) {
        print_fields(to, &t->rows->schema->root, fields_of(t->rows), indent);
        return;
    }
    fprintf(to, "[");
    print_names(to, &t->rows->schema->root, fields_of(t->rows), "", &first);
    fprintf(to, "%s]", first ? "" : "\n");
}

static int write_file(const struct inference *in, const struct inferred *t)
{
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1], *path = NULL;
    FILE *to = NULL;
    int status = 0;

    name_escape(span_of(t->type), escaped);
    if (asprintf(&path, "%s/%s.json", in->options->out, escaped) < 0)
        return 1;
    to = fopen(path, "w");
    if (to != NULL) {
        print_one(to, in, t, 0);
        fprintf(to, "\n");
    }
    if (to == NULL || ferror(to) || fclose(to) != 0) {
        failed(path, strerror(errno));
        status = 1;
    }
    free(path);
    return status;
}

int inference_print(const struct inference *in)
{
    bool keyed = in->options->type_field != NULL && in->options->type == NULL;
    int status = 0;
    bool first = true;

    if (in->options->out != NULL && mkdir(in->options->out, 0777) != 0 && errno != EEXIST)
        return failed(in->options->out, strerror(errno)) ? 0 : 1;
    for (uint32_t i = 0; i < in->n; i++) {
        const struct inferred *t = &in->list[i];

        if (columns_found(t->rows) == 0)
            continue;
        if (in->options->out != NULL) {
            status |= write_file(in, t);
        } else if (keyed) {
            char *name = malloc(6 * strlen(t->type) + 1);

            if (name == NULL)
                return 1;
            fprintf(stdout, "%s\n\"%.*s\": ", first ? "{" : ",",
                    (int)json_escape(span_of(t->type), name), name);
            print_one(stdout, in, t, 0);
            first = false;
            free(name);
        } else {
            print_one(stdout, in, t, 0);
            fprintf(stdout, "\n");
        }
    }
    if (!first)
        fprintf(stdout, "\n}\n");
    return fflush(stdout) == 0 ? status : 1;
}
