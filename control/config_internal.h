/* What the files of the configuration share: the loader, its memory, and how problems are reported.
 */
#ifndef PENSTOCK_CONTROL_CONFIG_INTERNAL_H
#define PENSTOCK_CONTROL_CONFIG_INTERNAL_H

#include <yaml.h>

#include "control/knobs.h"

#define CONFIG_PROBLEMS_MAX 100 /* reported at once */
#define CONFIG_TYPES_MAX    10000

/** One load under way. */
struct loader {
    struct config *c;
    const struct config_source *source;
    struct textbuf *problems;
    uint32_t n_problems;
    yaml_document_t *doc;
    uint32_t *type_line;    /* by index of types.type */
    struct schema **schema; /* those of the types by their hash; NULL: none are shared */
    uint32_t schema_mask;
};

/** A value's place: a line of the file, or --set. */
struct place {
    uint32_t line;
    const char *from;
};

/** Memory that lives as long as the configuration, zeroed; NULL when there is none. */
void *config_alloc(struct config *c, size_t bytes);

/** A kept copy of a text; "" when there is no memory. */
const char *config_keep(struct config *c, const char *text, size_t len);

/** Reports one mistake at a place; key may be "". */
void problem_at(struct loader *l, struct place at, const char *key, const char *format, ...)
    PRINTF(4, 5);

/** Reports a value that a knob does not take. */
void problem_value(struct loader *l, struct place at, const struct knob *k, const char *found);

/** Sets a knob from a text (a scalar, or a list or map in --set's short form). */
void config_assign(struct loader *l, const struct knob *k, const char *text, struct place at);

/** Sets a knob from a list of texts. */
void config_assign_list(struct loader *l, const struct knob *k, const char *const *items,
                        uint32_t n, struct place at);

/** Sets a knob from pairs of texts. */
void config_assign_map(struct loader *l, const struct knob *k, const char *const *keys,
                       const char *const *values, uint32_t n, struct place at);

/** Reads the YAML text into the configuration. @return false when it is not a map in YAML; reported. */
bool config_read_yaml(struct loader *l, const char *text, size_t len);

/** Reads types.list. */
void config_read_types(struct loader *l, const yaml_node_t *node);

/** The scalar text of a node, or NULL when it is none; a NUL inside counts as none. */
const char *config_scalar(const yaml_node_t *node);

/** The line of a node. */
struct place config_place(const yaml_node_t *node);

/** A node's kind for people: "a map", "a list". */
const char *config_node_kind(const yaml_node_t *node);

/** Checks what one key alone cannot show, and completes what has no fixed default. */
void config_check(struct loader *l);

/** The part of config_check() that looks at numbers only: what a change at run time must keep true. */
void config_check_relations(struct loader *l);

/** Loads the schemas of types.list and checks what the types say of them. */
void config_check_types(struct loader *l);

/** Where a key's value came from. */
struct place config_where(const struct loader *l, const char *key);

#endif
