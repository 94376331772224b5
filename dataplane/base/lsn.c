/* COLD. Text form of journal identities. */
#include "dataplane/base/lsn.h"

#include <errno.h>

#include "dataplane/base/compiler.h"

void journal_uuid_hex(const struct journal_uuid *u, char *out)
{
    static const char digit[] = "0123456789abcdef";

    ASSERT(u != NULL && out != NULL);
    for (int i = 0; i < 16; i++) {
        out[2 * i] = digit[u->byte[i] >> 4];
        out[2 * i + 1] = digit[u->byte[i] & 15];
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int journal_uuid_parse(const char *hex, struct journal_uuid *out)
{
    ASSERT(hex != NULL && out != NULL);
    for (int i = 0; i < 16; i++) {
        int high = hex_value(hex[2 * i]);
        int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);

        if (low < 0)
            return -EINVAL;
        out->byte[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
