/* COLD. Reads an object of dead letters line by line, with memory for one piece and one line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/json/json.h"

#define UNPACK_BYTES (64 << 10)
#define GZIP_WINDOW  (15 + 16) /* zlib: a gzip file with the largest window */

static bool reading_room(struct dlq_reading *r, size_t more)
{
    size_t want = r->len + more + JSON_PADDING_BYTES, room = r->room > 0 ? r->room : 1 << 16;
    char *larger;

    ASSERT(r->len <= r->room);
    if (want <= r->room)
        return true;
    while (room < want)
        room *= 2;
    larger = realloc(r->ptr, room);
    if (larger == NULL)
        return false;
    memset(larger + r->room, 0, room - r->room);
    r->ptr = larger;
    r->room = room;
    return true;
}

static void reading_fail(struct dlq_reading *r, const char *why)
{
    ASSERT(why != NULL);
    r->failed = true;
    snprintf(r->error, sizeof(r->error), "%s", why);
}

/* Visits every whole line and moves the rest to the front. */
static void visit_lines(struct dlq_reading *r)
{
    size_t at = 0;
    char *end;

    ASSERT(r->searched <= r->len);
    while (!r->stopped &&
           (end = memchr(r->ptr + r->searched, '\n', r->len - r->searched)) != NULL) {
        struct span line = {.ptr = r->ptr + at, .len = (size_t)(end - r->ptr) - at};

        r->line++;
        r->stopped = !r->visit(r->ctx, line, r->line);
        at = r->searched = (size_t)(end - r->ptr) + 1;
    }
    memmove(r->ptr, r->ptr + at, r->len - at);
    r->len -= at;
    r->searched = r->len;
}

/* Bytes of the object as it was written. */
static bool take_plain(struct dlq_reading *r, struct span bytes)
{
    if (!reading_room(r, bytes.len)) {
        reading_fail(r, "out of memory for its lines");
        return false;
    }
    memcpy(r->ptr + r->len, bytes.ptr, bytes.len);
    r->len += bytes.len;
    visit_lines(r);
    if (r->len > DLQ_LINE_BYTES)
        reading_fail(r, "a line is longer than 68 MiB");
    ASSERT(r->len <= r->room);
    return !r->stopped && !r->failed;
}

/* Unpacks; members may follow each other, as after a compose. */
static bool take_packed(struct dlq_reading *r, struct span bytes)
{
    char out[UNPACK_BYTES];
    int rc = Z_OK;

    r->zip.next_in = (unsigned char *)(uintptr_t)bytes.ptr;
    r->zip.avail_in = (unsigned)bytes.len;
    do {
        if (r->ended && r->zip.avail_in > 0) {
            (void)inflateReset(&r->zip);
            r->ended = false;
        }
        r->zip.next_out = (unsigned char *)out;
        r->zip.avail_out = sizeof(out);
        rc = r->ended ? Z_BUF_ERROR : inflate(&r->zip, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
            reading_fail(r, "it is damaged gzip");
            return false;
        }
        r->ended = r->ended || rc == Z_STREAM_END;
        if (!take_plain(r, (struct span){.ptr = out, .len = sizeof(out) - r->zip.avail_out}))
            return false;
    } while (r->zip.avail_in > 0 || r->zip.avail_out == 0);
    ASSERT(!r->failed);
    return true;
}

/* The first bytes tell gzip from lines, whatever the name or the metadata say. */
static bool reading_begin(struct dlq_reading *r, struct span piece)
{
    ASSERT(!r->begun);
    r->begun = true;
    r->gzip = piece.len > 2 && memcmp(piece.ptr, "\x1f\x8b\x08", 3) == 0;
    r->zip = (z_stream){0};
    if (!r->gzip || inflateInit2(&r->zip, GZIP_WINDOW) == Z_OK)
        return true;
    r->gzip = false;
    reading_fail(r, "out of memory to unpack it");
    return false;
}

static bool take_piece(void *ctx, struct span piece)
{
    struct dlq_reading *r = ctx;

    ASSERT(!r->stopped);
    if (!r->begun && !reading_begin(r, piece))
        return false;
    r->crc32c = crc32c(r->crc32c, piece.ptr, piece.len);
    return r->gzip ? take_packed(r, piece) : take_plain(r, piece);
}

int dlq_read(struct dlq_reading *r, struct gcs_reader *reader, const struct dlq_object *o,
             bool (*visit)(void *ctx, struct span line, uint64_t number), void *ctx)
{
    const struct gcs_listed listed = {
        .name = o->name, .bytes = o->bytes, .generation = o->generation};
    int rc;

    ASSERT(visit != NULL);
    r->len = r->searched = 0;
    r->line = 0;
    r->crc32c = 0;
    r->stopped = r->failed = r->begun = r->gzip = r->ended = false;
    r->visit = visit;
    r->ctx = ctx;
    rc = gcs_reader_get(reader, &listed, take_piece, r, r->error, sizeof(r->error));
    if (r->gzip)
        (void)inflateEnd(&r->zip);
    if (rc == 0 && !r->failed && !r->stopped && r->gzip && !r->ended)
        reading_fail(r, "its gzip ends early");
    if (rc == 0 && r->failed)
        rc = -EBADMSG;
    if (rc == 0 && !r->stopped && r->crc32c != o->crc32c) {
        reading_fail(r, "its bytes do not match its crc32c");
        rc = -EBADMSG;
    }
    if (rc == 0 && !r->stopped && r->len > 0) { /* somebody's editor left no last line break */
        r->line++;
        r->stopped = !visit(ctx, (struct span){.ptr = r->ptr, .len = r->len}, r->line);
    }
    return rc;
}

void dlq_reading_fini(struct dlq_reading *r)
{
    ASSERT(r != NULL);
    free(r->ptr);
    r->ptr = NULL;
    r->len = r->room = 0;
}
