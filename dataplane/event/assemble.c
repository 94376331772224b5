/*
 * HOT. See assemble.h. The common case, no cuts and no line breaks, is one copy of the document and
 * one of a template whose fixed-width parts are then written over.
 */
#include "dataplane/event/assemble.h"

#include "dataplane/event/text_internal.h"
#include "dataplane/event/timeval.h"

#define UUID_DIGITS 32
#define LSN_DIGITS  16
#define LINE_END    3 /* "}\n behind the LSN */
#define ZERO16      "0000000000000000"

#define ADDED_DATE "\"" COLUMN_EVENT_DATE "\":\""
#define ADDED_TIME "\",\"" COLUMN_PROCESSED "\":\""
#define ADDED_ID   "\",\"" COLUMN_ID "\":\""

/* The added members with zeros where the values go. */
static const char added_template[] = ADDED_DATE
    "0000-00-00" ADDED_TIME "0000-00-00T00:00:00.000000Z" ADDED_ID ZERO16 ZERO16 "-" ZERO16 "\"}\n";

#define ADDED_BYTES (sizeof(added_template) - 1)
#define DATE_AT     (sizeof(ADDED_DATE) - 1)
#define TIME_AT     (DATE_AT + DATE_TEXT_BYTES + sizeof(ADDED_TIME) - 1)
#define UUID_AT     (TIME_AT + TIME_TEXT_BYTES + sizeof(ADDED_ID) - 1)
#define LSN_AT      (UUID_AT + UUID_DIGITS + 1)

#define OVERFLOW_OPEN     "\"" COLUMN_OVERFLOW "\":{"
#define OVERFLOW_CUT_MORE 4 /* quotes, colon and comma of a moved member */

static_assert(UUID_DIGITS + 1 + LSN_DIGITS == EVENT_ID_BYTES, "form of penstock_id");
static_assert(LSN_AT + LSN_DIGITS + LINE_END == ADDED_BYTES, "the LSN ends the line");
static_assert(ADDED_BYTES + 1 <= EVENT_ADDED_BYTES_MAX,
              "a comma before, the rest as in the template");

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What is cut leaves the document, so that of a moved member only its name may come on top. */
size_t event_assembled_max(const struct event_parts *parts)
{
    size_t max = parts->doc.len + EVENT_ADDED_BYTES_MAX;
    size_t names = 0;

    for (uint32_t i = 0; i < parts->n_cuts; i++) {
        if (parts->cuts[i].overflow)
            names += parts->cuts[i].name.len + OVERFLOW_CUT_MORE;
    }
    return names == 0 ? max : max + names + sizeof(OVERFLOW_OPEN) + 2;
}

/* Copies JSON text; line breaks in it stand outside strings and become spaces. */
static char *copy_text(char *out, const char *from, size_t len, bool has_break)
{
    if (likely(!has_break)) {
        memcpy(out, from, len);
        return out + len;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = from[i] == '\n' || from[i] == '\r' ? ' ' : from[i];
    return out + len;
}

/*
 * Copies the document up to before its last '}' without the cut members. A cut takes the comma
 * behind it along; the last member of an object has none, so the comma before it goes, which is the
 * last byte written.
 */
static char *copy_uncut(const struct event_parts *parts, char *out)
{
    const char *doc = parts->doc.ptr;
    bool has_break = (parts->json_flags & JSON_HAS_LINE_BREAK) != 0;
    size_t end = parts->doc.len - 1;
    size_t at = 0;
    char *start = out;

    for (uint32_t i = 0; i < parts->n_cuts; i++) {
        const struct event_cut *cut = &parts->cuts[i];

        ASSERT_HOT(cut->offset >= at && cut->offset + cut->len <= end);
        out = copy_text(out, doc + at, cut->offset - at, has_break);
        at = cut->offset + cut->len;
        while (is_space(doc[at]))
            at++;
        if (doc[at] == ',') {
            at++;
            continue;
        }
        ASSERT_HOT(doc[at] == '}');
        while (out > start && is_space(out[-1]))
            out--;
        if (out[-1] == ',')
            out--;
    }
    return copy_text(out, doc + at, end - at, has_break);
}

/* Writes "penstock_overflow":{...}, when a cut is to be moved there. */
static char *put_overflow(const struct event_parts *parts, char *out)
{
    bool has_break = (parts->json_flags & JSON_HAS_LINE_BREAK) != 0;
    bool first = true;

    for (uint32_t i = 0; i < parts->n_cuts; i++) {
        const struct event_cut *cut = &parts->cuts[i];

        if (!cut->overflow)
            continue;
        if (first) {
            memcpy(out, OVERFLOW_OPEN, sizeof(OVERFLOW_OPEN) - 1);
            out += sizeof(OVERFLOW_OPEN) - 1;
        } else {
            *out++ = ',';
        }
        first = false;
        *out++ = '"';
        memcpy(out, cut->name.ptr, cut->name.len);
        out += cut->name.len;
        *out++ = '"';
        *out++ = ':';
        out = copy_text(out, parts->doc.ptr + cut->value_offset,
                        cut->offset + cut->len - cut->value_offset, has_break);
    }
    if (first)
        return out;
    *out++ = '}';
    *out++ = ',';
    return out;
}

#define DATES_KEPT 32 /* a power of two */

/*
 * The texts of the last dates, and the added members with the last processing time: a few days for nearly
 * all events, one processing time for all of a body. Formatting them anew took an eighth of a worker's
 * time; with one date only, that came back wherever events of two days take turns, as around midnight.
 */
static _Thread_local struct {
    struct {
        int32_t days;
        bool known;
        char text[DATE_TEXT_BYTES];
    } date[DATES_KEPT];
    int64_t us;
    bool made;
    char text[ADDED_BYTES];
} recent;

static void put_date(int32_t days, char *out)
{
    const uint32_t at = (uint32_t)days % DATES_KEPT;

    if (unlikely(!recent.date[at].known || recent.date[at].days != days)) {
        date_format(days, recent.date[at].text);
        recent.date[at].days = days;
        recent.date[at].known = true;
    }
    memcpy(out, recent.date[at].text, sizeof(recent.date[at].text));
}

static char *put_added(const struct event_parts *parts, char *out)
{
    if (unlikely(recent.us != parts->processed_us || !recent.made)) {
        memcpy(recent.text, added_template, ADDED_BYTES);
        time_format(parts->processed_us, recent.text + TIME_AT);
        recent.us = parts->processed_us;
        recent.made = true;
    }
    ASSERT_HOT(recent.text[ADDED_BYTES - 1] == '\n');
    memcpy(out, recent.text, ADDED_BYTES);
    put_date(time_days(parts->event_us), out + DATE_AT);
    memcpy(out + UUID_AT, parts->journal_hex, UUID_DIGITS);
    text_hex_16(out + LSN_AT, parts->lsn);
    return out + ADDED_BYTES;
}

size_t event_assemble(const struct event_parts *parts, char *out, uint32_t *added)
{
    const char *doc = parts->doc.ptr;
    size_t len = parts->doc.len;
    char *p, *last, *first_added;

    ASSERT_HOT(len >= 2 && doc[0] == '{' && doc[len - 1] == '}' && added != NULL);
    if (likely(parts->n_cuts == 0))
        p = copy_text(out, doc, len - 1, (parts->json_flags & JSON_HAS_LINE_BREAK) != 0);
    else
        p = copy_uncut(parts, out);
    first_added = p;
    for (last = p - 1; is_space(*last); last--)
        ;
    if (last != out) /* not "{" alone: only the root's brace can stand there */
        *p++ = ',';
    if (unlikely(parts->n_cuts > 0))
        p = put_overflow(parts, p);
    p = put_added(parts, p);
    *added = (uint32_t)(p - 2 - first_added);
    ASSERT_HOT((size_t)(p - out) <= event_assembled_max(parts));
    return (size_t)(p - out);
}

void event_patch_lsn(char *line, size_t len, uint64_t lsn)
{
    char *at = line + len - LINE_END - LSN_DIGITS;

    ASSERT(len > LINE_END + EVENT_ID_BYTES && at[-1] == '-' &&
           memcmp(line + len - LINE_END, "\"}\n", LINE_END) == 0);
    text_hex_16(at, lsn);
}

/* The number of hex digits at p. @return false when they are none. */
static bool read_hex(const char *p, unsigned n, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++) {
        const char c = p[i];

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

bool event_facts(struct span line, struct event_facts *out)
{
    const char *tail;
    uint64_t high;

    ASSERT_HOT(out != NULL);
    if (line.len < ADDED_BYTES + 1)
        return false;
    tail = line.ptr + line.len - ADDED_BYTES;
    if (memcmp(tail, ADDED_DATE, sizeof(ADDED_DATE) - 1) != 0 ||
        memcmp(tail + UUID_AT - sizeof(ADDED_ID) + 1, ADDED_ID, sizeof(ADDED_ID) - 1) != 0 ||
        memcmp(line.ptr + line.len - LINE_END, "\"}\n", LINE_END) != 0)
        return false;
    out->id = tail + UUID_AT;
    out->added = (uint32_t)(ADDED_BYTES - 2) + (tail[-1] == ',' ? 1 : 0);
    return read_hex(out->id, 16, &high) && read_hex(out->id + 16, 16, &high) &&
           out->id[UUID_DIGITS] == '-' && read_hex(tail + LSN_AT, LSN_DIGITS, &out->lsn) &&
           time_parse((struct span){tail + TIME_AT, TIME_TEXT_BYTES}, &out->processed_us) == 0;
}

/* The member of moved fields, which ends where the fixed added fields begin. */
static bool find_overflow(struct json_value event, const char *end, struct json_member *out)
{
    struct json_walk w;

    ASSERT(event.type == JSON_OBJECT);
    json_walk_init(&w, event);
    while (json_walk_member(&w, out)) {
        if (out->value.ptr + out->value.len == end)
            return span_equal(out->key, span_of(COLUMN_OVERFLOW)) && out->value.type == JSON_OBJECT;
    }
    return false;
}

size_t event_original(struct span line, bool moved, char *out)
{
    struct event_facts facts;
    struct json_member m;
    const char *end = line.ptr + line.len - 2, *from;
    char *p = out;

    if (!event_facts(line, &facts)) { /* not ours: as it is */
        memcpy(out, line.ptr, line.len);
        return line.len > 0 && line.ptr[line.len - 1] == '\n' ? line.len - 1 : line.len;
    }
    end -= facts.added;
    if (!moved || !find_overflow(json_value_at(line.ptr, line.len), end, &m)) {
        memcpy(p, line.ptr, (size_t)(end - line.ptr));
        p += end - line.ptr;
        *p++ = '}';
        return (size_t)(p - out);
    }
    from = m.key.ptr - 1;
    memcpy(p, line.ptr, (size_t)(from - line.ptr)); /* its comma stays */
    p += from - line.ptr;
    memcpy(p, m.value.ptr + 1, m.value.len - 1u);
    p += m.value.len - 1u;
    ASSERT((size_t)(p - out) <= line.len);
    return (size_t)(p - out);
}

size_t event_wrap(const char *line, size_t len, uint32_t added, char *out)
{
    static const char open[] = "{\"" COLUMN_EVENT "\":";
    const char *tail = line + len - 2 - added;
    char *p = out;

    ASSERT_HOT(added > 0 && len >= added + 3u && line[0] == '{');
    memcpy(p, open, sizeof(open) - 1);
    p += sizeof(open) - 1;
    memcpy(p, line, (size_t)(tail - line));
    p += tail - line;
    *p++ = '}';
    if (*tail != ',') /* the event was empty */
        *p++ = ',';
    memcpy(p, tail, added + 2u);
    return (size_t)(p + added + 2 - out);
}
