#!/usr/bin/env python3
"""Goal: the clients that people have send events as they are: curl, wrk, Node's fetch, Python's http.client
and a real browser, whose scripts send over TLS, across origins, with a token.

Method: one daemon with TLS, tokens and CORS. Each client says what it was answered; the daemon counts what
it has taken. The browser loads its page from a server here, and its script reports to that server.
"""
import gzip
import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, free_port, program, run_tests, until  # noqa: E402
from tls import Authority, client  # noqa: E402

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


def events(n, size=20):
    return b"".join(b'{"event_type":"t","n":%d,"fill":"%s"}\n' % (i, b"x" * size) for i in range(n))


class Suite:
    def __init__(self, place):
        self.place, self.cloud = place, place.cloud()
        self.authority = Authority(place.file("ca"), "authority")
        certificate, key = self.authority.sign("server")
        self.port, self.page_port, self.tokens = free_port(), free_port(), place.file("tokens")
        self.token = subprocess.run([program("penstock"), "token", "new", "client", "--file", self.tokens],
                                    capture_output=True, check=True).stdout.decode().strip()
        self.daemon = place.daemon(
            self.cloud, listed=(),
            https={"listen": f"127.0.0.1:{self.port}", "certificate": certificate, "key": key},
            http={"tokens": self.tokens, "cors": {"origins": [f"http://localhost:{self.page_port}"]}})

    def taken(self):
        return self.daemon.status()["received"]

    def run(self, argv, data=None, seconds=60, env=None):
        done = subprocess.run(argv, input=data, capture_output=True, timeout=seconds, env=env)
        expect(done.returncode == 0, argv[0], "ended with", done.returncode, done.stderr.decode()[-500:])
        return done.stdout.decode()


def test_curl(s):
    """Small and large (curl asks with 100-continue), from a pipe (chunked), compressed, several at once."""
    fields = ["-H", "Content-Type: application/x-ndjson", "-H", f"Authorization: Bearer {s.token}"]
    before = s.taken()
    for scheme, port in (("http", s.daemon.port), ("https", s.port)):
        base = ["curl", "-sS", "--fail-with-body", "--cacert", s.authority.certificate, *fields,
                f"{scheme}://127.0.0.1:{port}/v1/events"]
        for body, more in ((events(10), ["--data-binary", "@-"]), (events(3000, 1000), ["--data-binary", "@-"]),
                           (events(500), ["-T", "-", "-X", "POST"]),
                           (gzip.compress(events(500)), ["--data-binary", "@-", "-H", "Content-Encoding: gzip"])):
            answer = json.loads(s.run([*base, *more], body))
            equal((answer["dead_lettered"], answer["errors"]), (0, []), "answer")
        out = s.run([*base[:-1], "--data-binary", events(1).decode(), *[base[-1]] * 20, "-w", "%{num_connects}\n"])
        equal([line for line in out.splitlines() if line.isdigit()], ["1"] + ["0"] * 19, "connections")
        head = s.run(["curl", "-sS", "-I", "--cacert", s.authority.certificate, f"{scheme}://127.0.0.1:{port}/healthz"])
        expect(head.startswith("HTTP/1.1 200 OK"), head)
    equal(s.taken() - before, 2 * (10 + 3000 + 500 + 500 + 20), "events")


def test_http_client(s):
    """Python's http.client and urllib's framing: length, chunks from a generator, refusals on a kept connection."""
    before = s.taken()
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {s.token}"}
    for connection in (http.client.HTTPConnection("127.0.0.1", s.daemon.port, timeout=60),
                       http.client.HTTPSConnection("127.0.0.1", s.port, timeout=60, context=client(s.authority))):
        bodies = (events(5), lambda: (events(1) for _ in range(300)), json.dumps([{"event_type": "t"}] * 7))
        for body, n in zip(bodies, (5, 300, 7)):
            connection.request("POST", "/v1/events", body() if callable(body) else body, fields)
            answer = connection.getresponse()
            equal((answer.status, json.loads(answer.read())["accepted"]), (200, n), "answer")
        for method, path, status in (("GET", "/v1/events", 405), ("HEAD", "/v1/events", 405),
                                     ("OPTIONS", "/v1/events", 204),
                                     ("GET", "/nothing", 404), ("PUT", "/v1/events", 405)):
            first = connection.sock
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            equal((answer.status, connection.sock is first), (status, True), f"{method} {path}")
        connection.close()
    equal(s.taken() - before, 2 * 312, "events")


NODE = """
const [http, https, token] = process.argv.slice(1);
const line = i => `{"event_type":"t","n":${i}}\\n`;
const headers = { 'Content-Type': 'application/x-ndjson', Authorization: `Bearer ${token}` };
async function send(base, options) {
  const answer = await fetch(`${base}/v1/events`, { method: 'POST', headers, ...options });
  return [answer.status, await answer.json()];
}
function lines(n) {
  let i = 0;
  return new ReadableStream({
    pull(to) { if (i < n) to.enqueue(new TextEncoder().encode(line(i++))); else to.close(); },
  });
}
const out = [];
for (const base of [http, https]) {
  out.push(await send(base, { body: line(1) }));
  out.push(await send(base, { body: lines(200), duplex: 'half' }));
  const packed = new Response(line(2).repeat(1000)).body.pipeThrough(new CompressionStream('gzip'));
  out.push(await send(base, { body: packed, duplex: 'half', headers: { ...headers, 'Content-Encoding': 'gzip' } }));
  out.push(...await Promise.all(Array.from({ length: 50 }, (_, i) => send(base, { body: line(i) }))));
  out.push(await send(base, { body: line(1), headers: {} }));
}
console.log(JSON.stringify(out));
"""


def test_node(s):
    """Node's fetch: text, a stream, a compressed stream, fifty at once; a refusal that it can read."""
    before = s.taken()
    env = {**os.environ, "NODE_EXTRA_CA_CERTS": s.authority.certificate}
    out = s.run(["node", "--input-type=module", "-e", NODE, "--", f"http://127.0.0.1:{s.daemon.port}",
                 f"https://127.0.0.1:{s.port}", s.token], env=env)
    answers = json.loads(out)
    equal([a[0] for a in answers], ([200] * 53 + [401]) * 2, "status")
    equal(answers[53][1]["error"]["reason"], "unauthorized", "reason")
    equal(s.taken() - before, 2 * (1 + 200 + 1000 + 50), "events")


def test_wrk(s):
    """wrk keeps many connections busy, with and without TLS; each answer is 200, and nothing is lost."""
    script = s.place.file("wrk.lua")
    with open(script, "w") as file:
        file.write('wrk.method = "POST"\nwrk.body = \'{"event_type":"t","n":1}\'\n'
                   'wrk.headers["Content-Type"] = "application/json"\n'
                   f'wrk.headers["Authorization"] = "Bearer {s.token}"\n')
    for url in (f"http://127.0.0.1:{s.daemon.port}", f"https://127.0.0.1:{s.port}"):
        before = s.taken()
        out = s.run(["wrk", "-t1", "-c64", "-d2s", "-s", script, f"{url}/v1/events"])
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        expect("Non-2xx" not in out and "Socket errors" not in out and requests > 100, out)
        expect(s.taken() - before >= requests, f"{requests} answered, {s.taken() - before} taken")


PAGE = """<!doctype html><title>page</title><script>
const base = %s, token = %s;
async function send(path, options) {
  try {
    const answer = await fetch(base[path.scheme] + '/v1/events', { method: 'POST', ...options });
    return [answer.status, (await answer.json()).accepted ?? null, answer.headers.get('www-authenticate') !== null];
  } catch (error) { return error.name; }
}
(async () => {
  const out = {}, line = '{"event_type":"browser","n":1}\\n';
  const headers = { 'Content-Type': 'application/x-ndjson', Authorization: 'Bearer ' + token, 'X-Trace': '1' };
  for (const scheme of ['http', 'https']) {
    out[scheme] = [await send({ scheme }, { headers, body: line.repeat(10) }),
                   await send({ scheme }, { headers, body: new Blob([line.repeat(20000)]) }),
                   await send({ scheme }, { headers: { 'Content-Type': 'application/json' }, body: line }),
                   await send({ scheme }, { headers: { ...headers, Authorization: 'Bearer no' }, body: line })];
  }
  await fetch('/report', { method: 'POST', body: JSON.stringify(out) });
})();
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    """The page's own server: gives the page, takes its report."""

    def do_GET(self):
        body = self.server.page.encode() if self.path == "/" else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def browse(s, browser, host):
    """What the script of a page at host reports."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", s.page_port), Pages)
    server.report = None
    server.page = PAGE % (json.dumps({"http": f"http://127.0.0.1:{s.daemon.port}",
                                      "https": f"https://127.0.0.1:{s.port}"}), json.dumps(s.token))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--ignore-certificate-errors", f"--user-data-dir={s.place.file('profile')}", "--remote-debugging-port=0",
            f"http://{host}:{s.page_port}/"]
    with open(s.place.file("browser.log"), "ab") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: server.report is not None, 60, "the page to report")
    finally:
        child.kill()
        child.wait()
        server.shutdown()
        server.server_close()
    return server.report


def test_browser(s):
    """A page of a listed origin sends, and reads refusals; a page of another cannot, and nothing of it is taken."""
    browser = next(shutil.which(b) for b in BROWSERS if shutil.which(b))
    before = s.taken()
    wanted = [[200, 10, False], [200, 20000, False], [401, None, True], [401, None, True]]
    equal(browse(s, browser, "localhost"), {"http": wanted, "https": wanted}, "a listed origin")
    equal(s.taken() - before, 2 * 20010, "events")
    before = s.taken()
    equal(browse(s, browser, "127.0.0.1"), {"http": ["TypeError"] * 4, "https": ["TypeError"] * 4}, "another origin")
    equal(s.taken(), before, "events of another origin")


def test_all_there(s):
    """Everything that was taken is stored once, and nothing became a dead letter."""
    s.daemon.settle()
    equal(s.daemon.status()["dead_lettered"], 0, "dead letters")
    s.daemon.stop()


def here(test):
    """Whether the program that a test needs is installed; says so when not."""
    needed = {test_node: ("node",), test_wrk: ("wrk",), test_browser: BROWSERS}.get(test, ("curl",))
    if any(shutil.which(name) for name in needed):
        return True
    print(f"skip {test.__name__[5:]} {' or '.join(needed)} is not installed", flush=True)
    return False


def main():
    with Place() as place:
        suite = Suite(place)
        return run_tests([(t.__name__[5:], lambda t=t: t(suite)) for t in (
            test_curl, test_http_client, test_node, test_wrk, test_browser, test_all_there) if here(t)])


if __name__ == "__main__":
    sys.exit(main())
