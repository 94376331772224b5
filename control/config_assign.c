/* COLD. Sets one knob from text: parses by kind, checks the range, reports what is wrong. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/config_internal.h"
#include "control/values.h"

#define LIST_ITEMS_MAX 64

void problem_value(struct loader *l, struct place at, const struct knob *k, const char *found)
{
    struct textbuf allowed = {0};

    ASSERT(k != NULL);
    knob_allowed(k, &allowed);
    problem_at(l, at, k->name, "found \"%.200s\"; allowed: %s", found, textbuf_str(&allowed));
    textbuf_fini(&allowed);
}

static void *field_of(struct loader *l, const struct knob *k)
{
    ASSERT(k->offset < sizeof(struct config));
    return (char *)l->c + k->offset;
}

static void mark_origin(struct loader *l, const struct knob *k, struct place at)
{
    int i = knob_index(k->name);

    ASSERT(i >= 0);
    l->c->origin[i] = (struct config_origin){.line = at.line, .from = at.from};
}

static int assign_number(struct loader *l, const struct knob *k, const char *text)
{
    uint64_t v;
    int rc;

    if (k->kind == KNOB_SIZE)
        rc = value_size(text, &v);
    else if (k->kind == KNOB_DURATION)
        rc = value_duration(text, &v);
    else if (k->kind == KNOB_FRACTION)
        rc = value_fraction(text, &v);
    else
        rc = value_count(text, &v);
    if (rc != 0)
        return rc;
    if (v < k->min || v > k->max)
        return -ERANGE;
    memcpy(field_of(l, k), &v, sizeof(v));
    return 0;
}

static int assign_choice(struct loader *l, const struct knob *k, const char *text)
{
    size_t len = strlen(text);
    uint64_t index = 0;

    ASSERT(k->choices[0] != '\0');
    for (const char *p = k->choices; *p != '\0'; index++) {
        size_t n = strcspn(p, "|");

        if (n == len && memcmp(p, text, n) == 0) {
            memcpy(field_of(l, k), &index, sizeof(index));
            return 0;
        }
        p += n;
        p += *p == '|';
    }
    return -EINVAL;
}

/* Where the parsed form of an address goes. */
static struct sockaddr_storage *address_of(struct loader *l, const struct knob *k)
{
    const struct {
        const char *name;
        struct sockaddr_storage *address;
    } all[] = {
        {"http.listen", &l->c->http_address},           {"tcp.listen", &l->c->tcp_address},
        {"tcp.acked_listen", &l->c->tcp_acked_address}, {"udp.listen", &l->c->udp_address},
        {"admin.listen", &l->c->admin_address},         {"https.listen", &l->c->https_address},
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strcmp(all[i].name, k->name) == 0)
            return all[i].address;
    }
    ASSERT(false);
    return NULL;
}

/* An address may be empty: off. Not the admin's: something must tell how the daemon is. */
static int assign_address(struct loader *l, const struct knob *k, const char *text)
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};

    ASSERT(k->kind == KNOB_ADDRESS);
    if ((text[0] != '\0' || strcmp(k->name, "admin.listen") == 0) && value_address(text, &a) != 0)
        return -EINVAL;
    *address_of(l, k) = a;
    return 0;
}

static int assign_text(struct loader *l, const struct knob *k, const char *text)
{
    size_t len = strlen(text);
    const char *kept;

    if (k->kind == KNOB_ADDRESS) {
        if (assign_address(l, k, text) != 0)
            return -EINVAL;
    } else if (len < k->min || len > k->max) {
        return -ERANGE;
    }
    kept = config_keep(l->c, text, len);
    memcpy(field_of(l, k), &kept, sizeof(kept));
    return 0;
}

static int assign_worker_count(struct loader *l, const char *text)
{
    uint64_t v;

    if (value_count(text, &v) != 0 || v < 1 || v > CONFIG_WORKERS_MAX)
        return -EINVAL;
    l->c->workers = v;
    for (uint32_t i = 0; i < CONFIG_WORKERS_MAX; i++)
        l->c->core[i] = CONFIG_CORE_AUTO;
    return 0;
}

/* --set's short forms: "a,b" and "k=v,k=v". Splits in place. @return items, or LIST_ITEMS_MAX + 1.
 */
static uint32_t split_commas(char *text, const char **items)
{
    uint32_t n = 0;
    char *p = text;

    ASSERT(text != NULL);
    while (p != NULL && *p != '\0') {
        char *comma = strchr(p, ',');

        if (n == LIST_ITEMS_MAX)
            return LIST_ITEMS_MAX + 1;
        if (comma != NULL)
            *comma++ = '\0';
        items[n++] = p;
        p = comma;
    }
    return n;
}

static void assign_split(struct loader *l, const struct knob *k, const char *text, struct place at)
{
    const char *items[LIST_ITEMS_MAX], *values[LIST_ITEMS_MAX];
    char *copy = strdup(text);
    uint32_t n = copy != NULL ? split_commas(copy, items) : 0;
    bool ok = n <= LIST_ITEMS_MAX;

    ASSERT(k->kind == KNOB_LIST || k->kind == KNOB_MAP || k->kind == KNOB_WORKERS);
    for (uint32_t i = 0; ok && k->kind == KNOB_MAP && i < n; i++) {
        char *equal = strchr(items[i], '=');

        ok = equal != NULL;
        if (ok) {
            *equal = '\0';
            values[i] = equal + 1;
        }
    }
    if (!ok)
        problem_value(l, at, k, text);
    else if (k->kind == KNOB_MAP)
        config_assign_map(l, k, items, values, n, at);
    else
        config_assign_list(l, k, items, n, at);
    free(copy);
}

void config_assign(struct loader *l, const struct knob *k, const char *text, struct place at)
{
    bool b;
    int rc = 0;

    ASSERT(text != NULL);
    switch (k->kind) {
    case KNOB_SIZE:
    case KNOB_DURATION:
    case KNOB_COUNT:
    case KNOB_FRACTION:
        rc = assign_number(l, k, text);
        break;
    case KNOB_CHOICE:
        rc = assign_choice(l, k, text);
        break;
    case KNOB_BOOL:
        rc = value_bool(text, &b);
        if (rc == 0)
            memcpy(field_of(l, k), &b, sizeof(b));
        break;
    case KNOB_TEXT:
    case KNOB_ADDRESS:
        rc = assign_text(l, k, text);
        break;
    case KNOB_WORKERS:
        if (strchr(text, ',') != NULL) {
            assign_split(l, k, text, at);
            return;
        }
        rc = assign_worker_count(l, text);
        break;
    case KNOB_LIST:
    case KNOB_MAP:
        assign_split(l, k, text, at);
        return;
    case KNOB_TYPES:
        rc = -EINVAL;
        break;
    }
    if (rc != 0)
        problem_value(l, at, k, text);
    mark_origin(l, k, at);
}

static void assign_cores(struct loader *l, const struct knob *k, const char *const *items,
                         uint32_t n, struct place at)
{
    if (n < 1 || n > CONFIG_WORKERS_MAX) {
        problem_value(l, at, k, n == 0 ? "an empty list" : "a longer list");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t core;

        if (value_count(items[i], &core) != 0 || core >= 4096) {
            problem_at(l, at, k->name, "found \"%.100s\"; allowed: a core's number", items[i]);
            return;
        }
        l->c->core[i] = (int)core;
        for (uint32_t j = 0; j < i; j++) {
            if (l->c->core[j] == (int)core)
                problem_at(l, at, k->name, "core %d twice; allowed: one worker a core", (int)core);
        }
    }
    ASSERT(n <= CONFIG_WORKERS_MAX);
    l->c->workers = n;
}

void config_assign_list(struct loader *l, const struct knob *k, const char *const *items,
                        uint32_t n, struct place at)
{
    struct config_list list = {.n = n};

    mark_origin(l, k, at);
    if (k->kind == KNOB_WORKERS) {
        assign_cores(l, k, items, n, at);
        return;
    }
    ASSERT(k->kind == KNOB_LIST);
    list.item = config_alloc(l->c, (n + 1) * sizeof(*list.item));
    if (n > k->max || list.item == NULL) {
        problem_value(l, at, k, "a longer list");
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        list.item[i] = config_keep(l->c, items[i], strlen(items[i]));
    memcpy(field_of(l, k), &list, sizeof(list));
}

void config_assign_map(struct loader *l, const struct knob *k, const char *const *keys,
                       const char *const *values, uint32_t n, struct place at)
{
    struct config_map map = {.n = n};

    ASSERT(k->kind == KNOB_MAP);
    mark_origin(l, k, at);
    map.key = config_alloc(l->c, (n + 1) * sizeof(*map.key));
    map.value = config_alloc(l->c, (n + 1) * sizeof(*map.value));
    if (n > k->max || map.key == NULL || map.value == NULL) {
        problem_value(l, at, k, "a longer map");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        map.key[i] = config_keep(l->c, keys[i], strlen(keys[i]));
        map.value[i] = config_keep(l->c, values[i], strlen(values[i]));
    }
    memcpy(field_of(l, k), &map, sizeof(map));
}
