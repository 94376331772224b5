/* COLD. See owner.h. */
#include "sinks/owner/owner.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "dataplane/base/log.h"
#include "sinks/gcs/gcs_claim.h"

#define SECOND_US      INT64_C(1000000)
#define RETRY_FIRST_US (SECOND_US / 2)
#define RETRY_MAX_US   (8 * SECOND_US)
#define UNKNOWN_US     (60 * SECOND_US)
#define LEASE_RENEWALS 3 /* that do not come: its holder is gone */
#define NAME_BYTES     512

/* What the next answer is for. */
enum step {
    STEP_READ,  /* whose is it? */
    STEP_WRITE, /* claim, or renewal */
    STEP_LIST,  /* who else has this node? */
};

struct owner {
    struct owner_config config;
    struct owner_file *file;
    struct gcs_claim claim;
    bool attached;
    enum step step;
    char name[NAME_BYTES];                            /* of the object */
    char prefix[NAME_BYTES];                          /* of those of the node */
    struct owner_position start[OWNER_POSITIONS_MAX]; /* as recovered: what a copy is told by */
    uint32_t n_start;
    struct gcs_claim_facts mine;
    int64_t generation; /* of the object as last seen; 0: none */
    int64_t next_us, retry_us, due_us;
    int64_t watched_us;         /* since when the object has not been renewed; 0: not watched */
    int64_t watched_generation; /* of then */
    bool listed, releasing;
    uint32_t n_others; /* of this node */
    _Atomic int state;
    _Atomic bool may_send, release, released;
    _Atomic bool away;    /* the bucket was asked, and did not answer */
    pthread_mutex_t lock; /* guards text */
    char text[REASON_TEXT_BYTES];
};

/* ---- what others ask ---- */

enum owner_state owner_state(const struct owner *o)
{
    ASSERT(o != NULL);
    return (enum owner_state)atomic_load(&o->state);
}

bool owner_may_send(const struct owner *o)
{
    ASSERT(o != NULL);
    return atomic_load_explicit(&o->may_send, memory_order_relaxed);
}

void owner_text(struct owner *o, char *out)
{
    ASSERT(out != NULL);
    pthread_mutex_lock(&o->lock);
    memcpy(out, o->text, REASON_TEXT_BYTES);
    pthread_mutex_unlock(&o->lock);
}

void owner_release(struct owner *o)
{
    ASSERT(o->attached);
    if (owner_state(o) != OWNER_HELD)
        atomic_store(&o->released, true);
    atomic_store(&o->release, true);
}

bool owner_is_away(const struct owner *o)
{
    ASSERT(o != NULL);
    return atomic_load(&o->away);
}

bool owner_released(const struct owner *o)
{
    ASSERT(o != NULL);
    return atomic_load(&o->released);
}

/* ---- life ---- */

static int random_hex(char *out)
{
    uint8_t bytes[16];

    ASSERT(out != NULL);
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* Where this process runs, as a hash: nobody else needs to know a machine's id. A process that ran in
 * the same place before has ended, because its lock is ours. */
static void place_hash(const struct owner *o, const char *machine, const char *host, char *out)
{
    char boot[64] = "", folder[4400] = "", text[5000];
    uint8_t sum[SHA256_DIGEST_LENGTH];
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    int n;

    if (f != NULL && fgets(boot, sizeof(boot), f) == NULL)
        boot[0] = '\0';
    if (f != NULL)
        fclose(f);
    if (realpath(o->config.data_dir, folder) == NULL)
        snprintf(folder, sizeof(folder), "%.4000s", o->config.data_dir);
    n = snprintf(text, sizeof(text), "%s\n%s\n%s\n%.4200s", machine, host, boot, folder);
    ASSERT(n > 0 && (size_t)n < sizeof(text));
    SHA256((const uint8_t *)text, (size_t)n, sum);
    for (size_t i = 0; i < sizeof(sum); i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

/* Another bucket: its tokens are those of before, if it was the one before; else there are none. */
static void bucket_change(struct owner_record *r, const char *bucket)
{
    struct owner_record old = *r;
    bool back = strcmp(old.before_bucket, bucket) == 0;

    snprintf(r->bucket, sizeof(r->bucket), "%s", bucket);
    snprintf(r->token, sizeof(r->token), "%s", back ? old.before_token : "-");
    snprintf(r->next, sizeof(r->next), "%s", back ? old.before_next : "-");
    if (strcmp(old.bucket, "-") == 0)
        return;
    ASSERT(strcmp(old.bucket, bucket) != 0);
    memcpy(r->before_bucket, old.bucket, sizeof(r->before_bucket));
    memcpy(r->before_token, old.token, sizeof(r->before_token));
    memcpy(r->before_next, old.next, sizeof(r->before_next));
}

/* The file's tokens are of one log, and of two buckets. */
static void record_prepare(struct owner *o)
{
    struct owner_record *r = owner_file_record(o->file);

    ASSERT(r->seq > 0);
    if (strcmp(r->log, o->config.log) != 0 || strcmp(r->node, "-") == 0)
        snprintf(r->node, sizeof(r->node), "%s", o->config.node);
    if (strcmp(r->log, o->config.log) != 0) {
        snprintf(r->log, sizeof(r->log), "%s", o->config.log);
        snprintf(r->bucket, sizeof(r->bucket), "-");
        snprintf(r->before_bucket, sizeof(r->before_bucket), "-");
    }
    if (strcmp(r->bucket, o->config.bucket) != 0)
        bucket_change(r, o->config.bucket);
    snprintf(o->prefix, sizeof(o->prefix), "penstock/owner/%s/", r->node);
    snprintf(o->name, sizeof(o->name), "%.400s%s.txt", o->prefix, r->log);
}

int owner_create(const struct owner_config *config, struct owner_file *file, struct owner **out)
{
    struct owner *o = calloc(1, sizeof(*o));
    int rc;

    ASSERT(config->position != NULL && config->renew_us > 0);
    if (o == NULL)
        return -ENOMEM;
    o->config = *config;
    o->file = file;
    pthread_mutex_init(&o->lock, NULL);
    atomic_store(&o->state, OWNER_ASKING);
    snprintf(o->text, sizeof(o->text),
             "the bucket is asked whether this data directory is in use elsewhere");
    record_prepare(o);
    while (o->n_start < OWNER_POSITIONS_MAX &&
           config->position(config->ctx, o->n_start, &o->start[o->n_start]))
        o->n_start++;
    rc = random_hex(o->mine.token);
    if (rc == 0)
        rc = random_hex(o->mine.run);
    if (rc != 0 || gethostname(o->mine.host, sizeof(o->mine.host) - 1) != 0) {
        owner_destroy(o);
        return rc != 0 ? rc : -errno;
    }
    snprintf(o->mine.state, sizeof(o->mine.state), "running");
    place_hash(o, owner_file_record(file)->machine, o->mine.host, o->mine.place);
    *out = o;
    return 0;
}

void owner_destroy(struct owner *o)
{
    if (o == NULL)
        return;
    ASSERT(!o->attached);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

/* ---- states ---- */

/* @return whether it is another text than before. */
static bool text_set(struct owner *o, const char *text)
{
    bool same;

    ASSERT(text != NULL);
    pthread_mutex_lock(&o->lock);
    same = strcmp(o->text, text) == 0;
    snprintf(o->text, sizeof(o->text), "%s", text);
    pthread_mutex_unlock(&o->lock);
    return !same;
}

static void say(struct owner *o, enum owner_state state, const char *text)
{
    bool other = text_set(o, text);

    ASSERT(state != OWNER_OFF);
    if (state == OWNER_LOST)
        log_error("owner", "%s", text);
    else if (other && text[0] != '\0')
        log_warn("owner", "%s", text);
    atomic_store(&o->may_send, state == OWNER_HELD || state == OWNER_UNKNOWN);
    atomic_store(&o->state, state);
}

/* Asks again after a while that doubles. */
static void ask_later(struct owner *o, int64_t now_us)
{
    o->retry_us = o->retry_us == 0                 ? RETRY_FIRST_US
                  : 2 * o->retry_us > RETRY_MAX_US ? RETRY_MAX_US
                                                   : 2 * o->retry_us;
    ASSERT(o->retry_us > 0);
    o->step = STEP_READ;
    o->next_us = now_us + o->retry_us;
}

static void lost(struct owner *o, const struct gcs_claim_facts *f, const char *why)
{
    char text[REASON_TEXT_BYTES];

    ASSERT(f != NULL);
    snprintf(
        text, sizeof(text),
        "%.50s: gs://%.80s/%.120s is held by host %.60s since %.40s. Of a directory and its copies "
        "only "
        "one may deliver: empty this one; or, if it is to be the one, start it once with --adopt",
        why, o->config.bucket, o->name, f->host, f->updated);
    say(o, OWNER_LOST, text);
}

/* ---- who is it? ---- */

/* Whether the object has seen a journal further than it was here at start: then this is an older copy. */
static bool is_ahead(const struct owner *o, const struct gcs_claim_facts *f)
{
    const char *at = f->journals;
    uint64_t durable, floor;
    char hex[33];
    int used = 0;

    ASSERT(o->n_start <= OWNER_POSITIONS_MAX);
    for (; sscanf(at, "%32[0-9a-f]:%" SCNx64 ":%" SCNx64 "%n", hex, &durable, &floor, &used) == 3;
         at += used) {
        struct journal_uuid uuid;

        if (journal_uuid_parse(hex, &uuid) != 0)
            return false;
        for (uint32_t i = 0; i < o->n_start; i++) {
            const struct owner_position *p = &o->start[i];

            if (memcmp(&p->journal, &uuid, sizeof(uuid)) == 0 &&
                (durable > p->durable || floor > p->floor))
                return true;
        }
        at += strspn(at + used, " ");
    }
    return false;
}

/* Whether its holder may still run: it has not said that it stopped, and it did not run here. */
static bool may_live(const struct owner *o, const struct gcs_claim_facts *f)
{
    ASSERT(f->run[0] != '\0');
    return strcmp(f->state, "running") == 0 && strcmp(f->place, o->mine.place) != 0;
}

static void journals_text(const struct owner *o, char *out)
{
    struct owner_position p;
    size_t at = 0;

    out[0] = '\0';
    for (uint32_t i = 0; o->config.position(o->config.ctx, i, &p); i++) {
        char hex[33] = "";

        journal_uuid_hex(&p.journal, hex);
        ASSERT(at + 80 < CLAIM_JOURNALS_BYTES);
        at += (size_t)snprintf(out + at, CLAIM_JOURNALS_BYTES - at, "%s%s:%" PRIx64 ":%" PRIx64,
                               i > 0 ? " " : "", hex, p.durable, p.floor);
    }
}

/* Writes the object: the first time after the file knows the token, so that a crash leaves no doubt. */
static void claim_write(struct owner *o, int64_t now_us)
{
    struct owner_record *r = owner_file_record(o->file);

    ASSERT(!gcs_claim_busy(&o->claim));
    if (!owner_record_knows(r, o->mine.token)) {
        struct owner_record before = *r;
        int rc;

        owner_record_claim(r, o->mine.token);
        rc = owner_file_write(o->file);
        if (rc != 0) {
            char text[REASON_TEXT_BYTES];

            *r = before;
            snprintf(text, sizeof(text), "%.400s/owner cannot be written: %s", o->config.data_dir,
                     strerror(-rc));
            say(o, owner_state(o), text);
            ask_later(o, now_us);
            return;
        }
    }
    journals_text(o, o->mine.journals);
    o->step = STEP_WRITE;
    gcs_claim_write(&o->claim, o->name, &o->mine, o->generation);
}

/* Ours, but perhaps in use: watched until it has not been renewed for long enough. */
static void watch(struct owner *o, const struct gcs_claim_facts *f, int64_t now_us)
{
    char text[REASON_TEXT_BYTES];

    if (o->watched_us != 0 && f->generation != o->watched_generation) {
        lost(o, f, "this data directory is in use elsewhere");
        return;
    }
    if (o->watched_us == 0) {
        o->watched_us = now_us;
        o->watched_generation = f->generation;
    }
    if (now_us - o->watched_us >= LEASE_RENEWALS * o->config.renew_us) {
        claim_write(o, now_us);
        return;
    }
    snprintf(text, sizeof(text),
             "host %.100s did not say that it stopped: nothing is sent until it has been silent "
             "for %d times "
             "gcs.owner_renew",
             f->host, LEASE_RENEWALS);
    say(o, OWNER_ASKING, text);
    ASSERT(LEASE_RENEWALS > 1);
    o->step = STEP_READ;
    o->next_us = now_us + (o->config.renew_us < SECOND_US ? o->config.renew_us : SECOND_US);
}

static void read_found(struct owner *o, const struct gcs_claim_facts *f, int64_t now_us)
{
    struct owner_record *r = owner_file_record(o->file);
    bool mine = strcmp(f->run, o->mine.run) == 0, known = owner_record_knows(r, f->token);

    if (known) /* its claim held, though no answer came; to be kept when ours is added to `next` */
        snprintf(r->token, sizeof(r->token), "%s", f->token);
    o->generation = f->generation;
    o->retry_us = 0;
    ASSERT(owner_state(o) != OWNER_LOST);
    if (mine) /* an answer that was lost */
        claim_write(o, now_us);
    else if (owner_state(o) == OWNER_HELD)
        lost(o, f, "this data directory has been taken over");
    else if (o->config.adopt)
        claim_write(o, now_us);
    else if (!known)
        lost(o, f, "a copy of this data directory has been in use");
    else if (is_ahead(o, f))
        lost(o, f, "this is an older state of a data directory");
    else if (may_live(o, f))
        watch(o, f, now_us);
    else
        claim_write(o, now_us);
}

/* ---- answers ---- */

static void held(struct owner *o, const struct gcs_claim_facts *f, int64_t now_us)
{
    struct owner_record *r = owner_file_record(o->file);

    ASSERT(f != NULL);
    if (strcmp(r->next, "-") != 0) {
        snprintf(r->token, sizeof(r->token), "%s", o->mine.token);
        snprintf(r->next, sizeof(r->next), "-");
        if (owner_file_write(o->file) != 0) /* `next` is there, and means the same */
            log_warn("owner", "%s/owner cannot be written", o->config.data_dir);
    }
    o->generation = f->generation;
    o->retry_us = 0;
    o->watched_us = 0;
    o->config.adopt = false;
    if (o->releasing)
        atomic_store(&o->released, true);
    if (owner_state(o) != OWNER_HELD)
        log_info("owner", "gs://%s/%s is held", o->config.bucket, o->name);
    say(o, OWNER_HELD, "");
    o->step = o->listed ? STEP_WRITE : STEP_LIST;
    o->due_us = now_us + o->config.renew_us;
    o->next_us = o->listed ? o->due_us : now_us;
}

static void refused(struct owner *o, const struct http_answer *a, int64_t now_us)
{
    char why[REASON_TEXT_BYTES], text[REASON_TEXT_BYTES];

    ASSERT(owner_state(o) != OWNER_LOST);
    answer_describe(a, why);
    snprintf(
        text, sizeof(text),
        "whether a copy of this data directory is in use cannot be told: gs://%.80s/%.120s: %.200s",
        o->config.bucket, o->name, why);
    say(o, owner_state(o) == OWNER_HELD ? OWNER_HELD : OWNER_UNKNOWN, text);
    o->step = STEP_READ;
    o->next_us = now_us + UNKNOWN_US;
}

static void unanswered(struct owner *o, const struct http_answer *a, int64_t now_us)
{
    char why[REASON_TEXT_BYTES], text[REASON_TEXT_BYTES];

    ASSERT(owner_state(o) != OWNER_LOST);
    answer_describe(a, why);
    atomic_store(&o->away, true);
    if (owner_state(o) == OWNER_ASKING) {
        snprintf(text, sizeof(text),
                 "nothing is sent before the bucket has said whether this data directory is in use "
                 "elsewhere: %.350s",
                 why);
        say(o, OWNER_ASKING, text);
    }
    ask_later(o, now_us);
}

static void claim_done(struct gcs_claim *claim, enum answer_class c,
                       const struct gcs_claim_facts *facts, const struct http_answer *a)
{
    struct owner *o = container_of(claim, struct owner, claim);
    int64_t now_us = o->next_us; /* of the turn that asked; later ones only make waits longer */

    ASSERT(owner_state(o) != OWNER_LOST);
    if (o->releasing && c != ANSWER_OK)
        atomic_store(&o->released, true); /* it was only a courtesy */
    if (o->step == STEP_LIST) {
        o->listed = c == ANSWER_OK || c == ANSWER_PERMANENT || c == ANSWER_NOT_FOUND;
        o->step = STEP_WRITE;
        o->next_us = o->due_us;
    } else if (c == ANSWER_OK && o->step == STEP_READ) {
        read_found(o, facts, now_us);
    } else if (c == ANSWER_OK) {
        held(o, facts, now_us);
    } else if (c == ANSWER_NOT_FOUND && o->step == STEP_READ) {
        if (owner_state(o) == OWNER_HELD)
            log_warn("owner", "gs://%s/%s is gone: it is written again", o->config.bucket, o->name);
        o->generation = 0;
        claim_write(o, now_us);
    } else if (c == ANSWER_PRECONDITION && o->step == STEP_WRITE) {
        o->step = STEP_READ;
        o->next_us = now_us;
    } else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        unanswered(o, a, now_us);
    } else {
        refused(o, a, now_us);
    }
}

/* Another data directory of this node: names cannot collide, but people may not know. */
static void claim_found(struct gcs_claim *claim, const char *name,
                        const struct gcs_claim_facts *facts)
{
    struct owner *o = container_of(claim, struct owner, claim);

    ASSERT(o->step == STEP_LIST);
    if (strcmp(name, o->name) == 0)
        return;
    o->n_others++;
    if (strcmp(facts->state, "running") == 0)
        log_warn("owner",
                 "node %s has another data directory, last seen running on host %s at %s "
                 "(gs://%s/%s): if "
                 "both are in use, give each a node of its own; if that one is lost, so is what it "
                 "had not "
                 "delivered, and its object may be deleted",
                 o->config.node, facts->host, facts->updated, o->config.bucket, name);
    else
        log_info("owner", "node %s had another data directory, stopped on host %s at %s",
                 o->config.node, facts->host, facts->updated);
}

void owner_attach(struct owner *o, struct gcs *gcs)
{
    ASSERT(!o->attached);
    o->claim.done = claim_done;
    o->claim.found = claim_found;
    gcs_claim_init(&o->claim, gcs);
    o->attached = true;
}

void owner_detach(struct owner *o)
{
    ASSERT(o != NULL);
    if (o->attached)
        gcs_claim_fini(&o->claim);
    o->attached = false;
}

void owner_run(struct owner *o, int64_t now_us)
{
    ASSERT(o->attached);
    if (owner_state(o) == OWNER_ASKING && o->claim.waiting != NULL)
        (void)text_set(o, o->claim.waiting); /* credentials; whoever looks for them logs why */
    if (gcs_claim_busy(&o->claim) || owner_state(o) == OWNER_LOST)
        return;
    if (atomic_load(&o->release) && !o->releasing && o->step == STEP_WRITE &&
        owner_state(o) == OWNER_HELD) {
        o->releasing = true;
        snprintf(o->mine.state, sizeof(o->mine.state), "stopped");
        o->next_us = now_us;
    }
    if (now_us < o->next_us)
        return;
    o->next_us = now_us;
    if (o->step == STEP_READ)
        gcs_claim_read(&o->claim, o->name);
    else if (o->step == STEP_LIST)
        gcs_claim_list(&o->claim, o->prefix);
    else
        claim_write(o, now_us);
}
