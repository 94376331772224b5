/* COLD. A journal's identity: DIR/meta. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/journal/journal_internal.h"

#define META_BYTES 256

/* Of the identity alone: people may edit the machine. With another identity all events would seem to be
 * nobody's. */
static uint32_t meta_sum(const char *hex)
{
    ASSERT(strlen(hex) <= 32);
    return crc32c(0, hex, strlen(hex));
}

/* Writes DIR/meta by way of a temporary file, so that it is whole or as it was. */
static int meta_write(struct journal *j, const char *machine_id, char *error, size_t error_len)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16], temporary[JOURNAL_PATH_BYTES + 16], text[META_BYTES],
        hex[33] = "";
    int fd, rc, n;

    journal_uuid_hex(&j->uuid, hex);
    n = snprintf(text, sizeof(text),
                 "penstock-journal 1\nuuid %s\nmachine %.64s\ncheck %08" PRIx32 "\n", hex,
                 machine_id, meta_sum(hex));
    ASSERT(n > 0 && (size_t)n < sizeof(text));
    snprintf(path, sizeof(path), "%s/meta", j->dir);
    snprintf(temporary, sizeof(temporary), "%s/meta.new", j->dir);
    fd = s->ops->open(s->ctx, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    rc = fd;
    if (fd >= 0) {
        rc = storage_write_all(s, fd, text, (size_t)n, 0);
        if (rc == 0)
            rc = s->ops->sync(s->ctx, fd);
        s->ops->close(s->ctx, fd);
    }
    if (rc == 0)
        rc = s->ops->rename(s->ctx, temporary, path);
    if (rc < 0)
        snprintf(error, error_len, "cannot write %s: %s", path, strerror(-rc));
    return rc < 0 ? rc : 0;
}

static int meta_create(struct journal *j, const char *machine_id, char *error, size_t error_len)
{
    ASSERT(error_len > 0);
    if (getrandom(j->uuid.byte, sizeof(j->uuid.byte), 0) != (ssize_t)sizeof(j->uuid.byte))
        return -EIO;
    return meta_write(j, machine_id, error, error_len);
}

/* Takes identity and machine (65 bytes) out of its text. */
static int meta_parse(struct journal *j, const char *text, char *machine, char *error,
                      size_t error_len)
{
    char hex[33] = "";
    uint32_t sum = 0; /* journals made before there was one have none */
    int n = sscanf(text, "penstock-journal 1\nuuid %32s\nmachine %64s\ncheck %8" SCNx32, hex,
                   machine, &sum);

    if (n == 3 && sum != meta_sum(hex)) {
        snprintf(error, error_len, "%s/meta is damaged: its uuid does not match its check", j->dir);
        return -EUCLEAN;
    }
    if (n < 2 || journal_uuid_parse(hex, &j->uuid) != 0) {
        snprintf(error, error_len, "%s/meta is not a journal's: is this the right data_dir?",
                 j->dir);
        return -EUCLEAN;
    }
    return 0;
}

int meta_read(struct journal *j, char *machine, char *error, size_t error_len)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16], text[META_BYTES + 1] = "";
    ssize_t n;
    int fd;

    machine[0] = '\0';
    snprintf(path, sizeof(path), "%s/meta", j->dir);
    fd = s->ops->open(s->ctx, path, O_RDONLY, 0);
    n = fd < 0 ? fd : s->ops->pread(s->ctx, fd, text, META_BYTES, 0);
    if (fd >= 0)
        s->ops->close(s->ctx, fd);
    if (n < 0) {
        snprintf(error, error_len, "cannot read %s: %s", path, strerror((int)-n));
        return (int)n;
    }
    return meta_parse(j, text, machine, error, error_len);
}

/* With a new identity, what is in the segments would be nobody's. */
static int segments_absent(const struct journal *j, char *error, size_t error_len)
{
    struct segment_list l = {0};
    int rc = segment_list(j, &l);

    ASSERT(error_len > 0);
    if (rc < 0)
        snprintf(error, error_len, "cannot list %s: %s", j->dir, strerror(-rc));
    else if (l.n > 0)
        snprintf(error, error_len,
                 "%s holds segments, but its file meta is gone: restore it, or move the journal "
                 "away to start without its events",
                 j->dir);
    free(l.number);
    return rc < 0 || l.n == 0 ? rc : -EUCLEAN;
}

int meta_open(struct journal *j, const char *machine_id, char *error, size_t error_len)
{
    char machine[META_MACHINE_BYTES];
    int rc = meta_read(j, machine, error, error_len);

    ASSERT(machine_id != NULL);
    if (rc == -ENOENT) {
        rc = segments_absent(j, error, error_len);
        return rc < 0 ? rc : meta_create(j, machine_id, error, error_len);
    }
    if (rc < 0)
        return rc;
    if (strncmp(machine, machine_id, 64) != 0 && j->config.adopt)
        return meta_write(j, machine_id, error, error_len);
    if (strncmp(machine, machine_id, 64) != 0) {
        snprintf(
            error, error_len,
            "journal %s was written on another machine (%s, this is %s): a copied disk must not "
            "deliver "
            "the same events again. If the disk has really moved, start once with --adopt",
            j->dir, machine, machine_id);
        return -EXDEV;
    }
    return 0;
}
