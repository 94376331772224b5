/*
 * An independent judge of JSON documents: jansson, under the rules of json.h. Its header and ours define
 * the same names, so neither includes the other and values pass as plain types.
 */
#ifndef PENSTOCK_TEST_TJSON_ORACLE_H
#define PENSTOCK_TEST_TJSON_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What jansson makes of one document. */
struct tjson_oracle {
    bool valid;
    bool exact; /* false: contents may differ from the text, only verdict and types count */
    void *root; /* NULL when jansson cannot read it */
};

/** A member that was looked up. */
struct tjson_found {
    uint8_t type; /* as enum json_type of json.h, 0 when there is none */
    double number;
    const char *text; /* of a string, unescaped; borrowed from the oracle */
    size_t text_len;
};

/** Owner: tjson_oracle_fini() drops what it holds. */
void tjson_oracle_init(struct tjson_oracle *o, const char *text, size_t len, int depth_max);
void tjson_oracle_fini(struct tjson_oracle *o);

/** The member at a dotted path, or the root itself with path NULL. */
struct tjson_found tjson_oracle_find(const struct tjson_oracle *o, const char *path);

/** The number of elements of a root that is an array; 0 otherwise. */
size_t tjson_oracle_elements(const struct tjson_oracle *o);

#endif
