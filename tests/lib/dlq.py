"""What the tests of `penstock dlq` share."""
import http.client
import json
import subprocess
import urllib.parse

from penstock import equal, expect, program


def send(daemon, body, event_type=None):
    path = "/v1/events" + ("/" + urllib.parse.quote(event_type, safe="") if event_type else "")
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request("POST", path, body + b"\n")
    answer = connection.getresponse()
    data = json.loads(answer.read())
    connection.close()
    equal(answer.status, 200, f"status of {body[:80]}")
    return data


def flush(daemon):
    status, text = daemon.cli("flush")
    equal(status, 0, text)


def listed(daemon, *arguments):
    return daemon.cli_json("dlq", "list", *arguments)["letters"]


def raw(daemon, letter_id, *more):
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "dlq", "show", letter_id, "--raw"]
    argv += more
    return subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout


def refused(daemon, *arguments, status=2, has=()):
    got, text = daemon.cli("dlq", *arguments)
    equal(got, status, f"status of {arguments}: {text}")
    for part in has:
        expect(part in text, f"{part!r} is not in: {text}")
    return text


def upload(cloud, name, data):
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)
    quoted = urllib.parse.quote(name, safe="")
    connection.request("POST", f"/upload/storage/v1/b/{cloud.bucket}/o?uploadType=media&name={quoted}", data,
                       {"Content-Type": "application/x-ndjson"})
    answer = connection.getresponse()
    equal(answer.status, 200, f"upload of {name}: {answer.read()[:200]}")
    connection.close()


def clean(daemon):
    flush(daemon)
    report = daemon.cli_json("verify")
    equal((report["clean"], report["differences"], report["errors"]), (True, [], []), "verify")


def thing(number, more=b""):
    return b'{"event_type":"thing","n":%d%s}' % (number, more)
