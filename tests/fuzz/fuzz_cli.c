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
        ASSERT(r.command < PROTOCOL_COMMANDS && r.timeout_us >= 0 && r.for_us >= 0 &&
               r.n_args <= PROTOCOL_ARGS_MAX);
    for (uint32_t i = 0; status == PROTOCOL_OK && i < r.n_args; i++)
        ASSERT(r.arg[i][0] > 0x20 && strlen(r.arg[i]) < size);
    textbuf_fini(&error);
    return 0;
}
