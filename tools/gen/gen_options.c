/* COLD. See gen_options.h. */
#include "tools/gen/gen_options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_knobs.h"
#include "tools/gen/gen_scenario.h"

#define DEFAULT_TARGET "http://127.0.0.1:8080/v1/events"

enum { OPTIONS_MAX = 64, HELP_VALUE = 1, FIRST_KNOB_VALUE = 1000 };

static void set_defaults(struct gen_options *o)
{
    memset(o, 0, sizeof(*o));
    o->events.seed = 1;
    for (size_t i = 0; i < GEN_TYPES; i++) {
        o->events.type_weights[i] = 1;
    }
    o->connections = 16;
    o->threads = 1;
    o->timeout_s = 30;
    o->speed = 1;
    o->events.disorder_s = 300;
    o->events.hot_keys = 1;
    o->events.type_names = 1;
    const char *wrong = gen_url_parse(&o->target, DEFAULT_TARGET);
    GEN_ASSERT(wrong == NULL);
}

static void print_help(void)
{
    printf(
        "usage: penstock-gen [options]\n"
        "Makes order, inventory and user_activity events and sends them to Penstock, or writes\n"
        "them to a file; --check compares what arrived with what was sent. Options, defaults in\n"
        "brackets:\n\n");
    for (size_t i = 0; i < gen_knobs_count; i++) {
        char left[48];
        const struct gen_knob *k = &gen_knobs[i];
        snprintf(left, sizeof(left), "--%s %s", k->name, k->argument != NULL ? k->argument : "");
        printf("  %-24s %s\n", left, k->help);
    }
    printf("  %-24s %s\n", "--help", "this text");
    printf("\nExit status: 0 the run went through, whatever the server answered; 1 it did not;\n"
           "2 wrong usage. With --check: 0 all arrived as it should, 1 not, 2 cannot tell.\n");
}

static void fill_long_options(struct option *options)
{
    size_t i = 0;
    GEN_ASSERT(gen_knobs_count + 2 <= OPTIONS_MAX);
    for (; i < gen_knobs_count; i++) {
        options[i] = (struct option){
            .name = gen_knobs[i].name,
            .has_arg = gen_knobs[i].form == GEN_KNOB_FLAG ? no_argument : required_argument,
            .val = FIRST_KNOB_VALUE + (int)i,
        };
    }
    options[i++] = (struct option){.name = "help", .val = HELP_VALUE};
    options[i] = (struct option){0};
}

/* Likewise, of a check. */
static const char *find_check_conflict(const struct gen_options *o)
{
    if (o->arrived_count == 0) {
        return "--check: where did events arrive? Give --arrived, once or more";
    }
    if (o->out != NULL || o->_target_given || o->log != NULL || o->pregenerate > 0) {
        return "--check sends nothing: it does not go with --target, --out, --log, --pregenerate";
    }
    if (o->acks_count == 0 && !o->_count_given) {
        return "--check: give --acks, or --count with the options of the run that was sent";
    }
    return NULL;
}

/* Likewise, of events that are not the shop's. */
static const char *find_family_conflict(const struct gen_options *o)
{
    const struct gen_event_config *e = &o->events;
    bool weighted = false;
    for (size_t i = 0; i < GEN_TYPES; i++) {
        weighted |= e->type_weights[i] != 1;
    }
    if (weighted || e->malformed_percent + e->late_percent + e->out_of_order_percent > 0 ||
        e->duplicates_percent + e->hot_percent > 0 || e->ordered || e->sequence ||
        e->type_names > 1 || o->sample != NULL || o->log != NULL || o->check) {
        return "--types, --malformed, --late, --ordered, --out-of-order, --duplicates, --hot, "
               "--sequence, --type-names, --sample, --log and --check are for --events shop";
    }
    return NULL;
}

/* What cannot go together. Returns NULL, or the message. */
static const char *find_conflict(const struct gen_options *o)
{
    const uint32_t text_kinds = (1U << GEN_BROKEN_JSON) | (1U << GEN_BAD_UTF8);
    if (o->events.malformed_percent + o->events.late_percent + o->events.out_of_order_percent >
        100) {
        return "--malformed, --late and --out-of-order are shares of all events: together at most "
               "100";
    }
    if (o->events.family != GEN_SHOP && find_family_conflict(o) != NULL) {
        return find_family_conflict(o);
    }
    if (o->check) {
        return find_check_conflict(o);
    }
    if (o->arrived_count + o->dead_count + o->acks_count > 0 || o->deduped) {
        return "--acks, --arrived, --dead and --deduped go with --check";
    }
    if (o->speed != 1 && o->scenario == NULL) {
        return "--speed goes with --scenario";
    }
    if (o->out != NULL && o->_target_given) {
        return "--out and --target: give one of them";
    }
    if (o->out != NULL && (o->log != NULL || o->pregenerate > 0)) {
        return "--log and --pregenerate need a server: they do not go with --out";
    }
    if (o->out != NULL && strcmp(o->out, "-") == 0 && o->json) {
        return "--out - and --json both use standard output";
    }
    if (o->log != NULL && o->pregenerate > 0) {
        return "--log does not go with --pregenerate, which sends the same ids again and again";
    }
    if (o->warm_up_s > 0 && o->duration_s > 0 && o->warm_up_s >= o->duration_s) {
        return "--warm-up is not shorter than --duration: nothing would be measured";
    }
    if (o->warm_up_s > 0 && o->out != NULL) {
        return "--warm-up goes with a server: a file has no latencies";
    }
    if (o->threads > o->connections) {
        return "--threads is more than --connections: each thread needs one at least";
    }
    if (o->format == GEN_ARRAY && o->out == NULL && (o->events.malformed_kinds & text_kinds) != 0) {
        return "--malformed-kinds broken_json and bad_utf8 spoil a whole array, good events "
               "included; use --format ndjson";
    }
    if (o->target.scheme != GEN_HTTP && o->headers_count > 0) {
        return "--header goes with an http target";
    }
    if ((o->target.scheme == GEN_TCP || o->target.scheme == GEN_TCP_ACKED) &&
        o->format == GEN_ARRAY && o->out == NULL) {
        return "--format array: over TCP each line is an event; use --format ndjson";
    }
    if (o->sample != NULL && gen_options_type(o->sample, strlen(o->sample)) == GEN_TYPES) {
        return "--sample: expected order, inventory or user_activity";
    }
    return NULL;
}

/* Defaults that hang on other options. */
static void set_dependent(struct gen_options *o)
{
    o->events.ordered |= o->events.out_of_order_percent > 0;
    if (o->events.malformed_kinds == 0) {
        uint32_t element_kinds =
            (1U << GEN_MISSING_TYPE) | (1U << GEN_WRONG_TYPE) | (1U << GEN_MISSING_FIELD);
        uint32_t text_kinds = (1U << GEN_BROKEN_JSON) | (1U << GEN_BAD_UTF8);
        o->events.malformed_kinds =
            o->format == GEN_ARRAY ? element_kinds : element_kinds | text_kinds;
    }
    if (o->batch == 0) {
        /* About a hundred requests a second, so that a slow rate does not come in lumps. */
        double batch = o->rate > 0 ? o->rate / 100 : 100;
        o->batch = (uint32_t)fmin(fmax(batch, 1), 100);
    }
    if (!o->_count_given) {
        o->count = o->duration_s > 0 ? UINT64_MAX : 1000;
    }
    if (o->rate > 0 && o->duration_s > 0) {
        /* The schedule is known beforehand: so many events have a send time within the duration. */
        double scheduled = fmax(round(o->rate * o->duration_s), 1);
        if (scheduled < (double)o->count) {
            o->count = (uint64_t)scheduled;
        }
    }
}

/* Applies a scenario before anything else, so that other options change it wherever they stand.
 * What is wrong with them is said when they are read. False: no scenario has that name. */
static bool apply_scenario(struct gen_options *o, int argc, char **argv,
                           const struct option *options)
{
    int value;
    opterr = 0;
    optind = 1;
    while ((value = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const struct gen_knob *k =
            value >= FIRST_KNOB_VALUE ? &gen_knobs[value - FIRST_KNOB_VALUE] : NULL;
        if (k != NULL && (strcmp(k->name, "scenario") == 0 || strcmp(k->name, "speed") == 0)) {
            (void)gen_knob_set(k, o, optarg);
        }
    }
    opterr = 1;
    return o->scenario == NULL || gen_scenario_apply(o->scenario, o);
}

enum gen_options_result gen_options_parse(struct gen_options *o, int argc, char **argv)
{
    struct option options[OPTIONS_MAX];
    int value;
    set_defaults(o);
    fill_long_options(options);
    if (!apply_scenario(o, argc, argv, options)) {
        fprintf(stderr, "penstock-gen: --scenario \"%s\": no such scenario; see --scenarios\n",
                o->scenario);
        return GEN_OPTIONS_USAGE;
    }
    optind = 1;
    while ((value = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (value == HELP_VALUE) {
            print_help();
            return GEN_OPTIONS_DONE;
        }
        if (value < FIRST_KNOB_VALUE) {
            fprintf(stderr, "penstock-gen: see penstock-gen --help\n"); /* getopt said what */
            return GEN_OPTIONS_USAGE;
        }
        if (!gen_knob_set(&gen_knobs[value - FIRST_KNOB_VALUE], o, optarg)) {
            return GEN_OPTIONS_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "penstock-gen: \"%s\": every option starts with --; see --help\n",
                argv[optind]);
        return GEN_OPTIONS_USAGE;
    }
    if (o->scenarios) {
        gen_scenario_list(stdout);
        return GEN_OPTIONS_DONE;
    }
    const char *conflict = find_conflict(o);
    if (conflict != NULL) {
        fprintf(stderr, "penstock-gen: %s\n", conflict);
        return GEN_OPTIONS_USAGE;
    }
    set_dependent(o);
    return GEN_OPTIONS_RUN;
}
