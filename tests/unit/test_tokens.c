/*
 * Goal: a tokens file is read as documented or refused with its line; a digest finds its token and no
 * other; globs match as written.
 * Method: files line by line; ten thousand tokens; globs against a slow matcher on random texts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/input/tokens.h"

#define HEX "0123456789abcdefABCDEF0123456789abcdefABCDEF01234567890123456789"

static struct tokens *parse(const char *text)
{
    struct tokens *t = NULL;
    char error[400] = "";

    if (tokens_parse(text, strlen(text), &t, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    return t;
}

static void refused(const char *text, const char *why)
{
    struct tokens *t = NULL;
    char error[400] = "";

    assert_true(tokens_parse(text, strlen(text), &t, error, sizeof(error)) < 0);
    if (strstr(error, why) == NULL)
        fail_msg("\"%s\" was refused with: %s", text, error);
    assert_null(strstr(error, "ABCDEF")); /* what could be a token is not told */
}

static void test_lines(void **state)
{
    struct tokens *t = parse("# a comment\n\n  \t\r\n"
                             "shop " HEX " types=order,cart.* events=5000 bytes=2MiB # more\r\n"
                             "all\t0000000000000000000000000000000000000000000000000000000000000001"
                             " bytes=10KB/s");
    const struct token *shop = tokens_at(t, 0), *all = tokens_at(t, 1);

    (void)state;
    assert_int_equal(tokens_count(t), 2);
    assert_string_equal(shop->name, "shop");
    assert_int_equal(shop->digest[0], 0x01);
    assert_int_equal(shop->digest[5], 0xab);
    assert_int_equal(shop->events_per_s, 5000);
    assert_int_equal(shop->bytes_per_s, 2 << 20);
    assert_true(token_allows(shop, span_of("order")) && token_allows(shop, span_of("cart.x")));
    assert_false(token_allows(shop, span_of("orders")) || token_allows(shop, span_of("cart")));
    assert_int_equal(all->bytes_per_s, 10000);
    assert_true(token_allows(all, span_of("anything")));
    assert_ptr_equal(tokens_find(t, shop->digest), shop);
    assert_ptr_equal(tokens_find(t, all->digest), all);
    tokens_destroy(t);
    t = parse("");
    assert_int_equal(tokens_count(t), 0);
    assert_null(tokens_find(t, (const uint8_t *)HEX));
    tokens_destroy(t);
}

static void test_mistakes(void **state)
{
    (void)state;
    refused("\nshop", "line 2: allowed: NAME SHA256");
    refused("a/b " HEX, "a name is");
    refused("shop my-secret-ABCDEF", "64 hex digits");
    refused("shop " HEX "0", "64 hex digits");
    refused("shop " HEX " types=", "not a list of event types");
    refused("shop " HEX " types=a,,b", "not a list of event types");
    refused("shop " HEX " types=%4", "not a list of event types");
    refused("shop " HEX " events=0", "not a number of events");
    refused("shop " HEX " events=-1", "not a number of events");
    refused("shop " HEX " bytes=99999999999999999999", "not a size");
    refused("shop " HEX " events=1 events=2", "once each");
    refused("shop " HEX " types=a types=b", "once each");
    refused("shop " HEX " rate=1", "allowed behind name and hash");
    refused("shop " HEX " a b c d e", "allowed: NAME SHA256");
    refused("a " HEX "\nb " HEX, "the hash of another line");
}

static void test_many(void **state)
{
    char *text = malloc(TOKENS_MAX * 100 + 100), *at = text;
    uint8_t digest[TOKEN_DIGEST_BYTES] = {0};
    struct tokens *t;

    (void)state;
    for (unsigned i = 0; i < TOKENS_MAX; i++)
        at += snprintf(at, 100, "n%u %056u%08x\n", i, 0, i * 2654435761u);
    t = parse(text);
    for (unsigned i = 0; i < TOKENS_MAX; i++) {
        unsigned v = i * 2654435761u;

        for (int b = 0; b < 4; b++)
            digest[28 + b] = (uint8_t)(v >> (24 - 8 * b));
        assert_ptr_equal(tokens_find(t, digest), tokens_at(t, i));
        digest[0] ^= 1;
        assert_null(tokens_find(t, digest));
        digest[0] ^= 1;
    }
    tokens_destroy(t);
    snprintf(at, 100, "one " HEX "\n");
    refused(text, "more than 10000");
    free(text);
}

static bool slow_match(const char *g, const char *s)
{
    if (*g == '\0')
        return *s == '\0';
    if (*g == '*')
        return slow_match(g + 1, s) || (*s != '\0' && slow_match(g, s + 1));
    return *s != '\0' && (*g == '?' || *g == *s) && slow_match(g + 1, s + 1);
}

static void test_globs(void **state)
{
    (void)state;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        char glob[8], s[10], line[200];
        struct tokens *t;

        for (int j = 0; j < 7; j++)
            glob[j] = "ab*?"[rand() % 4];
        for (int j = 0; j < 9; j++)
            s[j] = "ab"[rand() % 2];
        glob[1 + rand() % 7] = s[rand() % 10] = '\0';
        snprintf(line, sizeof(line), "x " HEX " types=%s", glob);
        t = parse(line);
        assert_int_equal(token_allows(tokens_at(t, 0), span_of(s)), slow_match(glob, s));
        tokens_destroy(t);
    }
    struct tokens *t = parse("x " HEX " types=a%20b%2C%25,%c3%a4");

    assert_true(token_allows(tokens_at(t, 0), span_of("a b,%")));
    assert_true(token_allows(tokens_at(t, 0), span_of("\xc3\xa4")));
    tokens_destroy(t);
}

static void test_fields(void **state)
{
    static const struct {
        const char *field, *token;
    } cases[] = {
        {"Bearer abc", "abc"}, {"bEARER   a.b", "a.b"}, {"Bearer", ""}, {"Bearer ", ""},
        {"Bearerabc", ""},     {"Basic abc", ""},       {"", ""},       {"Bearer a b", "a b"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span token = token_of_field(span_of(cases[i].field));

        assert_true(span_equal(token, span_of(cases[i].token)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_mistakes), cmocka_unit_test(test_many),
        cmocka_unit_test(test_globs), cmocka_unit_test(test_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
