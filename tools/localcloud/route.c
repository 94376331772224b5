// Role: the table of routes, and matching a request against it segment by segment.
#include "tools/localcloud/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq.h"
#include "tools/localcloud/fault.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/stats.h"
#include "tools/localcloud/storage.h"
#include "tools/localcloud/token.h"

static void home(struct lc_req *r);
static void not_yet(struct lc_req *r);

#define B  "storage/v1/b"
#define O  "storage/v1/b/*/o"
#define DS "projects/*/datasets"
#define TB "projects/*/datasets/*/tables"
#define MD "computeMetadata/v1"

static const struct lc_route routes[] = {
    {"GET", "", home, false},
    {"GET", "localcloud/stats", lc_stats_handler, false},
    {"GET", "localcloud/faults", lc_fault_list_handler, false},
    {"POST", "localcloud/faults", lc_fault_add_handler, false},
    {"DELETE", "localcloud/faults", lc_fault_clear_handler, false},

    {"POST", "token", lc_token_handler, false},
    {"GET", MD "/instance/service-accounts/default/token", lc_metadata_handler, false},
    {"GET", MD "/instance/service-accounts/default/email", lc_metadata_handler, false},
    {"GET", MD "/project/project-id", lc_metadata_handler, false},

    {"GET", B, lc_bucket_list, false},
    {"POST", B, lc_bucket_insert, false},
    {"GET", B "/*", lc_bucket_get, false},
    {"DELETE", B "/*", lc_bucket_delete, false},
    {"POST", "upload/" O, lc_object_insert, true},
    {"GET", O, lc_object_list, false},
    {"GET", O "/*", lc_object_get, false},
    {"GET", "download/" O "/*", lc_object_download, false},
    {"PATCH", O "/*", lc_object_patch, false},
    {"DELETE", O "/*", lc_object_delete, false},
    {"PUT", O "/*", not_yet, false},
    {"PUT", "upload/" O, lc_object_insert, true},
    {"DELETE", "upload/" O, lc_session_cancel, false},
    {"POST", O "/*/compose", lc_object_compose, false},
    {"POST", O "/*/copyTo/b/*/o/*", lc_object_copy, false},
    {"POST", O "/*/rewriteTo/b/*/o/*", lc_object_rewrite, false},
    {"POST", O "/*/moveTo/o/*", not_yet, false},
    {"POST", "batch/storage/v1", not_yet, false},

    {"GET", DS, lc_dataset_list, false},
    {"POST", DS, lc_dataset_insert, false},
    {"GET", DS "/*", lc_dataset_get, false},
    {"PATCH", DS "/*", lc_dataset_patch, false},
    {"DELETE", DS "/*", lc_dataset_delete, false},
    {"GET", TB, lc_table_list, false},
    {"POST", TB, lc_table_insert, false},
    {"GET", TB "/*", lc_table_get, false},
    {"PATCH", TB "/*", lc_table_patch, false},
    {"PUT", TB "/*", lc_table_update, false},
    {"DELETE", TB "/*", lc_table_delete, false},
    {"GET", TB "/*/data", lc_tabledata_list, false},
    {"POST", TB "/*/insertAll", lc_insert_all, false},
    {"GET", "projects/*/jobs", lc_job_list, false},
    {"POST", "projects/*/jobs", lc_job_insert, false},
    {"GET", "projects/*/jobs/*", lc_job_get, false},
    {"POST", "projects/*/jobs/*/cancel", lc_job_cancel, false},
    {"POST", "projects/*/queries", lc_query, false},
    {"GET", "projects/*/queries/*", lc_query_results, false},
    {"POST", "upload/projects/*/jobs", lc_job_upload, true},
    {"PUT", "upload/projects/*/jobs", lc_job_upload, true},
    {"DELETE", "upload/projects/*/jobs", lc_session_cancel, false},
};

static void home(struct lc_req *r)
{
    char *text = lc_format(
        "localcloud: Cloud Storage and BigQuery on this machine, for tests and first tries.\n\n"
        "  Cloud Storage JSON API   http://%s/storage/v1  (uploads under /upload/storage/v1)\n"
        "  BigQuery API             http://%s/bigquery/v2\n"
        "  calls and totals         GET /localcloud/stats\n"
        "  faults for tests         GET, POST, DELETE /localcloud/faults\n\n"
        "Ask SQL about the tables from a shell, while this server runs or not:\n"
        "  localcloud --data %s --sql 'SELECT COUNT(*) FROM `project.dataset.table`'\n"
        "or over HTTP:\n"
        "  curl -s http://%s/bigquery/v2/projects/PROJECT/queries -d \\\n"
        "    '{\"useLegacySql\":false,\"query\":\"SELECT COUNT(*) FROM dataset.table\"}'\n",
        lc_req_host(r), lc_req_host(r), r->app->data_dir, lc_req_host(r));
    lc_reply_text(r, 200, "text/plain; charset=UTF-8", text);
    free(text);
}

static void not_yet(struct lc_req *r)
{
    lc_fail(r, 501, "notImplemented", "localcloud does not serve %s %s", r->method,
            r->route->pattern);
}

static void add_segment(struct lc_req *r, const char *s, size_t n)
{
    char *decoded = lc_percent_decode(s, n, false);
    if (!decoded) {
        r->malformed = true;
        return;
    }
    r->segments = lc_realloc(r->segments, (r->segment_count + 1) * sizeof *r->segments);
    r->segments[r->segment_count++] = decoded;
}

static void add_param(struct lc_req *r, const char *s, size_t n)
{
    const char *eq = memchr(s, '=', n);
    size_t key_n = eq ? (size_t)(eq - s) : n;
    char *key = lc_percent_decode(s, key_n, true);
    char *value = eq ? lc_percent_decode(eq + 1, n - key_n - 1, true) : lc_strdup("");
    if (!key || !value) {
        r->malformed = true;
        free(key);
        free(value);
        return;
    }
    r->params = lc_realloc(r->params, (r->param_count + 1) * sizeof *r->params);
    r->params[r->param_count++] = (struct lc_param){key, value};
}

void lc_route_split(struct lc_req *r)
{
    const char *s = r->uri;
    if (lc_starts_with(s, "http://")) // absolute form, as proxies send it
        s += 7 + strcspn(s + 7, "/?");
    while (*s == '/') {
        s++;
        size_t n = strcspn(s, "/?");
        if (n || *s == '/')
            add_segment(r, s, n);
        s += n;
    }
    if (*s == '?')
        s++;
    while (*s) {
        size_t n = strcspn(s, "&");
        if (n)
            add_param(r, s, n);
        s += n + (s[n] == '&');
    }
}

// Segments without a leading "bigquery/v2" ("upload/bigquery/v2" keeps "upload").
static size_t skip_base(struct lc_req *r, bool *upload)
{
    size_t i = 0;
    *upload = r->segment_count && strcmp(r->segments[0], "upload") == 0;
    i += *upload;
    if (r->segment_count >= i + 2 && strcmp(r->segments[i], "bigquery") == 0 &&
        strcmp(r->segments[i + 1], "v2") == 0)
        return i + 2;
    return 0;
}

static bool match(struct lc_req *r, const char *pattern, size_t first)
{
    size_t i = first, arg = 0;
    while (*pattern) {
        size_t n = strcspn(pattern, "/");
        if (i == r->segment_count)
            return false;
        const char *s = r->segments[i++];
        if (n == 1 && *pattern == '*') {
            if (!*s)
                return false;
            r->args[arg++] = s;
        } else if (strlen(s) != n || memcmp(s, pattern, n) != 0) {
            return false;
        }
        pattern += n + (pattern[n] == '/');
    }
    return i == r->segment_count;
}

static bool route_match(struct lc_req *r, const struct lc_route *route)
{
    bool upload;
    size_t first = skip_base(r, &upload);
    // Google's Node client sends "b/..." below the address that STORAGE_EMULATOR_HOST names
    if (r->segment_count && strcmp(r->segments[0], "b") == 0)
        return lc_starts_with(route->pattern, B) &&
               match(r, route->pattern + strlen("storage/v1/"), 0);
    if (first && upload) // upload/bigquery/v2/X matches "upload/X"
        return lc_starts_with(route->pattern, "upload/projects") &&
               match(r, route->pattern + 7, first);
    return match(r, route->pattern, first);
}

void lc_route_find(struct lc_req *r)
{
    bool other_method = false;
    if (r->malformed) {
        lc_fail(r, 400, "badRequest", "The URL has a malformed percent escape.");
        return;
    }
    for (size_t i = 0; i < LC_ARRAY_LEN(routes); i++) {
        if (!route_match(r, &routes[i]))
            continue;
        if (strcmp(routes[i].method, r->method) == 0) {
            r->route = &routes[i];
            return;
        }
        other_method = true;
    }
    if (other_method)
        lc_fail(r, 405, "httpMethodNotAllowed", "%s is not allowed on %s", r->method, r->uri);
    else
        lc_fail(r, 404, "notFound", "Not Found: %s %s", r->method, r->uri);
}

const char *lc_route_service(const struct lc_req *r)
{
    for (size_t i = 0; i < r->segment_count && i < 2; i++) {
        const char *s = r->segments[i];
        if (strcmp(s, "storage") == 0 || (i == 0 && strcmp(s, "b") == 0))
            return "storage";
        if (strcmp(s, "bigquery") == 0 || strcmp(s, "projects") == 0)
            return "bigquery";
        if (strcmp(s, "localcloud") == 0)
            return "localcloud";
    }
    return "other";
}
