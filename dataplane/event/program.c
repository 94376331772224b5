/* COLD. From a compiled schema to its program, and the memory of its runs. See program.h. */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/mem.h"
#include "dataplane/event/program_plan_internal.h"
#include "dataplane/event/schema_internal.h"

#define SLOTS_MIN  4
#define WIRE_BYTES 2 /* length-delimited */

/* Columns of a RECORD and of all below it, and hash slots for them. */
static void count(const struct schema_field *record, uint32_t *columns, uint32_t *slots)
{
    uint32_t n = SLOTS_MIN;

    while (n < 2 * record->n_fields)
        n *= 2;
    *slots += n;
    *columns += record->n_fields;
    for (uint32_t i = 0; i < record->n_fields; i++) {
        if (record->fields[i].type == COLUMN_RECORD)
            count(&record->fields[i], columns, slots);
    }
    ASSERT(*columns <= SCHEMA_FIELDS_MAX + 1); /* and the root */
}

static uint32_t wire_type(enum column_type type)
{
    switch (type) {
    case COLUMN_FLOAT:
        return 1; /* 64 bits */
    case COLUMN_INTEGER:
    case COLUMN_BOOLEAN:
    case COLUMN_TIMESTAMP:
    case COLUMN_DATE:
    case COLUMN_TIME:
    case COLUMN_DATETIME:
        return 0; /* varint */
    default:
        return WIRE_BYTES;
    }
}

static struct program_tag tag_of(uint32_t number, enum column_type type)
{
    struct program_tag tag = {.len = 0};
    uint32_t v = number << 3 | wire_type(type);

    ASSERT(number >= 1 && number <= SCHEMA_FIELDS_MAX);
    for (; v >= 0x80; v >>= 7)
        tag.bytes[tag.len++] = (char)(v | 0x80);
    tag.bytes[tag.len++] = (char)v;
    ASSERT(tag.len <= sizeof(tag.bytes));
    return tag;
}

static void column_fill(struct program_column *c, const struct schema_field *f, uint32_t number)
{
    size_t len = f->name_len + 1u;
    size_t compared = len < PROGRAM_KEY_BYTES ? len : PROGRAM_KEY_BYTES;

    ASSERT(f->name_len > 0 && f->name_len <= PROGRAM_NAME_MAX);
    memcpy(c->key, f->name, compared < f->name_len ? compared : f->name_len);
    if (len <= PROGRAM_KEY_BYTES)
        c->key[f->name_len] = '"';
    c->key_mask = compared == PROGRAM_KEY_BYTES ? UINT32_MAX : (1u << compared) - 1;
    c->field = f;
    c->tag = tag_of(number, (enum column_type)f->type);
    c->name_len = f->name_len;
    c->type = f->type;
    c->mode = f->mode;
    c->added = f->added;
    c->limited = f->max_length > 0;
}

static void slots_fill(struct program *p, const struct program_column *record)
{
    uint16_t *slot = p->slot + record->slots;

    for (uint32_t i = record->first; i < record->first + (uint32_t)record->n; i++) {
        const struct schema_field *f = p->column[i].field;
        uint32_t at = program_hash(f->name, f->name_len) & record->slot_mask;

        while (slot[at] != 0)
            at = (at + 1) & record->slot_mask;
        slot[at] = (uint16_t)i;
    }
}

/* Appends the columns of the RECORD in an entry, then those below them. */
static void record_fill(struct program *p, uint32_t entry)
{
    struct program_column *record = &p->column[entry];
    const struct schema_field *f = record->field;
    uint32_t slots = SLOTS_MIN, first = p->n_columns;

    while (slots < 2 * f->n_fields)
        slots *= 2;
    record->first = (uint16_t)first;
    record->n = (uint16_t)f->n_fields;
    record->slots = p->n_slots;
    record->slot_mask = (uint16_t)(slots - 1);
    p->n_slots += slots;
    p->n_columns += f->n_fields;
    for (uint32_t i = 0; i < f->n_fields; i++)
        column_fill(&p->column[first + i], &f->fields[i], i + 1);
    slots_fill(p, record);
    for (uint32_t i = 0; i < f->n_fields; i++) {
        if (f->fields[i].type == COLUMN_RECORD)
            record_fill(p, first + i);
    }
}

/* Where the columns of ours are: each has another type. */
static void added_fill(struct program *p)
{
    for (uint32_t i = 1; i <= p->column[PROGRAM_ROOT].n; i++) {
        const struct program_column *c = &p->column[i];

        if (c->added == COLUMN_ADDED_OVERFLOW)
            p->added[PROGRAM_ADDED_OVERFLOW] = (uint16_t)i;
        else if (c->added == COLUMN_ADDED_ALWAYS && c->type == COLUMN_DATE)
            p->added[PROGRAM_ADDED_DATE] = (uint16_t)i;
        else if (c->added == COLUMN_ADDED_ALWAYS && c->type == COLUMN_TIMESTAMP)
            p->added[PROGRAM_ADDED_TIME] = (uint16_t)i;
        else if (c->added == COLUMN_ADDED_ALWAYS)
            p->added[PROGRAM_ADDED_ID] = (uint16_t)i;
    }
    ASSERT(p->added[PROGRAM_ADDED_DATE] != 0 && p->added[PROGRAM_ADDED_TIME] != 0 &&
           p->added[PROGRAM_ADDED_ID] != 0);
}

int program_create(const struct schema_field *root, struct program **out)
{
    uint32_t columns = 1, slots = 0;
    size_t bytes;
    struct program *p;

    ASSERT(root->type == COLUMN_RECORD);
    count(root, &columns, &slots);
    bytes = sizeof(*p) + columns * sizeof(p->column[0]);
    p = schema_zalloc(bytes + slots * sizeof(p->slot[0]));
    if (p == NULL)
        return -ENOMEM;
    p->slot = (uint16_t *)((char *)p + bytes);
    p->column[PROGRAM_ROOT].field = root;
    p->column[PROGRAM_ROOT].type = COLUMN_RECORD;
    p->column[PROGRAM_ROOT].key_mask = 1; /* a zero, with which no key starts */
    p->n_columns = 1;
    record_fill(p, PROGRAM_ROOT);
    ASSERT(p->n_columns == columns && p->n_slots == slots);
    added_fill(p);
    *out = p;
    return 0;
}

void program_destroy(struct program *p)
{
    free(p);
}

int program_memory_create(enum json_isa isa, struct program_memory **out)
{
    ASSERT(json_isa_usable(isa));
    *out = mem_reserve(sizeof(**out));
    if (*out == NULL)
        return -ENOMEM;
    (*out)->variant = plan_variant_of(isa);
    return 0;
}

void program_memory_destroy(struct program_memory *m)
{
    mem_release(m, sizeof(*m));
}

size_t program_memory_bytes(void)
{
    return sizeof(struct program_memory);
}
