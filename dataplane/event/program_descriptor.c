/* COLD. What the rows of a program look like, as a google.protobuf.DescriptorProto. See program.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/event/program_internal.h"
#include "dataplane/event/schema_internal.h"

#define ROOT_NAME "root"

/* DescriptorProto */
#define MESSAGE_NAME        1
#define MESSAGE_FIELD       2
#define MESSAGE_NESTED_TYPE 3

/* FieldDescriptorProto */
#define FIELD_NAME      1
#define FIELD_NUMBER    3
#define FIELD_LABEL     4
#define FIELD_TYPE      5
#define FIELD_TYPE_NAME 6
#define FIELD_OPTIONS   8

#define OPTION_COLUMN_NAME 454943157 /* extension google.cloud.bigquery.storage.v1.column_name */

#define WIRE_VARINT 0
#define WIRE_BYTES  2

static const uint8_t labels[] = {
    [COLUMN_NULLABLE] = 1,
    [COLUMN_REQUIRED] = 2,
    [COLUMN_REPEATED] = 3,
};

static const uint8_t types[] = {
    [COLUMN_STRING] = 9,   [COLUMN_BYTES] = 12,    [COLUMN_INTEGER] = 3,  [COLUMN_FLOAT] = 1,
    [COLUMN_BOOLEAN] = 8,  [COLUMN_TIMESTAMP] = 3, [COLUMN_DATE] = 5,     [COLUMN_TIME] = 3,
    [COLUMN_DATETIME] = 3, [COLUMN_GEOGRAPHY] = 9, [COLUMN_NUMERIC] = 12, [COLUMN_BIGNUMERIC] = 12,
    [COLUMN_JSON] = 9,     [COLUMN_RECORD] = 11,   [COLUMN_INTERVAL] = 9, [COLUMN_RANGE] = 11,
};

static void add_varint(struct schema_text *t, uint64_t v)
{
    char bytes[10];
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (char)(v | 0x80);
    bytes[n++] = (char)v;
    ASSERT(n <= sizeof(bytes));
    schema_text_add(t, (struct span){bytes, n});
}

static void add_number(struct schema_text *t, uint64_t field, uint64_t v)
{
    ASSERT(field > 0);
    add_varint(t, field << 3 | WIRE_VARINT);
    add_varint(t, v);
}

static void add_bytes(struct schema_text *t, uint64_t field, struct span bytes)
{
    ASSERT(field > 0);
    add_varint(t, field << 3 | WIRE_BYTES);
    add_varint(t, bytes.len);
    schema_text_add(t, bytes);
}

/* Appends a message that has been written, and frees it. */
static void add_message(struct schema_text *t, uint64_t field, struct schema_text *message)
{
    size_t len = message->len;
    char *bytes = schema_text_finish(message);

    if (bytes == NULL)
        t->failed = true;
    else
        add_bytes(t, field, (struct span){bytes, len});
    free(bytes);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_identifier(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_letter(name.ptr[i]) && !(i > 0 && is_digit(name.ptr[i])))
            return false;
    }
    return name.len > 0;
}

static bool is_message(const struct program_column *c)
{
    return c->type == COLUMN_RECORD || c->type == COLUMN_RANGE;
}

/*
 * The type of a RECORD or RANGE: "root", then the names on the way to it, "__" between. Names that make this
 * ambiguous (a__b, _a, a_) or illegal are told apart by the number of the column, with which no
 * name starts.
 */
static void add_type_name(struct schema_text *t, const struct program *p, uint32_t entry)
{
    const char *path = p->column[entry].field->path;
    bool ambiguous = false;
    char number[16];

    ASSERT(is_message(&p->column[entry]));
    schema_text_adds(t, ROOT_NAME);
    if (entry == PROGRAM_ROOT)
        return;
    schema_text_adds(t, "__");
    for (const char *c = path; *c != '\0'; c++) {
        const bool edge = c == path || c[-1] == '.' || c[1] == '.' || c[1] == '\0';
        const bool legal = is_letter(*c) || is_digit(*c);

        ambiguous |= (*c == '_' && (edge || c[1] == '_')) || (!legal && *c != '.');
        if (*c == '.')
            schema_text_adds(t, "__");
        else
            schema_text_add(t, (struct span){legal ? c : "_", 1});
    }
    if (ambiguous) {
        (void)snprintf(number, sizeof(number), "__%u", entry);
        schema_text_adds(t, number);
    }
}

static void add_field(struct schema_text *message, const struct program *p, uint32_t entry,
                      uint32_t number)
{
    const struct program_column *c = &p->column[entry];
    const struct span name = {c->field->name, c->field->name_len};
    struct schema_text t = {0}, type_name = {0}, options = {0};
    char placeholder[16];

    ASSERT(c->type < ARRAY_LEN(types) && c->mode < ARRAY_LEN(labels));
    (void)snprintf(placeholder, sizeof(placeholder), "col_%u", number);
    add_bytes(&t, FIELD_NAME, is_identifier(name) ? name : span_of(placeholder));
    add_number(&t, FIELD_NUMBER, number);
    add_number(&t, FIELD_LABEL, labels[c->mode]);
    add_number(&t, FIELD_TYPE, types[c->type]);
    if (is_message(c)) {
        add_type_name(&type_name, p, entry);
        add_message(&t, FIELD_TYPE_NAME, &type_name);
    }
    if (!is_identifier(name)) {
        add_bytes(&options, OPTION_COLUMN_NAME, name);
        add_message(&t, FIELD_OPTIONS, &options);
    }
    add_message(message, MESSAGE_FIELD, &t);
}

/* The ends of a RANGE. */
static void add_ends(struct schema_text *t, const struct program_column *c)
{
    static const char *const names[] = {"start", "end"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct schema_text field = {0};

        add_bytes(&field, FIELD_NAME, span_of(names[i]));
        add_number(&field, FIELD_NUMBER, i + 1);
        add_number(&field, FIELD_LABEL, labels[COLUMN_NULLABLE]);
        add_number(&field, FIELD_TYPE, types[c->field->range]);
        add_message(t, MESSAGE_FIELD, &field);
    }
}

static void add_type(struct schema_text *t, const struct program *p, uint32_t entry)
{
    const struct program_column *record = &p->column[entry];
    struct schema_text name = {0};

    ASSERT(is_message(record));
    add_type_name(&name, p, entry);
    add_message(t, MESSAGE_NAME, &name);
    if (record->type == COLUMN_RANGE)
        add_ends(t, record);
    for (uint32_t i = 0; i < record->n; i++)
        add_field(t, p, record->first + i, i + 1);
}

int program_descriptor(const struct schema *s, char **out, size_t *len)
{
    const struct program *p = s->program;
    struct schema_text t = {0};

    ASSERT(out != NULL && len != NULL);
    add_type(&t, p, PROGRAM_ROOT);
    for (uint32_t i = 1; i < p->n_columns; i++) {
        struct schema_text nested = {0};

        if (!is_message(&p->column[i]))
            continue;
        add_type(&nested, p, i);
        add_message(&t, MESSAGE_NESTED_TYPE, &nested);
    }
    *len = t.len;
    *out = schema_text_finish(&t);
    return *out == NULL ? -ENOMEM : 0;
}
