#!/usr/bin/env python3
"""Goal: credentials of every kind carry events through expiry, refusal and failing token servers.

Method: a local cloud that refuses every call without a good token, and tokens that live for two
seconds. Keys
are made here with openssl. Nothing may be lost or parked; status must name what a person has to
mend; and
what is mended is used without a restart. The local cloud's own checks are tried with assertions
made here,
so that it cannot wave a wrong one through.
"""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Client, Cloud, Place, equal, expect, free_port, run_tests, until  # noqa: E402

REFRESH, LIFE_S = "1//refresh-token", 2
SCOPES = "https://www.googleapis.com/auth/devstorage.read_write https://www.googleapis.com/auth/bigquery"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"


# ---- keys and a cloud that wants tokens ----

def make_key(place, name):
    """A key pair; returns (private PEM, path of the public PEM)."""
    private, public = place.file(f"{name}.pem"), place.file(f"{name}.pub")
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                    "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True,
                   capture_output=True)
    with open(private, encoding="ascii") as file:
        return file.read(), public


def write_json(place, name, value):
    path = place.file(name)
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump(value, file)
    os.replace(path + ".new", path)
    return path


def key_file(place, cloud, pem, name="key.json"):
    return write_json(place, name, {
        "type": "service_account", "project_id": "key-project", "private_key_id": "k1", "private_key": pem,
        "client_email": "robot@key-project.iam.gserviceaccount.com", "token_uri": f"{cloud.endpoint}/token"})


def user_file(place, cloud, refresh):
    return write_json(place, "user.json", {
        "type": "authorized_user", "client_id": "c.apps.example", "client_secret": "s&s",
        "refresh_token": refresh, "token_uri": f"{cloud.endpoint}/token"})


class TokenClient(Client):
    """A client with a token of its own for each call."""

    def call(self, method, path, body=None, token=True):
        headers = {} if body is None else {"Content-Type": "application/json"}
        if token and not path.startswith("/localcloud"):
            headers["Authorization"] = "Bearer " + self.token()
        self.connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        answer = self.connection.getresponse()
        self.headers = answer.headers
        return answer.status, answer.read()

    def token(self):
        status, answer = self.post_form(grant_type="refresh_token", client_id="test", client_secret="test",
                                        refresh_token=REFRESH)
        equal(status, 200, f"token: {answer}")
        return answer["access_token"]

    def post_form(self, **fields):
        self.connection.request("POST", "/token", urllib.parse.urlencode(fields),
                                {"Content-Type": "application/x-www-form-urlencoded"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


class TokenCloud(Cloud):
    def __init__(self, place, *public, life=LIFE_S):
        keys = [argument for path in public for argument in ("--token-key", path)]
        super().__init__(place, arguments=["--require-auth", "--token-seconds", str(life),
                                           "--refresh-token", REFRESH, *keys])

    def client(self):
        return TokenClient(self.port)

    def accept(self, *public):
        """Starts anew with other keys: every token given before is void."""
        self.kill()
        keys = [argument for path in public for argument in ("--token-key", path)]
        self.arguments = self.arguments[:5] + keys
        self.start()


@contextlib.contextmanager
def environment(**variables):
    """Variables of the processes that are started meanwhile; Google's own are cleared first."""
    before = dict(os.environ)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "GOOGLE_CLOUD_QUOTA_PROJECT"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---- events ----

class Load:
    """Numbered events, and whether all of them arrived."""

    def __init__(self, daemon):
        self.daemon, self.n = daemon, 0

    def post(self, count=20):
        lines = [json.dumps({"event_type": "note", "number": self.n + i}) for i in range(count)]
        self.daemon.post_ok("\n".join(lines).encode() + b"\n")
        self.n += count

    def for_seconds(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.post()
            time.sleep(0.1)

    def check(self):
        """Each one once in the bucket and once in the table; no alarm."""
        self.daemon.settle()
        cloud = self.daemon.cloud
        numbers = sorted(json.loads(line)["number"] for _, line in cloud.lines("output/"))
        equal(numbers, list(range(self.n)), "events in the bucket")
        rows = sorted(json.loads(row["event"])["number"] for row in cloud.rows("note"))
        equal(rows, list(range(self.n)), "rows")
        self.daemon.clean()


def why(daemon):
    """What status says of uploads and tables that do not move."""
    return json.dumps(daemon.status())


def says(daemon, *texts):
    until(lambda: all(t in why(daemon) for t in texts), 30, lambda: f"{texts} in {why(daemon)[:1500]}")


def tokens_given(cloud):
    return sum(c["calls"] for c in cloud.stats()["calls_by_kind"]
               if (c["service"], c["method"], c["status"]) == ("other", "POST", 200))


def listed(daemon_arguments):
    return {"listed": [], **daemon_arguments}


# ---- the tests ----

def test_service_account_through_expiries():
    with Place() as place, environment():
        pem, public = make_key(place, "key")
        cloud = TokenCloud(place, public)
        path = key_file(place, cloud, pem)
        daemon = place.daemon(cloud, **listed({"credentials": {"file": path}}))
        load = Load(daemon)
        load.for_seconds(4 * LIFE_S)
        given = tokens_given(cloud)
        expect(4 <= given <= 30, given, "tokens in", 4 * LIFE_S, "s of", LIFE_S, "s each")
        load.check()
        expect("BEGIN" not in daemon.log() and "ya29" not in daemon.log(), "a secret in the log")
        daemon.stop()
        print(f"{load.n} events, {given} tokens")


def test_refused_key_recovers():
    with Place() as place, environment():
        pem, public = make_key(place, "key")
        _, stranger = make_key(place, "stranger")
        cloud = TokenCloud(place, public, life=60)
        path = key_file(place, cloud, pem)
        daemon = place.daemon(cloud, **listed({"credentials": {"file": path}}))
        load = Load(daemon)
        load.post()
        load.check()
        cloud.accept(stranger)  # the key is deleted, its tokens are revoked
        load.post()
        says(daemon, "400 invalid_grant: Invalid JWT Signature.", f"{cloud.endpoint}/token")
        expect(daemon.pending() > 0, "nothing is pending")
        status, text = daemon.cli("verify")
        expect(status != 0 and "invalid_grant" in text, "verify gave", status, text[:500])
        load.post()
        cloud.accept(public)
        load.check()
        daemon.stop()


def test_key_replaced_on_disk():
    with Place() as place, environment():
        pem, public = make_key(place, "key")
        old, _ = make_key(place, "old")
        cloud = TokenCloud(place, public)
        path = key_file(place, cloud, old)
        daemon = place.daemon(cloud, **listed({"credentials": {"file": path}}))
        load = Load(daemon)
        load.post()
        says(daemon, "Invalid JWT Signature.")
        key_file(place, cloud, pem)
        load.check()
        daemon.stop()


def test_token_server_fails():
    with Place() as place, environment():
        pem, public = make_key(place, "key")
        cloud = TokenCloud(place, public)
        path = key_file(place, cloud, pem)
        daemon = place.daemon(cloud, **listed({"credentials": {"file": path}}))
        load = Load(daemon)
        load.post()
        load.check()
        cloud.fault(path_prefix="/token", status=503, seconds=2 * LIFE_S)
        load.for_seconds(LIFE_S)
        says(daemon, "/token: 503")
        until(lambda: cloud.call("GET", "/localcloud/stats") and not failing(cloud), 30, "the fault to end")
        load.check()
        daemon.stop()


def failing(cloud):
    with cloud.client() as client:
        return client.post_form(grant_type="none")[0] == 503


def test_metadata_server():
    with Place() as place:
        cloud = TokenCloud(place)
        with environment(GCE_METADATA_HOST=f"127.0.0.1:{cloud.port}",
                         http_proxy=f"http://127.0.0.1:{free_port()}"):
            daemon = place.daemon(cloud, **listed({"credentials": {"source": "metadata"}}))
            load = Load(daemon)
            load.for_seconds(2 * LIFE_S)
            load.check()
            daemon.stop()


def test_authorized_user():
    with Place() as place:
        cloud = TokenCloud(place)
        with environment(GOOGLE_APPLICATION_CREDENTIALS=user_file(place, cloud, "1//revoked")):
            daemon = place.daemon(cloud, **listed({"credentials": {"source": "search"}}))
            load = Load(daemon)
            load.post()
            says(daemon, "400 invalid_grant: Token has been expired or revoked.")
            user_file(place, cloud, REFRESH)  # logged in again
            load.for_seconds(2 * LIFE_S)
            load.check()
            daemon.stop()


def test_emulators_get_none():
    with Place() as place, environment(GOOGLE_APPLICATION_CREDENTIALS="/nonexistent/key.json"):
        daemon = place.daemon(place.cloud(), **listed({}))
        load = Load(daemon)
        load.post()
        load.check()
        daemon.stop()


def test_no_credentials():
    with Place() as place:
        cloud = TokenCloud(place)
        with environment(GCE_METADATA_IP=f"127.0.0.1:{free_port()}", CLOUDSDK_CONFIG="/nonexistent"):
            daemon = place.daemon(cloud, **listed({"credentials": {"source": "search"}}))
            load = Load(daemon)
            load.post()
            says(daemon, "no credentials: set credentials.file", "no metadata server answers")
            daemon.kill()


def check_config(place, cloud, name, **credentials):
    daemon = place.daemon(cloud, name=name, start=False, credentials=credentials)
    process = daemon.launch("--check")
    status = process.wait(20)
    return status, daemon.log()


def test_bad_files_are_named():
    with Place() as place, environment():
        cloud = place.cloud()
        path = write_json(place, "key.json", {"type": "service_account", "client_email": "a@b",
                                              "private_key": "-----BEGIN SECRET-----"})
        status, text = check_config(place, cloud, "pem", file=path)
        expect(status != 0 and f"credentials.file: {path}: private_key: not a PEM RSA key" in text, text)
        expect("BEGIN SECRET" not in text, "the key is shown:", text)
        status, text = check_config(place, cloud, "none", file=place.file("none.json"))
        expect(status != 0 and "none.json: No such file or directory" in text, text)
        status, text = check_config(place, cloud, "both", file=path, token_file=path)
        expect(status != 0 and "only one of credentials.token_file and credentials.file" in text, text)
        status, text = check_config(place, cloud, "source", file=path, source="metadata")
        expect(status != 0 and "allowed: auto, because credentials.file is set" in text, text)
        with environment(GOOGLE_APPLICATION_CREDENTIALS=place.file("gone.json")):
            status, text = check_config(place, cloud, "env", source="search")
        expect(status != 0 and "GOOGLE_APPLICATION_CREDENTIALS: " in text and "gone.json" in text, text)


def test_project_of_the_key():
    with Place() as place, environment():
        os.environ.pop("GOOGLE_CLOUD_PROJECT", None)
        cloud = place.cloud()
        path = key_file(place, cloud, make_key(place, "key")[0])
        sections = {"bigquery": {"project": ""}, "start": False}
        without = place.daemon(cloud, name="without", **sections)
        status = without.launch("--check").wait(20)
        expect(status != 0 and "bigquery.project: " in without.log(), status, without.log())
        daemon = place.daemon(cloud, name="with", credentials={"file": path}, **sections)
        equal(daemon.launch("--check").wait(20), 0, daemon.log())


# ---- the local cloud's own strictness ----

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(place, key, header, claims):
    text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", place.file(f"{key}.pem")], check=True,
                          input=text.encode(), capture_output=True)
    return text + "." + b64(done.stdout)


def test_localcloud_is_strict():
    with Place() as place:
        make_key(place, "stranger")
        cloud = TokenCloud(place, make_key(place, "key")[1])
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT"}
        claims = {"iss": "a@b", "aud": f"{cloud.endpoint}/token", "iat": now - 10, "exp": now + 3590,
                  "scope": SCOPES}
        good = sign(place, "key", header, claims)
        cases = [
            (good, 200, None),
            (good + "=", 400, "Invalid JWT Signature."),
            (good[:-8] + "AAAAAAAA", 400, "Invalid JWT Signature."),
            (sign(place, "stranger", header, claims), 400, "Invalid JWT Signature."),
            (sign(place, "key", {"alg": "none", "typ": "JWT"}, claims), 400, "alg must be RS256"),
            (sign(place, "key", header, {**claims, "aud": "https://oauth2.googleapis.com/token"}), 400,
             "audience"),
            (sign(place, "key", header, {**claims, "exp": now + 3591}), 400, "short-lived"),
            (sign(place, "key", header, {**claims, "exp": now - 1, "iat": now - 100}), 400, "short-lived"),
            (sign(place, "key", header, {**claims, "iat": now + 60}), 400, "short-lived"),
            (sign(place, "key", header, {**claims, "iat": str(now)}), 400, "short-lived"),
            (sign(place, "key", header, {**claims, "scope": "everything"}), 400, "Invalid OAuth scope"),
            (sign(place, "key", header, {**claims, "iss": "nobody"}), 400, "account not found"),
            ("x.y", 400, "Bad Request"),
        ]
        with cloud.client() as client:
            for number, (assertion, status, text) in enumerate(cases):
                got, answer = client.post_form(grant_type=GRANT, assertion=assertion)
                equal(got, status, f"case {number}: {answer}")
                expect(text is None or text in answer["error_description"], number, answer)
            equal(client.post_form(grant_type="password")[1]["error"], "unsupported_grant_type")
            equal(client.post_form()[1]["error"], "invalid_request")
            equal(client.post_form(grant_type="refresh_token")[0], 401)
            check_calls(place, cloud, client, header, claims)


def check_calls(place, cloud, client, header, claims):
    path = f"/storage/v1/b/{cloud.bucket}/o"
    status, body = client.call("GET", path, token=False)
    error = json.loads(body)["error"]
    equal((status, error["code"], error["status"], error["errors"][0]["reason"]),
          (401, 401, "UNAUTHENTICATED", "authError"), "without a token")
    expect(client.headers["WWW-Authenticate"].startswith("Bearer realm="), "no WWW-Authenticate")
    token = client.token()

    def status_with(value, at=path):
        client.connection.request("GET", at, headers={"Authorization": f"Bearer {value}"})
        answer = client.connection.getresponse()
        answer.read()
        return answer.status

    equal(status_with(token), 200, "with a token")
    equal(status_with(token + "x"), 401, "with a wrong token")
    narrow = sign(place, "key", header, {**claims, "scope": SCOPES.split()[1]})
    _, answer = client.post_form(grant_type=GRANT, assertion=narrow)
    equal(status_with(answer["access_token"]), 403, "with BigQuery's scope alone")
    equal(status_with(answer["access_token"], "/bigquery/v2/projects/test-project/datasets"), 200, "BigQuery")
    time.sleep(LIFE_S + 0.1)
    equal(status_with(token), 401, "with a token that has ended")
    for flavor, wanted in (("Google", 200), ("google", 403), (None, 403)):
        client.connection.request("GET", METADATA, headers={"Metadata-Flavor": flavor} if flavor else {})
        answer = client.connection.getresponse()
        answer.read()
        equal((answer.status, answer.headers["Metadata-Flavor"]), (wanted, "Google"), flavor)


if __name__ == "__main__":
    if shutil.which("openssl") is None:
        print("openssl is not installed")
        sys.exit(77)
    sys.exit(run_tests([
        test_service_account_through_expiries, test_refused_key_recovers, test_key_replaced_on_disk,
        test_token_server_fails, test_metadata_server, test_authorized_user, test_emulators_get_none,
        test_no_credentials, test_bad_files_are_named, test_project_of_the_key, test_localcloud_is_strict,
    ]))
