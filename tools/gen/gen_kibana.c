/*
 * HOT. Orders like those of Kibana's sample data: keys in one order, many numbers, products of
 * eighteen members each, a place whose members are not always known.
 */
#include <stdbool.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_json.h"
#include "tools/gen/gen_rich.h"

#define US_A_WEEK (INT64_C(7 * 86400) * 1000000)

enum { PRODUCTS_MAX = 4 };

struct product {
    uint32_t id;
    uint32_t sku;
    uint32_t cents;
    uint32_t category;
    uint32_t maker;
    uint32_t name;
};

static const struct gen_str categories[] = {
    GEN_STR("Men's Clothing"), GEN_STR("Women's Clothing"),    GEN_STR("Women's Shoes"),
    GEN_STR("Men's Shoes"),    GEN_STR("Women's Accessories"), GEN_STR("Men's Accessories"),
};
static const struct gen_str makers[] = {
    GEN_STR("Elitelligence"),  GEN_STR("Oceanavigations"), GEN_STR("Champion Arts"),
    GEN_STR("Pyramidustries"), GEN_STR("Low Tide Media"),  GEN_STR("Tigress Enterprises"),
    GEN_STR("Spherecords"),    GEN_STR("Gnomehouse"),
};
static const struct gen_str product_names[] = {
    GEN_STR("Basic T-shirt - dark blue/white"),
    GEN_STR("Sweatshirt - grey multicolor"),
    GEN_STR("Denim dress - black denim"),
    GEN_STR("Shorts - black"),
    GEN_STR("Lace-up boots - cognac"),
    GEN_STR("Across body bag - light grey"),
    GEN_STR("Jumper - bordeaux"),
    GEN_STR("Formal shirt - white/blue"),
};
static const struct gen_str given[] = {GEN_STR("Eddie"), GEN_STR("Mary"),      GEN_STR("Gwen"),
                                       GEN_STR("Diane"), GEN_STR("Rabbia Al"), GEN_STR("Oliver"),
                                       GEN_STR("Abd"),   GEN_STR("Selena")};
static const struct gen_str given_lower[] = {GEN_STR("eddie"), GEN_STR("mary"),   GEN_STR("gwen"),
                                             GEN_STR("diane"), GEN_STR("rabbia"), GEN_STR("oliver"),
                                             GEN_STR("abd"),   GEN_STR("selena")};
static const struct gen_str families[] = {GEN_STR("Underwood"), GEN_STR("Bailey"),
                                          GEN_STR("Butler"),    GEN_STR("Chandler"),
                                          GEN_STR("Rios"),      GEN_STR("Sandoval")};
static const struct gen_str families_lower[] = {GEN_STR("underwood"), GEN_STR("bailey"),
                                                GEN_STR("butler"),    GEN_STR("chandler"),
                                                GEN_STR("rios"),      GEN_STR("sandoval")};
static const struct gen_str days[] = {GEN_STR("Monday"),   GEN_STR("Tuesday"), GEN_STR("Wednesday"),
                                      GEN_STR("Thursday"), GEN_STR("Friday"),  GEN_STR("Saturday"),
                                      GEN_STR("Sunday")};
/* country, longitude and latitude as numbers, region, continent, city */
static const struct gen_str places[][6] = {
    {GEN_STR("EG"), GEN_STR("31.3"), GEN_STR("30.1"), GEN_STR("Cairo Governorate"),
     GEN_STR("Africa"), GEN_STR("Cairo")},
    {GEN_STR("AE"), GEN_STR("55.3"), GEN_STR("25.3"), GEN_STR("Dubai"), GEN_STR("Asia"),
     GEN_STR("Dubai")},
    {GEN_STR("US"), GEN_STR("-73.9"), GEN_STR("40.7"), GEN_STR("New York"),
     GEN_STR("North America"), GEN_STR("New York")},
    {GEN_STR("GB"), GEN_STR("-0.1"), GEN_STR("51.5"), GEN_STR("Greater London"), GEN_STR("Europe"),
     GEN_STR("London")},
    {GEN_STR("CO"), GEN_STR("-74.1"), GEN_STR("4.6"), GEN_STR("Bogota D.C."),
     GEN_STR("South America"), GEN_STR("Bogotá")},
};

static void put_date(struct gen_json *j, struct gen_rich *e, int64_t back_us)
{
    *j->at++ = '"';
    j->at = gen_put_time(j->at, e->now_us - back_us, 0, e->day);
    j->at = gen_put_lit(j->at - 1, "+00:00\"");
    gen_json_next(j);
}

static void put_sku(struct gen_json *j, uint32_t sku)
{
    j->at = gen_put_lit(j->at, "\"ZO0");
    j->at = gen_put_u64(j->at, 100000000 + sku);
    *j->at++ = '"';
    gen_json_next(j);
}

/* 11.99, and 0 instead of 0.00. */
static void put_amount(struct gen_json *j, uint64_t cents)
{
    if (cents % 100 == 0) {
        gen_json_u64(j, cents / 100);
    } else {
        gen_json_amount(j, cents);
    }
}

static void put_product(struct gen_json *j, struct gen_rich *e, uint32_t order_id,
                        const struct product *p)
{
    static const struct gen_str prices[] = {GEN_STR("price"), GEN_STR("taxful_price"),
                                            GEN_STR("base_unit_price")};
    gen_json_open(j, '{');
    gen_json_key(j, "base_price");
    put_amount(j, p->cents);
    gen_json_key(j, "discount_percentage");
    gen_json_u64(j, 0);
    gen_json_key(j, "quantity");
    gen_json_u64(j, 1);
    gen_json_key(j, "manufacturer");
    gen_json_plain(j, makers[p->maker]);
    gen_json_key(j, "tax_amount");
    gen_json_u64(j, 0);
    gen_json_key(j, "product_id");
    gen_json_u64(j, p->id);
    gen_json_key(j, "category");
    gen_json_plain(j, categories[p->category]);
    gen_json_key(j, "sku");
    put_sku(j, p->sku);
    gen_json_key(j, "taxless_price");
    put_amount(j, p->cents);
    gen_json_key(j, "unit_discount_amount");
    gen_json_u64(j, 0);
    gen_json_key(j, "min_price");
    put_amount(j, p->cents / 2);
    gen_json_key(j, "_id");
    j->at = gen_put_lit(j->at, "\"sold_product_");
    j->at = gen_put_u64(j->at, order_id);
    *j->at++ = '_';
    j->at = gen_put_u64(j->at, p->id);
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_key(j, "discount_amount");
    gen_json_u64(j, 0);
    gen_json_key(j, "created_on");
    put_date(j, e, US_A_WEEK);
    gen_json_key(j, "product_name");
    gen_json_plain(j, product_names[p->name]);
    for (size_t i = 0; i < sizeof(prices) / sizeof(prices[0]); i++) {
        gen_json_key_text(j, prices[i]);
        put_amount(j, p->cents);
    }
    gen_json_close(j, '}');
}

static void put_place(struct gen_json *j, struct gen_rng *r)
{
    const struct gen_str *place = gen_rich_pick(r, places);
    uint32_t known = gen_rng_below(r, 100);
    gen_json_key(j, "geoip");
    gen_json_open(j, '{');
    gen_json_key(j, "country_iso_code");
    gen_json_plain(j, place[0]);
    gen_json_key(j, "location");
    gen_json_open(j, '{');
    gen_json_key(j, "lon");
    gen_json_raw(j, place[1]);
    gen_json_key(j, "lat");
    gen_json_raw(j, place[2]);
    gen_json_close(j, '}');
    if (known >= 16) { /* of the real ones 84 in a hundred */
        gen_json_key(j, "region_name");
        gen_json_plain(j, place[3]);
    }
    gen_json_key(j, "continent_name");
    gen_json_plain(j, place[4]);
    if (known >= 12) {
        gen_json_key(j, "city_name");
        gen_json_text(j, place[5]);
    }
    gen_json_close(j, '}');
}

/* Ends with "email", "manufacturer" comes next. */
static void put_customer(struct gen_json *j, struct gen_rng *r, uint32_t first)
{
    uint32_t last = gen_rng_below(r, sizeof(families) / sizeof(families[0]));
    uint32_t day = gen_rng_below(r, 7);
    gen_json_key(j, "customer_first_name");
    gen_json_plain(j, given[first]);
    gen_json_key(j, "customer_full_name");
    *j->at++ = '"';
    j->at = gen_put_str(j->at, given[first]);
    *j->at++ = ' ';
    j->at = gen_put_str(j->at, families[last]);
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_key(j, "customer_gender");
    if (first % 2 == 0) {
        gen_json_lit(j, "MALE");
    } else {
        gen_json_lit(j, "FEMALE");
    }
    gen_json_key(j, "customer_id");
    gen_json_u64(j, 1 + gen_rng_below(r, 60));
    gen_json_key(j, "customer_last_name");
    gen_json_plain(j, families[last]);
    gen_json_key(j, "customer_phone");
    gen_json_lit(j, "");
    gen_json_key(j, "day_of_week");
    gen_json_plain(j, days[day]);
    gen_json_key(j, "day_of_week_i");
    gen_json_u64(j, day);
    gen_json_key(j, "email");
    *j->at++ = '"';
    j->at = gen_put_str(j->at, given_lower[first]);
    *j->at++ = '@';
    j->at = gen_put_str(j->at, families_lower[last]);
    j->at = gen_put_lit(j->at, "-family.zzz\"");
    gen_json_next(j);
}

static uint32_t draw_products(struct product *p, struct gen_rng *r)
{
    uint32_t chance = gen_rng_below(r, 100);
    uint32_t count = chance < 90 ? 2 : chance < 99 ? 4 : 1;
    GEN_ASSERT(count <= PRODUCTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        p[i] = (struct product){
            .id = 6000 + gen_rng_below(r, 19000),
            .sku = gen_rng_below(r, 700000000),
            .cents = 799 + 100 * gen_rng_below(r, 70) + (gen_rich_chance(r, 15) ? 1 : 0),
            .category = gen_rng_below(r, sizeof(categories) / sizeof(categories[0])),
            .maker = gen_rng_below(r, sizeof(makers) / sizeof(makers[0])),
            .name = gen_rng_below(r, sizeof(product_names) / sizeof(product_names[0])),
        };
    }
    return count;
}

static void put_totals(struct gen_json *j, const struct product *p, uint32_t count)
{
    uint64_t cents = 0;
    for (uint32_t i = 0; i < count; i++) {
        cents += p[i].cents;
    }
    gen_json_key(j, "sku");
    gen_json_open(j, '[');
    for (uint32_t i = 0; i < count; i++) {
        put_sku(j, p[i].sku);
    }
    gen_json_close(j, ']');
    gen_json_key(j, "taxful_total_price");
    put_amount(j, cents);
    gen_json_key(j, "taxless_total_price");
    put_amount(j, cents);
    gen_json_key(j, "total_quantity");
    gen_json_u64(j, count);
    gen_json_key(j, "total_unique_products");
    gen_json_u64(j, count);
}

/* Names without repeating the one before. */
static void put_names(struct gen_json *j, const struct product *p, uint32_t count, bool of_makers)
{
    gen_json_open(j, '[');
    for (uint32_t i = 0; i < count; i++) {
        uint32_t now = of_makers ? p[i].maker : p[i].category;
        if (i == 0 || now != (of_makers ? p[i - 1].maker : p[i - 1].category)) {
            gen_json_plain(j, of_makers ? makers[now] : categories[now]);
        }
    }
    gen_json_close(j, ']');
}

char *gen_kibana_put(struct gen_rich *e, char *out)
{
    struct gen_json j = {.at = out};
    struct product products[PRODUCTS_MAX];
    uint32_t order_id = 550000 + gen_rng_below(&e->rng, 40000);
    uint32_t count = draw_products(products, &e->rng);
    uint32_t first = gen_rng_below(&e->rng, sizeof(given) / sizeof(given[0]));
    GEN_ASSERT(e->day != NULL);
    gen_json_open(&j, '{');
    gen_json_key(&j, "category");
    put_names(&j, products, count, false);
    gen_json_key(&j, "currency");
    gen_json_lit(&j, "EUR");
    put_customer(&j, &e->rng, first);
    gen_json_key(&j, "manufacturer");
    put_names(&j, products, count, true);
    gen_json_key(&j, "order_date");
    put_date(&j, e, (int64_t)(gen_rng_next(&e->rng) % (uint64_t)US_A_WEEK));
    gen_json_key(&j, "order_id");
    gen_json_u64(&j, order_id);
    gen_json_key(&j, "products");
    gen_json_open(&j, '[');
    for (uint32_t i = 0; i < count; i++) {
        put_product(&j, e, order_id, &products[i]);
    }
    gen_json_close(&j, ']');
    put_totals(&j, products, count);
    gen_json_key(&j, "type");
    gen_json_lit(&j, "order");
    gen_json_key(&j, "user");
    gen_json_plain(&j, given_lower[first]);
    put_place(&j, &e->rng);
    gen_json_key(&j, "event");
    gen_json_open(&j, '{');
    gen_json_key(&j, "dataset");
    gen_json_lit(&j, "sample_ecommerce");
    gen_json_close(&j, '}');
    gen_json_close(&j, '}');
    gen_json_end(&j);
    return j.at;
}
