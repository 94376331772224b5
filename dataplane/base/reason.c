/* COLD. Names and texts of the reason list. */
#include "dataplane/base/reason.h"

#include <string.h>

#include "dataplane/base/compiler.h"

static const char *const names[REASON_END] = {[REASON_NONE] = "none",
                                              [REASON_DEAD_END] = "",
#define X(symbol, name, text) [REASON_##symbol] = name,
                                              REASON_DEAD_LIST(X) REASON_REFUSED_LIST(X)
#undef X
};

static const char *const texts[REASON_END] = {[REASON_NONE] = "",
                                              [REASON_DEAD_END] = "",
#define X(symbol, name, text) [REASON_##symbol] = text,
                                              REASON_DEAD_LIST(X) REASON_REFUSED_LIST(X)
#undef X
};

const char *reason_name(enum reason r)
{
    ASSERT(r >= 0 && r < REASON_END);
    return names[r];
}

const char *reason_text(enum reason r)
{
    ASSERT(r >= 0 && r < REASON_END);
    return texts[r];
}

enum reason reason_from_name(const char *name)
{
    ASSERT(name != NULL);
    for (int r = 1; r < REASON_END; r++) {
        if (r != REASON_DEAD_END && strcmp(names[r], name) == 0)
            return (enum reason)r;
    }
    return REASON_NONE;
}
