/* HOT. gzip and zstd in bounded steps, see expand.h. */
#include "dataplane/input/expand.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include "dataplane/base/mem.h"

#define ARENA_BYTES (64u << 10) /* zlib: a state of some 7 KiB and a window of 32 KiB */
#define INPUT_STEP  (64u << 10)
#define GZIP_ONLY   (16 + MAX_WBITS)
#define WINDOW_LOG  23
#define ZIP_MAGIC_1 0x1f
#define ZIP_MAGIC_2 0x8b

static_assert(EXPAND_WINDOW_MAX == 1u << WINDOW_LOG, "one bound, written twice");

struct expander {
    char *memory;
    uint64_t memory_bytes;
    size_t arena_used;
    z_stream zip;
    ZSTD_DStream *zstd;
    bool between; /* at the end of a member or frame */
    /* Of the zstd frame under way: what its header says it holds, and what it has held so far. */
    unsigned long long frame_bytes, frame_made;
    enum http_coding coding;
    const char *in;
    size_t len, at;
    const char *error;
};

/* The window of zlib is asked for when it is first needed and kept over inflateReset(). */
static voidpf arena_take(voidpf opaque, uInt items, uInt size)
{
    struct expander *e = opaque;
    size_t bytes = align_up((size_t)items * size, 64);
    char *p = e->memory + e->arena_used;

    if (bytes > ARENA_BYTES - e->arena_used)
        return Z_NULL;
    e->arena_used += bytes;
    return p;
}

static void arena_give(voidpf opaque, voidpf address)
{
    (void)opaque; /* all of it goes with the expander */
    (void)address;
}

uint64_t expand_memory_bytes(void)
{
    return ARENA_BYTES + align_up(ZSTD_estimateDStreamSize(EXPAND_WINDOW_MAX), 64);
}

int expander_create(struct expander **out)
{
    struct expander *e = calloc(1, sizeof(*e));

    *out = NULL;
    if (e == NULL)
        return -ENOMEM;
    e->memory_bytes = expand_memory_bytes();
    e->memory = mem_reserve(e->memory_bytes);
    e->zip = (z_stream){.zalloc = arena_take, .zfree = arena_give, .opaque = e};
    if (e->memory != NULL && inflateInit2(&e->zip, GZIP_ONLY) == Z_OK)
        e->zstd = ZSTD_initStaticDStream(e->memory + ARENA_BYTES, e->memory_bytes - ARENA_BYTES);
    if (e->zstd == NULL ||
        ZSTD_isError(ZSTD_DCtx_setParameter(e->zstd, ZSTD_d_windowLogMax, WINDOW_LOG))) {
        expander_destroy(e);
        return -ENOMEM;
    }
    *out = e;
    return 0;
}

int expander_populate(struct expander *e, const _Atomic bool *stop)
{
    ASSERT(e != NULL);
    return mem_populate(e->memory, e->memory_bytes, stop);
}

void expander_destroy(struct expander *e)
{
    if (e == NULL)
        return;
    mem_release(e->memory, e->memory_bytes);
    free(e);
}

void expand_start(struct expander *e, enum http_coding coding, const char *in, size_t len)
{
    ASSERT(coding == HTTP_CODING_GZIP || coding == HTTP_CODING_ZSTD);
    e->coding = coding;
    e->in = in;
    e->len = len;
    e->at = 0;
    e->error = "";
    e->between = false; /* an empty body is cut off */
    if (coding == HTTP_CODING_GZIP)
        ASSERT(inflateReset(&e->zip) == Z_OK);
    else
        ASSERT(!ZSTD_isError(ZSTD_DCtx_reset(e->zstd, ZSTD_reset_session_only)));
}

void expand_move(struct expander *e, const char *in)
{
    ASSERT(in != NULL);
    e->in = in;
}

static enum expand_result bad(struct expander *e, const char *error)
{
    e->error = error;
    return EXPAND_BAD;
}

static size_t step_input(const struct expander *e)
{
    ASSERT_HOT(e->at <= e->len);
    return e->len - e->at < INPUT_STEP ? e->len - e->at : INPUT_STEP;
}

/* Behind a member only another may come. */
static bool gzip_follows(const struct expander *e)
{
    const uint8_t *p = (const uint8_t *)e->in + e->at;

    ASSERT_HOT(e->at < e->len);
    return p[0] == ZIP_MAGIC_1 && (e->at + 1 == e->len || p[1] == ZIP_MAGIC_2);
}

static enum expand_result gzip_step(struct expander *e, char *out, size_t room, size_t *produced)
{
    size_t n = step_input(e);
    int rc;

    if (e->between) {
        if (!gzip_follows(e))
            return bad(e, "something else behind the gzip data");
        ASSERT(inflateReset(&e->zip) == Z_OK);
        e->between = false;
    }
    e->zip.next_in = (z_const Bytef *)(uintptr_t)(e->in + e->at);
    e->zip.avail_in = (uInt)n;
    e->zip.next_out = (Bytef *)out;
    e->zip.avail_out = (uInt)room;
    rc = inflate(&e->zip, Z_NO_FLUSH);
    e->at += n - e->zip.avail_in;
    *produced = room - e->zip.avail_out;
    if (rc == Z_STREAM_END) {
        e->between = true;
        return e->at == e->len ? EXPAND_DONE : EXPAND_MORE;
    }
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return bad(e, "corrupt gzip data");
    return e->at == e->len && e->zip.avail_out > 0 ? bad(e, "the gzip data is cut off")
                                                   : EXPAND_MORE;
}

/* Reads what a frame says it holds. The library compares it too, but not behind an empty last block
 * of a frame that is made in pieces: a frame cut short by its maker would pass. */
static void zstd_frame(struct expander *e)
{
    ASSERT(e->at <= e->len);
    e->frame_bytes = ZSTD_getFrameContentSize(e->in + e->at, e->len - e->at);
    e->frame_made = 0;
}

static bool zstd_frame_whole(const struct expander *e)
{
    return e->frame_bytes == ZSTD_CONTENTSIZE_UNKNOWN || e->frame_bytes == ZSTD_CONTENTSIZE_ERROR ||
           e->frame_bytes == e->frame_made;
}

static enum expand_result zstd_step(struct expander *e, char *out, size_t room, size_t *produced)
{
    ZSTD_inBuffer in = {.src = e->in + e->at, .size = step_input(e)};
    ZSTD_outBuffer to = {.dst = out, .size = room};
    size_t rc;

    if (e->between || e->at == 0)
        zstd_frame(e);
    rc = ZSTD_decompressStream(e->zstd, &to, &in);
    *produced = to.pos;
    e->frame_made += to.pos;
    e->at += in.pos;
    if (ZSTD_isError(rc)) {
        if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
            return bad(e, "zstd data with a window of more than 8 MiB");
        return bad(e, e->between ? "something else behind the zstd data" : "corrupt zstd data");
    }
    if (in.pos > 0 || to.pos > 0)
        e->between = rc == 0;
    if (rc == 0 && !zstd_frame_whole(e))
        return bad(e, "corrupt zstd data");
    if (rc == 0 && e->at == e->len)
        return EXPAND_DONE;
    return e->at == e->len && to.pos < room ? bad(e, "the zstd data is cut off") : EXPAND_MORE;
}

enum expand_result expand_step(struct expander *e, char *out, size_t room, size_t *produced)
{
    ASSERT(room > 0 && room < UINT32_MAX);
    *produced = 0;
    if (e->len == 0)
        return bad(e, "nothing where compressed data was announced");
    return e->coding == HTTP_CODING_GZIP ? gzip_step(e, out, room, produced)
                                         : zstd_step(e, out, room, produced);
}

const char *expand_error(const struct expander *e)
{
    ASSERT(e->error != NULL);
    return e->error;
}
