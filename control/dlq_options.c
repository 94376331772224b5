/* COLD. The words behind `penstock dlq`, from one table; see dlq_options.h. */
#include "control/dlq_options.h"

#include <stdio.h>

#include "control/protocol.h"
#include "control/values.h"
#include "dataplane/base/reason.h"
#include "dataplane/event/timeval.h"

/* Bits of the verbs that take an option. */
enum { LIST = 1 << DLQ_LIST, SHOW = 1 << DLQ_SHOW, REPLAY = 1 << DLQ_REPLAY, DROP = 1 << DLQ_DROP };

/* A command under way, and one decoded word. */
struct parse {
    struct dlq_options *out;
    struct textbuf *error;
    int64_t now_us;
    const char *option; /* whose value is read */
    struct span words;  /* what is left */
    bool has_verb, has_state;
};

struct word {
    size_t len;
    char text[DLQ_WORD_BYTES]; /* NUL-terminated; may hold others */
};

typedef int (*set_fn)(struct parse *p, const struct word *value);

static const char *const verb_names[] = {"list", "show", "replay", "drop", "help"};

static const struct {
    const char *name, *arguments, *help;
} verb_help[] = {
    {"list", "[FILTERS] [--state S] [--limit N] [--group]",
     "one line each, newest first; --group counts by type and reason"},
    {"show", "ID [--raw]",
     "everything about one; --raw writes the original bytes and nothing else"},
    {"replay", "(--id ID... | FILTERS | --all) [--as-type T] [--dry-run] [--yes] [--limit N]",
     "take them in again, each exactly once, oldest first"},
    {"drop", "(--id ID... | FILTERS | --all) [--delete-objects] [--dry-run] [--yes] [--limit N]",
     "mark them as dealt with; the objects stay in the bucket unless --delete-objects"},
    {"help", "", "this list"},
};

static_assert(ARRAY_LEN(verb_names) == DLQ_HELP + 1 && ARRAY_LEN(verb_help) == DLQ_HELP + 1,
              "a name and a help text for each verb");

const char *dlq_state_name(enum dlq_state s)
{
    static const char *const names[] = {"new", "replaying", "replayed", "dropped"};

    ASSERT((size_t)s < ARRAY_LEN(names));
    return names[s];
}

/* The message of a wrong value. */
static int wrong(struct parse *p, const struct word *value, const char *allowed)
{
    ASSERT(p->option != NULL);
    textbuf_add(p->error, "%s: found \"", p->option);
    textbuf_printable(p->error, (struct span){.ptr = value->text, .len = value->len});
    textbuf_add(p->error, "\"; allowed: %s\n", allowed);
    return PROTOCOL_USAGE;
}

/* ---- values ---- */

static int set_type(struct parse *p, const struct word *v)
{
    struct dlq_filter *f = &p->out->filter;

    if (v->len == 0 || v->len > TYPE_NAME_BYTES_MAX)
        return wrong(p, v, "an event type of 1 to 128 bytes; --untyped for letters without one");
    ASSERT(f->type_len <= TYPE_NAME_BYTES_MAX);
    f->has_type = true;
    f->type_len = (uint8_t)v->len;
    memcpy(f->type, v->text, v->len);
    return PROTOCOL_OK;
}

static int set_untyped(struct parse *p, const struct word *v)
{
    ASSERT(v == NULL);
    p->out->filter.has_type = true;
    p->out->filter.type_len = 0;
    return PROTOCOL_OK;
}

static int set_as_type(struct parse *p, const struct word *v)
{
    if (v->len == 0 || v->len > TYPE_NAME_BYTES_MAX)
        return wrong(p, v, "an event type of 1 to 128 bytes");
    ASSERT(p->out->verb == DLQ_REPLAY);
    p->out->has_as_type = true;
    p->out->as_type_len = (uint8_t)v->len;
    memcpy(p->out->as_type, v->text, v->len);
    return PROTOCOL_OK;
}

static int set_reason(struct parse *p, const struct word *v)
{
    enum reason r = reason_from_name(v->text);
    struct textbuf known = {0};
    int status;

    ASSERT(p->out != NULL);
    if (r > REASON_NONE && r < REASON_DEAD_END && strlen(v->text) < DLQ_REASON_BYTES) {
        memcpy(p->out->filter.reason, v->text, strlen(v->text) + 1);
        return PROTOCOL_OK;
    }
    for (int i = REASON_NONE + 1; i < REASON_DEAD_END; i++)
        textbuf_add(&known, "%s%s", i > REASON_NONE + 1 ? ", " : "", reason_name((enum reason)i));
    status = wrong(p, v, textbuf_str(&known));
    textbuf_fini(&known);
    return status;
}

static int set_source(struct parse *p, const struct word *v)
{
    if (v->len == 0 || v->len >= DLQ_SOURCE_BYTES || strlen(v->text) != v->len)
        return wrong(p, v, "a part of the source, such as 10.0.0.7");
    ASSERT(p->out != NULL);
    memcpy(p->out->filter.source, v->text, v->len + 1);
    return PROTOCOL_OK;
}

/* A time, or how long ago. */
static int set_time(struct parse *p, const struct word *v, int64_t *out)
{
    uint64_t ago;

    ASSERT(out != NULL);
    if (strlen(v->text) == v->len) {
        if (time_parse((struct span){.ptr = v->text, .len = v->len}, out) == 0)
            return PROTOCOL_OK;
        if (value_duration(v->text, &ago) == 0 && ago <= (uint64_t)(p->now_us - TIME_US_MIN)) {
            *out = p->now_us - (int64_t)ago;
            return PROTOCOL_OK;
        }
    }
    return wrong(p, v,
                 "a time such as 2026-11-21T08:00:00Z or 2026-11-21, or how long ago: 90m, 2d");
}

static int set_since(struct parse *p, const struct word *v)
{
    ASSERT(p->out != NULL);
    return set_time(p, v, &p->out->filter.since_us);
}

static int set_until(struct parse *p, const struct word *v)
{
    ASSERT(p->out != NULL);
    return set_time(p, v, &p->out->filter.until_us);
}

static int set_state(struct parse *p, const struct word *v)
{
    ASSERT(DLQ_STATES <= 31);
    p->has_state = true;
    if (strcmp(v->text, "all") == 0) {
        p->out->filter.states = (1u << DLQ_STATES) - 1;
        return PROTOCOL_OK;
    }
    for (int i = 0; i < DLQ_STATES; i++) {
        if (strcmp(v->text, dlq_state_name((enum dlq_state)i)) == 0) {
            p->out->filter.states = 1u << i;
            return PROTOCOL_OK;
        }
    }
    return wrong(p, v, "new, replaying, replayed, dropped, all");
}

static int set_limit(struct parse *p, const struct word *v)
{
    uint64_t n;

    ASSERT(p->out != NULL);
    if (value_count(v->text, &n) != 0 || n == 0 || (p->out->verb == DLQ_LIST && n > DLQ_LIMIT_MAX))
        return wrong(p, v, p->out->verb == DLQ_LIST ? "1 to 10000" : "1 or more");
    p->out->limit = n;
    return PROTOCOL_OK;
}

static int set_id(struct parse *p, const struct word *v)
{
    struct dlq_filter *f = &p->out->filter;
    struct dlq_id id;

    ASSERT(f->n_ids <= DLQ_IDS_MAX);
    if (!dlq_id_parse((struct span){.ptr = v->text, .len = v->len}, &id))
        return wrong(p, v,
                     "an id as `penstock dlq list` shows it: 32 hex digits, '-', 16 hex digits");
    for (uint32_t i = 0; i < f->n_ids; i++) {
        if (dlq_id_equal(&f->id[i], &id))
            return PROTOCOL_OK;
    }
    if (f->n_ids == DLQ_IDS_MAX) {
        textbuf_add(p->error, "more than %u ids in one command\n", DLQ_IDS_MAX);
        return PROTOCOL_USAGE;
    }
    f->id[f->n_ids++] = id;
    return PROTOCOL_OK;
}

#define FLAG(member)                                               \
    static int set_##member(struct parse *p, const struct word *v) \
    {                                                              \
        ASSERT(v == NULL);                                         \
        p->out->member = true;                                     \
        return PROTOCOL_OK;                                        \
    }

FLAG(json)
FLAG(group)
FLAG(raw)
FLAG(all)
FLAG(dry_run)
FLAG(yes)
FLAG(delete_objects)
FLAG(others)

/* What an option is to the rules of check_together(). */
enum option_kind { PLAIN, FILTER };

static const struct option {
    const char *name, *argument, *help; /* argument NULL: a flag */
    unsigned verbs;
    enum option_kind kind;
    set_fn set;
} options[] = {
    {"--type", "T", "of this event type", LIST | REPLAY | DROP, FILTER, set_type},
    {"--untyped", NULL, "without an event type", LIST | REPLAY | DROP, FILTER, set_untyped},
    {"--reason", "R", "dead-lettered for this reason", LIST | REPLAY | DROP, FILTER, set_reason},
    {"--source", "TEXT", "whose source holds this text", LIST | REPLAY | DROP, FILTER, set_source},
    {"--since", "TIME", "received at this time or later; a time, or how long ago (90m, 2d)",
     LIST | REPLAY | DROP, FILTER, set_since},
    {"--until", "TIME", "received before this time", LIST | REPLAY | DROP, FILTER, set_until},
    {"--id", "ID", "this one; may be given more than once", REPLAY | DROP, PLAIN, set_id},
    {"--state", "S", "new (unless given), replaying, replayed, dropped, all", LIST | REPLAY | DROP,
     PLAIN, set_state},
    {"--limit", "N", "at most so many (list: 1000 unless given)", LIST | REPLAY | DROP, PLAIN,
     set_limit},
    {"--group", NULL, "counts by type and reason", LIST, PLAIN, set_group},
    {"--raw", NULL, "the original bytes and nothing else", SHOW, PLAIN, set_raw},
    {"--as-type", "T", "take them in as events of this type", REPLAY, PLAIN, set_as_type},
    {"--all", NULL, "every letter", REPLAY | DROP, PLAIN, set_all},
    {"--dry-run", NULL, "only say what would be done", REPLAY | DROP, PLAIN, set_dry_run},
    {"--yes", NULL, "do it without asking; needed with filters where no terminal asks",
     REPLAY | DROP, PLAIN, set_yes},
    {"--delete-objects", NULL,
     "delete the objects of which every letter is replayed or dropped; verify accounts for them",
     DROP, PLAIN, set_delete_objects},
    {"--others", NULL,
     "also letters of other nodes and earlier data directories: once only if nobody else replays "
     "them",
     LIST | SHOW | REPLAY | DROP, PLAIN, set_others},
    {"--json", NULL, "JSON instead of text", LIST | SHOW | REPLAY | DROP, PLAIN, set_json},
};

void dlq_help(bool json, struct textbuf *body)
{
    ASSERT(body != NULL);
    textbuf_add(body, json ? "{\"commands\":[" : "");
    for (size_t i = 0; i < ARRAY_LEN(verb_help); i++) {
        if (json)
            textbuf_add(body, "%s{\"name\":\"%s\",\"arguments\":\"%s\",\"help\":\"%s\"}",
                        i > 0 ? "," : "", verb_help[i].name, verb_help[i].arguments,
                        verb_help[i].help);
        else
            textbuf_add(body, "dlq %s %s\n    %s\n", verb_help[i].name, verb_help[i].arguments,
                        verb_help[i].help);
    }
    textbuf_add(body, json ? "],\"options\":[" : "\noptions\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        char head[64];

        snprintf(head, sizeof(head), "%s%s%s", o->name, o->argument != NULL ? " " : "",
                 o->argument != NULL ? o->argument : "");
        if (json)
            textbuf_add(body,
                        "%s{\"name\":\"%s\",\"argument\":\"%s\",\"filter\":%s,\"help\":\"%s\"}",
                        i > 0 ? "," : "", o->name, o->argument != NULL ? o->argument : "",
                        o->kind == FILTER ? "true" : "false", o->help);
        else
            textbuf_add(body, "  %-18s %s%s\n", head, o->kind == FILTER ? "(filter) " : "",
                        o->help);
    }
    textbuf_add(body, json ? "]}\n" : "");
}

/* ---- words ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes and decodes the next word. @return 1; 0 at the end; -1 with a message. */
static int next_word(struct parse *p, struct word *out)
{
    const char *at = p->words.ptr, *end = at + p->words.len;

    out->len = 0;
    while (at < end && *at == ' ')
        at++;
    if (at == end)
        return 0;
    for (; at < end && *at != ' '; at++) {
        int high = *at == '%' && end - at > 2 ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;

        if (out->len == sizeof(out->text) - 1 || (*at == '%' && low < 0)) {
            textbuf_add(p->error, *at == '%' && low < 0
                                      ? "a word holds '%%' without two hex digits\n"
                                      : "a word is too long\n");
            return -1;
        }
        out->text[out->len++] = low >= 0 ? (char)(high * 16 + low) : *at;
        at += low >= 0 ? 2 : 0;
    }
    ASSERT(out->len < sizeof(out->text));
    out->text[out->len] = '\0';
    p->words = (struct span){.ptr = at, .len = (size_t)(end - at)};
    return 1;
}

static int parse_verb(struct parse *p, const struct word *w)
{
    const char *near = NULL;
    unsigned least = NEAREST_WORD_MAX;

    ASSERT(!p->has_verb);
    for (size_t i = 0; i < ARRAY_LEN(verb_names); i++) {
        unsigned d = nearest_distance(w->text, verb_names[i]);

        if (strcmp(w->text, verb_names[i]) == 0) {
            p->out->verb = (enum dlq_verb)i;
            p->has_verb = true;
            return PROTOCOL_OK;
        }
        if (d < least && nearest_is_close(w->text, d)) {
            least = d;
            near = verb_names[i];
        }
    }
    textbuf_add(p->error, "dlq: unknown command \"");
    textbuf_printable(p->error, (struct span){.ptr = w->text, .len = w->len});
    textbuf_add(p->error, "\"%s%s%s; there is list, show, replay, drop, help\n",
                near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                near != NULL ? "\"?" : "");
    return PROTOCOL_USAGE;
}

/* The option of a name (up to '='), or NULL. */
static const struct option *find_option(const char *name, size_t len)
{
    ASSERT(name != NULL);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
            return &options[i];
    }
    return NULL;
}

static int unknown_option(struct parse *p, const struct word *w)
{
    const char *verb = verb_names[p->out->verb];

    ASSERT(p->has_verb);
    textbuf_add(p->error, "dlq %s: unknown argument \"", verb);
    textbuf_printable(p->error, (struct span){.ptr = w->text, .len = w->len});
    textbuf_add(p->error, "\"; `penstock dlq help` lists all\n");
    return PROTOCOL_USAGE;
}

static int parse_option(struct parse *p, struct word *w)
{
    const char *equals = memchr(w->text, '=', w->len);
    size_t name_len = equals != NULL ? (size_t)(equals - w->text) : w->len;
    const struct option *o = find_option(w->text, name_len);
    int got;

    if (o == NULL || (o->argument == NULL && equals != NULL))
        return unknown_option(p, w);
    if ((o->verbs & 1u << p->out->verb) == 0) {
        textbuf_add(p->error, "dlq %s does not take %s\n", verb_names[p->out->verb], o->name);
        return PROTOCOL_USAGE;
    }
    p->option = o->name;
    p->out->filtered = p->out->filtered || o->kind == FILTER;
    if (o->argument == NULL)
        return o->set(p, NULL);
    if (equals != NULL) {
        w->len -= name_len + 1;
        memmove(w->text, equals + 1, w->len + 1);
        return o->set(p, w);
    }
    got = next_word(p, w);
    ASSERT(got <= 1);
    if (got == 0)
        textbuf_add(p->error, "%s needs a value: %s\n", o->name, o->argument);
    return got == 1 ? o->set(p, w) : PROTOCOL_USAGE;
}

/* ---- what must and must not come together ---- */

static int refuse(struct parse *p, const char *message)
{
    ASSERT(message != NULL);
    textbuf_add(p->error, "dlq %s: %s\n", verb_names[p->out->verb], message);
    return PROTOCOL_USAGE;
}

static int check_chosen(struct parse *p)
{
    const struct dlq_options *o = p->out;
    int ways = (o->filter.n_ids > 0) + o->filtered + o->all;

    ASSERT(o->verb == DLQ_REPLAY || o->verb == DLQ_DROP);
    if (ways == 0)
        return refuse(p, "say which letters: --id ID, filters, or --all");
    if (ways > 1)
        return refuse(p, "--id, filters and --all exclude each other");
    if (o->filter.states != 1u << DLQ_NEW && o->filter.states != 1u << DLQ_INTENT &&
        (o->verb == DLQ_DROP || o->filter.states != 1u << DLQ_DROPPED))
        return refuse(p, o->verb == DLQ_DROP ? "only letters of --state new (or replaying, when "
                                               "nobody can know their fate) can be dropped"
                                             : "only letters of --state new or dropped (or "
                                               "replaying, when nobody can know their fate) can be "
                                               "replayed: nothing is ever stored twice");
    if (o->others && o->delete_objects)
        return refuse(p, "--delete-objects only deletes objects of this daemon, not --others");
    return PROTOCOL_OK;
}

static int check_together(struct parse *p)
{
    struct dlq_options *o = p->out;

    ASSERT(o->filter.states != 0);
    if (!p->has_verb)
        textbuf_add(p->error, "dlq: no command; there is list, show, replay, drop, help\n");
    if (!p->has_verb)
        return PROTOCOL_USAGE;
    if (o->filter.since_us >= o->filter.until_us)
        return refuse(p, "--since must be before --until");
    if (o->verb == DLQ_SHOW && o->filter.n_ids != 1)
        return refuse(p, "needs one ID, as `penstock dlq list` shows it");
    if (o->verb == DLQ_SHOW && o->raw && o->json)
        return refuse(p, "--raw and --json exclude each other");
    if (o->verb == DLQ_LIST && o->limit == 0)
        o->limit = DLQ_LIMIT_DEFAULT;
    return o->verb == DLQ_REPLAY || o->verb == DLQ_DROP ? check_chosen(p) : PROTOCOL_OK;
}

static int parse_word(struct parse *p, struct word *w)
{
    ASSERT(w->text[w->len] == '\0');
    if (strcmp(w->text, "--json") == 0) {
        p->out->json = true;
        return PROTOCOL_OK;
    }
    if (!p->has_verb)
        return parse_verb(p, w);
    if (p->out->verb == DLQ_SHOW && w->text[0] != '-' && p->out->filter.n_ids == 0) {
        p->option = "ID";
        return set_id(p, w);
    }
    return p->out->verb == DLQ_HELP ? unknown_option(p, w) : parse_option(p, w);
}

int dlq_options_parse(struct span words, int64_t now_us, struct dlq_options *out,
                      struct textbuf *error)
{
    struct parse p = {.out = out, .error = error, .now_us = now_us, .words = words};
    struct word w;
    int got, status;

    ASSERT(out != NULL && error != NULL);
    memset(out, 0, sizeof(*out));
    out->filter.since_us = INT64_MIN;
    out->filter.until_us = INT64_MAX;
    out->filter.states = 1u << DLQ_NEW;
    while ((got = next_word(&p, &w)) > 0) {
        status = parse_word(&p, &w);
        if (status != PROTOCOL_OK)
            return status;
    }
    if (got < 0)
        return PROTOCOL_USAGE;
    if (out->verb == DLQ_SHOW && !p.has_state)
        out->filter.states = (1u << DLQ_STATES) - 1;
    return check_together(&p);
}
