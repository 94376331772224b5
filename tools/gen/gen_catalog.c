/* COLD. See gen_catalog.h. */
#include "tools/gen/gen_catalog.h"

#define PRODUCT(id, name, units, cents)                                                    \
    {                                                                                      \
        GEN_STR("{\"product_id\":\"" id "\",\"product_name\":\"" name "\",\"quantity\":"), \
            GEN_STR(",\"price\":" #units "." #cents "}"), units * 100 + cents              \
    }

/* The two digits of the cents must not start with 0: they are also read as a C number. */
const struct gen_product gen_products[GEN_PRODUCTS] = {
    PRODUCT("prod-001", "Laptop", 1299, 99),      PRODUCT("prod-002", "Smartphone", 799, 99),
    PRODUCT("prod-003", "Headphones", 149, 99),   PRODUCT("prod-004", "Tablet", 499, 99),
    PRODUCT("prod-005", "Smartwatch", 249, 95),   PRODUCT("prod-006", "Keyboard", 89, 50),
    PRODUCT("prod-007", "Mouse", 39, 99),         PRODUCT("prod-008", "27-inch Monitor", 349, 90),
    PRODUCT("prod-009", "USB-C Charger", 29, 95), PRODUCT("prod-010", "Webcam", 69, 25),
};

const struct gen_str gen_warehouses[GEN_WAREHOUSES] = {
    GEN_STR("wh-us-east"),  GEN_STR("wh-us-west"),   GEN_STR("wh-eu-west"),
    GEN_STR("wh-eu-north"), GEN_STR("wh-asia-east"),
};

#define CITY(city, country) GEN_STR(city "\",\"country\":\"" country)

const struct gen_str gen_cities[GEN_CITIES] = {
    CITY("New York", "USA"),   CITY("Chicago", "USA"),    CITY("San Francisco", "USA"),
    CITY("London", "UK"),      CITY("Berlin", "Germany"), CITY("Munich", "Germany"),
    CITY("Paris", "France"),   CITY("Tokyo", "Japan"),    CITY("Sydney", "Australia"),
    CITY("Toronto", "Canada"),
};

const struct gen_str gen_streets[GEN_STREETS] = {
    GEN_STR("Main St"),     GEN_STR("Oak Avenue"),  GEN_STR("Station Road"),  GEN_STR("Park Lane"),
    GEN_STR("High Street"), GEN_STR("Maple Drive"), GEN_STR("Church Street"), GEN_STR("Mill Road"),
};

const struct gen_str gen_user_agents[GEN_USER_AGENTS] = {
    GEN_STR("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/126.0.0.0 Safari/537.36"),
    GEN_STR("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) Version/17.5 Safari/605.1.15"),
    GEN_STR("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"),
    GEN_STR("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"),
};

const struct gen_str gen_order_statuses[GEN_ORDER_STATUSES] = {
    GEN_STR("pending"),
    GEN_STR("processing"),
    GEN_STR("shipped"),
    GEN_STR("delivered"),
};

const struct gen_str gen_reasons[GEN_REASONS] = {
    GEN_STR("restock"),
    GEN_STR("sale"),
    GEN_STR("return"),
    GEN_STR("damage"),
};

const struct gen_str gen_activities[GEN_ACTIVITIES] = {
    GEN_STR("login"),       GEN_STR("logout"),           GEN_STR("view_product"),
    GEN_STR("add_to_cart"), GEN_STR("remove_from_cart"),
};

const struct gen_str gen_platforms[GEN_PLATFORMS] = {
    GEN_STR("web"),
    GEN_STR("mobile"),
    GEN_STR("tablet"),
};
