/*
 * COLD data, read by hot code. The values that events are made of: the same 100 customers, 10
 * products, 5 warehouses, 10 cities, 7 countries and 4 user agents as the producers that Penstock
 * replaces. Entries are the JSON text as it goes into an event, cut where a number goes in.
 */
#ifndef GEN_CATALOG_H
#define GEN_CATALOG_H

#include <stdint.h>

#include "tools/gen/gen_text.h"

enum {
    GEN_CUSTOMERS = 100, /* customer-001..customer-100: numbers, so no table */
    GEN_PRODUCTS = 10,
    GEN_WAREHOUSES = 5,
    GEN_CITIES = 10,
    GEN_STREETS = 8,
    GEN_USER_AGENTS = 4,
    GEN_ORDER_STATUSES = 4,
    GEN_REASONS = 4,
    GEN_ACTIVITIES = 5,
    GEN_PLATFORMS = 3,
};

struct gen_product {
    struct gen_str item_head; /* {"product_id":"prod-001","product_name":"...","quantity": */
    struct gen_str item_tail; /* ,"price":12.99} */
    uint32_t price_cents;
};

extern const struct gen_product gen_products[GEN_PRODUCTS];
extern const struct gen_str gen_warehouses[GEN_WAREHOUSES];
extern const struct gen_str gen_cities[GEN_CITIES]; /* Berlin","country":"Germany */
extern const struct gen_str gen_streets[GEN_STREETS];
extern const struct gen_str gen_user_agents[GEN_USER_AGENTS];
extern const struct gen_str gen_order_statuses[GEN_ORDER_STATUSES];
extern const struct gen_str gen_reasons[GEN_REASONS];
extern const struct gen_str gen_activities[GEN_ACTIVITIES];
extern const struct gen_str gen_platforms[GEN_PLATFORMS];

#endif
