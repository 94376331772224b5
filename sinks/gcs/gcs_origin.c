/* COLD. Whose address is it? An upload session's URI comes from an answer, and gets our bytes and our
 * credentials: it must be of the endpoint that was configured, or of Google. */
#include <strings.h>

#include "sinks/gcs/gcs_internal.h"

struct origin {
    bool https;
    struct span host;
    struct span port; /* empty: the scheme's own */
};

static bool starts_with(struct span s, const char *prefix)
{
    size_t n = strlen(prefix);

    ASSERT(n > 0);
    return s.len >= n && strncasecmp(s.ptr, prefix, n) == 0;
}

/* scheme://host[:port], no user. */
static bool origin_read(struct span url, struct origin *out)
{
    size_t scheme = starts_with(url, "https://") ? 8 : starts_with(url, "http://") ? 7 : 0;
    struct span at;
    const char *colon;

    ASSERT(out != NULL);
    *out = (struct origin){.https = scheme == 8};
    for (size_t i = 0; i < url.len; i++) {
        if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || url.ptr[i] == '\\')
            return false;
    }
    at = (struct span){.ptr = url.ptr + scheme, .len = scheme};
    while (at.len < url.len && strchr("/?#", url.ptr[at.len]) == NULL)
        at.len++;
    at.len -= scheme;
    if (scheme == 0 || at.len == 0 || memchr(at.ptr, '@', at.len) != NULL)
        return false;
    colon = memrchr(at.ptr, ':', at.len);
    if (colon != NULL && memchr(colon, ']', at.len - (size_t)(colon - at.ptr)) != NULL)
        colon = NULL; /* inside of an IPv6 address */
    out->host = at;
    if (colon != NULL) {
        out->host.len = (size_t)(colon - at.ptr);
        out->port = (struct span){.ptr = colon + 1, .len = at.len - out->host.len - 1};
    }
    return out->host.len > 0;
}

static struct span origin_port(const struct origin *o)
{
    ASSERT(o->host.len > 0);
    return o->port.len > 0 ? o->port : span_of(o->https ? "443" : "80");
}

bool session_url_good(const char *endpoint, struct span url)
{
    static const char google[] = ".googleapis.com";
    const size_t n = sizeof(google) - 1;
    struct origin ours, its;

    ASSERT(endpoint != NULL);
    if (!origin_read(url, &its) || !origin_read(span_of(endpoint), &ours))
        return false;
    if (its.https == ours.https && its.host.len == ours.host.len &&
        strncasecmp(its.host.ptr, ours.host.ptr, its.host.len) == 0 &&
        span_equal(origin_port(&its), origin_port(&ours)))
        return true;
    return its.https && its.host.len > n && span_equal(origin_port(&its), span_of("443")) &&
           strncasecmp(its.host.ptr + its.host.len - n, google, n) == 0;
}
