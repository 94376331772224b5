/*
 * HOT. Orders as four kinds of producers write them: 23 different keys, in another order with each
 * producer; items, an address and metadata nested. Of all string values some 3 % need an escape and
 * 5 % hold characters beyond ASCII. perf/schemas/commerce.json is the table that fits them.
 */
#include <stdbool.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_json.h"
#include "tools/gen/gen_rich.h"

#define US_AN_HOUR (INT64_C(3600) * 1000000)

enum { ITEMS_MAX = 9 };

enum member {
    EVENT_TYPE,
    ORDER_ID,
    CUSTOMER_ID,
    ORDER_DATE,
    STATUS,
    CURRENCY,
    TOTAL_AMOUNT,
    ITEMS,
    SHIPPING_ADDRESS,
    METADATA,
    GIFT,
    COUPON,
    MEMBERS
};

/* How a producer writes. */
struct producer {
    uint8_t order[MEMBERS];
    uint8_t fraction_digits;
    bool offset;    /* +02:00 instead of Z */
    bool spaced;    /* Python's way */
    bool null_gaps; /* an absent value is null instead of left out */
    struct gen_str platform;
};

struct item {
    uint32_t product;
    uint32_t quantity;
    uint32_t price_cents;
    uint32_t name; /* index; of odd names when it is past the plain ones */
};

struct order {
    const struct producer *by;
    struct item items[ITEMS_MAX];
    uint32_t items_count;
    uint64_t total_cents;
    bool gift;
    bool coupon;
};

/* Shares: by how often each stands in by_share[]. */
static const struct producer producers[] = {
    {{EVENT_TYPE, ORDER_ID, CUSTOMER_ID, ORDER_DATE, STATUS, CURRENCY, TOTAL_AMOUNT, ITEMS,
      SHIPPING_ADDRESS, METADATA, GIFT, COUPON},
     3,
     false,
     false,
     false,
     GEN_STR("web")},
    {{METADATA, EVENT_TYPE, ORDER_DATE, ORDER_ID, CUSTOMER_ID, SHIPPING_ADDRESS, ITEMS, CURRENCY,
      TOTAL_AMOUNT, COUPON, GIFT, STATUS},
     6,
     false,
     false,
     true,
     GEN_STR("mobile")},
    {{COUPON, CURRENCY, CUSTOMER_ID, EVENT_TYPE, GIFT, ITEMS, METADATA, ORDER_DATE, ORDER_ID,
      SHIPPING_ADDRESS, STATUS, TOTAL_AMOUNT},
     0,
     true,
     false,
     false,
     GEN_STR("point-of-sale")},
    {{EVENT_TYPE, ORDER_ID, ORDER_DATE, METADATA, CUSTOMER_ID, STATUS, ITEMS, TOTAL_AMOUNT,
      CURRENCY, SHIPPING_ADDRESS, COUPON, GIFT},
     6,
     false,
     true,
     true,
     GEN_STR("partner")},
};
static const uint8_t by_share[20] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3};

static const struct gen_str event_types[] = {
    GEN_STR("order_created"),  GEN_STR("order_created"), GEN_STR("order_created"),
    GEN_STR("order_paid"),     GEN_STR("order_paid"),    GEN_STR("order_shipped"),
    GEN_STR("order_returned"),
};
static const struct gen_str statuses[] = {GEN_STR("pending"), GEN_STR("processing"),
                                          GEN_STR("shipped"), GEN_STR("delivered"),
                                          GEN_STR("returned")};
static const struct gen_str currencies[] = {GEN_STR("EUR"), GEN_STR("USD"), GEN_STR("GBP"),
                                            GEN_STR("JPY")};

static const struct gen_str given[] = {
    GEN_STR("Anna"),   GEN_STR("Ben"),   GEN_STR("Carla"), GEN_STR("David"), GEN_STR("Elena"),
    GEN_STR("Farid"),  GEN_STR("Grace"), GEN_STR("Henry"), GEN_STR("Ines"),  GEN_STR("Jonathan"),
    GEN_STR("Katrin"), GEN_STR("Leo"),   GEN_STR("Maria"), GEN_STR("Nora"),  GEN_STR("Oliver"),
};
static const struct gen_str family[] = {
    GEN_STR("Andersson"), GEN_STR("Baker"),   GEN_STR("Cohen"),    GEN_STR("Dubois"),
    GEN_STR("Evans"),     GEN_STR("Fischer"), GEN_STR("Garcia"),   GEN_STR("Hughes"),
    GEN_STR("Ito"),       GEN_STR("Jones"),   GEN_STR("Kowalski"), GEN_STR("Lee"),
    GEN_STR("Murphy"),    GEN_STR("Novak"),   GEN_STR("O'Brien"),
};
static const struct gen_str odd_names[] = {
    GEN_STR("José Núñez"),     GEN_STR("Jürgen Müller"),     GEN_STR("Zoë Brontë"),
    GEN_STR("山田 太郎"),      GEN_STR("Łukasz Wiśniewski"), GEN_STR("Søren Sørensen"),
    GEN_STR("Алексей Иванов"), GEN_STR("François Lefèvre"),  GEN_STR("Αθηνά Παππά 🌿"),
};
static const struct gen_str streets[] = {
    GEN_STR("Main St"),     GEN_STR("Oak Avenue"),  GEN_STR("Station Road"),   GEN_STR("Park Lane"),
    GEN_STR("High Street"), GEN_STR("Maple Drive"), GEN_STR("Church Street"),  GEN_STR("Mill Road"),
    GEN_STR("Bahnhofstr."), GEN_STR("Via Roma"),    GEN_STR("Rue de la Gare"), GEN_STR("Elm Court"),
};
static const struct gen_str odd_streets[] = {
    GEN_STR("Königstraße"),
    GEN_STR("Rue de l'Église"),
    GEN_STR("Plaça de Catalunya"),
    GEN_STR("Åsgatan"),
    GEN_STR("Main St\nApartment 4"),
    GEN_STR("Mill Road\nc/o \"The Forge\""),
    GEN_STR("High Street\n2nd floor"),
    GEN_STR("Dock 3 \\ Gate B"),
};
static const struct gen_str cities[][2] = {
    {GEN_STR("New York"), GEN_STR("USA")},      {GEN_STR("Chicago"), GEN_STR("USA")},
    {GEN_STR("San Francisco"), GEN_STR("USA")}, {GEN_STR("London"), GEN_STR("UK")},
    {GEN_STR("Berlin"), GEN_STR("Germany")},    {GEN_STR("Hamburg"), GEN_STR("Germany")},
    {GEN_STR("Paris"), GEN_STR("France")},      {GEN_STR("Tokyo"), GEN_STR("Japan")},
    {GEN_STR("Sydney"), GEN_STR("Australia")},  {GEN_STR("Toronto"), GEN_STR("Canada")},
};
static const struct gen_str odd_cities[][2] = {
    {GEN_STR("München"), GEN_STR("Germany")},  {GEN_STR("Zürich"), GEN_STR("Switzerland")},
    {GEN_STR("São Paulo"), GEN_STR("Brazil")}, {GEN_STR("大阪市"), GEN_STR("日本")},
    {GEN_STR("Kraków"), GEN_STR("Poland")},    {GEN_STR("Malmö"), GEN_STR("Sweden")},
};
static const struct gen_str products[] = {
    GEN_STR("Laptop"),          GEN_STR("Smartphone"),        GEN_STR("Headphones, wireless"),
    GEN_STR("Tablet"),          GEN_STR("Smartwatch Series"), GEN_STR("Mechanical Keyboard"),
    GEN_STR("Mouse"),           GEN_STR("USB-C Charger 65W"), GEN_STR("Webcam"),
    GEN_STR("Desk Lamp (LED)"), GEN_STR("Backpack, 25 l"),    GEN_STR("Water Bottle"),
    GEN_STR("Running Shoes"),   GEN_STR("Cotton T-Shirt"),    GEN_STR("Espresso Cups, set of 6"),
};
static const struct gen_str odd_products[] = {
    GEN_STR("27\" Monitor"),   GEN_STR("Cable \"Pro\" 2 m"),  GEN_STR("Café crème, 500 g"),
    GEN_STR("Jalapeño sauce"), GEN_STR("13\" Laptop Sleeve"), GEN_STR("Tea set \\ 茶器"),
};
static const struct gen_str coupons[] = {GEN_STR("SPRING24"), GEN_STR("WELCOME"), GEN_STR("VIP-5"),
                                         GEN_STR("FREESHIP")};

static void draw_items(struct order *o, struct gen_rng *r)
{
    /* One to nine, three in the mean. */
    static const uint8_t counts[20] = {1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7};
    o->items_count = counts[gen_rng_below(r, 20)];
    o->items_count += o->items_count == 7 ? gen_rng_below(r, 3) : 0;
    GEN_ASSERT(o->items_count >= 1 && o->items_count <= ITEMS_MAX);
    for (uint32_t i = 0; i < o->items_count; i++) {
        struct item *t = &o->items[i];
        t->product = 1 + gen_rng_below(r, 99999);
        t->quantity = 1 + gen_rng_below(r, 4);
        t->price_cents = 199 + gen_rng_below(r, 149900);
        t->name = gen_rng_below(r, UINT32_MAX);
        o->total_cents += (uint64_t)t->quantity * t->price_cents;
    }
}

static void put_id(struct gen_json *j, const struct gen_rich *e, struct gen_str prefix)
{
    *j->at++ = '"';
    j->at = gen_put_str(j->at, prefix);
    j->at = gen_put_u64(j->at, e->seed);
    *j->at++ = '-';
    j->at = gen_put_u64(j->at, e->seq);
    *j->at++ = '"';
    gen_json_next(j);
}

static void put_time(struct gen_json *j, struct gen_rich *e, const struct producer *by)
{
    int64_t at_us = e->now_us - (int64_t)(gen_rng_next(&e->rng) % (uint64_t)US_AN_HOUR);
    *j->at++ = '"';
    j->at = gen_put_time(j->at, at_us, by->fraction_digits, e->day);
    if (by->offset) {
        j->at = gen_put_lit(j->at - 1, "+02:00");
    }
    *j->at++ = '"';
    gen_json_next(j);
}

static void put_items(struct gen_json *j, const struct order *o)
{
    const uint32_t plain = sizeof(products) / sizeof(products[0]);
    const uint32_t odd = sizeof(odd_products) / sizeof(odd_products[0]);
    gen_json_open(j, '[');
    for (uint32_t i = 0; i < o->items_count; i++) {
        const struct item *t = &o->items[i];
        bool is_odd = t->name % 100 < 20;
        gen_json_open(j, '{');
        gen_json_key(j, "product_id");
        j->at = gen_put_lit(j->at, "\"prod-");
        j->at = gen_put_u64(j->at, t->product);
        *j->at++ = '"';
        gen_json_next(j);
        gen_json_key(j, "product_name");
        gen_json_text(j,
                      is_odd ? odd_products[t->name / 100 % odd] : products[t->name / 100 % plain]);
        gen_json_key(j, "quantity");
        gen_json_u64(j, t->quantity);
        gen_json_key(j, "price");
        gen_json_amount(j, t->price_cents);
        gen_json_close(j, '}');
    }
    gen_json_close(j, ']');
}

static void put_address(struct gen_json *j, struct gen_rng *r)
{
    const struct gen_str *city =
        gen_rich_chance(r, 20) ? gen_rich_pick(r, odd_cities) : gen_rich_pick(r, cities);
    gen_json_open(j, '{');
    gen_json_key(j, "name");
    if (gen_rich_chance(r, 20)) {
        gen_json_text(j, gen_rich_pick(r, odd_names));
    } else {
        *j->at++ = '"';
        gen_json_part(j, gen_rich_pick(r, given));
        *j->at++ = ' ';
        gen_json_part(j, gen_rich_pick(r, family));
        *j->at++ = '"';
        gen_json_next(j);
    }
    gen_json_key(j, "street");
    *j->at++ = '"';
    j->at = gen_put_u64(j->at, 1 + gen_rng_below(r, 999));
    *j->at++ = ' ';
    gen_json_part(j, gen_rich_chance(r, 25) ? gen_rich_pick(r, odd_streets)
                                            : gen_rich_pick(r, streets));
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_key(j, "city");
    gen_json_text(j, city[0]);
    gen_json_key(j, "postal_code");
    *j->at++ = '"';
    j->at = gen_put_u64(j->at, 10000 + gen_rng_below(r, 89999));
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_key(j, "country");
    gen_json_text(j, city[1]);
    gen_json_close(j, '}');
}

static void put_metadata(struct gen_json *j, const struct gen_rich *e, const struct producer *by)
{
    gen_json_open(j, '{');
    gen_json_key(j, "session_id");
    put_id(j, e, (struct gen_str)GEN_STR("ses-"));
    gen_json_key(j, "platform");
    gen_json_plain(j, by->platform);
    gen_json_close(j, '}');
}

/* gift and coupon, which may be absent. */
static void put_optional(struct gen_json *j, struct gen_rng *r, enum member member,
                         const struct order *o)
{
    GEN_ASSERT(member == GIFT || member == COUPON);
    bool there = member == GIFT ? o->gift : o->coupon;
    if (!there && !o->by->null_gaps) {
        return;
    }
    if (member == GIFT) {
        gen_json_key(j, "gift");
    } else {
        gen_json_key(j, "coupon");
    }
    if (!there) {
        gen_json_null(j);
    } else if (member == GIFT) {
        gen_json_bool(j, gen_rich_chance(r, 30));
    } else {
        gen_json_plain(j, gen_rich_pick(r, coupons));
    }
}

static void put_member(struct gen_json *j, struct gen_rich *e, enum member member,
                       const struct order *o)
{
    switch (member) {
    case EVENT_TYPE:
        gen_json_key(j, "event_type");
        gen_json_plain(j, gen_rich_pick(&e->rng, event_types));
        break;
    case ORDER_ID:
        gen_json_key(j, "order_id");
        put_id(j, e, (struct gen_str)GEN_STR("ord-"));
        break;
    case CUSTOMER_ID:
        gen_json_key(j, "customer_id");
        gen_json_u64(j, 1 + gen_rng_below(&e->rng, 9999999));
        break;
    case ORDER_DATE:
        gen_json_key(j, "order_date");
        put_time(j, e, o->by);
        break;
    case STATUS:
        gen_json_key(j, "status");
        gen_json_plain(j, gen_rich_pick(&e->rng, statuses));
        break;
    case CURRENCY:
        gen_json_key(j, "currency");
        gen_json_plain(j, gen_rich_pick(&e->rng, currencies));
        break;
    case TOTAL_AMOUNT:
        gen_json_key(j, "total_amount");
        gen_json_amount(j, o->total_cents);
        break;
    case ITEMS:
        gen_json_key(j, "items");
        put_items(j, o);
        break;
    case SHIPPING_ADDRESS:
        gen_json_key(j, "shipping_address");
        put_address(j, &e->rng);
        break;
    case METADATA:
        gen_json_key(j, "metadata");
        put_metadata(j, e, o->by);
        break;
    case GIFT:
    case COUPON:
    case MEMBERS:
    default:
        put_optional(j, &e->rng, member, o);
        break;
    }
}

char *gen_commerce_put(struct gen_rich *e, char *out)
{
    struct order o = {.by = &producers[gen_rich_pick(&e->rng, by_share)]};
    struct gen_json j = {.at = out, .spaced = o.by->spaced, .ascii = o.by->spaced};
    GEN_ASSERT(e->day != NULL);
    draw_items(&o, &e->rng);
    o.gift = gen_rich_chance(&e->rng, 50);
    o.coupon = gen_rich_chance(&e->rng, 30);
    gen_json_open(&j, '{');
    for (size_t i = 0; i < MEMBERS; i++) {
        put_member(&j, e, o.by->order[i], &o);
    }
    gen_json_close(&j, '}');
    gen_json_end(&j);
    return j.at;
}
