// Shared by the storage_*.c files only.
#ifndef LOCALCLOUD_STORAGE_INTERNAL_H
#define LOCALCLOUD_STORAGE_INTERNAL_H

#include <pthread.h>

#include "tools/localcloud/db.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/storage.h"

struct lc_storage {
    pthread_mutex_t lock; // guards db, last_generation and temp_count
    sqlite3 *db;
    char *dir;
    int64_t last_generation;
    uint64_t temp_count;
};

/** One live object. Zero-initialise; lc_object_fini frees what it holds. */
struct lc_object {
    char *bucket;
    char *name;
    int64_t generation;
    int64_t metageneration;
    int64_t size;
    uint32_t crc32c;
    char *md5;    // base64, "" when unknown
    json_t *meta; // the writable fields: contentType, metadata, ...
    int64_t created_us;
    int64_t updated_us;
};

/** Generation and metageneration conditions of a request. */
struct lc_conditions {
    bool has[4];
    int64_t value[4]; // ifGenerationMatch, ifGenerationNotMatch, ifMetagenerationMatch, ...NotMatch
};

/** Columns that lc_object_read expects, in order. */
#define LC_OBJECT_COLUMNS \
    "bucket, name, generation, metageneration, size, crc32c, md5, meta, created_us, updated_us"

/** Reads the row at st into o. Owner: caller, lc_object_fini. */
void lc_object_read(sqlite3_stmt *st, struct lc_object *o);

/** Frees what o holds and zeroes it. */
void lc_object_fini(struct lc_object *o);

/** Looks an object up. The caller holds the lock. Owner: caller, lc_object_fini. @return false:
 * none. */
bool lc_object_find(struct lc_storage *s, const char *bucket, const char *name,
                    struct lc_object *o);

/** @return true when the bucket exists. The caller holds the lock. */
bool lc_bucket_exists(struct lc_storage *s, const char *bucket);

/** Path of a generation's bytes. Owner: caller frees. */
char *lc_object_path(const struct lc_storage *s, int64_t generation);

/** Full object resource. host: as in the Host header. Owner: caller. */
json_t *lc_object_json(const struct lc_object *o, const char *host);

/** CRC-32C as the API writes it: big-endian, base64. @return out. */
char *lc_crc32c_text(uint32_t crc, char out[12]);

/** @return NULL when the name is allowed, else the reason. */
const char *lc_object_name_error(const char *name);

/**
 * Merges the writable members of change into meta; null removes (patch semantics).
 * @return NULL, or what is wrong.
 */
const char *lc_object_merge_meta(json_t *meta, const json_t *change);

/** Reads the conditions of r. @return false after answering 400. */
bool lc_conditions_read(struct lc_req *r, struct lc_conditions *c);

/**
 * Checks c against the live object (NULL: there is none). read: GET semantics, where NotMatch gives
 * 304.
 * @return true when met; false after answering 412 or 304.
 */
bool lc_conditions_check(struct lc_req *r, const struct lc_conditions *c, const struct lc_object *o,
                         bool read);

#endif
