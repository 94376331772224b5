/*
 * COLD. Reads the YAML file: walks the document along the knob table. Sections are maps whose
 * dotted names lead to keys; everything else is a mistake.
 */
#include <inttypes.h>
#include <stdio.h>

#include "control/config_internal.h"

#define DEPTH_MAX  6 /* of sections: also ends aliases that contain themselves */
#define ITEMS_MAX  1024
#define PATH_BYTES 200

const char *config_scalar(const yaml_node_t *node)
{
    const char *text;

    if (node == NULL || node->type != YAML_SCALAR_NODE)
        return NULL;
    text = (const char *)node->data.scalar.value;
    ASSERT(text != NULL);
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

struct place config_place(const yaml_node_t *node)
{
    ASSERT(node != NULL);
    return (struct place){.line = (uint32_t)node->start_mark.line + 1, .from = "file"};
}

const char *config_node_kind(const yaml_node_t *node)
{
    ASSERT(node != NULL);
    return node->type == YAML_MAPPING_NODE    ? "a map"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
           : node->type == YAML_SCALAR_NODE   ? "text with a zero byte"
                                              : "nothing";
}

static yaml_node_t *node_of(struct loader *l, int index)
{
    return yaml_document_get_node(l->doc, index);
}

/* Takes the texts of a list. @return false with a problem reported. */
static bool read_items(struct loader *l, const struct knob *k, const yaml_node_t *node,
                       const char **items, uint32_t *n)
{
    *n = 0;
    for (const int *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        const char *text = config_scalar(node_of(l, *i));

        if (text == NULL || *n == ITEMS_MAX) {
            problem_value(l, config_place(node), k,
                          text == NULL ? "a list of something else" : "a longer list");
            return false;
        }
        items[(*n)++] = text;
    }
    ASSERT(*n <= ITEMS_MAX);
    return true;
}

static void read_list(struct loader *l, const struct knob *k, const yaml_node_t *node)
{
    const char *items[ITEMS_MAX];
    uint32_t n;

    ASSERT(node->type == YAML_SEQUENCE_NODE);
    if (read_items(l, k, node, items, &n))
        config_assign_list(l, k, items, n, config_place(node));
}

static void read_map(struct loader *l, const struct knob *k, const yaml_node_t *node)
{
    const char *keys[ITEMS_MAX], *values[ITEMS_MAX];
    uint32_t n = 0;

    ASSERT(node->type == YAML_MAPPING_NODE);
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top; p++) {
        const char *key = config_scalar(node_of(l, p->key)),
                   *value = config_scalar(node_of(l, p->value));

        if (key == NULL || value == NULL || n == ITEMS_MAX) {
            problem_value(l, config_place(node), k, "a map of something else");
            return;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (strcmp(keys[i], key) == 0)
                problem_at(l, config_place(node), k->name, "\"%.100s\" twice", key);
        }
        keys[n] = key;
        values[n++] = value;
    }
    config_assign_map(l, k, keys, values, n, config_place(node));
}

static void read_knob(struct loader *l, const struct knob *k, const yaml_node_t *node)
{
    const char *text = config_scalar(node);

    ASSERT(node != NULL);
    if (k->kind == KNOB_TYPES && node->type == YAML_SEQUENCE_NODE) {
        l->c->origin[knob_index(k->name)] =
            (struct config_origin){.line = config_place(node).line, .from = "file"};
        config_read_types(l, node);
    } else if (k->kind == KNOB_MAP && node->type == YAML_MAPPING_NODE)
        read_map(l, k, node);
    else if ((k->kind == KNOB_LIST || k->kind == KNOB_WORKERS) && node->type == YAML_SEQUENCE_NODE)
        read_list(l, k, node);
    else if (text != NULL && k->kind != KNOB_LIST && k->kind != KNOB_MAP && k->kind != KNOB_TYPES)
        config_assign(l, k, text, config_place(node));
    else
        problem_value(l, config_place(node), k, text != NULL ? text : config_node_kind(node));
}

static void unknown_key(struct loader *l, const char *path, struct place at)
{
    const char *near = knob_nearest(path);

    ASSERT(path != NULL);
    if (near != NULL)
        problem_at(l, at, path, "unknown key; did you mean \"%s\"?", near);
    else
        problem_at(l, at, path, "unknown key; docs/configuration.md lists the known ones");
}

static void read_section(struct loader *l, const yaml_node_t *node, const char *path, int depth);

static void read_pair(struct loader *l, const yaml_node_pair_t *pair, const char *path, int depth)
{
    yaml_node_t *key_node = node_of(l, pair->key), *value = node_of(l, pair->value);
    const char *key = config_scalar(key_node);
    char name[PATH_BYTES];
    int index, n;

    if (key == NULL) {
        problem_at(l, config_place(key_node), path, "found %s as a key; allowed: text",
                   config_node_kind(key_node));
        return;
    }
    n = snprintf(name, sizeof(name), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
    ASSERT(n >= 0);
    index = n < (int)sizeof(name) ? knob_index(name) : -1;
    if (index >= 0) {
        if (l->c->origin[index].line > 0)
            problem_at(l, config_place(key_node), name, "given twice; first in line %" PRIu32,
                       l->c->origin[index].line);
        else
            read_knob(l, knob_get(name), value);
        if (l->c->origin[index].line == 0)
            l->c->origin[index] =
                (struct config_origin){.line = config_place(key_node).line, .from = "file"};
    } else if (n >= (int)sizeof(name) || !knob_is_section(name)) {
        unknown_key(l, name, config_place(key_node));
    } else if (value->type == YAML_MAPPING_NODE && depth < DEPTH_MAX) {
        read_section(l, value, name, depth + 1);
    } else {
        const char *text = config_scalar(value);

        if (text == NULL || text[0] != '\0') /* an empty section is fine */
            problem_at(l, config_place(key_node), name, "found \"%.100s\"; allowed: a map of keys",
                       text != NULL ? text : config_node_kind(value));
    }
}

static void read_section(struct loader *l, const yaml_node_t *node, const char *path, int depth)
{
    ASSERT(node->type == YAML_MAPPING_NODE);
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top; p++) {
        if (l->n_problems > CONFIG_PROBLEMS_MAX)
            return;
        read_pair(l, p, path, depth);
    }
}

static bool read_document(struct loader *l)
{
    yaml_node_t *root = yaml_document_get_root_node(l->doc);
    bool map = root != NULL && root->type == YAML_MAPPING_NODE;

    ASSERT(l->doc != NULL);
    if (map)
        read_section(l, root, "", 1);
    else if (root == NULL)
        problem_at(l, (struct place){0}, "", "the file is empty; allowed: a map of keys");
    else
        problem_at(l, config_place(root), "", "found %s; allowed: a map of keys",
                   config_node_kind(root));
    return map;
}

static void problem_yaml(struct loader *l, const yaml_parser_t *p)
{
    struct place at = {.line = (uint32_t)p->problem_mark.line + 1, .from = "file"};

    ASSERT(p->error != YAML_NO_ERROR);
    problem_at(l, at, "", "not valid YAML: %s%s%s", p->context != NULL ? p->context : "",
               p->context != NULL ? ": " : "", p->problem != NULL ? p->problem : "unreadable");
}

bool config_read_yaml(struct loader *l, const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_document_t doc, more;
    bool map;

    ASSERT(text != NULL);
    if (yaml_parser_initialize(&parser) == 0) {
        problem_at(l, (struct place){0}, "", "out of memory");
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (yaml_parser_load(&parser, &doc) == 0) {
        problem_yaml(l, &parser);
        yaml_parser_delete(&parser);
        return false;
    }
    l->doc = &doc;
    map = read_document(l);
    l->doc = NULL;
    if (yaml_document_get_root_node(&doc) != NULL) {
        if (yaml_parser_load(&parser, &more) == 0) {
            problem_yaml(l, &parser);
        } else {
            yaml_node_t *root = yaml_document_get_root_node(&more);

            if (root != NULL)
                problem_at(l, config_place(root), "", "found a second document; allowed: one");
            yaml_document_delete(&more);
        }
    }
    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    return map;
}
