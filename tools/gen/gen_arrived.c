/* COLD. See gen_arrived.h. */
#include "tools/gen/gen_arrived.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_assert.h"

#define PART_KEY   "\"part\":"
#define BASE64_KEY "\"raw_base64\":\""

/* The first id in text. */
static bool find_id(const char *text, size_t bytes, struct gen_id *id)
{
    size_t used;
    for (size_t at = 0; at < bytes; at++) {
        char c = text[at];
        if ((c == 'o' || c == 'i' || c == 's') && gen_id_parse(text + at, bytes - at, id, &used)) {
            return true;
        }
    }
    return false;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Decodes up to the first character that is none of base64; out holds 3/4 of bytes. */
static size_t decode_base64(const char *text, size_t bytes, char *out)
{
    uint32_t bits = 0, held = 0;
    size_t n = 0;
    for (size_t i = 0; i < bytes && base64_value(text[i]) >= 0; i++) {
        bits = bits << 6 | (uint32_t)base64_value(text[i]);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (char)(bits >> held);
        }
    }
    GEN_ASSERT(n <= bytes);
    return n;
}

/* A dead letter keeps bytes that are no text in base64. */
static bool find_dead_id(const char *line, size_t bytes, struct gen_id *id)
{
    const char *raw = memmem(line, bytes, BASE64_KEY, sizeof(BASE64_KEY) - 1);
    if (raw == NULL) {
        return find_id(line, bytes, id);
    }
    raw += sizeof(BASE64_KEY) - 1;
    size_t rest = bytes - (size_t)(raw - line);
    char *plain = malloc(rest);
    bool found = plain != NULL && find_id(plain, decode_base64(raw, rest, plain), id);
    free(plain);
    return found;
}

/* A letter in several parts counts once, by its first. */
static bool is_later_part(const char *line, size_t bytes)
{
    const char *part = memmem(line, bytes, PART_KEY, sizeof(PART_KEY) - 1);
    return part != NULL && strtoul(part + sizeof(PART_KEY) - 1, NULL, 10) > 1;
}

bool gen_arrived_line(struct gen_tally *t, const char *line, size_t bytes, bool dead)
{
    struct gen_id id;
    GEN_ASSERT(line[bytes] == '\0');
    if (dead && is_later_part(line, bytes)) {
        return true;
    }
    if (!(dead ? find_dead_id(line, bytes, &id) : find_id(line, bytes, &id))) {
        return false;
    }
    gen_tally_arrived(t, &id, dead);
    return true;
}

static int read_lines(struct gen_tally *t, FILE *from, bool dead)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    bool first = true;
    errno = 0;
    while ((bytes = getline(&line, &room, from)) >= 0) {
        bool blank = strspn(line, " \t\r\n") == (size_t)bytes;
        if (!blank && !gen_arrived_line(t, line, (size_t)bytes, dead) && (dead || !first)) {
            *(dead ? &t->dead_without_id : &t->without_id) += 1;
        }
        first = false;
    }
    int rc = ferror(from) ? -(errno != 0 ? errno : EIO) : 0;
    free(line);
    return rc;
}

static int read_file(struct gen_tally *t, const char *path, bool dead)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -errno;
    }
    int rc = read_lines(t, file, dead);
    fclose(file);
    return rc;
}

int gen_arrived_read(struct gen_tally *t, const char *path, bool dead, char *wrong,
                     size_t wrong_bytes)
{
    char *const roots[] = {(char *)(uintptr_t)path, NULL}; /* fts does not write to it */
    int rc = 0;
    snprintf(wrong, wrong_bytes, "%s", path);
    if (strcmp(path, "-") == 0) {
        return read_lines(t, stdin, dead);
    }
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    if (walk == NULL) {
        return -errno;
    }
    for (FTSENT *e; rc == 0 && (e = fts_read(walk)) != NULL;) {
        if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS) {
            rc = -e->fts_errno;
        } else if (e->fts_info == FTS_F || (e->fts_level == 0 && e->fts_info == FTS_DEFAULT)) {
            rc = read_file(t, e->fts_accpath, dead); /* a pipe too, when it is named */
        }
        if (rc != 0) {
            snprintf(wrong, wrong_bytes, "%s", e->fts_path);
        }
    }
    fts_close(walk);
    return rc;
}
