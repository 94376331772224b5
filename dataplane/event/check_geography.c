/*
 * HOT in tables with GEOGRAPHY columns only. The form of a geography: WKT grammar and coordinate
 * ranges. Whether a polygon crosses itself is left to BigQuery; GeoJSON is only recognised.
 */
#include <strings.h>

#include "dataplane/event/check_internal.h"
#include "dataplane/event/text_internal.h"

#define NESTING_MAX 8 /* of GEOMETRYCOLLECTIONs */

struct wkt {
    const char *p;
    const char *end;
};

struct point {
    double x, y;
};

/* A geometry is a list of coordinates, or a list of such lists, and so on. */
static const struct wkt_kind {
    const char *name;
    uint8_t level;      /* lists in lists; 0: a list of geometries */
    uint8_t points_min; /* of an innermost list */
    bool ring;          /* innermost lists end where they start */
} kinds[] = {
    {"POINT", 1, 1, false},
    {"LINESTRING", 1, 2, false},
    {"POLYGON", 2, 4, true},
    {"MULTIPOINT", 1, 1, false},
    {"MULTILINESTRING", 2, 2, false},
    {"MULTIPOLYGON", 3, 4, true},
    {"GEOMETRYCOLLECTION", 0, 0, false},
};

static void skip_space(struct wkt *w)
{
    while (w->p < w->end && *w->p == ' ')
        w->p++;
}

static bool take(struct wkt *w, char c)
{
    skip_space(w);
    if (w->p == w->end || *w->p != c)
        return false;
    w->p++;
    return true;
}

/* A word of letters. */
static struct span word(struct wkt *w)
{
    struct span s;

    skip_space(w);
    s.ptr = w->p;
    while (w->p < w->end && ((*w->p | 0x20) >= 'a' && (*w->p | 0x20) <= 'z'))
        w->p++;
    s.len = (size_t)(w->p - s.ptr);
    return s;
}

static bool is_word(struct span s, const char *name)
{
    return s.len == strlen(name) && strncasecmp(s.ptr, name, s.len) == 0;
}

static bool coordinate(struct wkt *w, double limit, double *out)
{
    struct span s;

    skip_space(w);
    s.ptr = w->p;
    while (w->p < w->end && *w->p != ' ' && *w->p != ',' && *w->p != ')' && *w->p != '(')
        w->p++;
    s.len = (size_t)(w->p - s.ptr);
    return json_double(s, out) == 0 && *out >= -limit && *out <= limit;
}

static bool point(struct wkt *w, struct point *out)
{
    return coordinate(w, 180, &out->x) && coordinate(w, 90, &out->y);
}

/* (x y, x y, ...) ; a MULTIPOINT may also have ((x y), (x y)). */
static bool points(struct wkt *w, const struct wkt_kind *k)
{
    struct point first = {0}, p = {0};
    unsigned n = 0;

    if (!take(w, '('))
        return false;
    do {
        bool wrapped = k == &kinds[3] && take(w, '(');

        if (!point(w, &p) || (wrapped && !take(w, ')')))
            return false;
        if (n == 0)
            first = p;
        if (n < UINT8_MAX)
            n++;
    } while (take(w, ','));
    if (!take(w, ')') || n < k->points_min || (k == &kinds[0] && n != 1))
        return false;
    return !k->ring || (first.x >= p.x && first.x <= p.x && first.y >= p.y && first.y <= p.y);
}

static bool lists(struct wkt *w, const struct wkt_kind *k, unsigned level)
{
    if (level == 1)
        return points(w, k);
    if (!take(w, '('))
        return false;
    do {
        if (!lists(w, k, level - 1))
            return false;
    } while (take(w, ','));
    return take(w, ')');
}

static bool geometry(struct wkt *w, unsigned nesting)
{
    const struct wkt_kind *k = NULL;
    struct span name = word(w);
    struct wkt before;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (is_word(name, kinds[i].name))
            k = &kinds[i];
    }
    if (k == NULL || nesting > NESTING_MAX)
        return false;
    before = *w;
    if (is_word(word(w), "EMPTY"))
        return true;
    *w = before;
    if (k->level > 0)
        return lists(w, k, k->level);
    if (!take(w, '('))
        return false;
    do {
        if (!geometry(w, nesting + 1))
            return false;
    } while (take(w, ','));
    return take(w, ')');
}

/* An object by its first and last character that is not a space. */
static bool looks_like_geojson(struct span raw)
{
    struct text_iter it;
    int first = TEXT_END, last = TEXT_END, c;

    text_iter_init(&it, raw);
    while ((c = text_iter_next(&it)) != TEXT_END) {
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        if (first == TEXT_END)
            first = c;
        last = c;
    }
    return first == '{' && last == '}';
}

bool check_geography(struct span raw)
{
    struct wkt w = {raw.ptr, raw.ptr + raw.len};

    ASSERT_HOT(raw.ptr != NULL);
    if (memchr(raw.ptr, '{', raw.len) != NULL || memchr(raw.ptr, '\\', raw.len) != NULL)
        return looks_like_geojson(raw);
    if (!geometry(&w, 1))
        return false;
    skip_space(&w);
    return w.p == w.end;
}
