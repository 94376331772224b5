// sources: control/cli_parse.c control/values.c control/textbuf.c dataplane/base/compiler.c
/* Any bytes as a request of the CLI socket: a known command, or a message and the status for wrong
 * usage. */
#include "control/cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cli_request r;
    struct textbuf error = {0};
    int status;

    if (size >= PROTOCOL_LINE_BYTES)
        return 0;
    status = cli_parse((const char *)data, size, &r, &error);
    ASSERT(status == PROTOCOL_OK || status == PROTOCOL_USAGE);
    ASSERT((error.len > 0) == (status == PROTOCOL_USAGE));
    if (status == PROTOCOL_OK)
        ASSERT(r.command < PROTOCOL_COMMANDS && r.timeout_us >= 0);
    textbuf_fini(&error);
    return 0;
}
