/* What tests of credentials share: a folder of files, a key made for the run, a clock that can be
 * set. */
#ifndef PENSTOCK_TEST_TAUTH_FILES_H
#define PENSTOCK_TEST_TAUTH_FILES_H

#include "sinks/engine/auth_internal.h"

#define TOKEN(t, s) "{\"access_token\":\"" t "\",\"expires_in\":" #s ",\"token_type\":\"Bearer\"}"
#define GRANT       "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}"

/** Made by the group's set-up. */
extern EVP_PKEY *tauth_key;

/** The time that auth_clock_us() gives; 0: the real one. */
extern int64_t tauth_now_us;

/** Group set-up and teardown: folder, key, clock, an empty home. */
int tauth_setup(void **state);
int tauth_teardown(void **state);

/** Set-up of each test: the real clock, none of Google's variables. */
int tauth_each(void **state);

/** The folder. */
const char *tauth_folder(void);

/** A path in the folder; good until the next but one call. */
const char *path_of(const char *name);

/** Writes a file of the folder. @return its path, as path_of(). */
const char *write_file(const char *name, const char *text);

/** A private key as a key file holds it, escaped. Owner: caller. */
char *pem_json(EVP_PKEY *k, const char *password);

/** Writes a service account's file; members, each with a comma behind, come first. */
const char *write_key(const char *name, const char *members);

/** The header of a token that has to be there. */
const char *header_of(struct auth *a);

#endif
