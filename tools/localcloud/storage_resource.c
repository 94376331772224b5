// Role: the object resource as JSON, its writable fields, name rules and preconditions.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/storage_internal.h"

enum { META_KEY_MAX = 1024, META_VALUE_MAX = 4096, META_TOTAL_MAX = 8192, NAME_MAX_BYTES = 1024 };

static const char *const string_fields[] = {"contentType",  "contentEncoding", "contentLanguage",
                                            "cacheControl", "storageClass",    "contentDisposition",
                                            "customTime"};
static const char *const bool_fields[] = {"temporaryHold", "eventBasedHold"};

static const char *const condition_names[4] = {"ifGenerationMatch", "ifGenerationNotMatch",
                                               "ifMetagenerationMatch", "ifMetagenerationNotMatch"};
static const char *const source_names[4] = {"ifSourceGenerationMatch", "ifSourceGenerationNotMatch",
                                            "ifSourceMetagenerationMatch",
                                            "ifSourceMetagenerationNotMatch"};

char *lc_crc32c_text(uint32_t crc, char out[12])
{
    uint8_t big_endian[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                             (uint8_t)crc};
    char *text = lc_base64(big_endian, 4);
    snprintf(out, 12, "%s", text);
    free(text);
    return out;
}

static void set_links(json_t *j, const struct lc_object *o, const char *host)
{
    struct lc_buf name = {0};
    lc_percent_encode(&name, o->name);
    char *path = lc_format("storage/v1/b/%s/o/%s", o->bucket, name.p);
    char *self = lc_format("http://%s/%s", host, path);
    char *media = lc_format("http://%s/download/%s?generation=%lld&alt=media", host, path,
                            (long long)o->generation);
    char *id = lc_format("%s/%s/%lld", o->bucket, o->name, (long long)o->generation);
    json_object_set_new(j, "id", json_string(id));
    json_object_set_new(j, "selfLink", json_string(self));
    json_object_set_new(j, "mediaLink", json_string(media));
    free(id);
    free(media);
    free(self);
    free(path);
    lc_buf_free(&name);
}

json_t *lc_object_json(const struct lc_object *o, const char *host)
{
    char created[40], updated[40], crc[12];
    char *etag =
        lc_format("%llx/%lld", (unsigned long long)o->generation, (long long)o->metageneration);
    json_t *j =
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "kind", "storage#object", "name", o->name, "bucket",
                  o->bucket, "crc32c", lc_crc32c_text(o->crc32c, crc), "etag", etag);
    assert(j);
    free(etag);
    set_links(j, o, host);
    lc_json_set_i64(j, "generation", o->generation);
    lc_json_set_i64(j, "metageneration", o->metageneration);
    lc_json_set_i64(j, "size", o->size);
    if (*o->md5)
        json_object_set_new(j, "md5Hash", json_string(o->md5));
    lc_rfc3339(o->created_us, created);
    json_object_set_new(j, "timeCreated", json_string(created));
    json_object_set_new(j, "timeFinalized", json_string(created));
    json_object_set_new(j, "timeStorageClassUpdated", json_string(created));
    json_object_set_new(j, "updated", json_string(lc_rfc3339(o->updated_us, updated)));
    json_object_set_new(j, "storageClass", json_string("STANDARD"));
    json_object_update(j, o->meta);
    return j;
}

const char *lc_object_name_error(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES)
        return "object names have 1 to 1024 bytes";
    if (!lc_utf8_valid(name, n))
        return "object names are UTF-8";
    if (strpbrk(name, "\r\n"))
        return "object names have no line breaks";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "object names are not . or ..";
    if (lc_starts_with(name, ".well-known/acme-challenge/"))
        return "object names do not start with .well-known/acme-challenge/";
    return NULL;
}

static const char *check_metadata(const json_t *map)
{
    size_t total = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        if (!json_is_string(value))
            return "metadata values are strings";
        size_t key_n = strlen(key), value_n = json_string_length(value);
        if (key_n == 0 || key_n > META_KEY_MAX || value_n > META_VALUE_MAX)
            return "metadata keys have 1 to 1024 bytes, values up to 4096";
        total += key_n + value_n;
    }
    return total > META_TOTAL_MAX ? "metadata has at most 8192 bytes in all" : NULL;
}

static const char *merge_map(json_t *meta, json_t *change)
{
    if (json_is_null(change)) {
        json_object_del(meta, "metadata");
        return NULL;
    }
    if (!json_is_object(change))
        return "metadata is an object of strings";
    json_t *map = json_object_get(meta, "metadata");
    map = map ? json_incref(map) : json_object();
    const char *key;
    json_t *value;
    json_object_foreach(change, key, value)
    {
        if (json_is_null(value))
            json_object_del(map, key);
        else
            json_object_set(map, key, value);
    }
    json_object_set(meta, "metadata", map);
    const char *wrong = check_metadata(map);
    if (json_object_size(map) == 0)
        json_object_del(meta, "metadata");
    json_decref(map);
    return wrong;
}

const char *lc_object_merge_meta(json_t *meta, const json_t *change)
{
    for (size_t i = 0; i < LC_ARRAY_LEN(string_fields) + LC_ARRAY_LEN(bool_fields); i++) {
        bool is_string = i < LC_ARRAY_LEN(string_fields);
        const char *key =
            is_string ? string_fields[i] : bool_fields[i - LC_ARRAY_LEN(string_fields)];
        json_t *value = json_object_get(change, key);
        if (!value)
            continue;
        if (json_is_null(value))
            json_object_del(meta, key);
        else if (is_string ? json_is_string(value) : json_is_boolean(value))
            json_object_set(meta, key, value);
        else
            return "a field of the object resource has the wrong type";
    }
    json_t *map = json_object_get(change, "metadata");
    return map ? merge_map(meta, map) : NULL;
}

bool lc_conditions_read(struct lc_req *r, struct lc_conditions *c, bool source)
{
    *c = (struct lc_conditions){0};
    for (int i = 0; i < 4; i++) {
        const char *name = source ? source_names[i] : condition_names[i];
        const char *text = lc_param(r, name);
        c->has[i] = text != NULL;
        if (text && (!lc_parse_i64(text, &c->value[i]) || c->value[i] < 0)) {
            lc_fail(r, 400, "invalid", "Invalid value for %s: %s", name, text);
            return false;
        }
    }
    return true;
}

bool lc_conditions_check(struct lc_req *r, const struct lc_conditions *c, const struct lc_object *o,
                         bool read)
{
    for (int i = 0; i < 4; i++) {
        int64_t live = !o ? 0 : i < 2 ? o->generation : o->metageneration;
        bool equal = c->value[i] == live && (o || i < 2);
        bool want_equal = i % 2 == 0;
        if (!c->has[i] || equal == want_equal)
            continue;
        if (read && !want_equal)
            lc_reply_empty(r, 304);
        else
            lc_fail(r, 412, "conditionNotMet",
                    "At least one of the pre-conditions you specified did not hold: %s.",
                    condition_names[i]);
        return false;
    }
    return true;
}
