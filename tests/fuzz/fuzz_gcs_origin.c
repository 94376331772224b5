/*
 * "ENDPOINT\nADDRESS": an address of an upload session that is let through leads libcurl, which will
 * connect to it, to the endpoint's own scheme, host and port, or by https to a host of Google's.
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sinks/gcs/gcs_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct parts {
    char *scheme, *host, *port, *user;
};

/* As curl reads it. @return false when it would not connect at all. */
static bool parts_read(const char *url, struct parts *out)
{
    CURLU *u = curl_url();
    bool good = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_SCHEME, &out->scheme, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_HOST, &out->host, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_PORT, &out->port, CURLU_DEFAULT_PORT) == CURLUE_OK;

    (void)curl_url_get(u, CURLUPART_USER, &out->user, 0);
    curl_url_cleanup(u);
    return good;
}

static void parts_free(struct parts *p)
{
    curl_free(p->scheme);
    curl_free(p->host);
    curl_free(p->port);
    curl_free(p->user);
}

static bool same_place(const struct parts *a, const struct parts *b)
{
    return strcasecmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 &&
           strcmp(a->port, b->port) == 0;
}

static bool is_google(const struct parts *p)
{
    size_t n = strlen(p->host);

    return strcasecmp(p->scheme, "https") == 0 && strcmp(p->port, "443") == 0 && n > 15 &&
           strcasecmp(p->host + n - 15, ".googleapis.com") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parts its = {0}, ours = {0};
    const uint8_t *line = memchr(data, '\n', size);
    size_t n = line == NULL ? 0 : (size_t)(line - data);
    char *endpoint = strndup((const char *)data, n);
    char *url = line == NULL ? strdup("") : strndup((const char *)line + 1, size - n - 1);

    ASSERT(endpoint != NULL && url != NULL);
    if (session_url_good(endpoint, span_of(url)) && parts_read(url, &its)) {
        ASSERT(its.user == NULL);
        ASSERT(is_google(&its) || (parts_read(endpoint, &ours) && same_place(&its, &ours)));
    }
    parts_free(&its);
    parts_free(&ours);
    free(endpoint);
    free(url);
    return 0;
}
