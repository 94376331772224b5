// Role: load jobs whose file comes with the request: multipart, or as a resumable session of
// storage_session.c. The file waits in DIR/loads until its job is over.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/storage.h"

// A new name in DIR/loads. Owner: caller.
static char *new_file(struct lc_req *r, char name[33])
{
    lc_random_hex(name, 16);
    return lc_format("%s/loads/%s", r->app->data_dir, name);
}

static void submit(struct lc_req *r, json_t *body, const char *path, const char *name)
{
    lc_job_submit(r, body, name);
    if (r->status != 200)
        unlink(path);
}

static void finish(struct lc_req *r, const struct lc_session *s, const char *path)
{
    char name[33];
    char *to = new_file(r, name);
    json_t *body = json_deep_copy(json_object_get(s->body, "metadata"));
    if (link(path, to))
        lc_fail(r, 500, "internalError", "the data directory cannot be written");
    else
        submit(r, body, to, name);
    json_decref(body);
    free(to);
}

static void take_multipart(struct lc_req *r)
{
    char name[33];
    char *path = new_file(r, name);
    json_t *body = NULL;
    const char *wrong = lc_upload_take(r->upload, path, &body);
    if (wrong)
        lc_fail(r, 400, "badRequest", "%s", wrong);
    else
        submit(r, body, path, name);
    free(path);
}

static void start(struct lc_req *r)
{
    json_t *body = lc_body_json(r);
    json_t *scratch = body ? json_deep_copy(body) : NULL; // the check fills in what is left out
    if (scratch && lc_job_check(r, scratch, true))
        lc_session_start(r, body);
    json_decref(scratch);
    json_decref(body);
}

void lc_job_upload(struct lc_req *r)
{
    if (!r->upload) {
        start(r);
    } else if (!lc_upload_is_chunk(r->upload)) {
        take_multipart(r);
    } else {
        const char *wrong = lc_upload_end(r->upload);
        if (wrong)
            lc_fail(r, 400, "badRequest", "%s", wrong);
        else
            lc_session_put(r, finish);
    }
}
