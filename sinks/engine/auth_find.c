/*
 * COLD. Where credentials come from. The configuration's files first, then Google's search order:
 *
 *     credentials.token_file, credentials.file
 *     GOOGLE_APPLICATION_CREDENTIALS          an error when it cannot be used
 *     $CLOUDSDK_CONFIG or $HOME/.config/gcloud, application_default_credentials.json
 *     the metadata server                     asked at the first call, never at start
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/auth_internal.h"

#define WELLKNOWN       "application_default_credentials.json"
#define METADATA_HOST   "169.254.169.254"
#define METADATA_PATH   "/computeMetadata/v1/instance/service-accounts/default/token"
#define PATH_BYTES      4096
#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

static const char *environment(const char *name)
{
    const char *value = getenv(name);

    ASSERT(name[0] != '\0');
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool is_plain_http(const char *endpoint)
{
    ASSERT(endpoint != NULL);
    return strncmp(endpoint, "http://", 7) == 0;
}

static bool all_plain_http(const struct auth_config *c)
{
    ASSERT(c != NULL);
    for (size_t i = 0; i < ARRAY_LEN(c->endpoints); i++) {
        if (c->endpoints[i] != NULL && !is_plain_http(c->endpoints[i]))
            return false;
    }
    return true;
}

struct auth *auth_for(struct auth *a, const char *endpoint)
{
    ASSERT(endpoint != NULL);
    if (a == NULL || a->_kind == AUTH_NONE || a->_chosen)
        return a;
    return is_plain_http(endpoint) ? NULL : a;
}

/* ---- token file ---- */

int auth_file_read(struct auth *a)
{
    char token[AUTH_HEADER_BYTES];
    int fd = open(a->_config.token_file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    ASSERT(a->_kind == AUTH_TOKEN_FILE);
    a->_read_us = clock_monotonic_us();
    if (fd < 0)
        return -errno;
    n = read(fd, token, sizeof(token));
    if (n < 0)
        n = -errno;
    close(fd);
    if (n < 0)
        return (int)n;
    while (n > 0 && (token[n - 1] == '\n' || token[n - 1] == '\r' || token[n - 1] == ' '))
        n--;
    if (!auth_token_valid((struct span){.ptr = token, .len = (size_t)n}))
        return -EINVAL;
    snprintf(a->_header, sizeof(a->_header), AUTH_PREFIX "%.*s", (int)n, token);
    a->_generation++;
    return 0;
}

static int find_token_file(struct auth *a, char *error, size_t error_len)
{
    const char *file = a->_config.token_file;
    int rc;

    ASSERT(file != NULL);
    a->_kind = AUTH_TOKEN_FILE;
    a->_chosen = true;
    rc = auth_file_read(a);
    if (rc == -EINVAL)
        snprintf(error, error_len,
                 "%s: no token: one line of 1 to %zu printable characters is expected", file,
                 AUTH_HEADER_BYTES - sizeof(AUTH_PREFIX));
    else if (rc != 0)
        snprintf(error, error_len, "%s: %s", file, strerror(-rc));
    return rc;
}

/* ---- key files ---- */

static int find_key_file(struct auth *a, const char *file, char *error, size_t error_len)
{
    int rc = auth_key_load(file, &a->_key, error, error_len);

    ASSERT(rc == 0 || a->_key == NULL);
    if (rc != 0)
        return rc;
    a->_kind = AUTH_KEY_FILE;
    snprintf(a->_url, sizeof(a->_url), "%s", a->_key->token_uri);
    snprintf(a->_quota_project, sizeof(a->_quota_project), "%s", a->_key->quota_project);
    return 0;
}

void auth_wellknown_file(char *out, size_t len)
{
    const char *folder = environment("CLOUDSDK_CONFIG"), *home = environment("HOME");

    ASSERT(len > 0);
    out[0] = '\0';
    if (folder != NULL)
        snprintf(out, len, "%s/" WELLKNOWN, folder);
    else if (home != NULL)
        snprintf(out, len, "%s/.config/gcloud/" WELLKNOWN, home);
}

/* ---- metadata server ---- */

static int find_metadata(struct auth *a, char *error, size_t error_len)
{
    const char *name =
        environment("GCE_METADATA_HOST") != NULL ? "GCE_METADATA_HOST" : "GCE_METADATA_IP";
    const char *host = environment(name);

    ASSERT(a->_key == NULL);
    if (host == NULL)
        host = METADATA_HOST;
    if (strlen(host) > 255 || host[strspn(host, HOST_CHARACTERS)] != '\0') {
        snprintf(error, error_len, "%s: found \"%.255s\"; allowed: a host, or host:port", name,
                 host);
        return -EINVAL;
    }
    a->_kind = AUTH_METADATA;
    snprintf(a->_url, sizeof(a->_url), "http://%s" METADATA_PATH, host);
    return 0;
}

/* ---- the search ---- */

static int search(struct auth *a, char *error, size_t error_len)
{
    const char *named = environment("GOOGLE_APPLICATION_CREDENTIALS");
    char file[PATH_BYTES], why[AUTH_ERROR_BYTES];
    int rc;

    ASSERT(a->_kind == AUTH_NONE);
    if (named != NULL) {
        rc = find_key_file(a, named, why, sizeof(why));
        if (rc != 0)
            snprintf(error, error_len, "GOOGLE_APPLICATION_CREDENTIALS: %s", why);
        return rc;
    }
    auth_wellknown_file(file, sizeof(file));
    if (file[0] != '\0') {
        rc = find_key_file(a, file, error, error_len);
        if (rc != -ENOENT && rc != -ENOTDIR && rc != -EACCES) /* a sandbox may hide the home */
            return rc;
        error[0] = '\0';
    }
    return find_metadata(a, error, error_len);
}

int auth_find(struct auth *a, char *error, size_t error_len)
{
    const struct auth_config *c = &a->_config;
    const char *quota = environment("GOOGLE_CLOUD_QUOTA_PROJECT");
    int rc = 0;

    ASSERT(a->_kind == AUTH_NONE);
    a->_chosen = c->token_file != NULL || c->key_file != NULL || c->source != AUTH_SOURCE_AUTO;
    if (c->token_file != NULL)
        rc = find_token_file(a, error, error_len);
    else if (c->key_file != NULL)
        rc = find_key_file(a, c->key_file, error, error_len);
    else if (c->source == AUTH_SOURCE_METADATA)
        rc = find_metadata(a, error, error_len);
    else if (c->source == AUTH_SOURCE_SEARCH ||
             (c->source == AUTH_SOURCE_AUTO && !all_plain_http(c)))
        rc = search(a, error, error_len);
    a->_found = a->_kind != AUTH_METADATA || c->source == AUTH_SOURCE_METADATA ||
                environment("GCE_METADATA_HOST") != NULL;
    if (rc != 0 || a->_kind == AUTH_NONE || quota == NULL)
        return rc;
    if (strlen(quota) >= sizeof(a->_quota_project) ||
        !auth_token_valid((struct span){.ptr = quota, .len = strlen(quota)})) {
        snprintf(error, error_len,
                 "GOOGLE_CLOUD_QUOTA_PROJECT: found \"%.100s\"; allowed: a "
                 "project id",
                 quota);
        return -EINVAL;
    }
    snprintf(a->_quota_project, sizeof(a->_quota_project), "%s", quota);
    return 0;
}
