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
    GEN_ASSERT(config->malformed_percent + config->late_percent <= 100.0);
    memset(g, 0, sizeof(*g));
    g->_seed = config->seed;
    for (size_t i = 0; i < GEN_TYPES; i++) {
        g->_type_weights_sum += config->type_weights[i];
        g->_type_bounds[i] = g->_type_weights_sum;
    }
    GEN_ASSERT(g->_type_weights_sum > 0);
    g->_malformed_bound = (uint32_t)(config->malformed_percent * bound_per_percent);
    g->_late_bound =
        (uint32_t)((config->malformed_percent + config->late_percent) * bound_per_percent);
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

/* customer-001..customer-100, without quotes. */
static char *put_customer(char *out, struct gen_rng *r)
{
    out = gen_put_lit(out, "customer-");
    return gen_put_3(out, gen_rng_below(r, GEN_CUSTOMERS) + 1);
}

/* A time up to age_us_max back, for a late event some days back; with 0, 3 or 6 digits of a second.
 */
static char *put_event_time(struct gen_events *g, char *out, enum gen_type type, bool late,
                            struct gen_rng *r)
{
    static const uint8_t fraction_digits[4] = {0, 3, 6, 6};
    uint64_t draw = gen_rng_next(r);
    uint64_t span = (uint64_t)(late ? late_us_max - late_us_min : age_us_max[type]);
    int64_t age_us = (int64_t)((draw >> 8) % span) + (late ? late_us_min : 0);
    return gen_put_time(out, g->_now_us - age_us, fraction_digits[draw & 3], &g->_day);
}

static char *put_items(char *out, struct gen_rng *r, uint64_t *total_cents)
{
    uint32_t items = gen_rng_below(r, 3) + 1;
    uint32_t product = gen_rng_below(r, GEN_PRODUCTS);
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

static char *put_order(struct gen_events *g, uint64_t seq, bool late, struct gen_rng *r, char *out)
{
    uint64_t total_cents;
    out = gen_put_lit(out, "{\"event_type\":\"order\",\"order_id\":\"");
    out = gen_events_put_id(g, seq, GEN_ORDER, out);
    out = gen_put_lit(out, "\",\"customer_id\":\"");
    out = put_customer(out, r);
    out = gen_put_lit(out, "\",\"order_date\":\"");
    out = put_event_time(g, out, GEN_ORDER, late, r);
    out = gen_put_lit(out, "\",\"status\":\"");
    out = gen_put_str(out, gen_order_statuses[gen_rng_below(r, GEN_ORDER_STATUSES)]);
    out = gen_put_lit(out, "\",\"items\":[");
    out = put_items(out, r, &total_cents);
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

static char *put_inventory(struct gen_events *g, uint64_t seq, bool late, struct gen_rng *r,
                           char *out)
{
    out = gen_put_lit(out, "{\"event_type\":\"inventory\",\"inventory_id\":\"");
    out = gen_events_put_id(g, seq, GEN_INVENTORY, out);
    out = gen_put_lit(out, "\",\"product_id\":\"prod-");
    out = gen_put_3(out, gen_rng_below(r, GEN_PRODUCTS) + 1);
    out = gen_put_lit(out, "\",\"warehouse_id\":\"");
    out = gen_put_str(out, gen_warehouses[gen_rng_below(r, GEN_WAREHOUSES)]);
    out = gen_put_lit(out, "\",\"quantity_change\":");
    uint32_t change = gen_rng_below(r, 201); /* -100..100 */
    if (change < 100) {
        *out++ = '-';
    }
    out = gen_put_u64(out, change < 100 ? 100 - change : change - 100);
    out = gen_put_lit(out, ",\"reason\":\"");
    out = gen_put_str(out, gen_reasons[gen_rng_below(r, GEN_REASONS)]);
    out = gen_put_lit(out, "\",\"timestamp\":\"");
    out = put_event_time(g, out, GEN_INVENTORY, late, r);
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

static char *put_user_activity(struct gen_events *g, uint64_t seq, bool late, struct gen_rng *r,
                               char *out)
{
    out = gen_put_lit(out, "{\"event_type\":\"user_activity\",\"user_id\":\"");
    out = put_customer(out, r);
    out = gen_put_lit(out, "\",\"activity_type\":\"");
    out = gen_put_str(out, gen_activities[gen_rng_below(r, GEN_ACTIVITIES)]);
    out = gen_put_lit(out, "\",\"ip_address\":\"");
    out = put_ip_address(out, r);
    out = gen_put_lit(out, "\",\"user_agent\":\"");
    out = gen_put_str(out, gen_user_agents[gen_rng_below(r, GEN_USER_AGENTS)]);
    out = gen_put_lit(out, "\",\"timestamp\":\"");
    out = put_event_time(g, out, GEN_USER_ACTIVITY, late, r);
    out = gen_put_lit(out, "\",\"metadata\":{\"session_id\":\"");
    out = gen_events_put_id(g, seq, GEN_USER_ACTIVITY, out);
    out = gen_put_lit(out, "\",\"platform\":\"");
    out = gen_put_str(out, gen_platforms[gen_rng_below(r, GEN_PLATFORMS)]);
    return gen_put_lit(out, "\"}}");
}

static size_t write_type(struct gen_events *g, uint64_t seq, enum gen_type type, bool late,
                         struct gen_rng *r, char *out)
{
    char *end;
    switch (type) {
    case GEN_ORDER:
        end = put_order(g, seq, late, r, out);
        break;
    case GEN_INVENTORY:
        end = put_inventory(g, seq, late, r, out);
        break;
    case GEN_USER_ACTIVITY:
    default:
        GEN_ASSERT(type == GEN_USER_ACTIVITY);
        end = put_user_activity(g, seq, late, r, out);
        break;
    }
    size_t bytes = (size_t)(end - out);
    GEN_ASSERT(bytes < GEN_EVENT_BYTES_MAX);
    return bytes;
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
    }
    return info;
}

size_t gen_events_write(struct gen_events *g, uint64_t seq, char *out, struct gen_event_info *info)
{
    struct gen_rng r = gen_rng_at(g->_seed, seq);
    *info = draw_info(g, &r);
    size_t bytes = write_type(g, seq, info->type, info->kind == GEN_LATE, &r, out);
    if (__builtin_expect(info->kind >= GEN_KIND_MALFORMED_FIRST, 0)) {
        bytes = gen_malform(out, bytes, *info, &r);
        GEN_ASSERT(bytes > 0 && bytes < GEN_EVENT_BYTES_MAX);
    }
    return bytes;
}

size_t gen_events_write_type(struct gen_events *g, uint64_t seq, enum gen_type type, char *out)
{
    struct gen_rng r = gen_rng_at(g->_seed, seq);
    return write_type(g, seq, type, false, &r, out);
}
