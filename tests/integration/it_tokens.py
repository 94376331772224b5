#!/usr/bin/env python3
"""Goal: with http.tokens nobody sends without a token, each token sends what it may and no more, and the
file changes while everything runs, for requests under way too.

Method: a real daemon; tokens made by `penstock token`; answers, counters, and what is stored in the end.
"""
import hashlib
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, Reader, equal, expect, program, request, run_tests, until  # noqa: E402


def event(kind, n=1):
    return b"".join(b'{"event_type":"%s","n":%d}\n' % (kind.encode(), i) for i in range(n))


def penstock(*arguments, data=b""):
    done = subprocess.run([program("penstock"), *arguments], input=data, capture_output=True, timeout=30)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Suite:
    def __init__(self, place):
        self.place, self.cloud = place, place.cloud()
        self.file = place.file("tokens")
        self.accepted = 0
        open(self.file, "w").close()
        self.all = self.new("all")
        self.shop = self.new("shop", "--types", "order,cart.*")
        self.slow = self.new("slow", "--events", "20")
        self.thin = self.new("thin", "--bytes", "2KB/s")
        self.daemon = place.daemon(self.cloud, listed=(), workers=1,
                                   http={"tokens": self.file, "cors": {"origins": ["https://a.example"]}})

    def write(self, lines):
        """Replaces the file as a whole."""
        with open(self.file + ".new", "w") as file:
            file.writelines(lines)
        os.replace(self.file + ".new", self.file)

    def new(self, name, *options):
        status, out, error = penstock("token", "new", name, "--file", self.file, *options)
        expect(status == 0 and re.fullmatch(r"pst_[\w-]{43}\n", out), status, out, error)
        return out.strip()

    def send(self, token, body, path="/v1/events", headers=None, connection=None):
        fields = {"Authorization": f"Bearer {token}" if token else None, **(headers or {})}
        if connection:
            connection[0].sendall(request(body, path, fields))
            answer = connection[1].answer()
        else:
            answer = self.daemon.post(body, path, fields)
        if answer.status == 200:
            self.accepted += answer.json()["accepted"]
        return answer

    def counters(self, name):
        return self.daemon.status()["tokens"][name]


def refused(answer, status, reason):
    equal((answer.status, answer.json()["error"]["reason"]), (status, reason), "refused")


def test_who(s):
    """Without a token, with a wrong one, with another scheme: 401 and how to ask; the connection goes on."""
    with s.daemon.connect() as c:
        connection = (c, Reader(c))
        for fields, reason in (({}, "unauthorized"), ({"Authorization": "Basic abc"}, "unauthorized"),
                               ({"Authorization": "Bearer"}, "unauthorized"),
                               ({"Authorization": f"Bearer {s.all}x"}, "bad_token"),
                               ({"Authorization": f"Bearer {s.all[:-1]}"}, "bad_token"),
                               ({"Authorization": f"Bearer {hashlib.sha256(s.all.encode()).hexdigest()}"},
                                "bad_token")):
            answer = s.send(None, event("x"), headers=fields, connection=connection)
            refused(answer, 401, reason)
            challenge = answer.headers["www-authenticate"]
            expect(challenge.startswith('Bearer realm="penstock"'), challenge)
            equal("invalid_token" in challenge, reason == "bad_token", challenge)
        equal(s.send(s.all, event("x"), connection=connection).status, 200, "a good one")
        equal(s.send(None, event("x"), headers={"Authorization": f"bearer  {s.all}"}).status, 200, "any case")
        answer = s.send(None, event("x"), headers={"Origin": "https://a.example"})
        equal((answer.status, answer.headers["access-control-allow-origin"]), (401, "https://a.example"), "a page")
        c.sendall(request(b"", method="OPTIONS", length=False))
        expect(b" 204 " in c.recv(4096), "OPTIONS needs no token")
    with s.daemon.connect() as c:  # refused before the body
        c.sendall(request(b"", headers={"Content-Length": 10 << 20, "Expect": "100-continue"}))
        refused(Reader(c).answer(), 401, "unauthorized")


def test_types(s):
    """Types by path, by field, escaped in JSON; one wrong event refuses the body as a whole."""
    for kind, ok in (("order", True), ("cart.add", True), ("cart.", True), ("orders", False), ("x", False)):
        answers = [s.send(s.shop, b'{"n":1}', f"/v1/events/{kind}"), s.send(s.shop, event(kind)),
                   s.send(s.shop, b"[" + event(kind).strip() + b"]")]
        equal([a.status for a in answers], [200 if ok else 403] * 3, kind)
    before = s.daemon.status()["received"]
    answer = s.send(s.shop, event("order", 3) + b"not json\n" + event("x"))
    refused(answer, 403, "type_not_allowed")
    expect("event 4" in answer.json()["error"]["message"], answer.body)
    refused(s.send(s.shop, b'{"event_type":"\\u0078"}'), 403, "type_not_allowed")
    equal(s.daemon.status()["received"], before, "nothing of it was taken")
    answer = s.send(s.shop, event("order") + b'not json\n{"n":1}\n')
    equal((answer.status, answer.json()["dead_lettered"]), (200, 2), "no type is no other type")
    counters = s.counters("shop")
    equal((counters["refused_types"], counters["events"]), (8, 9 + 3), "counters")


def test_rates(s):
    """Past its rate a token hears 429 and when to come again; the others do not notice; later it may again."""
    for token, body, name in ((s.slow, event("x", 60), "slow"), (s.thin, event("x", 400), "thin")):
        answer = s.send(token, body)
        equal(answer.status, 200, "the first")
        while answer.status == 200:  # a machine that stands still for seconds may let more through
            answer = s.send(token, body)
        refused(answer, 429, "rate_limited")
        wait = int(answer.headers["retry-after"])
        expect(1 <= wait <= 60, wait)
        equal(s.send(s.all, body).status, 200, "another token")
        until(lambda token=token: s.send(token, event("x")).status == 200, 20, "the rate to allow it")
        expect(s.counters(name)["rate_limited"] >= 1, s.counters(name))


def test_reload(s):
    """A token that is removed is refused at once, also in the middle of a request; names keep their counters."""
    other = s.new("other")
    until(lambda: s.send(other, event("x")).status == 200, 20, "the new token to be found")
    with s.daemon.connect() as c:
        data = request(event("x", 100), headers={"Authorization": f"Bearer {other}"})
        c.sendall(data[:-10])
        until(lambda: s.counters("other")["requests"] >= 2, 10, "the head to be read")
        with open(s.file) as file:
            lines = [line for line in file if not line.startswith("other ")]
        s.write(lines)
        equal(s.daemon.cli("reload")[0], 0, "reload")
        c.sendall(data[-10:])
        refused(Reader(c).answer(), 401, "bad_token")
    refused(s.send(other, event("x")), 401, "bad_token")
    events = s.counters("shop")["events"]
    second = s.new("shop", "--types", "*")  # the same name, while tokens are exchanged
    equal(s.daemon.cli("reload")[0], 0, "reload")
    equal([s.send(token, event("order")).status for token in (s.shop, second)], [200, 200], "old and new")
    equal(s.counters("shop")["events"], events + 2, "one name, one count")
    for bad, words in (("shop zzz\n", "64 hex digits"), ("shop %s events=5\n" % ("0" * 64), "two lines of shop")):
        with open(s.file, "a") as file:
            file.write(bad)
        status, text = s.daemon.cli("reload")
        expect(status == 1 and words in text, status, text)
        equal(s.send(s.all, event("x")).status, 200, "what was loaded before")
        with open(s.file) as file:
            lines = file.readlines()[:-1]
        s.write(lines)
    equal(json.loads(s.daemon.cli("--json", "reload")[1])["tokens"], 5, "tokens")


def test_names(s):
    """Counters by name in metrics and status; no token and no hash in metrics, status or log."""
    metrics = s.daemon.admin("/metrics")[1]
    expect('penstock_token_events_total{token="shop"}' in metrics, "metrics")
    expect("events by shop" in s.daemon.cli("status")[1], "status")
    text = metrics + s.daemon.log() + s.daemon.cli("status")[1] + json.dumps(s.daemon.status())
    for token in (s.all, s.shop, s.slow):
        expect(token not in text and hashlib.sha256(token.encode()).hexdigest() not in text, "a token is told")
    s.daemon.settle()  # and no worker has allocated for all that
    equal(s.daemon.status()["received"] - s.daemon.status()["dead_lettered"], s.accepted, "events")
    s.daemon.stop()


def test_command(s):
    """`token new` refuses what the daemon would; `token hash` reads standard input."""
    equal(penstock("token", "hash", data=b"abc\n")[1].strip(), hashlib.sha256(b"abc").hexdigest(), "hash")
    made = json.loads(penstock("--json", "token", "new", "n")[1])
    equal(hashlib.sha256(made["token"].encode()).hexdigest(), made["sha256"], "sha256")
    for arguments, status in ((("new",), 2), (("new", "a/b"), 2), (("new", "n", "--events", "x"), 1),
                              (("new", "n", "--types"), 2), (("hash", "abc"), 2), ((), 2), (("hash",), 1),
                              (("new", "n", "--file", "/nothing/there"), 1)):
        equal(penstock("token", *arguments)[0], status, arguments)
    before = os.path.getsize(s.file)
    equal(penstock("token", "new", "shop", "--types", "a,,b", "--file", s.file)[0], 1, "a bad line")
    equal(os.path.getsize(s.file), before, "nothing was written")


def main():
    with Place() as place:
        suite = Suite(place)
        return run_tests([(t.__name__[5:], lambda t=t: t(suite)) for t in (
            test_who, test_types, test_rates, test_reload, test_names, test_command)])


if __name__ == "__main__":
    sys.exit(main())
