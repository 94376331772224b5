// Cloud Storage: buckets and objects. Bytes are files DIR/objects/XX/GENERATION, metadata is in
// DIR/storage.db. A generation is unique in the whole server, so it names the file.
// Thread: any; one lock around the database, none while bytes move.
#ifndef LOCALCLOUD_STORAGE_H
#define LOCALCLOUD_STORAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lc_req;
struct lc_storage;
struct lc_upload;

/** A resumable upload. Lives a week; a row of storage.db and a file DIR/uploads/ID. */
struct lc_session {
    char id[33];
    json_t *body;      // "metadata", "contentType" and "query" of the request that opened it
    int64_t total;     // size of the whole, -1 while unknown
    int64_t persisted; // bytes in the file that count
    int state;         // 0 open, 200 done, 404, 410 or 499: what it answers from now on
    char *result;      // body of the final answer
};

/** Ends a session whose bytes are all in the file at path: answers r; 200 makes it done. */
typedef void (*lc_session_finish)(struct lc_req *r, const struct lc_session *s, const char *path);

/** Opens a session for r's path with this metadata and answers its address. */
void lc_session_start(struct lc_req *r, json_t *metadata);

/** Takes the chunk in r->upload, answers 308, or finish answers. */
void lc_session_put(struct lc_req *r, lc_session_finish finish);

/** DELETE of a session's address: cancels it. */
void lc_session_cancel(struct lc_req *r);

/** Opens DIR, removes left-over files. Owner: caller. @return NULL with a reason in err. Thread:
 * init. */
struct lc_storage *lc_storage_open(const char *dir, char *err, size_t err_size);

/** Closes the database and frees s. */
void lc_storage_close(struct lc_storage *s);

/** Makes a bucket unless it is there. @return NULL, or why the name is refused. */
const char *lc_storage_create_bucket(struct lc_storage *s, const char *project, const char *name);

/** Adds objects and object_bytes to out. */
void lc_storage_stats(struct lc_storage *s, json_t *out);

/**
 * Names of a bucket's objects that are prefix + anything + suffix (suffix NULL: exactly prefix).
 * Owner: caller. @return an array of {"name","size"}; NULL when there is no such bucket.
 */
json_t *lc_storage_match(struct lc_storage *s, const char *bucket, const char *prefix,
                         const char *suffix);

/** Opens an object's bytes for reading; the caller closes. @return -1 when it does not exist. */
int lc_storage_open_object(struct lc_storage *s, const char *bucket, const char *name);

/** First step of an upload: headers are known. Answers r on errors. @return NULL then. */
struct lc_upload *lc_upload_begin(struct lc_req *r);

/** Takes the next n body bytes. Errors are kept and answered by lc_object_insert. */
void lc_upload_feed(struct lc_upload *u, const char *data, size_t n);

/** Ends the body of u. @return NULL when it is complete, else what is wrong. */
const char *lc_upload_end(struct lc_upload *u);

/**
 * Ends an upload that is no object and moves its file to path.
 * metadata: the first part, the upload's. @return NULL, or what is wrong with the body.
 */
const char *lc_upload_take(struct lc_upload *u, const char *path, json_t **metadata);

/** @return true when u is a chunk of a resumable session. */
bool lc_upload_is_chunk(const struct lc_upload *u);

/** Body bytes seen so far. */
uint64_t lc_upload_bytes(const struct lc_upload *u);

/** Frees u (NULL allowed) and removes its temporary file. A chunk that broke off is kept in part.
 */
void lc_upload_free(struct lc_req *r, struct lc_upload *u);

// Handlers, one per call of the JSON API.

/** GET b: buckets of a project. */
void lc_bucket_list(struct lc_req *r);

/** POST b: makes a bucket. */
void lc_bucket_insert(struct lc_req *r);

/** GET b/{b}: one bucket. */
void lc_bucket_get(struct lc_req *r);

/** DELETE b/{b}: an empty bucket goes. */
void lc_bucket_delete(struct lc_req *r);

/** POST upload b/{b}/o: ends the upload in r->upload. */
void lc_object_insert(struct lc_req *r);

/** POST b/{b}/o/{o}/compose: joins up to 32 objects. */
void lc_object_compose(struct lc_req *r);

/** POST b/{b}/o/{o}/rewriteTo/b/{b}/o/{o}: copies, in steps between locations. */
void lc_object_rewrite(struct lc_req *r);

/** POST b/{b}/o/{o}/copyTo/b/{b}/o/{o}: copies in one call. */
void lc_object_copy(struct lc_req *r);

/** GET b/{b}/o: a page of names. */
void lc_object_list(struct lc_req *r);

/** GET b/{b}/o/{o}: metadata, or bytes with alt=media. */
void lc_object_get(struct lc_req *r);

/** GET download b/{b}/o/{o}: bytes. */
void lc_object_download(struct lc_req *r);

/** PATCH b/{b}/o/{o}: merges metadata. */
void lc_object_patch(struct lc_req *r);

/** DELETE b/{b}/o/{o}. */
void lc_object_delete(struct lc_req *r);

#endif
