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

/** Body bytes seen so far. */
uint64_t lc_upload_bytes(const struct lc_upload *u);

/** Frees u (NULL allowed) and removes its temporary file when it did not become an object. */
void lc_upload_free(struct lc_upload *u);

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
