/*
 * HOT. Events like GitHub's public ones of 2013: seven types in about the shares they came in, long
 * URLs, a repository of sixty members in a fork, messages with line breaks, keys whose order varies.
 */
#include <stdbool.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_json.h"
#include "tools/gen/gen_rich.h"

#define API      "https://api.github.com/"
#define US_A_DAY (INT64_C(86400) * 1000000)

enum { HASH_HEX = 40, GRAVATAR_HEX = 32, COMMITS_MAX = 6 };

static const struct gen_str logins[] = {
    GEN_STR("jathanism"),    GEN_STR("noahlu"),  GEN_STR("rtlong"),     GEN_STR("armaklan"),
    GEN_STR("pat"),          GEN_STR("imsky"),   GEN_STR("svenfuc"),    GEN_STR("rossmann"),
    GEN_STR("ezmobius2"),    GEN_STR("h-lame"),  GEN_STR("zhangyaoxi"), GEN_STR("vcovito"),
    GEN_STR("anisiomarxjr"), GEN_STR("eburley"), GEN_STR("k1complete"), GEN_STR("mtgred"),
};
static const struct gen_str repos[] = {
    GEN_STR("trigger"),    GEN_STR("mockingbird"), GEN_STR("digiusb.rb"),
    GEN_STR("syntastic"),  GEN_STR("dotfiles"),    GEN_STR("thinking-sphinx"),
    GEN_STR("holder"),     GEN_STR("linux"),       GEN_STR("homebrew"),
    GEN_STR("node-oauth"), GEN_STR("vim-config"),  GEN_STR("rails-api-demo"),
};
static const struct gen_str messages[] = {
    GEN_STR("fix typo"),
    GEN_STR("Merge branch 'master' of github.com:acme/app"),
    GEN_STR(
        "- channel data is now initialized in the base class\n- new checklist for adding vendors"),
    GEN_STR("Add tests for the parser"),
    GEN_STR("Bump version to 0.9.3\n\n* faster start\n* \"strict\" mode\n* fewer allocations"),
    GEN_STR("first commit"),
    GEN_STR("Aktualisiere Übersetzungen für Größe und Länge"),
    GEN_STR("修正: 空の入力で落ちる問題"),
    GEN_STR("Make C:\\temp the default on Windows"),
    GEN_STR("refactor: move everything that talks to the database behind one small interface, so "
            "that the "
            "tests can run without one; no change in behaviour"),
    GEN_STR("wip"),
    GEN_STR("Update README.md"),
};
static const struct gen_str titles[] = {
    GEN_STR("Fix width regression on retina display"),
    GEN_STR("Crash when the \"name\" column is empty"),
    GEN_STR("Documentation of the install step is out of date"),
    GEN_STR("Feature request: dark mode 🌙"),
    GEN_STR("Cannot build on FreeBSD"),
};
static const struct gen_str languages[] = {GEN_STR("Ruby"), GEN_STR("C"), GEN_STR("JavaScript"),
                                           GEN_STR("Python"), GEN_STR("Perl")};
static const struct gen_str descriptions[] = {
    GEN_STR("blog system"),
    GEN_STR(""),
    GEN_STR(
        "A little thing for talking to devices, like a serial port or like telnet (whichever!)"),
    GEN_STR("Ein kleines Werkzeug für große Dateien"),
    GEN_STR("Translation infrastructure for the levels"),
};

/* A user of one event: the same in all its members. */
struct user {
    struct gen_str login;
    uint32_t id;
    char gravatar[GRAVATAR_HEX];
};

struct repo {
    struct user owner;
    struct gen_str name;
    uint32_t id;
};

static char *put_hex(char *out, uint32_t digits, struct gen_rng *r)
{
    static const char hex[] = "0123456789abcdef";
    GEN_ASSERT(digits % 8 == 0);
    for (uint32_t i = 0; i < digits; i += 8) {
        uint64_t draw = gen_rng_next(r);
        for (uint32_t k = 0; k < 8; k++, draw >>= 4) {
            *out++ = hex[draw & 15];
        }
    }
    return out;
}

static struct user draw_user(struct gen_rng *r)
{
    struct user u = {.login = gen_rich_pick(r, logins), .id = 1000 + gen_rng_below(r, 3000000)};
    put_hex(u.gravatar, GRAVATAR_HEX, r);
    return u;
}

static void put_hash(struct gen_json *j, struct gen_rng *r)
{
    *j->at++ = '"';
    j->at = put_hex(j->at, HASH_HEX, r);
    *j->at++ = '"';
    gen_json_next(j);
}

static void put_time(struct gen_json *j, struct gen_rich *e)
{
    int64_t at_us = e->now_us - (int64_t)(gen_rng_next(&e->rng) % (uint64_t)US_A_DAY);
    *j->at++ = '"';
    j->at = gen_put_time(j->at, at_us, 0, e->day);
    *j->at++ = '"';
    gen_json_next(j);
}

/* "https://api.github.com/users/{login}{tail}" */
static void put_user_url(struct gen_json *j, const struct user *u, struct gen_str tail)
{
    j->at = gen_put_lit(j->at, "\"" API "users/");
    j->at = gen_put_str(j->at, u->login);
    j->at = gen_put_str(j->at, tail);
    *j->at++ = '"';
    gen_json_next(j);
}

static char *put_full_name(char *out, const struct repo *p)
{
    out = gen_put_str(out, p->owner.login);
    *out++ = '/';
    return gen_put_str(out, p->name);
}

/* "https://api.github.com/repos/{owner}/{name}{tail}" */
static void put_repo_url(struct gen_json *j, const struct repo *p, struct gen_str tail)
{
    j->at = gen_put_lit(j->at, "\"" API "repos/");
    j->at = put_full_name(j->at, p);
    j->at = gen_put_str(j->at, tail);
    *j->at++ = '"';
    gen_json_next(j);
}

static void put_gravatar(struct gen_json *j, const struct user *u)
{
    gen_json_key(j, "gravatar_id");
    gen_json_plain(j, (struct gen_str){u->gravatar, GRAVATAR_HEX});
}

static void put_avatar(struct gen_json *j, const struct user *u)
{
    gen_json_key(j, "avatar_url");
    j->at = gen_put_lit(j->at, "\"https://secure.gravatar.com/avatar/");
    j->at = gen_put_str(j->at, (struct gen_str){u->gravatar, GRAVATAR_HEX});
    j->at = gen_put_lit(
        j->at, "?d=https://a248.e.akamai.net/assets.github.com%2Fimages%2Fgravatars%2Fgravatar-"
               "user-420.png\"");
    gen_json_next(j);
}

/* The short form: actor and org. */
static void put_actor(struct gen_json *j, const struct user *u)
{
    gen_json_open(j, '{');
    put_gravatar(j, u);
    gen_json_key(j, "login");
    gen_json_plain(j, u->login);
    put_avatar(j, u);
    gen_json_key(j, "url");
    put_user_url(j, u, (struct gen_str)GEN_STR(""));
    gen_json_key(j, "id");
    gen_json_u64(j, u->id);
    gen_json_close(j, '}');
}

/* The long form: the owner of a repository, who wrote an issue. */
static void put_user(struct gen_json *j, const struct user *u)
{
    static const struct gen_str links[][2] = {
        {GEN_STR("subscriptions_url"), GEN_STR("/subscriptions")},
        {GEN_STR("organizations_url"), GEN_STR("/orgs")},
        {GEN_STR("received_events_url"), GEN_STR("/received_events")},
        {GEN_STR("repos_url"), GEN_STR("/repos")},
        {GEN_STR("starred_url"), GEN_STR("/starred{/owner}{/repo}")},
        {GEN_STR("events_url"), GEN_STR("/events{/privacy}")},
        {GEN_STR("followers_url"), GEN_STR("/followers")},
        {GEN_STR("following_url"), GEN_STR("/following")},
    };
    gen_json_open(j, '{');
    gen_json_key(j, "url");
    put_user_url(j, u, (struct gen_str)GEN_STR(""));
    gen_json_key(j, "gists_url");
    put_user_url(j, u, (struct gen_str)GEN_STR("/gists{/gist_id}"));
    put_gravatar(j, u);
    gen_json_key(j, "type");
    gen_json_lit(j, "User");
    put_avatar(j, u);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        gen_json_key_text(j, links[i][0]);
        put_user_url(j, u, links[i][1]);
    }
    gen_json_key(j, "login");
    gen_json_plain(j, u->login);
    gen_json_key(j, "id");
    gen_json_u64(j, u->id);
    gen_json_close(j, '}');
}

static void put_repo_links(struct gen_json *j, const struct repo *p)
{
    static const struct gen_str links[][2] = {
        {GEN_STR("stargazers_url"), GEN_STR("/stargazers")},
        {GEN_STR("tags_url"), GEN_STR("/tags{/tag}")},
        {GEN_STR("merges_url"), GEN_STR("/merges")},
        {GEN_STR("git_refs_url"), GEN_STR("/git/refs{/sha}")},
        {GEN_STR("archive_url"), GEN_STR("/{archive_format}{/ref}")},
        {GEN_STR("collaborators_url"), GEN_STR("/collaborators{/collaborator}")},
        {GEN_STR("languages_url"), GEN_STR("/languages")},
        {GEN_STR("trees_url"), GEN_STR("/git/trees{/sha}")},
        {GEN_STR("labels_url"), GEN_STR("/labels{/name}")},
        {GEN_STR("forks_url"), GEN_STR("/forks")},
        {GEN_STR("branches_url"), GEN_STR("/branches{/branch}")},
        {GEN_STR("commits_url"), GEN_STR("/commits{/sha}")},
        {GEN_STR("notifications_url"), GEN_STR("/notifications{?since,all,participating}")},
        {GEN_STR("contents_url"), GEN_STR("/contents/{+path}")},
        {GEN_STR("blobs_url"), GEN_STR("/git/blobs{/sha}")},
        {GEN_STR("issues_url"), GEN_STR("/issues{/number}")},
        {GEN_STR("compare_url"), GEN_STR("/compare/{base}...{head}")},
        {GEN_STR("issue_events_url"), GEN_STR("/issues/events{/number}")},
        {GEN_STR("statuses_url"), GEN_STR("/statuses/{sha}")},
        {GEN_STR("assignees_url"), GEN_STR("/assignees{/user}")},
        {GEN_STR("subscribers_url"), GEN_STR("/subscribers")},
        {GEN_STR("git_commits_url"), GEN_STR("/git/commits{/sha}")},
        {GEN_STR("downloads_url"), GEN_STR("/downloads")},
        {GEN_STR("pulls_url"), GEN_STR("/pulls{/number}")},
        {GEN_STR("issue_comment_url"), GEN_STR("/issues/comments/{number}")},
        {GEN_STR("hooks_url"), GEN_STR("/hooks")},
        {GEN_STR("subscription_url"), GEN_STR("/subscription")},
        {GEN_STR("milestones_url"), GEN_STR("/milestones{/number}")},
        {GEN_STR("events_url"), GEN_STR("/events")},
        {GEN_STR("git_tags_url"), GEN_STR("/git/tags{/sha}")},
        {GEN_STR("teams_url"), GEN_STR("/teams")},
        {GEN_STR("comments_url"), GEN_STR("/comments{/number}")},
        {GEN_STR("keys_url"), GEN_STR("/keys{/key_id}")},
        {GEN_STR("contributors_url"), GEN_STR("/contributors")},
    };
    GEN_ASSERT(p->name.bytes > 0);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        gen_json_key_text(j, links[i][0]);
        put_repo_url(j, p, links[i][1]);
    }
}

static void put_fork(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    gen_json_key(j, "forkee");
    gen_json_open(j, '{');
    gen_json_key(j, "description");
    gen_json_text(j, gen_rich_pick(&e->rng, descriptions));
    gen_json_key(j, "fork");
    gen_json_bool(j, true);
    gen_json_key(j, "url");
    put_repo_url(j, p, (struct gen_str)GEN_STR(""));
    gen_json_key(j, "language");
    gen_json_plain(j, gen_rich_pick(&e->rng, languages));
    gen_json_key(j, "forks");
    gen_json_u64(j, 0);
    gen_json_key(j, "private");
    gen_json_bool(j, false);
    gen_json_key(j, "owner");
    put_user(j, &p->owner);
    put_repo_links(j, p);
    gen_json_key(j, "pushed_at");
    put_time(j, e);
    gen_json_key(j, "has_issues");
    gen_json_bool(j, gen_rich_chance(&e->rng, 50));
    gen_json_key(j, "open_issues");
    gen_json_u64(j, gen_rng_below(&e->rng, 3));
    gen_json_key(j, "mirror_url");
    gen_json_null(j);
    gen_json_key(j, "watchers_count");
    gen_json_u64(j, 0);
    gen_json_key(j, "homepage");
    if (gen_rich_chance(&e->rng, 40)) {
        gen_json_lit(j, "http://example.com/");
    } else {
        gen_json_null(j);
    }
    gen_json_key(j, "size");
    gen_json_u64(j, gen_rng_below(&e->rng, 9999));
    gen_json_close(j, '}');
}

static void put_issue(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    struct user author = draw_user(&e->rng);
    gen_json_key(j, "issue");
    gen_json_open(j, '{');
    gen_json_key(j, "user");
    put_user(j, &author);
    gen_json_key(j, "url");
    put_repo_url(j, p, (struct gen_str)GEN_STR("/issues/27"));
    gen_json_key(j, "labels");
    gen_json_open(j, '[');
    gen_json_close(j, ']');
    gen_json_key(j, "pull_request");
    gen_json_open(j, '{');
    gen_json_key(j, "html_url");
    gen_json_null(j);
    gen_json_key(j, "diff_url");
    gen_json_null(j);
    gen_json_close(j, '}');
    gen_json_key(j, "title");
    gen_json_text(j, gen_rich_pick(&e->rng, titles));
    gen_json_key(j, "created_at");
    put_time(j, e);
    gen_json_key(j, "closed_at");
    gen_json_null(j);
    gen_json_key(j, "body");
    gen_json_text(j, gen_rich_pick(&e->rng, messages));
    gen_json_key(j, "assignee");
    if (gen_rich_chance(&e->rng, 30)) {
        put_user(j, &p->owner);
    } else {
        gen_json_null(j);
    }
    gen_json_key(j, "number");
    gen_json_u64(j, 1 + gen_rng_below(&e->rng, 999));
    gen_json_key(j, "state");
    gen_json_lit(j, "open");
    gen_json_close(j, '}');
}

static void put_comment(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    struct user author = draw_user(&e->rng);
    gen_json_key(j, "comment");
    gen_json_open(j, '{');
    gen_json_key(j, "user");
    put_user(j, &author);
    gen_json_key(j, "url");
    put_repo_url(j, p, (struct gen_str)GEN_STR("/issues/comments/12084063"));
    gen_json_key(j, "created_at");
    put_time(j, e);
    gen_json_key(j, "body");
    gen_json_text(j, gen_rich_pick(&e->rng, messages));
    gen_json_key(j, "id");
    gen_json_u64(j, 12000000 + gen_rng_below(&e->rng, 99999));
    gen_json_close(j, '}');
}

static void put_commit(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    struct gen_str author = gen_rich_pick(&e->rng, logins);
    gen_json_open(j, '{');
    gen_json_key(j, "url");
    j->at = gen_put_lit(j->at, "\"" API "repos/");
    j->at = put_full_name(j->at, p);
    j->at = gen_put_lit(j->at, "/commits/");
    j->at = put_hex(j->at, HASH_HEX, &e->rng);
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_key(j, "message");
    gen_json_text(j, gen_rich_pick(&e->rng, messages));
    gen_json_key(j, "distinct");
    gen_json_bool(j, true);
    gen_json_key(j, "sha");
    put_hash(j, &e->rng);
    gen_json_key(j, "author");
    gen_json_open(j, '{');
    gen_json_key(j, "email");
    *j->at++ = '"';
    j->at = gen_put_str(j->at, author);
    j->at = gen_put_lit(j->at, "@example.com\"");
    gen_json_next(j);
    gen_json_key(j, "name");
    gen_json_plain(j, author);
    gen_json_close(j, '}');
    gen_json_close(j, '}');
}

static void put_push(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    static const uint8_t counts[10] = {1, 1, 1, 1, 1, 1, 2, 2, 3, COMMITS_MAX};
    uint32_t commits = gen_rich_pick(&e->rng, counts);
    bool before_first = gen_rich_chance(&e->rng, 20);
    GEN_ASSERT(commits <= COMMITS_MAX);
    gen_json_key(j, "commits");
    gen_json_open(j, '[');
    for (uint32_t i = 0; i < commits; i++) {
        put_commit(j, e, p);
    }
    gen_json_close(j, ']');
    gen_json_key(j, "distinct_size");
    gen_json_u64(j, commits);
    gen_json_key(j, "ref");
    gen_json_lit(j, "refs/heads/master");
    gen_json_key(j, "push_id");
    gen_json_u64(j, 134000000 + gen_rng_below(&e->rng, 999999));
    for (int i = 0; i < 2; i++) {
        if ((i == 0) == before_first) {
            gen_json_key(j, "before");
        } else {
            gen_json_key(j, "head");
        }
        put_hash(j, &e->rng);
    }
    gen_json_key(j, "size");
    gen_json_u64(j, commits);
}

static void put_create(struct gen_json *j, struct gen_rich *e)
{
    bool branch = gen_rich_chance(&e->rng, 50);
    gen_json_key(j, "description");
    gen_json_text(j, gen_rich_pick(&e->rng, descriptions));
    gen_json_key(j, "master_branch");
    gen_json_lit(j, "master");
    gen_json_key(j, "ref");
    if (branch) {
        gen_json_lit(j, "develop");
    } else {
        gen_json_null(j);
    }
    gen_json_key(j, "ref_type");
    if (branch) {
        gen_json_lit(j, "branch");
    } else {
        gen_json_lit(j, "repository");
    }
}

static void put_pages(struct gen_json *j, struct gen_rich *e, const struct repo *p)
{
    uint32_t pages = 1 + gen_rng_below(&e->rng, 2);
    gen_json_key(j, "pages");
    gen_json_open(j, '[');
    for (uint32_t i = 0; i < pages; i++) {
        gen_json_open(j, '{');
        gen_json_key(j, "page_name");
        gen_json_lit(j, "Home");
        gen_json_key(j, "html_url");
        put_repo_url(j, p, (struct gen_str)GEN_STR("/wiki/Home"));
        gen_json_key(j, "title");
        gen_json_text(j, gen_rich_pick(&e->rng, titles));
        gen_json_key(j, "sha");
        put_hash(j, &e->rng);
        gen_json_key(j, "summary");
        gen_json_null(j);
        gen_json_key(j, "action");
        gen_json_lit(j, "edited");
        gen_json_close(j, '}');
    }
    gen_json_close(j, ']');
}

enum kind { PUSH, WATCH, CREATE, FORK, COMMENT, GOLLUM, ISSUE };

static void put_payload(struct gen_json *j, struct gen_rich *e, enum kind kind,
                        const struct repo *p)
{
    gen_json_open(j, '{');
    switch (kind) {
    case PUSH:
        put_push(j, e, p);
        break;
    case CREATE:
        put_create(j, e);
        break;
    case FORK:
        put_fork(j, e, p);
        break;
    case GOLLUM:
        put_pages(j, e, p);
        break;
    case COMMENT:
    case ISSUE:
        put_issue(j, e, p);
        gen_json_key(j, "action");
        gen_json_lit(j, "created");
        if (kind == COMMENT) {
            put_comment(j, e, p);
        }
        break;
    case WATCH:
    default:
        GEN_ASSERT(kind == WATCH);
        gen_json_key(j, "action");
        gen_json_lit(j, "started");
        break;
    }
    gen_json_close(j, '}');
}

static void put_repo(struct gen_json *j, const struct repo *p)
{
    gen_json_open(j, '{');
    gen_json_key(j, "url");
    put_repo_url(j, p, (struct gen_str)GEN_STR(""));
    gen_json_key(j, "id");
    gen_json_u64(j, p->id);
    gen_json_key(j, "name");
    *j->at++ = '"';
    j->at = put_full_name(j->at, p);
    *j->at++ = '"';
    gen_json_next(j);
    gen_json_close(j, '}');
}

char *gen_github_put(struct gen_rich *e, char *out)
{
    static const struct gen_str types[] = {
        GEN_STR("PushEvent"),   GEN_STR("WatchEvent"),        GEN_STR("CreateEvent"),
        GEN_STR("ForkEvent"),   GEN_STR("IssueCommentEvent"), GEN_STR("GollumEvent"),
        GEN_STR("IssuesEvent"),
    };
    static const uint8_t by_share[30] = {
        PUSH,   PUSH,   PUSH, PUSH,  PUSH,  PUSH,    PUSH,    PUSH,   PUSH,   PUSH,
        PUSH,   PUSH,   PUSH, WATCH, WATCH, WATCH,   WATCH,   WATCH,  WATCH,  CREATE,
        CREATE, CREATE, FORK, FORK,  FORK,  COMMENT, COMMENT, GOLLUM, GOLLUM, ISSUE};
    struct gen_json j = {.at = out};
    enum kind kind = gen_rich_pick(&e->rng, by_share);
    struct user actor = draw_user(&e->rng);
    struct repo repo = {.owner = draw_user(&e->rng), .name = gen_rich_pick(&e->rng, repos)};
    repo.id = 9000 + gen_rng_below(&e->rng, 7500000);
    GEN_ASSERT(kind < sizeof(types) / sizeof(types[0]));
    gen_json_open(&j, '{');
    gen_json_key(&j, "type");
    gen_json_plain(&j, types[kind]);
    gen_json_key(&j, "created_at");
    put_time(&j, e);
    gen_json_key(&j, "actor");
    put_actor(&j, &actor);
    gen_json_key(&j, "repo");
    put_repo(&j, &repo);
    gen_json_key(&j, "public");
    gen_json_bool(&j, true);
    if (gen_rich_chance(&e->rng, 20)) {
        gen_json_key(&j, "org");
        put_actor(&j, &repo.owner);
    }
    gen_json_key(&j, "payload");
    put_payload(&j, e, kind, &repo);
    gen_json_key(&j, "id");
    *j.at++ = '"';
    j.at = gen_put_u64(j.at, 1652000000 + e->seq);
    *j.at++ = '"';
    gen_json_next(&j);
    gen_json_close(&j, '}');
    gen_json_end(&j);
    return j.at;
}
