/* COLD. See gen_knobs.h. */
#include "tools/gen/gen_knobs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_assert.h"

#define MALFORMED_PREFIX "malformed:"
#define FILE_PREFIX      "file:"

enum gen_type gen_options_type(const char *name, size_t bytes)
{
    enum gen_type type = 0;
    while (type < GEN_TYPES) {
        const char *candidate = gen_type_name(type);
        if (strlen(candidate) == bytes && memcmp(candidate, name, bytes) == 0) {
            break;
        }
        type++;
    }
    return type;
}

/* A whole decimal number up to max at text, ended by the character end_mark or the end of text. */
static bool read_u64(const char *text, size_t bytes, uint64_t max, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (*value > (max - digit) / 10) {
            return false;
        }
        *value = *value * 10 + digit;
    }
    return bytes > 0;
}

static const char *parse_types(struct gen_options *o, const char *text)
{
    static const char accepted[] =
        "a list of order, inventory, user_activity, each with an optional "
        "=WEIGHT from 0 to 1000000, not all 0; example: "
        "order=5,inventory=3,user_activity=2";
    uint32_t *weights = o->events.type_weights;
    uint64_t sum = 0;
    memset(weights, 0, sizeof(o->events.type_weights));
    for (;;) {
        size_t bytes = strcspn(text, ",");
        size_t name_bytes = strcspn(text, ",=");
        uint64_t weight = 1;
        enum gen_type type = gen_options_type(text, name_bytes);
        bool weight_good =
            name_bytes == bytes ||
            read_u64(text + name_bytes + 1, bytes - name_bytes - 1, 1000000, &weight);
        if (type == GEN_TYPES || !weight_good) {
            return accepted;
        }
        weights[type] = (uint32_t)weight;
        sum += weight;
        if (text[bytes] == '\0') {
            return sum > 0 ? NULL : accepted;
        }
        text += bytes + 1;
    }
}

static const char *parse_malformed_kinds(struct gen_options *o, const char *text)
{
    o->events.malformed_kinds = 0;
    for (;;) {
        size_t bytes = strcspn(text, ",");
        enum gen_kind kind = GEN_KIND_MALFORMED_FIRST;
        for (; kind < GEN_KINDS_COUNT; kind++) {
            const char *name = gen_kind_name(kind) + sizeof(MALFORMED_PREFIX) - 1;
            if (strlen(name) == bytes && memcmp(name, text, bytes) == 0) {
                break;
            }
        }
        if (kind == GEN_KINDS_COUNT) {
            return "a list of broken_json, bad_utf8, missing_type, wrong_type, missing_field";
        }
        o->events.malformed_kinds |= 1U << kind;
        if (text[bytes] == '\0') {
            return NULL;
        }
        text += bytes + 1;
    }
}

static const char *parse_target(struct gen_options *o, const char *text)
{
    static char accepted[200];
    if (strncmp(text, FILE_PREFIX, sizeof(FILE_PREFIX) - 1) == 0) {
        o->out = text + sizeof(FILE_PREFIX) - 1;
        return o->out[0] != '\0' ? NULL : "file:PATH";
    }
    const char *wrong = gen_url_parse(&o->target, text);
    o->_target_given = true;
    if (wrong == NULL) {
        return NULL;
    }
    snprintf(accepted, sizeof(accepted),
             "http://HOST:PORT[/path] or {tcp,tcp+acked,udp}://HOST:PORT (%s)", wrong);
    return accepted;
}

static const char *parse_format(struct gen_options *o, const char *text)
{
    if (strcmp(text, "ndjson") == 0) {
        o->format = GEN_NDJSON;
    } else if (strcmp(text, "array") == 0) {
        o->format = GEN_ARRAY;
    } else {
        return "ndjson or array";
    }
    return NULL;
}

static const char *parse_count(struct gen_options *o, const char *text)
{
    o->_count_given = true;
    if (!read_u64(text, strlen(text), UINT64_C(1000000000000000), &o->count) || o->count == 0) {
        return "a whole number from 1 to 10^15";
    }
    return NULL;
}

static const char *parse_family(struct gen_options *o, const char *text)
{
    enum gen_family family = GEN_SHOP;
    while (family < GEN_FAMILIES_COUNT && strcmp(gen_family_name(family), text) != 0) {
        family++;
    }
    if (family == GEN_FAMILIES_COUNT) {
        return "shop, commerce, github, kibana, mixed or shapes";
    }
    o->events.family = family;
    return NULL;
}

static const char *parse_header(struct gen_options *o, const char *text)
{
    bool control = false;
    for (const char *c = text; *c != '\0'; c++) {
        control |= (unsigned char)*c < ' ';
    }
    if (control || strchr(text, ':') == NULL || strlen(text) > 1000 ||
        o->headers_count == GEN_HEADERS_MAX) {
        return "up to 8 header lines; example: --header 'Authorization: Bearer TOKEN'";
    }
    o->headers[o->headers_count++] = text;
    return NULL;
}

static const char *add_path(const char **paths, uint32_t *count, const char *text)
{
    static char accepted[64];
    if (text[0] == '\0' || *count == GEN_PATHS_MAX) {
        snprintf(accepted, sizeof(accepted), "a file or folder, at most %d times", GEN_PATHS_MAX);
        return accepted;
    }
    paths[(*count)++] = text;
    return NULL;
}

static const char *parse_arrived(struct gen_options *o, const char *text)
{
    return add_path(o->arrived, &o->arrived_count, text);
}

static const char *parse_dead(struct gen_options *o, const char *text)
{
    return add_path(o->dead, &o->dead_count, text);
}

static const char *parse_acks(struct gen_options *o, const char *text)
{
    return add_path(o->acks, &o->acks_count, text);
}

#define FIELD(field) offsetof(struct gen_options, field)
#define NUMBER(number_form, field, lo, hi) \
    .form = (number_form), .offset = FIELD(field), .min = (lo), .max = (hi)
#define STRING(field)    .form = GEN_KNOB_STRING, .offset = FIELD(field)
#define FLAG(field)      .form = GEN_KNOB_FLAG, .offset = FIELD(field)
#define SWITCH(field)    .form = GEN_KNOB_SWITCH, .offset = FIELD(field)
#define PARSED(function) .form = GEN_KNOB_PARSED, .parse = (function)

/* clang-format off: one row an option */
const struct gen_knob gen_knobs[] = {
    {"target", "URL",
     "server (http://127.0.0.1:8080/v1/events): http, tcp, tcp+acked, udp; or file:PATH",
     PARSED(parse_target)},
    {"out", "FILE", "write to a file instead; - is standard output", STRING(out)},
    {"scenario", "NAME", "a preset of rate, duration and types; other options change it",
     STRING(scenario)},
    {"scenarios", NULL, "list the scenarios and exit", FLAG(scenarios)},
    {"speed", "X", "run a scenario X times as fast (1)",
     NUMBER(GEN_KNOB_DOUBLE, speed, 0.001, 1e6)},
    {"events", "FAMILY", "shop, commerce, github, kibana, mixed or shapes (shop)",
     PARSED(parse_family)},
    {"types", "LIST", "types with weights, such as order=5,inventory=3 (all three)",
     PARSED(parse_types)},
    {"count", "N", "stop after N events (1000, unless --duration is given)", PARSED(parse_count)},
    {"duration", "S", "stop after S seconds", NUMBER(GEN_KNOB_DOUBLE, duration_s, 0.001, 1e7)},
    {"warm-up", "S", "leave the first S seconds out of latencies (0)",
     NUMBER(GEN_KNOB_DOUBLE, warm_up_s, 0, 1e7)},
    {"rate", "E", "open loop at E events a second; without it as fast as answers come",
     NUMBER(GEN_KNOB_DOUBLE, rate, 0.001, 1e9)},
    {"connections", "C", "connections in all (16)", NUMBER(GEN_KNOB_U32, connections, 1, 100000)},
    {"threads", "T", "threads that share them (1)", NUMBER(GEN_KNOB_U32, threads, 1, 1024)},
    {"batch", "E", "events a request (100; with --rate a hundredth of it, 1 to 100)",
     NUMBER(GEN_KNOB_U32, batch, 1, 1000000)},
    {"seed", "N", "what all values follow from (1)", NUMBER(GEN_KNOB_U64, events.seed, 0, 1.8e19)},
    {"now", "UNIX_S", "time that event times count back from (the clock)",
     NUMBER(GEN_KNOB_U64, events.now_s, 2592000, 253402300799.0)},
    {"malformed", "PERCENT", "events made malformed (0)",
     NUMBER(GEN_KNOB_DOUBLE, events.malformed_percent, 0, 100)},
    {"malformed-kinds", "LIST", "in which ways (all; with --format array those of whole JSON)",
     PARSED(parse_malformed_kinds)},
    {"late", "PERCENT", "events with a time 2 to 20 days back (0)",
     NUMBER(GEN_KNOB_DOUBLE, events.late_percent, 0, 100)},
    {"ordered", NULL, "event times are the clock's: none lies before an earlier event's",
     FLAG(events.ordered)},
    {"out-of-order", "PERCENT", "events with a time up to --disorder back (0); implies --ordered",
     NUMBER(GEN_KNOB_DOUBLE, events.out_of_order_percent, 0, 100)},
    {"disorder", "S", "how far back those lie at most (300)",
     NUMBER(GEN_KNOB_DOUBLE, events.disorder_s, 0.001, 1e7)},
    {"duplicates", "PERCENT", "events that say an earlier one again, with its id (0)",
     NUMBER(GEN_KNOB_DOUBLE, events.duplicates_percent, 0, 100)},
    {"hot", "PERCENT", "customers, products and warehouses that are hot ones (0)",
     NUMBER(GEN_KNOB_DOUBLE, events.hot_percent, 0, 100)},
    {"hot-keys", "N", "how many of each are hot (1)",
     NUMBER(GEN_KNOB_U32, events.hot_keys, 1, 1000000)},
    {"type-names", "N", "each shop type under N names, such as order_00017 (1: its own)",
     NUMBER(GEN_KNOB_U32, events.type_names, 1, GEN_TYPE_NAMES_MAX)},
    {"sequence", NULL, "add the member \"sequence\": the event's number", FLAG(events.sequence)},
    {"format", "F", "ndjson or array (ndjson)", PARSED(parse_format)},
    {"header", "LINE", "one more request header, up to 8 times", PARSED(parse_header)},
    {"timeout", "S", "give a request up after S seconds without answer (30)",
     NUMBER(GEN_KNOB_DOUBLE, timeout_s, 0.001, 1e6)},
    {"retry", "0|1", "1: send again after 429 or 503, when Retry-After says (0)", SWITCH(retry)},
    {"reconnect", NULL, "go on with new events after connection errors", FLAG(reconnect)},
    {"log", "FILE", "acknowledgement log: seq id type kind outcome", STRING(log)},
    {"check", NULL, "send nothing: compare what arrived with what was sent, by id", FLAG(check)},
    {"acks", "FILE", "check: acknowledgement log; without one all of --count is expected",
     PARSED(parse_acks)},
    {"arrived", "PATH", "check: where events arrived, file or folder; - is standard input",
     PARSED(parse_arrived)},
    {"dead", "PATH", "check: where dead letters arrived, likewise", PARSED(parse_dead)},
    {"deduped", NULL, "check: duplicates must have arrived once only", FLAG(deduped)},
    {"pregenerate", "N", "build N bodies up front and replay them; ids repeat, for benches only",
     NUMBER(GEN_KNOB_U32, pregenerate, 1, 10000000)},
    {"progress", NULL, "one line a second on standard error", FLAG(progress)},
    {"json", NULL, "report as one JSON object on standard output", FLAG(json)},
    {"sample", "TYPE", "print one example event and exit", STRING(sample)},
};
/* clang-format on */
const size_t gen_knobs_count = sizeof(gen_knobs) / sizeof(gen_knobs[0]);

static bool set_number(const struct gen_knob *knob, void *field, const char *text)
{
    if (knob->form == GEN_KNOB_DOUBLE) {
        char *end;
        double value = strtod(text, &end);
        /* No hexadecimal, infinity or leading space. */
        bool plain = text[0] != '\0' && text[strspn(text, "0123456789.eE+-")] == '\0';
        if (!plain || *end != '\0' || !(value >= knob->min && value <= knob->max)) {
            return false;
        }
        memcpy(field, &value, sizeof(value));
        return true;
    }
    uint64_t whole;
    if (!read_u64(text, strlen(text), UINT64_MAX, &whole) || (double)whole < knob->min ||
        (double)whole > knob->max) {
        return false;
    }
    if (knob->form == GEN_KNOB_U64) {
        memcpy(field, &whole, sizeof(whole));
    } else {
        uint32_t narrow = (uint32_t)whole;
        GEN_ASSERT(narrow == whole);
        memcpy(field, &narrow, sizeof(narrow));
    }
    return true;
}

bool gen_knob_set(const struct gen_knob *knob, struct gen_options *o, const char *text)
{
    void *field = (char *)o + knob->offset;
    const char *accepted = NULL;
    char range[96];
    switch (knob->form) {
    case GEN_KNOB_U32:
    case GEN_KNOB_U64:
    case GEN_KNOB_DOUBLE:
        if (!set_number(knob, field, text)) {
            snprintf(range, sizeof(range), "a %s from %.15g to %.15g",
                     knob->form == GEN_KNOB_DOUBLE ? "number" : "whole number", knob->min,
                     knob->max);
            accepted = range;
        }
        break;
    case GEN_KNOB_STRING:
        *(const char **)field = text;
        accepted = text[0] == '\0' ? "a name" : NULL;
        break;
    case GEN_KNOB_FLAG:
        *(bool *)field = true;
        break;
    case GEN_KNOB_SWITCH:
        *(bool *)field = text[0] == '1';
        accepted = strcmp(text, "0") != 0 && strcmp(text, "1") != 0 ? "0 or 1" : NULL;
        break;
    case GEN_KNOB_PARSED:
    default:
        accepted = knob->parse(o, text);
        break;
    }
    if (accepted != NULL) {
        fprintf(stderr, "penstock-gen: --%s \"%s\": expected %s\n", knob->name, text, accepted);
    }
    return accepted == NULL;
}
