/* DATA_DIR/owner and the object of a claim, as they may be read. What a record says is within its bounds, and
 * a text without its check is none. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/json/json.h"
#include "sinks/engine/answer.h"
#include "sinks/gcs/gcs_claim.h"
#include "sinks/owner/owner_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_record(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 32);
    struct owner_record r;

    ASSERT(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (owner_record_read(text, &r))
        ASSERT(strstr(text, "\ncheck ") != NULL && strlen(r.token) < OWNER_TOKEN_BYTES);
    if (strlen(text) == size && size > 0 && text[size - 1] == '\n') { /* with a check that holds */
        size_t n = size;

        snprintf(text + n, 32, "check %08x\n", crc32c(0, text, n));
        if (owner_record_read(text, &r))
            ASSERT(strlen(r.bucket) < OWNER_BUCKET_BYTES && strlen(r.node) < OWNER_NODE_BYTES);
    }
    free(text);
}

static void read_object(const uint8_t *data, size_t size)
{
    static struct gcs_claim_facts facts;
    char *text = calloc(1, size + JSON_PADDING_BYTES);
    struct json_value root;

    ASSERT(text != NULL);
    memcpy(text, data, size);
    if (answer_object((struct span){text, size}, &root) && gcs_claim_facts_read(root, &facts))
        ASSERT(strlen(facts.journals) < CLAIM_JOURNALS_BYTES &&
               strlen(facts.token) < CLAIM_HEX_BYTES);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_record(data, size);
    read_object(data, size);
    return 0;
}
