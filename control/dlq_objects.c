/*
 * COLD. Which objects of dead letters are read, and in which order: by minute, oldest or newest
 * first, and in the order of their plans within minute and type, so that the parts of a letter
 * follow each other. Names are listed, never guessed; type and time limit the listing.
 *
 * With more than DLQ_OBJECTS_KEPT objects the bucket is listed more than once, a window of whole
 * minutes each time, so that memory is bounded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "dataplane/base/clock.h"
#include "dataplane/event/timeval.h"

#define PREFIX       "dead_letter/"
#define UNTYPED      "_x_unknown" /* what no escaped type can be */
#define MINUTE_US    INT64_C(60000000)
#define DAY_US       INT64_C(86400000000)
#define TIME_PATH    17 /* "YYYY/MM/DD/HH/MM/" */
#define COMPACT      12 /* "YYYYMMDDHHMM" */
#define FOLDER_BYTES (sizeof(PREFIX) + TYPE_ESCAPED_BYTES_MAX + TIME_PATH + 2)

/* ---- names ---- */

/* "YYYY/MM/DD/HH/MM/" as a minute. */
static bool parse_minute(const char *p, int32_t *minute)
{
    static const char form[] = "dddd/dd/dd/dd/dd/";
    char text[] = "YYYY-MM-DDTHH:MM:00Z";
    int64_t us;

    static_assert(sizeof(form) == TIME_PATH + 1, "the form of a time in a path");
    for (int i = 0; i < TIME_PATH; i++) {
        if (form[i] == 'd' ? p[i] < '0' || p[i] > '9' : p[i] != form[i])
            return false;
    }
    memcpy(text, p, 4);
    for (int i = 0; i < 4; i++)
        memcpy(text + 5 + 3 * i, p + 5 + 3 * i, 2);
    if (time_parse((struct span){.ptr = text, .len = sizeof(text) - 1}, &us) != 0)
        return false;
    *minute = time_minute(us);
    ASSERT((int64_t)*minute * MINUTE_US == us);
    return true;
}

bool dlq_object_parse(const char *name, struct dlq_object *out)
{
    const char *type = name + sizeof(PREFIX) - 1, *slash, *file, *last;
    size_t len = strlen(name);
    char raw[TYPE_ESCAPED_BYTES_MAX];

    ASSERT(out != NULL);
    *out = (struct dlq_object){.name = name};
    if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0 || (slash = strchr(type, '/')) == NULL ||
        slash == type || slash - type > TYPE_ESCAPED_BYTES_MAX)
        return false;
    if ((size_t)(slash - name) + 1 + TIME_PATH >= len || !parse_minute(slash + 1, &out->minute))
        return false;
    file = slash + 1 + TIME_PATH;
    if (strchr(file, '/') != NULL || strncmp(file, "dead_letter_", 12) != 0 ||
        strstr(file, ".json") == NULL)
        return false;
    if (((size_t)(slash - type) != sizeof(UNTYPED) - 1 ||
         memcmp(type, UNTYPED, sizeof(UNTYPED) - 1) != 0) &&
        name_unescape((struct span){.ptr = type, .len = (size_t)(slash - type)}, raw) < 0)
        return false;
    last = strrchr(file, '_');
    out->plan = strtoull(last + 1, NULL, 16); /* only for the order */
    return true;
}

size_t dlq_object_type(const char *name, char *out)
{
    const char *type = name + sizeof(PREFIX) - 1, *slash = strchr(type, '/');
    char raw[TYPE_ESCAPED_BYTES_MAX];
    int n;

    ASSERT(slash != NULL && slash - type <= TYPE_ESCAPED_BYTES_MAX);
    if (strncmp(type, UNTYPED "/", sizeof(UNTYPED)) == 0)
        return 0;
    n = name_unescape((struct span){.ptr = type, .len = (size_t)(slash - type)}, raw);
    if (n < 0 || n > TYPE_NAME_BYTES_MAX)
        return 0;
    memcpy(out, raw, (size_t)n);
    return (size_t)n;
}

/* Names hold _LOG_, the first eight digits of the delivery log's random id. */
static bool is_ours(const struct dlq_objects *o, const char *name)
{
    const char *file = strrchr(name, '/');
    char part[16];

    ASSERT(file != NULL);
    if (o->log == NULL)
        return true;
    snprintf(part, sizeof(part), "_%.8s_", o->log);
    return strstr(file, part) != NULL;
}

/* ---- order ---- */

/* Length of the folder, with its '/'. */
static size_t folder_len(const char *name)
{
    const char *slash = strrchr(name, '/');

    ASSERT(slash != NULL);
    return (size_t)(slash - name) + 1;
}

static int compare_oldest(const void *a, const void *b)
{
    const struct dlq_object *x = a, *y = b;
    size_t n = folder_len(x->name), m = folder_len(y->name);
    int by_folder;

    if (x->minute != y->minute)
        return x->minute < y->minute ? -1 : 1;
    by_folder = memcmp(x->name, y->name, n < m ? n : m);
    if (by_folder != 0 || n != m)
        return by_folder != 0 ? by_folder : n < m ? -1 : 1;
    if (x->plan != y->plan)
        return x->plan < y->plan ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Only minutes turn round: within one, parts must follow each other. */
static int compare_newest(const void *a, const void *b)
{
    const struct dlq_object *x = a, *y = b;

    if (x->minute != y->minute)
        return x->minute > y->minute ? -1 : 1;
    return compare_oldest(a, b);
}

static void window_sort(struct dlq_objects *o)
{
    for (size_t i = 0; i < o->n; i++)
        o->item[i].name = o->names.ptr + o->item[i].name_at;
    ASSERT(o->n <= o->room);
    if (o->n > 1)
        qsort(o->item, o->n, sizeof(*o->item), o->newest_first ? compare_newest : compare_oldest);
}

/* Keeps the first DLQ_OBJECTS_KEPT objects and the rest of their last minute. */
static void window_cut(struct dlq_objects *o)
{
    struct textbuf names = {0};
    size_t keep = DLQ_OBJECTS_KEPT;

    ASSERT(o->n >= keep);
    window_sort(o);
    while (keep < o->n && o->item[keep].minute == o->item[keep - 1].minute)
        keep++;
    o->bound = o->item[keep - 1].minute;
    o->more = true;
    for (size_t i = 0; i < keep; i++) {
        size_t at = names.len;

        textbuf_bytes(&names, o->item[i].name, strlen(o->item[i].name) + 1);
        o->item[i].name_at = at;
    }
    o->failed = o->failed || names.failed;
    textbuf_fini(&o->names);
    o->names = names;
    o->n = keep;
}

static void window_add(struct dlq_objects *o, const struct dlq_object *object, const char *name)
{
    ASSERT(name[0] != '\0');
    if (o->n == o->room) {
        size_t room = o->room > 0 ? 2 * o->room : 1024;
        struct dlq_object *item = realloc(o->item, room * sizeof(*item));

        if (item == NULL) {
            o->failed = true;
            return;
        }
        o->item = item;
        o->room = room;
    }
    o->item[o->n] = *object;
    o->item[o->n++].name_at = o->names.len;
    textbuf_bytes(&o->names, name, strlen(name) + 1);
    o->failed = o->failed || o->names.failed;
    if (o->n >= 2 * DLQ_OBJECTS_KEPT && !o->failed)
        window_cut(o);
}

/* ---- listing ---- */

static int32_t clamp_minute(int64_t us)
{
    int64_t least = (int64_t)INT32_MIN * MINUTE_US, most = (int64_t)INT32_MAX * MINUTE_US;

    ASSERT(least < most);
    return us < least ? INT32_MIN : us > most ? INT32_MAX : time_minute(us);
}

static bool in_window(const struct dlq_objects *o, int32_t minute)
{
    const struct dlq_filter *f = o->filter;

    ASSERT(f->since_us < f->until_us);
    if (minute < clamp_minute(f->since_us) || minute > clamp_minute(f->until_us - 1) ||
        (f->has_minute && minute != f->minute))
        return false;
    return !o->more || (o->newest_first ? minute >= o->bound : minute <= o->bound);
}

static bool visit_object(void *ctx, const struct gcs_listed *listed)
{
    struct dlq_objects *o = ctx;
    struct dlq_object object;

    ASSERT(o->reader != NULL);
    if (!dlq_object_parse(listed->name, &object)) {
        o->strange++;
    } else if (!is_ours(o, listed->name)) {
        o->others++;
    } else if (in_window(o, object.minute)) {
        object.bytes = listed->bytes;
        object.generation = listed->generation;
        object.crc32c = listed->crc32c;
        window_add(o, &object, listed->name);
    }
    return !o->failed && atomic_load(o->state) != DAEMON_STOPPING;
}

/* Folders of types, one a line. */
static bool visit_folder(void *ctx, const char *name)
{
    struct textbuf *folders = ctx;

    ASSERT(name[0] != '\0');
    textbuf_bytes(folders, name, strlen(name) + 1);
    return !folders->failed;
}

/* "PREFIX/TYPE/YYYY/MM/DD/HH/MM/" of a time, or "" when it limits nothing. */
static void offset_of(const char *folder, int64_t us, char *out, size_t out_len)
{
    char t[TIME_TEXT_BYTES + 1] = "";

    out[0] = '\0';
    if (us < TIME_US_MIN || us > TIME_US_MAX)
        return;
    time_format(us, t);
    ASSERT(strlen(folder) + TIME_PATH < out_len);
    snprintf(out, out_len, "%s%.4s/%.2s/%.2s/%.2s/%.2s/", folder, t, t + 5, t + 8, t + 11, t + 14);
}

/* Lists one type's folder, limited to the filter's time. */
static int list_type(struct dlq_objects *o, const char *folder)
{
    const struct dlq_filter *f = o->filter;
    int64_t since = f->has_minute ? f->minute * MINUTE_US : f->since_us;
    int64_t until = f->has_minute ? since + MINUTE_US : f->until_us;
    char start[FOLDER_BYTES], end[FOLDER_BYTES];
    struct gcs_listing what = {.prefix = folder, .object = visit_object, .ctx = o};

    ASSERT(since < until);
    if (strlen(folder) + TIME_PATH >= sizeof(start)) {
        o->strange++; /* no type has so long a name */
        return 0;
    }
    offset_of(folder, since, start, sizeof(start));
    /* The minute of the last microsecond is wanted as a whole. */
    offset_of(folder, until <= TIME_US_MAX - MINUTE_US ? until - 1 + MINUTE_US : INT64_MAX, end,
              sizeof(end));
    what.start = start;
    what.end = end;
    return gcs_reader_list(o->reader, &what, o->error, sizeof(o->error));
}

/* All types, each limited to the filter's time. */
static int list_types(struct dlq_objects *o)
{
    struct textbuf folders = {0};
    const struct gcs_listing what = {.prefix = PREFIX, .folder = visit_folder, .ctx = &folders};
    int rc = gcs_reader_list(o->reader, &what, o->error, sizeof(o->error));

    if (rc == 0 && folders.failed)
        rc = -ENOMEM;
    ASSERT(rc <= 0);
    for (size_t at = 0; rc == 0 && at < folders.len; at += strlen(folders.ptr + at) + 1)
        rc = list_type(o, folders.ptr + at);
    textbuf_fini(&folders);
    return rc;
}

static int list_all(struct dlq_objects *o)
{
    const struct dlq_filter *f = o->filter;
    const struct gcs_listing everything = {.prefix = PREFIX, .object = visit_object, .ctx = o};
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1] = UNTYPED, folder[FOLDER_BYTES];

    ASSERT(o->reader != NULL);
    if (f->has_type) {
        if (f->type_len > 0)
            name_escape((struct span){.ptr = f->type, .len = f->type_len}, escaped);
        snprintf(folder, sizeof(folder), PREFIX "%s/", escaped);
        return list_type(o, folder);
    }
    if (f->since_us != INT64_MIN || f->until_us < clock_wall_us() - DAY_US)
        return list_types(o);
    return gcs_reader_list(o->reader, &everything, o->error, sizeof(o->error));
}

/* The filter with what earlier windows have taken left out. */
static bool narrow(const struct dlq_objects *o, struct dlq_filter *out)
{
    int64_t bound_us = (int64_t)o->bound * MINUTE_US;

    *out = *o->filter;
    if (o->newest_first && out->until_us > bound_us)
        out->until_us = bound_us;
    if (!o->newest_first && out->since_us < bound_us + MINUTE_US)
        out->since_us = bound_us + MINUTE_US;
    ASSERT(o->begun);
    return out->since_us < out->until_us;
}

int dlq_objects_next(struct dlq_objects *o)
{
    const struct dlq_filter *whole = o->filter;
    struct dlq_filter *rest = malloc(sizeof(*rest));
    int rc = 0;

    if (rest == NULL)
        return -ENOMEM;
    if (o->begun && (!o->more || !narrow(o, rest))) {
        free(rest);
        return 0;
    }
    if (o->begun)
        o->filter = rest;
    o->begun = true;
    o->more = false;
    o->n = 0;
    o->others = o->strange = 0;
    textbuf_fini(&o->names);
    rc = list_all(o);
    o->filter = whole;
    free(rest);
    if (rc == 0 && o->failed) {
        snprintf(o->error, sizeof(o->error), "out of memory for the names of the objects");
        rc = -ENOMEM;
    }
    if (rc == 0 && atomic_load(o->state) == DAEMON_STOPPING) {
        snprintf(o->error, sizeof(o->error), "the daemon is stopping");
        rc = -ECANCELED;
    }
    window_sort(o);
    ASSERT(rc <= 0);
    return rc != 0 ? rc : o->n > 0;
}

void dlq_objects_fini(struct dlq_objects *o)
{
    ASSERT(o != NULL);
    free(o->item);
    textbuf_fini(&o->names);
    o->item = NULL;
    o->n = o->room = 0;
}
