/*
 * jansson as the independent judge of documents. It differs from json.h in what it can represent, not in
 * the grammar, so the text is first turned into one that has the same verdict and that it can represent:
 *
 *   numbers that overflow a double   long runs of digits are cut, exponents of three digits or more are 0
 *   "\u0000" in a key                becomes "\u0001"
 *   NUL behind a number              jansson overlooks it: becomes 0x01, which is as wrong everywhere
 *   depth                            jansson allows 2048: the depth of its tree is compared with our limit
 *
 * All these changes are harmless wherever they strike (inside strings, in broken documents): digits stay
 * digits, and an escape stays an escape of the same kind. `exact` says that none was needed.
 */
#include "tests/unit/tjson_oracle.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/compiler.h"

#define DIGITS_KEPT   200
#define EXPONENT_KEPT 2

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool after_exponent(const char *text, size_t at)
{
    if (at > 0 && (text[at - 1] == '+' || text[at - 1] == '-'))
        at--;
    return at > 0 && (text[at - 1] == 'e' || text[at - 1] == 'E');
}

/* Copies a text without what jansson cannot represent. @return the new length. */
static size_t normalise(const char *text, size_t len, char *out, bool *exact)
{
    size_t n = 0;

    for (size_t i = 0; i < len;) {
        size_t run = 0;
        bool exponent;

        while (i + run < len && digit(text[i + run]))
            run++;
        if (run == 0) {
            out[n++] = text[i] == '\0' ? '\x01' : text[i];
            i++;
            continue;
        }
        exponent = run > EXPONENT_KEPT && after_exponent(text, i);
        *exact = *exact && !exponent && run <= DIGITS_KEPT;
        for (size_t k = 0; k < run && k < DIGITS_KEPT; k++)
            out[n++] = exponent ? '0' : text[i + k];
        i += run;
    }
    for (size_t i = 0; i + 6 <= n; i++) {
        if (memcmp(out + i, "\\u0000", 6) != 0)
            continue;
        out[i + 5] = '1';
        *exact = false;
    }
    return n;
}

/* Of a valid text. The tree does not tell: a repeated key hides its earlier values from it. */
static int depth_of(const char *text, size_t len)
{
    int depth = 0;
    int deepest = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else
                in_string = text[i] != '"';
            continue;
        }
        in_string = text[i] == '"';
        if (text[i] == '{' || text[i] == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        }
        depth -= text[i] == '}' || text[i] == ']';
    }
    return deepest;
}

void tjson_oracle_init(struct tjson_oracle *o, const char *text, size_t len, int depth_max)
{
    char *copy = calloc(1, len + 1);
    json_error_t error;

    ASSERT(copy != NULL);
    *o = (struct tjson_oracle){.exact = true};
    len = normalise(text, len, copy, &o->exact);
    o->root =
        json_loadb(copy, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    o->valid = o->root != NULL && depth_of(copy, len) <= depth_max;
    free(copy);
}

void tjson_oracle_fini(struct tjson_oracle *o)
{
    json_decref(o->root);
    o->root = NULL;
}

static uint8_t type_of(const json_t *v)
{
    static const uint8_t types[] = {
        [JSON_NULL] = 1, [JSON_FALSE] = 2,  [JSON_TRUE] = 3,  [JSON_INTEGER] = 4,
        [JSON_REAL] = 4, [JSON_STRING] = 5, [JSON_ARRAY] = 6, [JSON_OBJECT] = 7,
    };

    return v == NULL ? 0 : types[json_typeof(v)];
}

struct tjson_found tjson_oracle_find(const struct tjson_oracle *o, const char *path)
{
    const json_t *v = o->root;
    struct tjson_found found;

    while (v != NULL && path != NULL) {
        const size_t len = strcspn(path, ".");
        char key[256];

        ASSERT(len < sizeof(key));
        memcpy(key, path, len);
        key[len] = '\0';
        v = json_object_get(v, key); /* NULL when v is no object */
        path = path[len] == '\0' ? NULL : path + len + 1;
    }
    found = (struct tjson_found){.type = type_of(v), .number = json_number_value(v)};
    if (json_is_string(v)) {
        found.text = json_string_value(v);
        found.text_len = json_string_length(v);
    }
    return found;
}

size_t tjson_oracle_elements(const struct tjson_oracle *o)
{
    return json_array_size(o->root); /* 0 when it is none */
}
