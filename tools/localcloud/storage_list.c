// Role: objects.list, a range scan of the (bucket, name) key in byte order. With a delimiter the
// scan jumps over each common prefix, so its cost is the size of the page, not of the bucket.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/storage_internal.h"

enum { PAGE_MAX = 1000 };

struct scan {
    struct lc_storage *storage;
    const char *bucket;
    const char *prefix;
    const char *delimiter; // NULL: none
    const char *end;       // names from here on are out; NULL: no end
    const char *host;
    char *from;   // next name to look at, inclusive
    int64_t room; // entries that still fit into the page
    json_t *items;
    json_t *prefixes;
    bool more;
};

// First byte string after all strings that begin with s. Owner: caller.
static char *after_prefix(const char *s)
{
    char *next = lc_strdup(s);
    size_t n = strlen(next);
    assert(n);
    next[n - 1] = (char)(next[n - 1] + 1); // a UTF-8 text never ends in 0xff
    return next;
}

// One run of the index from s->from. @return true when a common prefix was passed and a new run is
// needed.
static bool scan_run(struct scan *s)
{
    size_t prefix_n = strlen(s->prefix);
    bool again = false;
    sqlite3_stmt *st =
        lc_db_query(s->storage->db,
                    "SELECT " LC_OBJECT_COLUMNS " FROM objects WHERE bucket = ? AND name >= ? "
                    "ORDER BY name",
                    "ss", s->bucket, s->from);
    while (!again && sqlite3_step(st) == SQLITE_ROW) {
        const char *name = lc_db_text(st, 1);
        if (!lc_starts_with(name, s->prefix) || (s->end && strcmp(name, s->end) >= 0))
            break;
        const char *hit = s->delimiter ? strstr(name + prefix_n, s->delimiter) : NULL;
        if (s->room == 0) {
            s->more = true;
            free(s->from);
            s->from = lc_strdup(name);
            break;
        }
        s->room--;
        if (hit) {
            char *common = lc_strndup(name, (size_t)(hit - name) + strlen(s->delimiter));
            json_array_append_new(s->prefixes, json_string(common));
            free(s->from);
            s->from = after_prefix(common);
            free(common);
            again = true;
        } else {
            struct lc_object o;
            lc_object_read(st, &o);
            json_array_append_new(s->items, lc_object_json(&o, s->host));
            lc_object_fini(&o);
        }
    }
    sqlite3_finalize(st);
    return again;
}

static char *max_of(const char *a, const char *b, const char *c)
{
    const char *best = a;
    if (b && strcmp(b, best) > 0)
        best = b;
    if (c && strcmp(c, best) > 0)
        best = c;
    return lc_strdup(best);
}

// Decoded page token (the next name). Owner: caller. @return NULL without one; answers 400 when it
// is broken.
static char *read_token(struct lc_req *r)
{
    const char *token = lc_param(r, "pageToken");
    uint8_t *raw = NULL;
    size_t n = 0;
    if (!token || !*token)
        return NULL;
    if (!lc_base64_decode(token, strlen(token), &raw, &n)) {
        lc_fail(r, 400, "invalid", "Invalid pageToken");
        return NULL;
    }
    char *name = lc_strndup((char *)raw, n);
    free(raw);
    return name;
}

static void reply(struct lc_req *r, struct scan *s)
{
    json_t *out = json_pack("{s:s}", "kind", "storage#objects");
    if (json_array_size(s->items))
        json_object_set(out, "items", s->items);
    if (json_array_size(s->prefixes))
        json_object_set(out, "prefixes", s->prefixes);
    if (s->more) {
        char *token = lc_base64(s->from, strlen(s->from));
        json_object_set_new(out, "nextPageToken", json_string(token));
        free(token);
    }
    lc_reply_json(r, 200, out);
}

void lc_object_list(struct lc_req *r)
{
    const char *max = lc_param(r, "maxResults"), *prefix = lc_param(r, "prefix"),
               *end = lc_param(r, "endOffset");
    const char *delimiter = lc_param(r, "delimiter");
    int64_t room = PAGE_MAX;
    if (max && (!lc_parse_i64(max, &room) || room < 1)) {
        lc_fail(r, 400, "invalid", "Invalid maxResults: %s", max);
        return;
    }
    if (lc_param(r, "matchGlob")) {
        lc_fail(r, 501, "notImplemented", "localcloud does not serve matchGlob");
        return;
    }
    char *token = read_token(r);
    if (r->status)
        return;
    struct scan s = {.storage = r->app->storage,
                     .bucket = r->args[0],
                     .prefix = prefix ? prefix : "",
                     .delimiter = delimiter && *delimiter ? delimiter : NULL,
                     .end = end && *end ? end : NULL,
                     .host = lc_req_host(r),
                     .room = room < PAGE_MAX ? room : PAGE_MAX,
                     .items = json_array(),
                     .prefixes = json_array()};
    s.from = max_of(s.prefix, lc_param(r, "startOffset"), token);
    free(token);
    pthread_mutex_lock(&s.storage->lock);
    if (!lc_bucket_exists(s.storage, s.bucket))
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    while (!r->status && scan_run(&s))
        ;
    pthread_mutex_unlock(&s.storage->lock);
    if (!r->status)
        reply(r, &s);
    json_decref(s.items);
    json_decref(s.prefixes);
    free(s.from);
}
