// Shared by the storage_*.c files only.
#ifndef LOCALCLOUD_STORAGE_INTERNAL_H
#define LOCALCLOUD_STORAGE_INTERNAL_H

#include <pthread.h>

#include "tools/localcloud/checksum.h"
#include "tools/localcloud/db.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/storage.h"

struct lc_storage {
    pthread_mutex_t lock;         // guards db, last_generation and temp_count
    pthread_mutex_t session_lock; // one chunk at a time joins a session; taken before lock
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

/** What a Content-Range header of an upload says. */
struct lc_content_range {
    bool given;
    bool query;    // "bytes * / TOTAL": no data
    int64_t first; // 0 without a header
    int64_t last;  // -1: to the end of the body
    int64_t total; // -1: not known yet
};

enum lc_upload_state { LC_UPLOAD_HEAD, LC_UPLOAD_MEDIA, LC_UPLOAD_END };

/** The body of one upload request while it comes in. */
struct lc_upload {
    struct lc_storage *storage;
    enum lc_upload_state state;
    char *delimiter; // CRLF--B; NULL for plain media
    size_t delimiter_n;
    struct lc_buf held; // HEAD: all bytes so far; MEDIA: held back; END: bytes after the delimiter
    json_t *metadata;   // first part
    char *media_type;   // Content-Type of the second part
    const char *error;  // first error in the body, a literal
    char *temp_path;
    int fd;
    uint64_t size; // media bytes
    uint64_t seen; // body bytes
    uint32_t crc;
    struct lc_md5 md5;
    bool ended;                    // the whole body came in
    char *session_id;              // chunk of this resumable session, NULL: none
    struct lc_content_range range; // of that chunk
    bool corrupt;                  // fault: the next byte of media changes on the way
    int64_t persist_max;           // fault: bytes of the chunk to keep, -1: all
};

/** Reads r's session and Content-Range into u. Answers r when no data is to be taken. */
void lc_session_begin(struct lc_req *r, struct lc_upload *u);

/** The connection of a chunk broke: what came in is kept, in multiples of 256 KiB. */
void lc_session_abandon(struct lc_req *r, struct lc_upload *u);

/** Removes files of dir that sql (their name bound) does not know. sql NULL: all. Thread: init. */
void lc_sweep_directory(struct lc_storage *s, const char *dir, const char *sql);

/** Removes sessions older than a week and files without a session. Thread: init. */
void lc_session_sweep(struct lc_storage *s);

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

/** CRC-32C and MD5 (base64, owner: caller) of the file. @return false when it cannot be read. */
bool lc_file_sums(const char *path, uint32_t *crc, char **md5);

/** crc32c and md5Hash of metadata and r's X-Goog-Hash against o's. @return NULL, or what differs.
 */
const char *lc_check_sums(struct lc_req *r, const json_t *metadata, const struct lc_object *o);

/** Object name from r's query and the metadata, which must agree. @return NULL after answering. */
const char *lc_object_name(struct lc_req *r, const json_t *metadata);

/** Path of a new temporary file. Owner: caller frees and unlinks. Takes the lock. */
char *lc_temp_path(struct lc_storage *s);

/**
 * Makes the file at path (which stays) the live object o when the conditions hold, and answers r.
 * session_id: this session is over then, NULL: none. The caller holds the lock.
 */
void lc_object_commit(struct lc_req *r, const char *path, struct lc_object *o,
                      const struct lc_conditions *c, const char *session_id);

/** Reads the conditions of r; source: the ifSource... ones. @return false after answering 400. */
bool lc_conditions_read(struct lc_req *r, struct lc_conditions *c, bool source);

/**
 * Checks c against the live object (NULL: there is none). read: GET semantics, where NotMatch gives
 * 304.
 * @return true when met; false after answering 412 or 304.
 */
bool lc_conditions_check(struct lc_req *r, const struct lc_conditions *c, const struct lc_object *o,
                         bool read);

#endif
