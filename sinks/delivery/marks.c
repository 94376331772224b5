/* COLD. See marks.h. Entries in one array, chained by bucket and by order of use. */
#include "sinks/delivery/marks.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"

#define MARK_NONE UINT32_MAX
#define GROW_MIN  64u

static uint32_t bucket_of(const uint8_t session[16])
{
    return crc32c(0, session, sizeof(((struct block_mark *)0)->session)) % MARKS_MAX;
}

static uint32_t find(const struct marks *m, const uint8_t session[16])
{
    if (m->n == 0)
        return MARK_NONE;
    for (uint32_t i = m->bucket[bucket_of(session)]; i != 0; i = m->entry[i - 1].next) {
        ASSERT(i <= m->n);
        if (memcmp(m->entry[i - 1].mark.session, session, sizeof(m->entry->mark.session)) == 0)
            return i - 1;
    }
    return MARK_NONE;
}

static void use_unlink(struct marks *m, uint32_t i)
{
    struct mark_entry *e = &m->entry[i];

    ASSERT(i < m->n && (e->newer != MARK_NONE || m->newest == i));
    if (e->newer != MARK_NONE)
        m->entry[e->newer].older = e->older;
    else
        m->newest = e->older;
    if (e->older != MARK_NONE)
        m->entry[e->older].newer = e->newer;
    else
        m->oldest = e->newer;
}

static void use_link(struct marks *m, uint32_t i)
{
    struct mark_entry *e = &m->entry[i];

    ASSERT(i < m->n && (m->newest == MARK_NONE) == (m->oldest == MARK_NONE));
    e->newer = MARK_NONE;
    e->older = m->newest;
    if (m->newest != MARK_NONE)
        m->entry[m->newest].newer = i;
    else
        m->oldest = i;
    m->newest = i;
}

static void bucket_unlink(struct marks *m, uint32_t i)
{
    uint32_t *at = &m->bucket[bucket_of(m->entry[i].mark.session)];

    while (*at != i + 1) {
        ASSERT(*at != 0);
        at = &m->entry[*at - 1].next;
    }
    *at = m->entry[i].next;
}

/* A free entry: a new one, or the one whose last use is the oldest. */
static uint32_t entry_take(struct marks *m)
{
    uint32_t i = m->oldest;

    ASSERT(m->n <= m->cap && m->n <= MARKS_MAX);
    if (m->n == 0) {
        m->bucket = calloc(MARKS_MAX, sizeof(*m->bucket));
        ASSERT(m->bucket != NULL);
        m->newest = m->oldest = MARK_NONE;
    }
    if (m->n == MARKS_MAX) {
        use_unlink(m, i);
        bucket_unlink(m, i);
        return i;
    }
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? GROW_MIN : 2 * m->cap;
        m->entry = realloc(m->entry, m->cap * sizeof(*m->entry));
        ASSERT(m->entry != NULL); /* 64 KiB to 1 MiB; as for the rest of the state */
    }
    return m->n++;
}

void marks_raise(struct marks *m, const struct block_mark *mark)
{
    uint32_t i = find(m, mark->session);

    ASSERT(!block_mark_empty(mark));
    if (i != MARK_NONE) {
        use_unlink(m, i);
        if (mark->seq >= m->entry[i].mark.seq)
            m->entry[i].mark = *mark;
    } else {
        i = entry_take(m);
        m->entry[i].mark = *mark;
        m->entry[i].next = m->bucket[bucket_of(mark->session)];
        m->bucket[bucket_of(mark->session)] = i + 1;
    }
    use_link(m, i);
}

void marks_each(const struct marks *m, dlog_mark_visitor visit, void *ctx)
{
    ASSERT(visit != NULL);
    if (m->n == 0)
        return;
    for (uint32_t i = m->oldest; i != MARK_NONE; i = m->entry[i].newer)
        visit(ctx, &m->entry[i].mark);
}

void marks_fini(struct marks *m)
{
    free(m->entry);
    free(m->bucket);
    *m = (struct marks){0};
}
