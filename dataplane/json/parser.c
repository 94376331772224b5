/*
 * COLD. Parsers: which variants there are, which of them this CPU runs, and the memory of each.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>

#include "dataplane/json/json_tape.h"

static const char *const isa_names[] = {"scalar", "avx2", "avx512"};

/* Not every compiler's __builtin_cpu_supports() knows the name. That the system saves the registers
 * says avx512f. */
static bool has_vaes(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_VAES) != 0 &&
           (c & bit_GFNI) != 0;
}

bool json_isa_usable(enum json_isa isa)
{
    ASSERT((size_t)isa < ARRAY_LEN(isa_names));
    __builtin_cpu_init();
    switch (isa) {
    case JSON_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("avx512vbmi2") && has_vaes() &&
               __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2");
    case JSON_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
               __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2");
    default:
        return true;
    }
}

enum json_isa json_isa_best(void)
{
    enum json_isa isa = JSON_ISA_AVX512;

    while (!json_isa_usable(isa))
        isa--;
    return isa;
}

const char *json_isa_name(enum json_isa isa)
{
    ASSERT((size_t)isa < ARRAY_LEN(isa_names));
    return isa_names[isa];
}

int json_isa_parse(const char *name, enum json_isa *out)
{
    ASSERT(name != NULL && out != NULL);
    if (strcmp(name, "auto") == 0) {
        *out = json_isa_best();
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(isa_names); i++) {
        if (strcmp(name, isa_names[i]) != 0)
            continue;
        *out = (enum json_isa)i;
        return json_isa_usable(*out) ? 0 : -ENOTSUP;
    }
    return -EINVAL;
}

static void pick_init(struct json_pick *pick, const struct json_paths *paths)
{
    ASSERT(paths->n <= JSON_PATHS_MAX);
    pick->paths = paths;
    pick->all = (uint16_t)((1u << paths->n) - 1);
    for (unsigned i = 0; i < paths->n; i++) {
        const struct json_path *path = &paths->path[i];

        for (unsigned level = 0; level < path->n_keys; level++)
            pick->by_len[level][path->key_len[level] % PICK_LENGTHS] |= (uint16_t)(1u << i);
    }
}

int json_parser_create(const struct json_paths *paths, enum json_isa isa, struct json_parser **out)
{
    struct json_parser *p = calloc(1, sizeof(*p));

    ASSERT(json_isa_usable(isa));
    if (p == NULL)
        return -ENOMEM;
    p->isa = isa;
    if (paths != NULL && paths->n > 0) {
        p->paths = *paths;
        pick_init(&p->pick, &p->paths);
        p->use = &p->pick;
    }
    if (isa != JSON_ISA_SCALAR) {
        p->vectors = json_vectors_create(&p->paths);
        p->variant = isa == JSON_ISA_AVX512 ? &json_avx512 : &json_avx2;
        if (p->vectors == NULL) {
            free(p);
            return -ENOMEM;
        }
    }
    *out = p;
    return 0;
}

void json_parser_destroy(struct json_parser *p)
{
    if (p == NULL)
        return;
    json_vectors_destroy(p->vectors);
    free(p);
}

size_t json_parser_memory_bytes(enum json_isa isa)
{
    ASSERT((size_t)isa < ARRAY_LEN(isa_names));
    return sizeof(struct json_parser) + (isa == JSON_ISA_SCALAR ? 0 : json_vectors_bytes());
}

enum json_isa json_parser_isa(const struct json_parser *p)
{
    ASSERT(p != NULL);
    return p->isa;
}

void json_parser_stats(const struct json_parser *p, struct json_parser_stats *out)
{
    ASSERT(p != NULL && out != NULL);
    *out = p->stats;
}
