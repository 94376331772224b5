#!/usr/bin/env python3
"""Goal: localcloud keeps Google's contract. Method: start it on a free port in an empty directory and check
each behaviour over HTTP. Prints one "ok NAME" or "FAIL NAME" a check; exits 1 when one failed."""

import datetime, gzip, http.client, json, os, shutil, signal, subprocess, sys
import tempfile, time, urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get(
    "LOCALCLOUD", os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin", "localcloud")
)
failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else f"  {str(detail)[:600]}"), flush=True)


class Cloud:
    def __init__(self, data):
        self.data, self.port = data, 0

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--create-bucket", "bkt"],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        self.port = int(line.split("port ")[1].split(",")[0])

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(20)

    def call(self, method, path, body=None, headers=None, raw=False):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        try:
            conn.request(method, path, body, headers)
            answer = conn.getresponse()
            data = answer.read()
        finally:
            conn.close()
        self.headers = {k.lower(): v for k, v in answer.getheaders()}
        if raw:
            return answer.status, data
        return answer.status, (json.loads(data) if data else None)

    def put(self, name, data, **query):
        query.update(uploadType="media", name=name)
        return self.call("POST", "/upload/storage/v1/b/bkt/o?" + urllib.parse.urlencode(query), data)

    def multipart(self, meta, data, query="", tail=b"\r\n--B--\r\n"):
        body = (
            b"--B\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            + json.dumps(meta).encode()
            + b"\r\n--B\r\nContent-Type: text/plain\r\n\r\n"
            + data
            + tail
        )
        return self.call(
            "POST",
            "/upload/storage/v1/b/bkt/o?uploadType=multipart" + query,
            body,
            {"Content-Type": 'multipart/related; boundary="B"'},
        )

    def job(self, job_id, uris, table, wait=True, **load):
        config = {
            "sourceUris": uris,
            "sourceFormat": "NEWLINE_DELIMITED_JSON",
            "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": table},
        }
        config.update(load)
        status, body = self.call(
            "POST",
            "/bigquery/v2/projects/p/jobs",
            {"jobReference": {"projectId": "p", "jobId": job_id}, "configuration": {"load": config}},
        )
        return self.wait(job_id) if status == 200 and wait else (status, body)

    def wait(self, job_id):
        for _ in range(1000):
            status, body = self.call("GET", f"/bigquery/v2/projects/p/jobs/{job_id}")
            if status != 200 or body["status"]["state"] == "DONE":
                return status, body
            time.sleep(0.01)

    def rows(self, table):
        return int(self.call("GET", f"/projects/p/datasets/d/tables/{table}")[1]["numRows"])

    def sql(self, text, **more):
        return self.call(
            "POST", "/bigquery/v2/projects/p/queries", dict({"query": text, "useLegacySql": False}, **more)
        )

    def values(self, text):
        status, body = self.sql(text)
        if status != 200:
            return body["error"]["message"]
        return [[cell["v"] for cell in row["f"]] for row in body.get("rows", [])]


def reason(answer):
    return answer[0], answer[1]["error"]["errors"][0]["reason"]


def obj(name):
    return "/storage/v1/b/bkt/o/" + urllib.parse.quote(name, safe="")


def test_upload(c):
    for text, crc in (
        (b"", "AAAAAA=="),
        (b"123456789", "4waSgw=="),
        (b"hello world", "yZRlqg=="),
        (b'{"a":1}\n', "M3Q35g=="),
    ):
        s, o = c.put("v", text)
        check(f"crc32c of {text!r}", s == 200 and o["crc32c"] == crc and o["size"] == str(len(text)), o)
    s, o = c.multipart(
        {
            "name": "dir/x y+é.txt",
            "crc32c": "yZRlqg==",
            "md5Hash": "XrY7u+Ae7tCTyyK7j1rNww==",
            "metadata": {"plan": "7"},
        },
        b"hello world",
        "&ifGenerationMatch=0",
    )
    check(
        "multipart",
        s == 200
        and o["contentType"] == "text/plain"
        and o["metadata"] == {"plan": "7"}
        and isinstance(o["generation"], str)
        and o["metageneration"] == "1"
        and o["md5Hash"] == "XrY7u+Ae7tCTyyK7j1rNww==",
        o,
    )
    check(
        "create once 412",
        reason(c.multipart({"name": "dir/x y+é.txt"}, b"z", "&ifGenerationMatch=0"))
        == (412, "conditionNotMet"),
    )
    check(
        "overwrite exactly",
        c.multipart({"name": "dir/x y+é.txt"}, b"new", "&ifGenerationMatch=" + o["generation"])[0] == 200,
    )
    check(
        "stale generation 412",
        c.multipart({"name": "dir/x y+é.txt"}, b"z", "&ifGenerationMatch=" + o["generation"])[0] == 412,
    )
    check(
        "wrong crc32c 400",
        c.multipart({"name": "bad", "crc32c": "AAAAAA=="}, b"x")[0] == 400
        and c.call("GET", obj("bad"))[0] == 404,
    )
    check(
        "wrong md5 400", c.multipart({"name": "bad", "md5Hash": "XrY7u+Ae7tCTyyK7j1rNww=="}, b"x")[0] == 400
    )
    check("no final boundary 400", c.multipart({"name": "bad"}, b"x", tail=b"\r\n--B")[0] == 400)
    check("names disagree 400", c.multipart({"name": "bad"}, b"x", "&name=other")[0] == 400)
    check(
        "no bucket 404",
        reason(c.call("POST", "/upload/storage/v1/b/nobucket/o?uploadType=media&name=x", b"x"))
        == (404, "notFound"),
    )
    for name in (".", "..", "a\nb", "x" * 1025, ".well-known/acme-challenge/x"):
        check(f"name {name[:12]!r} 400", c.put(name, b"x")[0] == 400)
    check("bad precondition 400", c.put("x", b"x", ifGenerationMatch="abc")[0] == 400)
    check(
        "resumable says 501",
        c.call("POST", "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=x", b"")[0] == 501,
    )
    check("compose says 501", c.call("POST", obj("x") + "/compose", {})[0] == 501)
    data = os.urandom(3_000_000) + b"\r\n--A\r\n--B"[:6] + b"tail\r\n--"
    s, o = c.multipart({"name": "big"}, data)
    check("large multipart", s == 200 and c.call("GET", obj("big") + "?alt=media", raw=True)[1] == data)


def test_object(c):
    c.put("a/b", b"0123456789")
    s, o = c.call("GET", obj("a/b"))
    check(
        "get metadata",
        s == 200
        and o["name"] == "a/b"
        and o["kind"] == "storage#object"
        and o["id"].startswith("bkt/a/b/"),
    )
    check("unencoded slash 404", c.call("GET", "/storage/v1/b/bkt/o/a/b")[0] == 404)
    check(
        "media",
        c.call("GET", obj("a/b") + "?alt=media", raw=True) == (200, b"0123456789")
        and "crc32c=" in c.headers["x-goog-hash"],
    )
    check(
        "download path",
        c.call("GET", "/download" + obj("a/b") + "?alt=media", raw=True)[1] == b"0123456789",
    )
    for given, want in (
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=5-99", b"56789"),
    ):
        check(
            "range " + given,
            c.call("GET", obj("a/b") + "?alt=media", headers={"Range": given}, raw=True) == (206, want),
        )
    check(
        "range out 416",
        c.call("GET", obj("a/b") + "?alt=media", headers={"Range": "bytes=10-"}, raw=True)[0] == 416,
    )
    g = o["generation"]
    check("not modified 304", c.call("GET", obj("a/b") + "?ifGenerationNotMatch=" + g)[0] == 304)
    check(
        "pinned generation",
        c.call("GET", obj("a/b") + "?generation=" + g)[0] == 200
        and c.call("GET", obj("a/b") + "?generation=1")[0] == 404,
    )
    s, o = c.call(
        "PATCH",
        obj("a/b") + "?ifMetagenerationMatch=1",
        {"metadata": {"k": "v", "l": "w"}, "contentType": "text/x"},
    )
    check(
        "patch",
        s == 200
        and o["metageneration"] == "2"
        and o["metadata"] == {"k": "v", "l": "w"}
        and o["generation"] == g,
        o,
    )
    check("patch stale 412", c.call("PATCH", obj("a/b") + "?ifMetagenerationMatch=1", {})[0] == 412)
    check(
        "patch null deletes",
        c.call("PATCH", obj("a/b"), {"metadata": {"k": None}})[1]["metadata"] == {"l": "w"},
    )
    check("delete stale 412", c.call("DELETE", obj("a/b") + "?ifGenerationMatch=1")[0] == 412)
    check(
        "delete 204 then 404",
        c.call("DELETE", obj("a/b") + "?ifGenerationMatch=" + g)[0] == 204
        and c.call("DELETE", obj("a/b"))[0] == 404,
    )
    packed = gzip.compress(b"plain text")
    c.put("z", packed, contentEncoding="gzip")
    check("gzip unpacked", c.call("GET", obj("z") + "?alt=media", raw=True)[1] == b"plain text")
    check(
        "gzip stored",
        c.call("GET", obj("z") + "?alt=media", headers={"Accept-Encoding": "gzip"}, raw=True)[1] == packed,
    )


def test_list(c):
    c.call("POST", "/storage/v1/b?project=p", {"name": "list-bucket", "location": "EU"})
    names = ["a", "b/1", "b/2", "b/c/3", "b0", "c/", "é", "zz"]
    for n in names:
        c.call(
            "POST",
            "/upload/storage/v1/b/list-bucket/o?"
            + urllib.parse.urlencode({"uploadType": "media", "name": n}),
            b"x",
        )

    def ls(**q):
        return c.call("GET", "/storage/v1/b/list-bucket/o?" + urllib.parse.urlencode(q))[1]

    def plain(j):
        return [i["name"] for i in j.get("items", [])]

    check("list sorted by bytes", plain(ls()) == sorted(names, key=lambda n: n.encode()))
    check("prefix", plain(ls(prefix="b/")) == ["b/1", "b/2", "b/c/3"])
    j = ls(delimiter="/")
    check("delimiter", plain(j) == ["a", "b0", "zz", "é"] and j["prefixes"] == ["b/", "c/"], j)
    j = ls(prefix="b/", delimiter="/")
    check("prefix and delimiter", plain(j) == ["b/1", "b/2"] and j["prefixes"] == ["b/c/"], j)
    check("offsets", plain(ls(startOffset="b/2", endOffset="c")) == ["b/2", "b/c/3", "b0"])
    for q in ({}, {"delimiter": "/"}):
        got, token = [], ""
        while True:
            j = ls(maxResults=2, pageToken=token, **q)
            got += plain(j) + j.get("prefixes", [])
            token = j.get("nextPageToken", "")
            if not token:
                break
        full = ls(**q)
        check(f"pages {q}", sorted(got) == sorted(plain(full) + full.get("prefixes", [])), got)
    check("empty list has no items", "items" not in ls(prefix="none"))
    check(
        "bucket conflicts",
        c.call("DELETE", "/storage/v1/b/list-bucket")[0] == 409
        and c.call("POST", "/storage/v1/b?project=p", {"name": "list-bucket"})[0] == 409
        and c.call("POST", "/storage/v1/b", {"name": "qqq"})[0] == 400,
    )


ORDERS = [
    {"name": n, "type": "STRING", "mode": "REQUIRED"} for n in ("event_type", "order_id", "customer_id")
] + [
    {"name": "order_date", "type": "TIMESTAMP", "mode": "REQUIRED"},
    {"name": "status", "type": "STRING", "mode": "REQUIRED"},
    {
        "name": "items",
        "type": "RECORD",
        "mode": "REPEATED",
        "fields": [
            {"name": "product_id", "type": "STRING", "mode": "REQUIRED"},
            {"name": "quantity", "type": "INT64"},
            {"name": "price", "type": "FLOAT64"},
        ],
    },
    {
        "name": "shipping_address",
        "type": "STRUCT",
        "mode": "REQUIRED",
        "fields": [{"name": "city", "type": "STRING"}, {"name": "country", "type": "STRING"}],
    },
    {"name": "total_amount", "type": "FLOAT64", "mode": "REQUIRED"},
    {"name": "processed_timestamp", "type": "TIMESTAMP"},
    {"name": "event_date", "type": "DATE"},
    {"name": "extra", "type": "JSON"},
]


def test_tables(c):
    base = "/bigquery/v2/projects/p/datasets"
    check(
        "dataset",
        c.call(
            "POST", base, {"datasetReference": {"datasetId": "d"}, "defaultTableExpirationMs": "7776000000"}
        )[0]
        == 200,
    )
    check(
        "dataset twice 409",
        reason(c.call("POST", base, {"datasetReference": {"datasetId": "d"}})) == (409, "duplicate"),
    )
    check(
        "dataset missing 404",
        c.call("GET", base + "/none")[0] == 404 and c.call("GET", "/projects/p/datasets/d")[0] == 200,
    )
    tables = base + "/d/tables"
    s, t = c.call(
        "POST",
        tables,
        {
            "tableReference": {"projectId": "p", "datasetId": "d", "tableId": "orders"},
            "schema": {"fields": ORDERS},
            "timePartitioning": {"type": "DAY", "field": "event_date"},
            "clustering": {"fields": ["customer_id", "status"]},
            "labels": {"environment": "dev"},
        },
    )
    types = {f["name"]: f["type"] for f in t.get("schema", {}).get("fields", [])}
    check(
        "table",
        s == 200
        and types["items"] == "RECORD"
        and types["total_amount"] == "FLOAT"
        and t["numRows"] == "0"
        and int(t["expirationTime"]) > time.time() * 1000,
        t,
    )
    check(
        "table twice 409",
        reason(c.call("POST", tables, {"tableReference": {"tableId": "orders"}})) == (409, "duplicate"),
    )

    def refused(what, **body):
        a = c.call("POST", tables, dict({"tableReference": {"tableId": "bad"}}, **body))
        check("refused: " + what, a[0] == 400, a)

    one = {"fields": [{"name": "a", "type": "STRING"}]}
    refused("name", schema={"fields": [{"name": "1a", "type": "STRING"}]})
    refused("reserved name", schema={"fields": [{"name": "_PARTITIONx", "type": "STRING"}]})
    refused(
        "twice in other case",
        schema={"fields": [{"name": "a", "type": "STRING"}, {"name": "A", "type": "STRING"}]},
    )
    refused("type", schema={"fields": [{"name": "a", "type": "TEXT"}]})
    refused("mode", schema={"fields": [{"name": "a", "type": "STRING", "mode": "MAYBE"}]})
    refused("partition field missing", schema=one, timePartitioning={"type": "DAY", "field": "x"})
    refused("partition field type", schema=one, timePartitioning={"type": "DAY", "field": "a"})
    refused("clustering", schema=one, clustering={"fields": ["x"]})
    refused("label", schema=one, labels={"Upper": "x"})
    s, t = c.call("GET", tables + "/orders")
    check(
        "stale etag 412",
        c.call("PATCH", tables + "/orders", {"description": "x"}, {"If-Match": "old"})[0] == 412,
    )
    s, t2 = c.call(
        "PATCH", tables + "/orders", {"description": "x", "labels": {"team": "a"}}, {"If-Match": t["etag"]}
    )
    check(
        "patch",
        s == 200 and t2["etag"] != t["etag"] and t2["labels"] == {"environment": "dev", "team": "a"},
        t2,
    )
    more = t["schema"]["fields"] + [{"name": "added", "type": "STRING"}]
    check("patch adds a field", c.call("PATCH", tables + "/orders", {"schema": {"fields": more}})[0] == 200)
    check("drop refused", c.call("PATCH", tables + "/orders", {"schema": {"fields": more[1:]}})[0] == 400)
    check(
        "added REQUIRED refused",
        c.call(
            "PATCH",
            tables + "/orders",
            {"schema": {"fields": more + [{"name": "r", "type": "STRING", "mode": "REQUIRED"}]}},
        )[0]
        == 400,
    )
    check(
        "retype refused",
        c.call(
            "PATCH", tables + "/orders", {"schema": {"fields": [dict(more[0], type="INTEGER")] + more[1:]}}
        )[0]
        == 400,
    )
    check(
        "tables list",
        [x["tableReference"]["tableId"] for x in c.call("GET", tables)[1]["tables"]] == ["orders"],
    )


def order(i, **more):
    now = datetime.datetime.now(datetime.timezone.utc)
    row = {
        "event_type": "order",
        "order_id": f"o{i}",
        "customer_id": f"c{i % 3}",
        "order_date": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "status": "pending",
        "items": [{"product_id": f"p{k}", "quantity": k + 1, "price": 2.5} for k in range(i % 3 + 1)],
        "shipping_address": {"city": "Bonn", "country": "DE"},
        "total_amount": 10.25 * (i + 1),
        "event_date": now.strftime("%Y-%m-%d"),
        "extra": {"a": {"b": [1, "x"]}},
    }
    row.update(more)
    return json.dumps(row) + "\n"


def test_load(c):
    c.put("load/1.json", "".join(order(i) for i in range(6)))
    c.put("load/2.json", order(6) + "\n" + order(7))
    s, j = c.job("load1", ["gs://bkt/load/*.json"], "orders")
    check(
        "load with wildcard",
        s == 200
        and "errorResult" not in j["status"]
        and j["statistics"]["load"]["outputRows"] == "8"
        and j["statistics"]["load"]["inputFiles"] == "2",
        j,
    )
    check("rows are there", c.rows("orders") == 8)
    check(
        "same job id 409", reason(c.job("load1", ["gs://bkt/load/*.json"], "orders")) == (409, "duplicate")
    )
    check("job id characters", c.job("bad.id", ["gs://bkt/x"], "orders")[0] == 400)
    check(
        "unknown dataset 404",
        c.job(
            "nods",
            ["gs://bkt/x"],
            "orders",
            destinationTable={"projectId": "p", "datasetId": "zz", "tableId": "t"},
        )[0]
        == 404,
    )
    check("two wildcards", "errorResult" in c.job("stars", ["gs://bkt/*/*"], "orders")[1]["status"])
    check(
        "missing object",
        c.job("miss", ["gs://bkt/none"], "orders")[1]["status"]["errorResult"]["reason"] == "notFound",
    )
    check(
        "CREATE_NEVER",
        c.job("never", ["gs://bkt/load/1.json"], "none", createDisposition="CREATE_NEVER")[1]["status"][
            "errorResult"
        ]["reason"]
        == "notFound",
    )
    check("too many URIs 400", c.job("many", ["gs://bkt/x"] * 10001, "orders")[0] == 400)
    check("csv 400", c.job("csv", ["gs://bkt/x"], "orders", sourceFormat="CSV")[0] == 400)
    bad = order(9) + order(10, surprise=1)
    c.put("bad.json", bad)
    s, j = c.job("bad1", ["gs://bkt/bad.json"], "orders")
    errors = json.dumps(j["status"].get("errors"))
    check(
        "unknown field named",
        "no such field: surprise." in errors and "gs://bkt/bad.json" in errors and "row 2" in errors,
        errors,
    )
    check("all or none", c.rows("orders") == 8)
    s, j = c.job("bad2", ["gs://bkt/bad.json"], "orders", maxBadRecords=1)
    check(
        "maxBadRecords",
        "errorResult" not in j["status"]
        and j["statistics"]["load"]["badRecords"] == "1"
        and c.rows("orders") == 9,
        j,
    )
    s, j = c.job("bad3", ["gs://bkt/bad.json"], "orders", ignoreUnknownValues=True)
    check("ignoreUnknownValues", "errorResult" not in j["status"] and c.rows("orders") == 11, j)
    c.put("z1.gz", gzip.compress(order(20).encode()))
    check(
        "gzip",
        "errorResult" not in c.job("gz", ["gs://bkt/z1.gz"], "orders")[1]["status"]
        and c.rows("orders") == 12,
    )
    check(
        "mixed refused",
        "mix"
        in c.job("mix", ["gs://bkt/z1.gz", "gs://bkt/load/1.json"], "orders")[1]["status"]["errorResult"][
            "message"
        ]
        and c.rows("orders") == 12,
    )
    c.put("cut.gz", gzip.compress(order(20).encode() * 50)[:-9])
    check(
        "truncated gzip refused",
        "errorResult" in c.job("cut", ["gs://bkt/cut.gz"], "orders")[1]["status"]
        and c.rows("orders") == 12,
    )
    c.put("zero", b"")
    check(
        "empty file",
        c.job("zero", ["gs://bkt/zero"], "orders")[1]["statistics"]["load"]["outputRows"] == "0",
    )
    check(
        "async states",
        c.job("async", ["gs://bkt/zero"], "orders", wait=False)[1]["status"]["state"] == "PENDING",
    )
    s, j = c.job("cancel", ["gs://bkt/zero"], "orders", wait=False)
    s, j = c.call("POST", "/projects/p/jobs/cancel/cancel")
    check("cancel", s == 200 and c.wait("cancel")[1]["status"]["state"] == "DONE")
    check("jobs list", len(c.call("GET", "/projects/p/jobs?maxResults=5")[1]["jobs"]) == 5)
    schema = {"fields": [{"name": "a", "type": "INT64"}]}
    c.put("n1", '{"a":1}\n{"a":2}')
    check(
        "create if needed",
        "errorResult" not in c.job("n1", ["gs://bkt/n1"], "fresh", schema=schema)[1]["status"]
        and c.rows("fresh") == 2,
    )
    check(
        "no schema",
        "errorResult" in c.job("n2", ["gs://bkt/n1"], "fresh2")[1]["status"]
        and c.call("GET", "/projects/p/datasets/d/tables/fresh2")[0] == 404,
    )
    check(
        "WRITE_EMPTY",
        c.job("n3", ["gs://bkt/n1"], "fresh", writeDisposition="WRITE_EMPTY")[1]["status"]["errorResult"][
            "reason"
        ]
        == "duplicate",
    )
    check(
        "WRITE_TRUNCATE",
        "errorResult"
        not in c.job("n4", ["gs://bkt/n1"], "fresh", writeDisposition="WRITE_TRUNCATE")[1]["status"]
        and c.rows("fresh") == 2,
    )
    wide = {"fields": [{"name": "a", "type": "INT64"}, {"name": "b", "type": "STRING"}]}
    c.put("n5", '{"a":3,"b":"x"}')
    check(
        "addition needs the option",
        "errorResult" in c.job("n5", ["gs://bkt/n5"], "fresh", schema=wide)[1]["status"],
    )
    check(
        "ALLOW_FIELD_ADDITION",
        "errorResult"
        not in c.job(
            "n6", ["gs://bkt/n5"], "fresh", schema=wide, schemaUpdateOptions=["ALLOW_FIELD_ADDITION"]
        )[1]["status"]
        and c.values("SELECT a, b FROM d.fresh ORDER BY a") == [["1", None], ["2", None], ["3", "x"]],
        c.values("SELECT a, b FROM d.fresh ORDER BY a"),
    )
    day = datetime.date(2000, 1, 1)
    part = {"fields": [{"name": "t", "type": "DATE"}]}
    c.put(
        "parts",
        "".join(json.dumps({"t": str(day + datetime.timedelta(days=i))}) + "\n" for i in range(4001)),
    )
    check(
        "4,001 partitions refused",
        "partitions"
        in c.job(
            "parts",
            ["gs://bkt/parts"],
            "parts",
            schema=part,
            timePartitioning={"type": "DAY", "field": "t"},
        )[1]["status"]
        .get("errorResult", {})
        .get("message", ""),
    )


def test_values(c):
    cases = [
        (
            "INTEGER",
            ["1", '"-7"', "9223372036854775807"],
            ["1.5", "true", '"x"', "9223372036854775808", '"1.0"'],
        ),
        (
            "FLOAT",
            ["1", "1.5", '"2e3"', '"NaN"', '"-Infinity"', "12345678901234567890"],
            ['"x"', "true", '"0x10"'],
        ),
        ("BOOLEAN", ["true", '"no"', "1", '"F"'], ["2", '"maybe"', "1.0"]),
        ("STRING", ['""', '"\\u0000é"'], ["1", "{}", "true"]),
        ("BYTES", ['"aGk="', '"_-8"'], ['"*"', "1", '"a"']),
        ("DATE", ['"2024-02-29"'], ['"2023-02-29"', '"2024-1-1"', "1", '"2024-01-01T00:00:00"']),
        ("TIME", ['"12:30:00.5"'], ['"24:00:00"', '"1:2:3"']),
        ("DATETIME", ['"2024-01-01 10:00:00"', '"2024-01-01T10:00:00.123"'], ['"2024-01-01T10:00:00Z"']),
        (
            "TIMESTAMP",
            [
                '"2024-01-01 10:00"',
                '"2024-01-01T10:00:00.123456Z"',
                '"2024-01-01T10:00:00+02:00"',
                '"2024-01-01 10:00:00 UTC"',
                "1700000000",
                "1700000000.25",
            ],
            ["1700000000000", '"x"', '"2024-13-01T00:00:00Z"', '"2024-01-01T10:00:00.1234567Z"', "true"],
        ),
        ("NUMERIC", ['"0.123"', "5"], ['"x"', '"0.1234567891"', "true"]),
        ("JSON", ['{"a":[1,null]}', '"s"', "3"], []),
    ]
    for kind, good, bad in cases:
        schema = {"fields": [{"name": "v", "type": kind}, {"name": "r", "type": kind, "mode": "REPEATED"}]}
        c.put("values", "".join('{"v":%s,"r":[%s]}\n' % (v, v) for v in good))
        s, j = c.job("good_" + kind, ["gs://bkt/values"], "v_" + kind, schema=schema)
        check(
            f"{kind} accepted",
            "errorResult" not in j["status"] and c.rows("v_" + kind) == len(good),
            j["status"],
        )
        for i, v in enumerate(bad):
            c.put("values", '{"v":%s}' % v)
            j = c.job(f"bad_{kind}_{i}", ["gs://bkt/values"], "v_" + kind)[1]
            check(f"{kind} refuses {v}", "errorResult" in j["status"] and c.rows("v_" + kind) == len(good))
    check(
        "timestamps exact",
        [r[0] for r in c.values("SELECT v FROM d.v_TIMESTAMP ORDER BY v")][0]
        == "1.700000000E9".replace("00000000E", "E"),
    )
    schema = {
        "fields": [
            {"name": "a", "type": "STRING", "mode": "REQUIRED"},
            {"name": "r", "type": "INT64", "mode": "REPEATED"},
            {"name": "s", "type": "RECORD", "fields": [{"name": "x", "type": "INT64", "mode": "REQUIRED"}]},
        ]
    }
    for i, (line, ok) in enumerate(
        [
            ('{"a":"x"}', True),
            ('{"r":[1]}', False),
            ('{"a":null}', False),
            ('{"a":"x","r":[1,null]}', False),
            ('{"a":"x","r":null}', True),
            ('{"a":"x","r":1}', False),
            ('{"a":"x","s":{}}', False),
            ('{"a":"x","s":{"x":1,"y":2}}', False),
            ('{"a":"x","a":"y"}', False),
            ('{"A":"x"}', True),
            ('{"a":"x","A":"y"}', False),
            ("[]", False),
            ('{"a":"x"', False),
            ('{"a":"\xff"}'.encode("latin-1"), False),
        ]
    ):
        c.put("values", line)
        j = c.job(f"row_{i}", ["gs://bkt/values"], "rowcheck", schema=schema)[1]
        check(
            f"row {line} {'accepted' if ok else 'refused'}",
            ("errorResult" not in j["status"]) == ok,
            j["status"],
        )


def test_sql(c):
    inventory = {
        "fields": [
            {"name": n, "type": t}
            for n, t in (
                ("warehouse_id", "STRING"),
                ("product_id", "STRING"),
                ("quantity_change", "INTEGER"),
                ("timestamp", "TIMESTAMP"),
                ("event_date", "DATE"),
            )
        ]
    }
    activity = {
        "fields": [{"name": n, "type": "STRING"} for n in ("user_id", "activity_type")]
        + [{"name": "timestamp", "type": "TIMESTAMP"}, {"name": "event_date", "type": "DATE"}]
    }
    now = datetime.datetime.now(datetime.timezone.utc)
    ts, today = now.strftime("%Y-%m-%dT%H:%M:%SZ"), now.strftime("%Y-%m-%d")
    old = (now - datetime.timedelta(days=40)).strftime("%Y-%m-%d")
    c.put(
        "inv",
        "".join(
            json.dumps(
                {
                    "warehouse_id": w,
                    "product_id": "p1",
                    "quantity_change": q,
                    "timestamp": ts,
                    "event_date": d,
                }
            )
            + "\n"
            for w, q, d in (("w1", 5, today), ("w1", -2, today), ("w2", 7, today), ("w2", 9, old))
        ),
    )
    c.put(
        "act",
        "".join(
            json.dumps({"user_id": u, "activity_type": a, "timestamp": t, "event_date": today}) + "\n"
            for u, a, t in (
                ("u1", "login", ts),
                ("u1", "login", ts),
                ("u2", "login", ts),
                ("u2", "logout", ts),
                ("u3", "logout", old + "T00:00:00Z"),
            )
        ),
    )
    c.job("inv", ["gs://bkt/inv"], "inventory", schema=inventory)
    c.job("act", ["gs://bkt/act"], "user_activity", schema=activity)
    c.put("o2", "".join(order(i) for i in range(6)))
    c.job("o2", ["gs://bkt/o2"], "orders", writeDisposition="WRITE_TRUNCATE")
    v = c.values
    q = (
        "SELECT customer_id, COUNT(*) AS orders, ROUND(SUM(total_amount),2) AS total FROM `p.d.orders` "
        "WHERE event_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 30 DAY) GROUP BY customer_id "
        "ORDER BY total DESC LIMIT 10"
    )
    check(
        "orders per customer",
        v(q) == [["c2", "2", "92.25"], ["c1", "2", "71.75"], ["c0", "2", "51.25"]],
        v(q),
    )
    q = (
        "SELECT warehouse_id, product_id, SUM(quantity_change) AS net FROM `p.d.inventory` "
        "WHERE event_date = CURRENT_DATE() "
        "GROUP BY warehouse_id, product_id ORDER BY warehouse_id, product_id"
    )
    check("net quantity today", v(q) == [["w1", "p1", "3"], ["w2", "p1", "7"]], v(q))
    q = (
        "SELECT activity_type, COUNT(DISTINCT user_id) AS users FROM `p.d.user_activity` "
        "WHERE timestamp >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 7 DAY) GROUP BY "
        "activity_type ORDER BY users DESC"
    )
    check("distinct users", v(q) == [["login", "2"], ["logout", "1"]], v(q))
    s, b = c.sql(
        "SELECT order_date, items, shipping_address, total_amount, COUNT(*) OVER () n FROM "
        "d.orders ORDER BY order_id LIMIT 1"
    )
    check(
        "schema of the result",
        s == 200
        and [(f["name"], f["type"], f["mode"]) for f in b["schema"]["fields"]]
        == [
            ("order_date", "TIMESTAMP", "NULLABLE"),
            ("items", "RECORD", "REPEATED"),
            ("shipping_address", "RECORD", "NULLABLE"),
            ("total_amount", "FLOAT", "NULLABLE"),
            ("n", "INTEGER", "NULLABLE"),
        ],
        b,
    )
    cell = b["rows"][0]["f"]
    check(
        "nested rows",
        cell[1]["v"] == [{"v": {"f": [{"v": "p0"}, {"v": "1"}, {"v": "2.5"}]}}]
        and "E9" in cell[0]["v"]
        and cell[2]["v"]["f"][0]["v"] == "Bonn",
        cell,
    )
    for text, want in [
        (
            "SELECT it.product_id, SUM(it.quantity) q FROM d.orders, UNNEST(items) AS it GROUP BY 1 "
            "ORDER BY 1",
            [["p0", "6"], ["p1", "8"], ["p2", "6"]],
        ),
        ("SELECT COUNT(*) FROM d.orders o CROSS JOIN o.items", [["12"]]),
        (
            "SELECT DISTINCT shipping_address.city, JSON_VALUE(extra, '$.a.b[1]') FROM d.orders",
            [["Bonn", "x"]],
        ),
        (
            "SELECT COUNTIF(total_amount > 30), SUM(IF(status = 'pending', 1, 0)) FROM d.orders WHERE "
            "customer_id IN ('c0','c1') AND status LIKE 'pen%'",
            [["2", "4"]],
        ),
        (
            "SELECT CAST('12' AS INT64) + 1, SAFE_CAST('x' AS INT64), CAST(1.5 AS STRING), CAST(TRUE "
            "AS STRING), 1/2",
            [["13", None, "1.5", "true", "0.5"]],
        ),
        (
            "SELECT TIMESTAMP_TRUNC(TIMESTAMP '2024-01-02 03:04:05+00', MINUTE), DATE(TIMESTAMP "
            "'2024-01-02T03:04:05Z')",
            [["1.70416464E9", "2024-01-02"]],
        ),
        (
            "SELECT FORMAT_TIMESTAMP('%Y-%m-%d %H:%M', TIMESTAMP('2024-01-02 03:04:05')), EXTRACT(HOUR "
            "FROM TIMESTAMP '2024-01-02 03:04:05')",
            [["2024-01-02 03:04", "3"]],
        ),
        (
            "SELECT DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH), DATE_DIFF(DATE '2024-03-01', DATE "
            "'2024-02-01', DAY), DATE_TRUNC(DATE '2024-05-17', MONTH)",
            [["2024-02-29", "29", "2024-05-01"]],
        ),
        (
            "SELECT n FROM (SELECT customer_id c, COUNT(*) n FROM d.orders GROUP BY c HAVING n > 1) "
            "WHERE c = 'c1'",
            [["2"]],
        ),
        (
            "WITH t AS (SELECT 1 AS x UNION ALL SELECT 2) SELECT SUM(x), (SELECT MAX(x) FROM t) FROM t",
            [["3", "2"]],
        ),
        (
            "SELECT COUNT(*) FROM `d.orders` a JOIN `p.d.orders` b USING (order_id) WHERE a.order_date "
            ">= '2020-01-01'",
            [["6"]],
        ),
        (
            "SELECT CASE WHEN 1 = 1 THEN 'a' ELSE 'b' END, NULL IS NULL, 3 BETWEEN 1 AND 2, 'A' LIKE 'a'",
            [["a", "true", "false", "false"]],
        ),
        (
            "SELECT items[OFFSET(0)].product_id, ARRAY_LENGTH(items) FROM d.orders WHERE order_id = 'o2'",
            [["p0", "3"]],
        ),
    ]:
        check("sql " + text[:60], v(text) == want, v(text))
    for text, part in [
        ("SELECT nope FROM d.orders", "Unrecognized name"),
        ("SELEC 1", "SELECT only"),
        ("SELECT FOO(1)", "Function not found"),
        ("SELECT * FROM d.none", "Not found: Table"),
        ("SELECT 1 +", "Unexpected"),
        ("SELECT event_date >= CURRENT_TIMESTAMP() FROM d.orders", "No matching signature"),
        ("DELETE FROM d.orders WHERE TRUE", "SELECT only"),
        ("SELECT 1/0", "division by zero"),
        ("SELECT order_id o FROM d.orders WHERE o = '1'", "Unrecognized name"),
        ("SELECT (" * 500 + "1", "nested"),
        ("SELECT 'a", "unclosed"),
    ]:
        s, b = c.sql(text)
        check(
            "refused: " + text[:50],
            s in (400, 404)
            and part in b["error"]["message"]
            and b["error"]["errors"][0]["reason"] in ("invalidQuery", "notFound"),
            b,
        )
    check(
        "legacy SQL refused",
        reason(c.call("POST", "/projects/p/queries", {"query": "SELECT 1"})) == (400, "invalidQuery"),
    )
    s, b = c.sql("SELECT order_id FROM d.orders ORDER BY 1", maxResults=2)
    got, ref = [r["f"][0]["v"] for r in b["rows"]], b["jobReference"]["jobId"]
    while b.get("pageToken"):
        s, b = c.call("GET", f"/projects/p/queries/{ref}?maxResults=3&pageToken={b['pageToken']}")
        got += [r["f"][0]["v"] for r in b["rows"]]
    check("result pages", got == [f"o{i}" for i in range(6)] and b["totalRows"] == "6", got)
    s, j = c.call(
        "POST",
        "/projects/p/jobs",
        {
            "jobReference": {"jobId": "qq"},
            "configuration": {"query": {"query": "SELECT 7 x", "useLegacySql": False}},
        },
    )
    s, b = c.call("GET", "/projects/p/queries/qq")
    check("query job", s == 200 and b["jobComplete"] and b["rows"] == [{"f": [{"v": "7"}]}], b)
    s, b = c.call("GET", "/projects/p/datasets/d/tables/orders/data?maxResults=4")
    s, b2 = c.call("GET", "/projects/p/datasets/d/tables/orders/data?pageToken=" + b.get("pageToken", ""))
    check("tabledata pages", len(b["rows"]) == 4 and len(b2["rows"]) == 2 and b["totalRows"] == "6")
    out = subprocess.run(
        [
            PROGRAM,
            "--data",
            c.data,
            "--sql",
            "SELECT customer_id, COUNT(*) n FROM d.orders GROUP BY 1 ORDER BY 1 LIMIT 1",
        ],
        capture_output=True,
        text=True,
    )
    check(
        "--sql beside the server",
        out.returncode == 0 and out.stdout.split() == ["customer_id", "n", "-----------", "-", "c0", "2"],
        out,
    )
    out = subprocess.run(
        [PROGRAM, "--data", c.data, "--json", "--sql", "SELECT 1 a, 'x' b"], capture_output=True, text=True
    )
    check("--sql --json", json.loads(out.stdout) == {"a": 1, "b": "x"}, out)


def test_faults(c):
    def fault(**spec):
        return c.call("POST", "/localcloud/faults", spec)

    check("unknown key refused", fault(stat=503)[0] == 400 and fault(service="x", status=503)[0] == 400)
    fault(
        method="GET",
        service="storage",
        path_contains="/o/",
        status=503,
        reason="backendError",
        count=2,
        retry_after=3,
    )
    c.put("f", b"x")
    answers = [c.call("GET", obj("f"))[0] for _ in range(3)]
    check("count", answers == [503, 503, 200], answers)
    listed = c.call("GET", "/localcloud/faults")[1]["faults"]
    check("hits listed", listed[0]["hits"] == 2 and not listed[0]["active"], listed)
    runs = []
    for _ in range(2):
        c.call("DELETE", "/localcloud/faults")
        fault(service="storage", status=403, reason="rateLimitExceeded", probability=0.5, seed=42)
        runs.append([c.call("GET", obj("f"))[0] for _ in range(40)])
    check("probability repeats with the seed", runs[0] == runs[1] and 5 < runs[0].count(403) < 35, runs[0])
    c.call("DELETE", "/localcloud/faults")
    fault(method="POST", path_prefix="/upload/", lose_answer=True, count=1)
    try:
        c.put("lost", b"x", ifGenerationMatch="0")
        lost = False
    except (OSError, http.client.HTTPException):
        lost = True
    check("lost answer, work done", lost and c.put("lost", b"x", ifGenerationMatch="0")[0] == 412)
    fault(path_contains="never", reset=True)
    fault(path_contains="reset-me", reset=True, count=1)
    try:
        c.put("reset-me", b"x")
        cut = False
    except (OSError, http.client.HTTPException):
        cut = True
    check("reset, nothing done", cut and c.call("GET", obj("reset-me"))[0] == 404)
    fault(path_contains="slow", delay_ms=300, count=1)
    began = time.time()
    c.call("GET", obj("slow"))
    check("delay", time.time() - began > 0.28)
    c.call("DELETE", "/localcloud/faults")
    fault(refuse=True, seconds=1)
    try:
        c.call("GET", "/")
        refused = False
    except (OSError, http.client.HTTPException):
        refused = True
    time.sleep(1.2)
    check("refused for a second", refused and c.call("GET", "/", raw=True)[0] == 200)
    c.call("DELETE", "/localcloud/faults")
    s, b = c.call("GET", "/localcloud/stats")
    check(
        "stats",
        b["objects"] > 5
        and b["rows"] > 5
        and b["load_jobs_by_table"]["p.d.orders"] > 3
        and any(k["status"] == 503 for k in b["calls_by_kind"]),
        b,
    )
    check(
        "unknown path 404", c.call("GET", "/nothing")[0] == 404 and c.call("PUT", "/storage/v1/b")[0] == 405
    )


def test_restart(c):
    before = c.rows("orders")
    check("clean stop", c.stop() == 0)
    c.start()
    check("data kept", c.rows("orders") == before and c.call("GET", obj("f"))[0] == 200)
    c.put("kill.json", "".join(order(i) for i in range(20000)))
    c.job("kill", ["gs://bkt/kill.json"], "orders", wait=False)
    time.sleep(0.08)
    c.stop(signal.SIGKILL)
    c.start()
    s, j = c.wait("kill")
    check(
        "job goes on after a kill, once",
        "errorResult" not in j["status"]
        and c.rows("orders") == before + 20000
        and c.values("SELECT COUNT(*) FROM d.orders") == [[str(before + 20000)]],
        (j["status"], c.rows("orders")),
    )


def test_command_line(c):
    def run(*args):
        return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=20)

    check("--help", run("--help").returncode == 0)
    check("bad flag exits 2", run("--nope").returncode == 2 and run().returncode == 2)
    out = run("--data", os.path.join(c.data, "other"), "--listen", f"127.0.0.1:{c.port}")
    check("port in use exits 1", out.returncode == 1 and "in use" in out.stderr, out)


def main():
    data = tempfile.mkdtemp(prefix="it-localcloud-")
    c = Cloud(data)
    c.start()
    try:
        for test in (
            test_upload,
            test_object,
            test_list,
            test_tables,
            test_load,
            test_values,
            test_sql,
            test_faults,
            test_restart,
            test_command_line,
        ):
            test(c)
        check("clean end", c.stop() == 0)
    finally:
        if c.process.poll() is None:
            c.process.kill()
            c.process.wait()
        shutil.rmtree(data, ignore_errors=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
