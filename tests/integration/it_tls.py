#!/usr/bin/env python3
"""Goal: events come in over TLS 1.2 and 1.3 as they do without, certificates change while everything runs,
and neither slow nor broken handshakes cost anybody else anything.

Method: a real daemon with certificates of an authority made for the test; Python's and curl's clients, and
raw sockets that break off at every place of a recorded handshake. What was acknowledged is counted at the end.
"""
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, Reader, chunked, equal, expect, free_port, request, run_tests, until  # noqa: E402
from tls import Authority, client, connect  # noqa: E402

EVENT = b'{"event_type":"t","n":1}\n'


class Suite:
    def __init__(self, place):
        self.place, self.cloud = place, place.cloud()
        self.authority = Authority(place.file("ca"), "authority")
        self.other = Authority(place.file("other"), "other")
        self.port, self.accepted = free_port(), 0
        self.certificate, self.key = place.file("server.pem"), place.file("server.key")
        self.install(*self.authority.sign("first"))
        self.daemon = place.daemon(self.cloud, https=self.https(self.port, handshake_timeout="2s"))

    def https(self, port, **more):
        return {"listen": f"127.0.0.1:{port}", "certificate": self.certificate, "key": self.key, **more}

    def install(self, certificate, key):
        for source, target in ((certificate, self.certificate), (key, self.key)):
            shutil.copyfile(source, target + ".new")
            os.replace(target + ".new", target)

    def key_of(self, name):
        return self.authority.file(f"{name}.key")

    def post(self, connection, reader, body=EVENT, n=1, headers=None, data=None):
        connection.sendall(data or request(body, headers=headers))
        answer = reader.answer()
        equal((answer.status, answer.json().get("accepted")), (200, n), "answer")
        self.accepted += n

    def refused(self):
        return self.daemon.status()["refused"].get("tls_handshake", 0)

    def metric(self, name):
        lines = [line for line in self.daemon.admin("/metrics")[1].splitlines() if line.startswith(name)]
        return sum(float(line.split()[-1]) for line in lines)


def events(size, n):
    return b"".join(b'{"event_type":"t","n":%d,"fill":"%s"}\n' % (i, b"x" * size) for i in range(n))


def test_versions(s):
    """TLS 1.2 and 1.3, RSA and ECDSA, ALPN; nothing older; HTTP on the TLS port is no event."""
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = client(s.authority, oldest=version, newest=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(s.port, context) as c:
            equal((c.version(), c.selected_alpn_protocol()), (name, "http/1.1"), "negotiated")
            s.post(c, Reader(c))
    context = client(s.authority)
    context.set_alpn_protocols(["h2"])
    before = s.refused()
    try:
        connect(s.port, context).close()
        raise AssertionError("h2 was agreed to")
    except ssl.SSLError:
        pass
    context = client(s.authority, newest=ssl.TLSVersion.TLSv1_1, oldest=ssl.TLSVersion.TLSv1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        connect(s.port, context).close()
        raise AssertionError("TLS 1.1 was agreed to")
    except (ssl.SSLError, ConnectionResetError):
        pass
    raw = s.daemon.connect_to(s.port)
    raw.sendall(request(EVENT))
    expect(b"HTTP" not in raw.recv(1000), "HTTP was answered on the TLS port")
    raw.close()
    until(lambda: s.refused() == before + 3, 10, lambda: f"3 failures to be counted, got {s.refused() - before}")


def test_bodies(s):
    """Small and large, whole and chunked, compressed by the byte, pipelined; answers with lists of errors."""
    with connect(s.port, client(s.authority)) as c:
        reader = Reader(c)
        for size, n in ((10, 1), (900, 64), (1000, 1000), (50000, 300)):
            body = events(size, n)
            s.post(c, reader, body, n)
            head = request(b"", headers={"Transfer-Encoding": "chunked"}, length=False)
            s.post(c, reader, n=n, data=head + chunked(body, [65536, 1000, 1]))
        data = request(EVENT)
        for i in range(len(data)):
            c.send(data[i:i + 1])
        s.accepted += 1
        equal(reader.answer().status, 200, "a byte a record")
        c.sendall(data * 500)  # more than a receive buffer: what is behind an answer must wait
        for _ in range(500):
            equal(reader.answer().status, 200, "pipelined")
        s.accepted += 500
        big = events(1000, 100)
        c.sendall(request(big) + request(EVENT) + request(big))
        for n in (100, 1, 100):
            equal(reader.answer().json()["accepted"], n, "large and small in turn")
            s.accepted += n
        c.sendall(request(b"\n".join([b"bad"] * 150)))
        answer = reader.answer().json()
        equal((answer["dead_lettered"], len(answer["errors"])), (150, 100), "errors")
        c.sendall(request(EVENT, headers={"Expect": "100-continue"})[:-len(EVENT)])
        equal(reader.answer().status, 100, "interim answer")
        s.post(c, reader, data=EVENT)
        c.sendall(request(EVENT, "/nothing"))
        equal(reader.answer().status, 404, "refused")
        s.post(c, reader, headers={"Connection": "close"})
        expect(reader.closed(), "not closed")


def test_tickets(s):
    """A second connection is short, also after a reload; the count says so."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client(s.authority, oldest=version, newest=version)
        before, session = s.metric("penstock_tls_resumed_total"), None
        for i in range(3):
            raw = s.daemon.connect_to(s.port)
            with context.wrap_socket(raw, server_hostname="127.0.0.1", session=session) as c:
                s.post(c, Reader(c))
                equal(c.session_reused, i > 0, f"{version.name} connection {i}")
                session = c.session
            if i == 1:
                equal(s.daemon.cli("reload")[0], 0, "reload")
        equal(s.metric("penstock_tls_resumed_total") - before, 2, "counted")


def issuer(s):
    with connect(s.port, client(s.authority)) as c:
        return dict(pair[0] for pair in c.getpeercert()["subject"])["commonName"]


def test_reload(s):
    """New files are used at once by `reload` and SIGHUP, in seconds by themselves; broken ones never."""
    with connect(s.port, client(s.authority)) as old:
        reader = Reader(old)
        s.post(old, reader)
        s.install(*s.authority.sign("second", rsa=True))
        status, text = s.daemon.cli("reload")
        expect(status == 0 and "second" in text, status, text)
        equal(issuer(s), "second", "after reload")
        s.install(*s.authority.sign("third"))
        s.daemon.process.signal(1)
        until(lambda: issuer(s) == "third", 10, "SIGHUP to be followed")
        s.install(*s.authority.sign("fourth"))
        until(lambda: issuer(s) == "fourth", 20, "changed files to be found")
        s.install(s.authority.sign("fifth")[0], s.key_of("fourth"))
        status, text = s.daemon.cli("reload")
        expect(status == 1 and "https.key" in text and "stays" in text, status, text)
        until(lambda: s.metric("penstock_reload_failing") == 1, 10, "the metric")
        with open(s.certificate, "w") as file:
            file.write("-----BEGIN NONSENSE\n")
        until(lambda: "https.certificate: cannot use" in s.daemon.log(), 20, "the log to say so")
        os.unlink(s.key)
        equal((issuer(s), s.daemon.cli("--json", "reload")[0]), ("fourth", 1), "broken files")
        s.install(*s.authority.sign("sixth"))
        until(lambda: issuer(s) == "sixth" and s.metric("penstock_reload_failing") == 0, 20, "good files again")
        s.post(old, reader)  # a connection outlives its certificate
    for i in range(20):  # keys that are replaced at once, while connections come and go
        s.install(*((s.authority.file("sixth.pem"), s.authority.file("sixth.key")) if i % 2 else
                    (s.authority.file("second.pem"), s.authority.file("second.key"))))
        equal(s.daemon.cli("reload")[0], 0, "reload")
        with connect(s.port, client(s.authority)) as c:
            s.post(c, Reader(c))
    end = s.metric("penstock_certificate_end_seconds")
    expect(29 * 86400 < end - time.time() < 31 * 86400, end)


def recorded(s):
    """What a client sends in a handshake and a request."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ssl_object = client(s.authority).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    sent, raw = [], s.daemon.connect_to(s.port)
    while True:
        try:
            ssl_object.do_handshake()
            break
        except ssl.SSLWantReadError:
            sent.append(outgoing.read())
            raw.sendall(sent[-1])
            incoming.write(raw.recv(1 << 16))
    raw.close()
    return b"".join(sent)


def test_slow(s):
    """Handshakes that never end are closed in time; broken and cut ones are counted; others go on meanwhile."""
    hello = recorded(s)
    before = s.refused()
    held = []
    for i in range(300):
        raw = s.daemon.connect_to(s.port)
        raw.sendall(hello[:1 + i % (len(hello) - 1)])
        held.append(raw)
    silent = [s.daemon.connect_to(s.port) for _ in range(50)]
    started = time.monotonic()
    with connect(s.port, client(s.authority)) as c:
        reader = Reader(c)
        for _ in range(200):
            s.post(c, reader)
    for raw in held + silent:
        raw.settimeout(20)
        while raw.recv(1 << 16):
            pass
        raw.close()
    expect(time.monotonic() - started < 30, "slow handshakes were kept")
    until(lambda: s.refused() == before + len(held), 10, lambda: f"{len(held)} counted, got {s.refused() - before}")
    for cut in range(1, len(hello), 23):  # reset, closed, and garbage behind
        for how in range(3):
            raw = s.daemon.connect_to(s.port)
            raw.sendall(hello[:cut] + (b"\xff" * 2000 if how == 2 else b""))
            if how == 0:
                raw.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
            raw.close()
    until(lambda: s.daemon.status()["connections"] == 0, 20, "all connections to be gone")


def test_crowd(s):
    """Many connections at once, each with many requests, while certificates change."""
    failures = []

    def work(index):
        try:
            for _ in range(4):
                with connect(s.port, client(s.authority)) as c:
                    reader = Reader(c)
                    for i in range(10):
                        c.sendall(request(events(10 + 700 * ((index + i) % 50), 20)))
                        equal(reader.answer().json()["accepted"], 20, "accepted")
        except Exception as error:  # reported by the main thread
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        equal(s.daemon.cli("reload")[0], 0, "reload")
    for thread in threads:
        thread.join()
    equal(failures, [], "clients")
    s.accepted += 16 * 4 * 10 * 20


def test_curl(s):
    """curl sends a file over TLS, and over HTTP/2 when it can: it must fall back."""
    path = s.place.file("body")
    with open(path, "wb") as file:
        file.write(events(100, 1000))
    for version in ("--tlsv1.2", "--tlsv1.3", "--http2"):
        done = subprocess.run(["curl", "-sS", "--cacert", s.authority.certificate, version, "--data-binary", f"@{path}",
                               "-H", "Content-Type: application/x-ndjson", f"https://127.0.0.1:{s.port}/v1/events"],
                              capture_output=True, timeout=60)
        expect(done.returncode == 0 and b'"accepted":1000' in done.stdout, done.stdout, done.stderr)
        s.accepted += 1000


def test_clients(s):
    """Client certificates: required, optional, of the wrong authority, and an authority that changes."""
    authorities = s.place.file("clients.pem")
    shutil.copyfile(s.authority.certificate, authorities)
    good, bad = s.authority.sign("good"), s.other.sign("bad")
    for mode in ("required", "optional"):
        port = free_port()
        daemon = s.place.daemon(s.cloud, name=mode, https=s.https(port, client_certs=mode, client_ca=authorities),
                                http={"listen": ""})

        def status(own, port=port):
            try:
                with connect(port, client(s.authority, own)) as c:
                    c.sendall(request(EVENT))
                    return Reader(c).answer().status
            except (ssl.SSLError, ConnectionResetError, EOFError, BrokenPipeError):
                return None

        equal([status(own) for own in (good, None, bad)], [200, 200 if mode == "optional" else None, None], mode)
        shutil.copyfile(s.other.certificate, authorities)
        equal(daemon.cli("reload")[0], 0, "reload")
        equal([status(own) for own in (good, bad)], [None, 200], "another authority")
        shutil.copyfile(s.authority.certificate, authorities)
        daemon.stop()


def test_config(s):
    """--check names what is missing or cannot be used."""
    cases = [
        ({"listen": "127.0.0.1:1"}, "https.certificate"),
        ({"listen": "127.0.0.1:1", "certificate": "x"}, "https.key"),
        (s.https(1, certificate="/nothing/there"), "No such file"),
        (s.https(1, key=s.other.key), "https.key: cannot use"),
        (s.https(1, ciphers="NONSENSE"), "https.ciphers"),
        (s.https(1, client_certs="required"), "https.client_ca"),
        (s.https(1, client_ca=s.other.certificate), "https.client_ca"),
        (s.https(1, client_certs="optional", client_ca=s.other.key), "https.client_ca: cannot use"),
        (s.https(1, min_version="1.1"), "one of 1.2|1.3"),
    ]
    for i, (https, words) in enumerate(cases):
        daemon = s.place.daemon(s.cloud, name=f"config{i}", start=False, https=https)
        process = daemon.launch("--check")
        equal(process.wait(20), 2, f"exit status of {https}")
        expect(words in process.text(), process.text())


def test_all_there(s):
    """Everything acknowledged, and nothing else, is stored once."""
    s.daemon.settle()
    equal(s.daemon.status()["received"] - s.daemon.status()["dead_lettered"], s.accepted, "events")
    expect(not s.daemon.log_lines("ASSERT", "parked"), s.daemon.log_lines("ASSERT", "parked"))
    s.daemon.stop()


def main():
    with Place() as place:
        suite = Suite(place)
        return run_tests([(t.__name__[5:], lambda t=t: t(suite)) for t in (
            test_versions, test_bodies, test_tickets, test_reload, test_slow, test_crowd, test_curl, test_all_there,
            test_clients, test_config)])


if __name__ == "__main__":
    sys.exit(main())
