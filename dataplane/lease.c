/* HOT. See lease.h: a stack of free buffers per class. */
#include "dataplane/lease.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/mem.h"
#include "dataplane/json/json.h"

struct lease_class {
    char *memory;
    uint64_t memory_bytes;
    uint32_t bytes;
    uint32_t stride;
    uint32_t n_free;
    char **free;
};

struct lease_pool {
    struct lease_class class[LEASE_CLASSES];
};

static uint64_t class_stride(uint32_t bytes)
{
    return align_up((uint64_t)bytes + JSON_PADDING_BYTES, 4096);
}

uint64_t lease_memory_bytes(const struct lease_config *config)
{
    uint64_t sum = 0;

    for (int i = 0; i < LEASE_CLASSES; i++)
        sum += config->count[i] * class_stride(config->bytes[i]);
    return sum;
}

static int class_create(struct lease_class *c, uint32_t count, uint32_t bytes)
{
    if (count == 0)
        return 0;
    c->bytes = bytes;
    c->stride = (uint32_t)class_stride(bytes);
    c->memory_bytes = (uint64_t)count * c->stride;
    c->memory = mem_reserve(c->memory_bytes);
    c->free = calloc(count, sizeof(*c->free));
    if (c->memory == NULL || c->free == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        c->free[c->n_free++] = c->memory + (uint64_t)(count - 1 - i) * c->stride;
    return 0;
}

int lease_pool_create(const struct lease_config *config, struct lease_pool **out)
{
    struct lease_pool *p = calloc(1, sizeof(*p));
    int rc = p == NULL ? -ENOMEM : 0;

    for (int i = 0; rc == 0 && i < LEASE_CLASSES; i++) {
        const uint32_t count = config->count[i], bytes = config->bytes[i];

        ASSERT(i == 0 || bytes >= config->bytes[i - 1]);
        rc = class_create(&p->class[i], count, bytes);
    }
    if (rc < 0) {
        lease_pool_destroy(p);
        return rc;
    }
    *out = p;
    return 0;
}

void lease_pool_destroy(struct lease_pool *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < LEASE_CLASSES; i++) {
        mem_release(p->class[i].memory, p->class[i].memory_bytes);
        free(p->class[i].free);
    }
    free(p);
}

int lease_pool_populate(struct lease_pool *p, const _Atomic bool *stop)
{
    int rc = 0;

    ASSERT(p != NULL);
    for (int i = 0; rc == 0 && i < LEASE_CLASSES; i++)
        rc = mem_populate(p->class[i].memory, p->class[i].memory_bytes, stop);
    return rc;
}

bool lease_acquire(struct lease_pool *p, uint64_t bytes, struct lease *out)
{
    for (int i = 0; i < LEASE_CLASSES; i++) {
        struct lease_class *c = &p->class[i];

        if (c->bytes < bytes || c->n_free == 0)
            continue;
        *out = (struct lease){.buf = c->free[--c->n_free], .bytes = c->bytes, .class = (uint8_t)i};
        return true;
    }
    return false;
}

void lease_release(struct lease_pool *p, struct lease *l)
{
    struct lease_class *c;

    if (l->buf == NULL)
        return;
    c = &p->class[l->class];
    ASSERT(l->buf >= c->memory && l->buf < c->memory + c->memory_bytes);
    c->free[c->n_free++] = l->buf;
    l->buf = NULL;
    l->bytes = 0;
}
