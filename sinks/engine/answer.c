/* COLD. JSON answers of Google's APIs. Bodies come from outside: everything may be missing or of
 * another type. */
#include "sinks/engine/answer.h"

#include <stdlib.h>

bool answer_object(struct span body, struct json_value *out)
{
    size_t offset;

    ASSERT(out != NULL);
    if (body.len == 0 || json_validate(body.ptr, body.len, &offset) != JSON_ERROR_NONE)
        return false;
    *out = json_value_at(body.ptr, body.len);
    return out->type == JSON_OBJECT;
}

bool answer_find(struct json_value object, const char *path, struct json_value *out)
{
    struct json_value at = object;

    ASSERT(path[0] != '\0');
    for (const char *key = path; key != NULL;) {
        const char *dot = strchr(key, '.');
        size_t len = dot == NULL ? strlen(key) : (size_t)(dot - key);

        if (at.type != JSON_OBJECT)
            return false;
        if (!json_find(at, (struct span){.ptr = key, .len = len}, &at))
            return false;
        key = dot == NULL ? NULL : dot + 1;
    }
    *out = at;
    return at.type != JSON_NULL && at.type != JSON_ABSENT;
}

bool answer_copy(struct json_value value, char *out, size_t out_len)
{
    struct span raw;
    size_t len;
    char *whole;

    ASSERT(out_len > 0);
    out[0] = '\0';
    if (value.type != JSON_STRING)
        return false;
    raw = json_string_body(value);
    if (raw.len < out_len) {
        out[json_unescape(raw, out)] = '\0';
        return true;
    }
    whole = malloc(raw.len); /* escaped it may be longer than it is */
    if (whole == NULL)
        return false;
    len = json_unescape(raw, whole);
    memcpy(out, whole, len < out_len ? len : out_len - 1);
    out[len < out_len ? len : out_len - 1] = '\0';
    free(whole);
    return len < out_len;
}

bool answer_string(struct json_value object, const char *path, char *out, size_t out_len)
{
    struct json_value v;

    ASSERT(out_len > 0);
    out[0] = '\0';
    if (!answer_find(object, path, &v))
        return false;
    if (answer_copy(v, out, out_len))
        return true;
    out[0] = '\0';
    return false;
}

bool answer_value_equals(struct json_value value, const char *text)
{
    struct span raw;

    ASSERT(text != NULL);
    if (value.type != JSON_STRING)
        return false;
    raw = json_string_body(value);
    return json_key_equal(raw, memchr(raw.ptr, '\\', raw.len) != NULL, span_of(text));
}

bool answer_equals(struct json_value object, const char *path, const char *text)
{
    struct json_value v;

    ASSERT(text != NULL);
    return answer_find(object, path, &v) && answer_value_equals(v, text);
}

bool answer_int64(struct json_value object, const char *path, int64_t *out)
{
    struct json_value v;

    ASSERT(out != NULL);
    if (!answer_find(object, path, &v))
        return false;
    if (v.type == JSON_STRING)
        return json_int64(json_string_body(v), out) == 0;
    return v.type == JSON_NUMBER && json_int64((struct span){.ptr = v.ptr, .len = v.len}, out) == 0;
}
