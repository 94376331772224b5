/*
 * Any bytes as a schema, and two of them (split at a NUL) as ours and the table's. What compiles
 * must compile to itself again; a patch must be valid and leave nothing to patch.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *padded(const char *from, size_t len)
{
    char *p = calloc(1, len + JSON_PADDING_BYTES);

    ASSERT(p != NULL);
    memcpy(p, from, len);
    return p;
}

static void fixed_point(const struct schema *s)
{
    struct schema *again = NULL;
    size_t len = strlen(s->fields_json), offset;
    char error[128];

    ASSERT(json_validate(s->fields_json, len, &offset) == JSON_ERROR_NONE);
    ASSERT(schema_compile((struct span){s->fields_json, len}, &again, error, sizeof(error)) == 0);
    ASSERT(strcmp(again->fields_json, s->fields_json) == 0 && again->hash == s->hash);
    ASSERT(again->root.n_fields == s->root.n_fields &&
           again->root.n_required == s->root.n_required);
    for (uint32_t i = 0; i < s->root.n_fields; i++)
        ASSERT(schema_find(s, span_of(s->root.fields[i].name)) == &s->root.fields[i]);
    schema_destroy(again);
}

static void compare(const struct schema *s, const char *text, size_t len)
{
    char *have = padded(text, len), *patch = NULL, *again = NULL;
    char error[128] = "";
    size_t offset;
    int rc;

    if (json_validate(have, len, &offset) != JSON_ERROR_NONE)
        goto done;
    rc = schema_compare(s, json_value_at(have, len), &patch, error, sizeof(error));
    ASSERT(rc == 0 || (rc == -EEXIST && patch == NULL && error[0] != '\0'));
    if (patch == NULL)
        goto done;
    ASSERT(json_validate(patch, strlen(patch), &offset) == JSON_ERROR_NONE);
    ASSERT(schema_compare(s, json_value_at(patch, strlen(patch)), &again, error, sizeof(error)) ==
           0);
    ASSERT(again == NULL);
done:
    free(patch);
    free(have);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, 0, size);
    size_t len = nul != NULL ? (size_t)(nul - data) : size;
    struct schema *s = NULL;
    char error[128] = "";
    int rc = schema_compile((struct span){(const char *)data, len}, &s, error, sizeof(error));

    if (rc != 0) {
        ASSERT(rc == -EINVAL && s == NULL && error[0] != '\0');
        return 0;
    }
    fixed_point(s);
    compare(s, s->fields_json, strlen(s->fields_json));
    if (nul != NULL)
        compare(s, (const char *)nul + 1, size - len - 1);
    schema_destroy(s);
    return 0;
}
