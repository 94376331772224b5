/* COLD but for schema_field_find(). Names, look-up, life and files of schemas. See schema.h. */
#include "dataplane/event/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "dataplane/event/program.h"
#include "dataplane/event/schema_internal.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define READ_BYTES     ((size_t)64 << 10) /* at first; then as much again */

void *(*schema_realloc)(void *ptr, size_t len) = realloc;

void *schema_zalloc(size_t len)
{
    void *p = schema_realloc(NULL, len);

    ASSERT(len > 0);
    if (p != NULL)
        memset(p, 0, len);
    return p;
}

int schema_error(char *error, size_t error_len, int rc, const char *format, ...)
{
    va_list args;

    if (error == NULL || error_len == 0)
        return rc;
    va_start(args, format);
    (void)vsnprintf(error, error_len, format, args);
    va_end(args);
    return rc;
}

static const char *const type_names[] = {
    [COLUMN_STRING] = "STRING",     [COLUMN_BYTES] = "BYTES",
    [COLUMN_INTEGER] = "INTEGER",   [COLUMN_FLOAT] = "FLOAT",
    [COLUMN_BOOLEAN] = "BOOLEAN",   [COLUMN_TIMESTAMP] = "TIMESTAMP",
    [COLUMN_DATE] = "DATE",         [COLUMN_TIME] = "TIME",
    [COLUMN_DATETIME] = "DATETIME", [COLUMN_GEOGRAPHY] = "GEOGRAPHY",
    [COLUMN_NUMERIC] = "NUMERIC",   [COLUMN_BIGNUMERIC] = "BIGNUMERIC",
    [COLUMN_JSON] = "JSON",         [COLUMN_RECORD] = "RECORD",
    [COLUMN_INTERVAL] = "INTERVAL", [COLUMN_RANGE] = "RANGE",
};

static const struct {
    const char *name;
    enum column_type type;
} type_aliases[] = {
    {"INT64", COLUMN_INTEGER},   {"FLOAT64", COLUMN_FLOAT},    {"BOOL", COLUMN_BOOLEAN},
    {"STRUCT", COLUMN_RECORD},   {"DECIMAL", COLUMN_NUMERIC},  {"BIGDECIMAL", COLUMN_BIGNUMERIC},
    {"INT", COLUMN_INTEGER},     {"SMALLINT", COLUMN_INTEGER}, {"BIGINT", COLUMN_INTEGER},
    {"TINYINT", COLUMN_INTEGER}, {"BYTEINT", COLUMN_INTEGER},
};

static const char *const mode_names[] = {
    [COLUMN_NULLABLE] = "NULLABLE",
    [COLUMN_REQUIRED] = "REQUIRED",
    [COLUMN_REPEATED] = "REPEATED",
};

bool column_name_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

int column_type_from_name(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++) {
        if (column_name_equal(name, span_of(type_names[i])))
            return (int)i;
    }
    for (size_t i = 0; i < ARRAY_LEN(type_aliases); i++) {
        if (column_name_equal(name, span_of(type_aliases[i].name)))
            return (int)type_aliases[i].type;
    }
    return -1;
}

int column_mode_from_name(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(mode_names); i++) {
        if (column_name_equal(name, span_of(mode_names[i])))
            return (int)i;
    }
    return -1;
}

const char *column_type_name(enum column_type type)
{
    ASSERT((size_t)type < ARRAY_LEN(type_names));
    return type_names[type];
}

const char *column_mode_name(enum column_mode mode)
{
    ASSERT((size_t)mode < ARRAY_LEN(mode_names));
    return mode_names[mode];
}

static uint32_t name_hash(const char *p, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h ^ h >> 15;
}

int schema_index_fields(struct schema_field *record)
{
    uint32_t slots = 16;

    ASSERT(record->n_fields <= SCHEMA_FIELDS_MAX);
    if (record->n_fields <= SCHEMA_LINEAR_MAX)
        return 0;
    while (slots < record->n_fields * 2)
        slots *= 2;
    record->_slots = schema_zalloc(slots * sizeof(record->_slots[0]));
    if (record->_slots == NULL)
        return -ENOMEM;
    record->_slot_mask = slots - 1;
    for (uint32_t i = 0; i < record->n_fields; i++) {
        uint32_t at =
            name_hash(record->fields[i].name, record->fields[i].name_len) & record->_slot_mask;

        while (record->_slots[at] != 0)
            at = (at + 1) & record->_slot_mask;
        record->_slots[at] = (uint16_t)(i + 1);
    }
    return 0;
}

static bool has_name(const struct schema_field *f, struct span name)
{
    return f->name_len == name.len && memcmp(f->name, name.ptr, name.len) == 0;
}

const struct schema_field *schema_field_find(const struct schema_field *record, struct span name)
{
    uint32_t at;

    if (record->_slots == NULL) {
        for (uint32_t i = 0; i < record->n_fields; i++) {
            if (has_name(&record->fields[i], name))
                return &record->fields[i];
        }
        return NULL;
    }
    at = name_hash(name.ptr, name.len) & record->_slot_mask;
    for (; record->_slots[at] != 0; at = (at + 1) & record->_slot_mask) {
        if (has_name(&record->fields[record->_slots[at] - 1], name))
            return &record->fields[record->_slots[at] - 1];
    }
    return NULL;
}

const struct schema_field *schema_find(const struct schema *s, struct span name)
{
    ASSERT_HOT(s != NULL);
    return schema_field_find(&s->root, name);
}

bool schema_may_cluster(const struct schema_field *f)
{
    ASSERT(f != NULL);
    return f->mode != COLUMN_REPEATED && f->type != COLUMN_RECORD && f->type != COLUMN_JSON &&
           f->type != COLUMN_BYTES && f->type != COLUMN_FLOAT && f->type != COLUMN_TIME &&
           f->type != COLUMN_INTERVAL && f->type != COLUMN_RANGE;
}

bool schema_may_range(int type)
{
    ASSERT(type < (int)ARRAY_LEN(type_names));
    return type == COLUMN_DATE || type == COLUMN_DATETIME || type == COLUMN_TIMESTAMP;
}

/* Depth is bounded by SCHEMA_DEPTH_MAX. */
static void free_fields(struct schema_field *f)
{
    for (uint32_t i = 0; i < f->n_fields; i++)
        free_fields(&f->fields[i]);
    free(f->fields);
    free(f->_slots);
    free(f->name);
    free(f->path);
}

struct schema *schema_share(struct schema *s)
{
    ASSERT(s != NULL);
    s->_sharers++;
    return s;
}

/* A schema follows from its fields as they are sent to BigQuery. */
bool schema_same(const struct schema *a, const struct schema *b)
{
    ASSERT(a->fields_json != NULL && b->fields_json != NULL);
    return a->hash == b->hash && strcmp(a->fields_json, b->fields_json) == 0;
}

void schema_destroy(struct schema *s)
{
    if (s == NULL)
        return;
    if (s->_sharers > 0) {
        s->_sharers--;
        return;
    }
    free_fields(&s->root);
    free(s->fields_json);
    program_destroy(s->program);
    free(s);
}

/* All that is left, as heap memory; files and pipes alike. */
static int read_to_end(int fd, char **out, size_t *len)
{
    size_t room = 0;

    for (;;) {
        ssize_t n;

        if (*len == room) {
            char *larger = schema_realloc(*out, (room += room + READ_BYTES) + 1);

            if (larger == NULL)
                return -ENOMEM;
            *out = larger;
        }
        n = read(fd, *out + *len, room - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        *len += (size_t)n;
        ASSERT(*len <= room);
        if (*len > FILE_BYTES_MAX)
            return -EFBIG;
    }
}

/* The whole file as heap memory. */
static int read_file(const char *file, char **out, size_t *len)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int rc;

    ASSERT(*out == NULL && *len == 0);
    if (fd < 0)
        return -errno;
    rc = read_to_end(fd, out, len);
    close(fd);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

int schema_load(const char *file, struct schema **out, char *error, size_t error_len)
{
    char why[512] = "";
    char *text = NULL;
    size_t len = 0;
    int rc = read_file(file, &text, &len);

    ASSERT(out != NULL);
    if (rc != 0)
        return schema_error(error, error_len, rc, "%s: %s", file, strerror(-rc));
    rc = schema_compile((struct span){text, len}, out, why, sizeof(why));
    free(text);
    return rc == 0 ? 0 : schema_error(error, error_len, rc, "%s: %s", file, why);
}
