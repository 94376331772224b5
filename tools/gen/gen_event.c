/* HOT. See gen_event.h. Table-driven text: an event is about twenty copies of fixed fragments. */
#include "tools/gen/gen_event.h"

#include <stdbool.h>
#include <time.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_catalog.h"
#include "tools/gen/gen_malform.h"
#include "tools/gen/gen_rng.h"

#define US_A_SECOND INT64_C(1000000)
#define US_A_DAY    (INT64_C(86400) * US_A_SECOND)

/* How far back from now an event of each type may lie. */
static const int64_t age_us_max[GEN_TYPES] = {
    [GEN_ORDER] = 60 * 60 * US_A_SECOND,
    [GEN_INVENTORY] = 30 * 60 * US_A_SECOND,
    [GEN_USER_ACTIVITY] = 15 * 60 * US_A_SECOND,
};

#define NAME_BYTES 6 /* _00017 */

/* Whether an event is a duplicate is drawn apart, so that all others stay what they were. */
#define DUPLICATE_SALT UINT64_C(0x6475706c69636174)

static const int64_t late_us_min = 2 * US_A_DAY;
static const int64_t late_us_max = 20 * US_A_DAY;

static const char *const type_names[GEN_TYPES] = {"order", "inventory", "user_activity"};
static const char id_prefixes[GEN_TYPES][3] = {{'o', 'r', 'd'}, {'i', 'n', 'v'}, {'s', 'e', 's'}};

static const char *const kind_names[GEN_KINDS_COUNT] = {
#define X(enumerator, name) name,
    GEN_KINDS(X)
#undef X
};

const char *gen_type_name(enum gen_type type)
{
    GEN_ASSERT(type < GEN_TYPES);
    return type_names[type];
}

const char *gen_kind_name(enum gen_kind kind)
{
    GEN_ASSERT(kind < GEN_KINDS_COUNT);
    return kind_names[kind];
}

void gen_events_init(struct gen_events *g, const struct gen_event_config *config)
{
    double bound_per_percent = (double)UINT32_MAX / 100.0;
    double made = config->malformed_percent + config->late_percent + config->out_of_order_percent;
    GEN_ASSERT(made <= 100.0);
    memset(g, 0, sizeof(*g));
    g->_seed = config->seed;
    g->_family = config->family;
    for (size_t i = 0; i < GEN_TYPES; i++) {
        g->_type_weights_sum += config->type_weights[i];
        g->_type_bounds[i] = g->_type_weights_sum;
    }
    GEN_ASSERT(g->_type_weights_sum > 0);
    g->_malformed_bound = (uint32_t)(config->malformed_percent * bound_per_percent);
    g->_late_bound =
        (uint32_t)((config->malformed_percent + config->late_percent) * bound_per_percent);
    g->_out_of_order_bound = (uint32_t)(made * bound_per_percent);
    g->_duplicate_bound = (uint32_t)(config->duplicates_percent * bound_per_percent);
    g->_hot_bound = (uint32_t)(config->hot_percent * bound_per_percent);
    g->_hot_keys = config->hot_keys;
    g->_ordered = config->ordered;
    g->_sequence = config->sequence;
    g->_type_names = config->type_names;
    GEN_ASSERT(g->_type_names >= 1 && g->_type_names <= GEN_TYPE_NAMES_MAX);
    g->_disorder_us = (uint64_t)(config->disorder_s * (double)US_A_SECOND);
    GEN_ASSERT(g->_out_of_order_bound == g->_late_bound || g->_disorder_us > 0);
    GEN_ASSERT(g->_hot_bound == 0 || g->_hot_keys > 0);
    for (uint8_t kind = GEN_KIND_MALFORMED_FIRST; kind < GEN_KINDS_COUNT; kind++) {
        if (config->malformed_kinds & (1U << kind)) {
            g->_malformed_kinds[g->_malformed_kinds_count++] = kind;
        }
    }
    GEN_ASSERT(g->_malformed_bound == 0 || g->_malformed_kinds_count > 0);
    g->_fixed_now_us = config->now_s * US_A_SECOND;
    g->_id_tail[0] = '-';
    char *end = gen_put_u64(g->_id_tail + 1, config->seed);
    *end++ = '-';
    g->_id_tail_bytes = (uint32_t)(end - g->_id_tail);
    g->_day.day = -1;
    gen_events_refresh_now(g);
}

void gen_events_refresh_now(struct gen_events *g)
{
    if (g->_fixed_now_us != 0) {
        g->_now_us = g->_fixed_now_us;
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    g->_now_us = now.tv_sec * US_A_SECOND + now.tv_nsec / 1000;
}

char *gen_events_put_id(const struct gen_events *g, uint64_t seq, enum gen_type type, char *out)
{
    memcpy(out, id_prefixes[type], sizeof(id_prefixes[type]));
    out += sizeof(id_prefixes[type]);
    memcpy(out, g->_id_tail, g->_id_tail_bytes);
    return gen_put_u64(out + g->_id_tail_bytes, seq);
}

/* Which of n keys. Without hot keys all are equally likely, at one draw. */
static uint32_t pick(const struct gen_events *g, struct gen_rng *r, uint32_t n)
{
    if (g->_hot_bound > 0 && (uint32_t)(gen_rng_next(r) >> 32) < g->_hot_bound) {
        n = g->_hot_keys < n ? g->_hot_keys : n;
    }
    return gen_rng_below(r, n);
}

/* customer-001..customer-100, without quotes. */
static char *put_customer(const struct gen_events *g, char *out, struct gen_rng *r)
{
    out = gen_put_lit(out, "customer-");
    return gen_put_3(out, pick(g, r, GEN_CUSTOMERS) + 1);
}

/* How far back the event lies: up to age_us_max, in an ordered run not at all; for a late event
 * some days, for one out of order up to the disorder. */
static int64_t draw_age_us(const struct gen_events *g, enum gen_type type, enum gen_kind kind,
                           uint64_t draw)
{
    if (kind == GEN_LATE) {
        return late_us_min + (int64_t)(draw % (uint64_t)(late_us_max - late_us_min));
    }
    if (kind == GEN_OUT_OF_ORDER) {
        return 1 + (int64_t)(draw % g->_disorder_us);
    }
    return g->_ordered ? 0 : (int64_t)(draw % (uint64_t)age_us_max[type]);
}

/* With 0, 3 or 6 digits of a second; in an ordered run always 6, because cut times jump back. */
static char *put_event_time(struct gen_events *g, char *out, enum gen_type type, enum gen_kind kind,
                            struct gen_rng *r)
{
    static const uint8_t fraction_digits[4] = {0, 3, 6, 6};
    uint64_t draw = gen_rng_next(r);
    int64_t age_us = draw_age_us(g, type, kind, draw >> 8);
    return gen_put_time(out, g->_now_us - age_us, g->_ordered ? 6 : fraction_digits[draw & 3],
                        &g->_day);
}

static char *put_items(const struct gen_events *g, char *out, struct gen_rng *r,
                       uint64_t *total_cents)
{
    uint32_t items = gen_rng_below(r, 3) + 1;
    uint32_t product = pick(g, r, GEN_PRODUCTS);
    *total_cents = 0;
    for (uint32_t i = 0; i < items; i++) {
        const struct gen_product *p = &gen_products[product];
        uint32_t quantity = gen_rng_below(r, 5) + 1;
        *total_cents += (uint64_t)p->price_cents * quantity;
        out = gen_put_str(out, p->item_head);
        *out++ = (char)('0' + quantity);
        out = gen_put_str(out, p->item_tail);
        *out++ = ',';
        /* 3 steps of 1..3 never come back to the same of 10 products: no product twice in an order.
         */
        product = (product + 1 + gen_rng_below(r, 3)) % GEN_PRODUCTS;
    }
    return out - 1; /* the last comma */
}

static char *put_order(struct gen_events *g, uint64_t seq, enum gen_kind kind, struct gen_rng *r,
                       char *out)
{
    uint64_t total_cents;
    out = gen_put_lit(out, "{\"event_type\":\"order\",\"order_id\":\"");
    out = gen_events_put_id(g, seq, GEN_ORDER, out);
    out = gen_put_lit(out, "\",\"customer_id\":\"");
    out = put_customer(g, out, r);
    out = gen_put_lit(out, "\",\"order_date\":\"");
    out = put_event_time(g, out, GEN_ORDER, kind, r);
    out = gen_put_lit(out, "\",\"status\":\"");
    out = gen_put_str(out, gen_order_statuses[gen_rng_below(r, GEN_ORDER_STATUSES)]);
    out = gen_put_lit(out, "\",\"items\":[");
    out = put_items(g, out, r, &total_cents);
    out = gen_put_lit(out, "],\"shipping_address\":{\"street\":\"");
    out = gen_put_u64(out, gen_rng_below(r, 9999) + 1);
    *out++ = ' ';
    out = gen_put_str(out, gen_streets[gen_rng_below(r, GEN_STREETS)]);
    out = gen_put_lit(out, "\",\"city\":\"");
    out = gen_put_str(out, gen_cities[gen_rng_below(r, GEN_CITIES)]);
    out = gen_put_lit(out, "\"},\"total_amount\":");
    out = gen_put_cents(out, total_cents);
    *out++ = '}';
    return out;
}

static char *put_inventory(struct gen_events *g, uint64_t seq, enum gen_kind kind,
                           struct gen_rng *r, char *out)
{
    out = gen_put_lit(out, "{\"event_type\":\"inventory\",\"inventory_id\":\"");
    out = gen_events_put_id(g, seq, GEN_INVENTORY, out);
    out = gen_put_lit(out, "\",\"product_id\":\"prod-");
    out = gen_put_3(out, pick(g, r, GEN_PRODUCTS) + 1);
    out = gen_put_lit(out, "\",\"warehouse_id\":\"");
    out = gen_put_str(out, gen_warehouses[pick(g, r, GEN_WAREHOUSES)]);
    out = gen_put_lit(out, "\",\"quantity_change\":");
    uint32_t change = gen_rng_below(r, 201); /* -100..100 */
    if (change < 100) {
        *out++ = '-';
    }
    out = gen_put_u64(out, change < 100 ? 100 - change : change - 100);
    out = gen_put_lit(out, ",\"reason\":\"");
    out = gen_put_str(out, gen_reasons[gen_rng_below(r, GEN_REASONS)]);
    out = gen_put_lit(out, "\",\"timestamp\":\"");
    out = put_event_time(g, out, GEN_INVENTORY, kind, r);
    return gen_put_lit(out, "\"}");
}

/* 11.0.0.1 to 210.255.255.254 or so: looks public, no byte is 0 or 255 at the ends. */
static char *put_ip_address(char *out, struct gen_rng *r)
{
    uint64_t draw = gen_rng_next(r);
    out = gen_put_u64(out, 11 + (draw & 0xffff) % 200);
    *out++ = '.';
    out = gen_put_u64(out, (draw >> 16) & 0xff);
    *out++ = '.';
    out = gen_put_u64(out, (draw >> 24) & 0xff);
    *out++ = '.';
    return gen_put_u64(out, 1 + ((draw >> 32) & 0xffff) % 254);
}

static char *put_user_activity(struct gen_events *g, uint64_t seq, enum gen_kind kind,
                               struct gen_rng *r, char *out)
{
    out = gen_put_lit(out, "{\"event_type\":\"user_activity\",\"user_id\":\"");
    out = put_customer(g, out, r);
    out = gen_put_lit(out, "\",\"activity_type\":\"");
    out = gen_put_str(out, gen_activities[gen_rng_below(r, GEN_ACTIVITIES)]);
    out = gen_put_lit(out, "\",\"ip_address\":\"");
    out = put_ip_address(out, r);
    out = gen_put_lit(out, "\",\"user_agent\":\"");
    out = gen_put_str(out, gen_user_agents[gen_rng_below(r, GEN_USER_AGENTS)]);
    out = gen_put_lit(out, "\",\"timestamp\":\"");
    out = put_event_time(g, out, GEN_USER_ACTIVITY, kind, r);
    out = gen_put_lit(out, "\",\"metadata\":{\"session_id\":\"");
    out = gen_events_put_id(g, seq, GEN_USER_ACTIVITY, out);
    out = gen_put_lit(out, "\",\"platform\":\"");
    out = gen_put_str(out, gen_platforms[gen_rng_below(r, GEN_PLATFORMS)]);
    return gen_put_lit(out, "\"}}");
}

static size_t write_type(struct gen_events *g, uint64_t seq, struct gen_event_info info,
                         struct gen_rng *r, char *out)
{
    char *end;
    switch (info.type) {
    case GEN_ORDER:
        end = put_order(g, seq, info.kind, r, out);
        break;
    case GEN_INVENTORY:
        end = put_inventory(g, seq, info.kind, r, out);
        break;
    case GEN_USER_ACTIVITY:
    default:
        GEN_ASSERT(info.type == GEN_USER_ACTIVITY);
        end = put_user_activity(g, seq, info.kind, r, out);
        break;
    }
    if (g->_sequence) {
        end = gen_put_u64(gen_put_lit(end - 1, ",\"sequence\":"), seq);
        *end++ = '}';
    }
    size_t bytes = (size_t)(end - out);
    GEN_ASSERT(bytes < GEN_EVENT_BYTES_MAX);
    return bytes;
}

static size_t write_rich(struct gen_events *g, uint64_t seq, char *out, struct gen_event_info *info)
{
    struct gen_rich e = {.seed = g->_seed, .seq = seq, .now_us = g->_now_us, .day = &g->_day};
    GEN_ASSERT(g->_family != GEN_SHOP);
    *info = (struct gen_event_info){.type = 0, .kind = GEN_GOOD};
    return gen_rich_write(&e, g->_family, out);
}

size_t gen_events_bytes_max(const struct gen_events *g)
{
    GEN_ASSERT(g->_family < GEN_FAMILIES_COUNT);
    return g->_family == GEN_SHOP ? GEN_EVENT_BYTES_MAX : GEN_RICH_BYTES_MAX;
}

/* Draws what the event is. One draw for the kind, one for the type, so neither shifts the other. */
static struct gen_event_info draw_info(const struct gen_events *g, struct gen_rng *r)
{
    struct gen_event_info info = {.type = 0, .kind = GEN_GOOD};
    uint32_t at = gen_rng_below(r, g->_type_weights_sum);
    while (at >= g->_type_bounds[info.type]) {
        info.type++;
    }
    uint64_t draw = gen_rng_next(r);
    uint32_t chance = (uint32_t)(draw >> 32);
    if (chance < g->_malformed_bound) {
        info.kind = g->_malformed_kinds[(uint32_t)draw % g->_malformed_kinds_count];
    } else if (chance < g->_late_bound) {
        info.kind = GEN_LATE;
    } else if (chance < g->_out_of_order_bound) {
        info.kind = GEN_OUT_OF_ORDER;
    }
    return info;
}

uint64_t gen_events_origin(const struct gen_events *g, uint64_t seq)
{
    uint64_t origin = seq;
    if (__builtin_expect(g->_duplicate_bound == 0, 1)) {
        return seq;
    }
    while (origin > 0) { /* of a duplicate of a duplicate, the first */
        struct gen_rng r = gen_rng_at(g->_seed ^ DUPLICATE_SALT, origin);
        uint32_t back =
            origin < GEN_DUPLICATE_DISTANCE_MAX ? (uint32_t)origin : GEN_DUPLICATE_DISTANCE_MAX;
        if ((uint32_t)(gen_rng_next(&r) >> 32) >= g->_duplicate_bound) {
            break;
        }
        origin -= 1 + gen_rng_below(&r, back);
    }
    if (origin != seq) { /* what is malformed has no id to be known again by */
        struct gen_rng r = gen_rng_at(g->_seed, origin);
        if (draw_info(g, &r).kind >= GEN_KIND_MALFORMED_FIRST) {
            return seq;
        }
    }
    return origin;
}

struct gen_event_info gen_events_info(const struct gen_events *g, uint64_t seq)
{
    uint64_t origin = gen_events_origin(g, seq);
    struct gen_rng r = gen_rng_at(g->_seed, origin);
    struct gen_event_info info = draw_info(g, &r);
    GEN_ASSERT(info.type < GEN_TYPES);
    if (origin != seq) {
        info.kind = GEN_DUPLICATE;
    }
    return info;
}

/* order becomes order_00017: which of the names follows from the event's number. */
static size_t name_type(const struct gen_events *g, uint64_t seq, char *out, size_t bytes)
{
    static const char key[] = "\"event_type\":\"";
    struct gen_rng r = gen_rng_at(~g->_seed, seq);
    uint32_t name = gen_rng_below(&r, g->_type_names);
    char *value = memmem(out, bytes, key, sizeof(key) - 1);
    char *end = value == NULL ? NULL : memchr(value + sizeof(key) - 1, '"', GEN_ID_BYTES_MAX);
    if (end == NULL) { /* one that is made without a type */
        return bytes;
    }
    memmove(end + NAME_BYTES, end, bytes - (size_t)(end - out));
    *end = '_';
    for (uint32_t i = NAME_BYTES - 1; i > 0; i--, name /= 10) {
        end[i] = (char)('0' + name % 10);
    }
    GEN_ASSERT(name == 0 && bytes + NAME_BYTES < GEN_EVENT_BYTES_MAX);
    return bytes + NAME_BYTES;
}

size_t gen_events_write(struct gen_events *g, uint64_t seq, char *out, struct gen_event_info *info)
{
    if (g->_family != GEN_SHOP) {
        return write_rich(g, seq, out, info);
    }
    uint64_t origin = gen_events_origin(g, seq);
    struct gen_rng r = gen_rng_at(g->_seed, origin);
    *info = draw_info(g, &r);
    size_t bytes = write_type(g, origin, *info, &r, out);
    if (__builtin_expect(info->kind >= GEN_KIND_MALFORMED_FIRST, 0)) {
        bytes = gen_malform(out, bytes, *info, &r);
        GEN_ASSERT(bytes > 0 && bytes < GEN_EVENT_BYTES_MAX);
    }
    if (origin != seq) {
        info->kind = GEN_DUPLICATE;
    }
    return g->_type_names == 1 ? bytes : name_type(g, origin, out, bytes);
}

size_t gen_events_write_type(struct gen_events *g, uint64_t seq, enum gen_type type, char *out)
{
    struct gen_rng r = gen_rng_at(g->_seed, seq);
    return write_type(g, seq, (struct gen_event_info){.type = type, .kind = GEN_GOOD}, &r, out);
}
