#!/usr/bin/env python3
"""Goal: localcloud keeps Google's contract. Method: start it on a free port in an empty directory
and check
each behaviour over HTTP. Prints one "ok NAME" or "FAIL NAME" a check; exits 1 when one failed."""

import datetime, gzip, http.client, json, os, shutil, signal, socket, subprocess, sys
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
    def __init__(self, data, *options):
        self.data, self.port, self.options = data, 0, list(options)

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--create-bucket", "bkt"]
            + self.options,
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
    check("batch says 501", c.call("POST", "/batch/storage/v1", b"")[0] == 501)
    check("move says 501", c.call("POST", obj("x") + "/moveTo/o/y", b"")[0] == 501)
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
    refused("range without elements", schema={"fields": [{"name": "a", "type": "RANGE"}]})
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
        (
            "INTERVAL",
            ['"1-2 3 4:5:6"', '"-0-11 -3660000 -87840000:0:0.0"', '"10000-0 0 +1:02:3.123456"'],
            ['"1-12 0 0:0:0"', '"10000-1 0 0:0:0"', '"0-0 0 87840000:0:0.1"', '"0-0 0 0:0:0.1234567"', '"P1Y"', "1"],
        ),
        (
            "RANGE",
            ['{"start":"2024-02-29","end":"2024-03-01"}', '{"start":null,"end":"2024-03-01"}', "{}"],
            ['{"start":"2024-03-01","end":"2024-03-01"}', '{"start":"2023-02-29"}', '{"begin":null}',
             '"[2024-01-01, 2024-02-01)"', '{"end":1}'],
        ),
    ]
    for kind, good, bad in cases:
        column = {"type": kind, **({"rangeElementType": {"type": "DATE"}} if kind == "RANGE" else {})}
        schema = {"fields": [{"name": "v", **column}, {"name": "r", **column, "mode": "REPEATED"}]}
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


UNIT = 262144


class Session:
    """One resumable upload, by hand."""

    def __init__(self, c, name, meta=None, query="", headers=None):
        self.c = c
        path = "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=" + urllib.parse.quote(name, safe="")
        body = json.dumps(meta) if meta is not None else b""
        headers = dict(headers or {})
        if meta is not None:
            headers["Content-Type"] = "application/json; charset=UTF-8"
        self.status, self.body = c.call("POST", path + query, body, headers, raw=True)
        location = c.headers.get("location", "")
        self.path = location.split(str(c.port), 1)[1] if location else None

    def put(self, data, span=None, method="PUT", **headers):
        """Status, Range and body of one chunk; span is the Content-Range after "bytes "."""
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        if span:
            headers["Content-Range"] = "bytes " + span
        status, body = self.c.call(method, self.path, data, headers, raw=True)
        return status, self.c.headers.get("range"), json.loads(body) if body else None

    def query(self, total="*"):
        return self.put(b"", "*/" + total)[:2]


def media(c, name):
    return c.call("GET", obj(name) + "?alt=media", raw=True)[1]


def test_resumable(c):
    data = os.urandom(2 * UNIT + 1000)
    total = len(data)
    s = Session(c, "r/one", {"metadata": {"k": "v"}}, headers={"X-Upload-Content-Type": "text/r"})
    check("session opens", s.status == 200 and s.body == b"" and "upload_id=" in s.path, s.path)
    check(
        "nothing persisted: 308 without Range",
        s.query() == (308, None) and s.query(str(total)) == (308, None),
    )
    a = s.put(data[:UNIT], f"0-{UNIT - 1}/*")
    check("first chunk 308", a == (308, f"bytes=0-{UNIT - 1}", None), a)
    check("status query", s.query() == (308, f"bytes=0-{UNIT - 1}"))
    check("object not there yet", c.call("GET", obj("r/one"))[0] == 404)
    a = s.put(data[: 2 * UNIT], f"0-{2 * UNIT - 1}/*", "POST")
    check("overlap ignored, POST taken", a[:2] == (308, f"bytes=0-{2 * UNIT - 1}"), a)
    check("gap 400", s.put(b"x" * 10, f"{total - 10}-{total - 1}/{total}")[0] == 400)
    check("not a multiple 400", s.put(b"x" * 100, f"{2 * UNIT}-{2 * UNIT + 99}/*")[0] == 400)
    check("length and range differ 400", s.put(b"x" * 100, f"{2 * UNIT}-{total - 1}/{total}")[0] == 400)
    for bad in ("0-/5", "5-4/10", "x-y/z", "0-9", "*/x"):
        check(f"Content-Range {bad} 400", s.put(b"", bad)[0] == 400)
    a = s.put(data[2 * UNIT :], f"{2 * UNIT}-{total - 1}/{total}")
    check(
        "final chunk 200",
        a[0] == 200
        and a[2]["size"] == str(total)
        and a[2]["contentType"] == "text/r"
        and a[2]["metadata"] == {"k": "v"}
        and media(c, "r/one") == data,
        a,
    )
    again = s.put(b"", "*/*")
    check("status query after the end", again[0] == 200 and again[2] == a[2], again)
    check("and after a resent chunk", s.put(data[2 * UNIT :], f"{2 * UNIT}-{total - 1}/{total}")[2] == a[2])
    s = Session(c, "r/whole", {})
    a = s.put(data)
    check(
        "whole without Content-Range", a[0] == 200 and a[2]["contentType"] == "application/octet-stream", a
    )
    s = Session(c, "r/toend")
    check("to the end of the body", s.put(data, "0-*/*")[0] == 200 and media(c, "r/toend") == data)
    s = Session(c, "r/boundary")
    s.put(data[:UNIT], f"0-{UNIT - 1}/*")
    check(
        "query with the total completes",
        s.query(str(UNIT))[0] == 200 and media(c, "r/boundary") == data[:UNIT],
    )
    s = Session(c, "r/empty")
    check("empty object", s.put(b"", "*/0")[0] == 200 and media(c, "r/empty") == b"")
    s = Session(c, "r/308")
    a = s.put(data[:UNIT], f"0-{UNIT - 1}/*", X_GUploader_No_308="yes")
    check("no 308", a[0] == 200 and c.headers.get("x-http-status-code-override") == "308", a)
    check("another name 404", c.call("PUT", s.path.replace("b/bkt", "b/bk2"), b"")[0] == 404)
    check("cancel 499", c.call("DELETE", s.path, raw=True)[0] == 499 and s.query()[0] == 499)
    check("unknown session 404", c.call("PUT", s.path[:-4] + "0000", b"")[0] == 404)
    check(
        "PUT without a session 400",
        c.call("PUT", "/upload/storage/v1/b/bkt/o?uploadType=media&name=x", b"x")[0] == 400,
    )


def test_resumable_checks(c):
    data = os.urandom(UNIT + 5)
    total = len(data)
    s = Session(c, "r/fixed", {}, headers={"X-Upload-Content-Length": str(total)})
    check("other total 400", s.put(data[:UNIT], f"0-{UNIT - 1}/{total + 1}")[0] == 400)
    check("total fixed, unknown in chunks", s.put(data[:UNIT], f"0-{UNIT - 1}/*")[0] == 308)
    check("last byte known by the fixed total", s.put(data[UNIT:], f"{UNIT}-{total - 1}/*")[0] == 200)
    s = Session(c, "r/x", {}, headers={"X-Upload-Content-Length": "abc"})
    check("bad X-Upload-Content-Length 400", s.status == 400)
    check(
        "metadata must be JSON",
        c.call("POST", "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=x", b"{}")[0] == 400,
    )
    check("names disagree 400", Session(c, "r/x", {"name": "y"}).status == 400)
    good, wrong = {"crc32c": "yZRlqg=="}, {"crc32c": "AAAAAA=="}
    check("crc32c in metadata", Session(c, "r/crc", good).put(b"hello world")[0] == 200)
    s = Session(c, "r/bad", wrong)
    check("wrong crc32c 400, then 410", s.put(b"hello world")[0] == 400 and s.query()[0] == 410)
    s = Session(c, "r/bad", {})
    a = s.put(b"hello world", X_Goog_Hash="crc32c=AAAAAA==,md5=XrY7u+Ae7tCTyyK7j1rNww==")
    check("wrong X-Goog-Hash 400", a[0] == 400 and c.call("GET", obj("r/bad"))[0] == 404, a)
    s = Session(c, "r/good", {})
    a = s.put(b"hello world", X_Goog_Hash="crc32c=yZRlqg==,md5=XrY7u+Ae7tCTyyK7j1rNww==")
    check("right X-Goog-Hash", a[0] == 200, a)
    check("precondition at the start", Session(c, "r/good", {}, "&ifGenerationMatch=0").status == 412)
    one, two = (Session(c, "r/race", {}, "&ifGenerationMatch=0") for _ in range(2))
    a, b = one.put(b"1"), two.put(b"2")
    check("precondition again at the end", (a[0], b[0]) == (200, 412) and two.query()[0] == 410, (a, b))
    check("winner kept", media(c, "r/race") == b"1")
    s = Session(c, "r/kill", {})
    s.put(data[:UNIT], f"0-{UNIT - 1}/{total}")
    c.stop(signal.SIGKILL)
    c.start()
    check("session outlives a kill", s.query() == (308, f"bytes=0-{UNIT - 1}"))
    check(
        "and ends",
        s.put(data[UNIT:], f"{UNIT}-{total - 1}/{total}")[0] == 200 and media(c, "r/kill") == data,
    )
    check(
        "no session file left",
        os.listdir(os.path.join(c.data, "uploads")) == [],
        os.listdir(c.data + "/uploads"),
    )


def test_resumable_faults(c):
    data = os.urandom(3 * UNIT)
    spans = [f"{i * UNIT}-{(i + 1) * UNIT - 1}/{3 * UNIT}" for i in range(3)]

    def fault(**spec):
        c.call("DELETE", "/localcloud/faults")
        return c.call("POST", "/localcloud/faults", dict(spec, service="storage"))[0]

    check(
        "two kinds in one rule 400",
        fault(persist_bytes=1, status=503) == 400 and fault(drop_session=500) == 400,
    )
    s = Session(c, "f/partial")
    fault(persist_bytes=1000, count=1)
    check("partial 308", s.put(data[:UNIT], spans[0])[:2] == (308, "bytes=0-999"))
    a = s.put(data[1000:], f"1000-{3 * UNIT - 1}/{3 * UNIT}")
    check("goes on behind it", a[0] == 200 and media(c, "f/partial") == data, a)
    s = Session(c, "f/none")
    fault(persist_bytes=0, count=1)
    check("308 without Range", s.put(data[:UNIT], spans[0])[:2] == (308, None) and s.query() == (308, None))
    fault(persist_bytes=UNIT, count=1)
    check("final chunk kept in part", s.put(data)[:2] == (308, f"bytes=0-{UNIT - 1}"))
    fault(drop_session=410, skip=1, count=1)
    check("query is no chunk", s.query()[0] == 308)
    s.put(data[UNIT : 2 * UNIT], spans[1])
    check("gone 410", s.put(data[2 * UNIT :], spans[2])[0] == 410 and s.query()[0] == 410)
    s = Session(c, "f/404")
    fault(drop_session=404, count=1)
    check("gone 404", s.put(data[:UNIT], spans[0])[0] == 404 and s.query()[0] == 404)
    s = Session(c, "f/lost")
    fault(method="PUT", path_contains="upload_id=", lose_answer=True, count=1)
    try:
        s.put(data)
        lost = False
    except (OSError, http.client.HTTPException):
        lost = True
    a = s.put(b"", "*/*")
    check(
        "lost final answer",
        lost and a[0] == 200 and a[2]["name"] == "f/lost" and media(c, "f/lost") == data,
        a,
    )
    c.call("DELETE", "/localcloud/faults")
    s = Session(c, "f/broken")
    with socket.create_connection(("127.0.0.1", c.port)) as conn:
        head = f"PUT {s.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {3 * UNIT}\r\n\r\n"
        conn.sendall(head.encode() + data[: UNIT + 5000])
        time.sleep(0.2)
    for _ in range(100):
        if s.query()[1]:
            break
        time.sleep(0.02)
    check("broken connection keeps 256 KiB units", s.query() == (308, f"bytes=0-{UNIT - 1}"), s.query())
    check(
        "and goes on",
        s.put(data[UNIT:], f"{UNIT}-{3 * UNIT - 1}/{3 * UNIT}")[0] == 200 and media(c, "f/broken") == data,
    )


def test_compose(c):
    for n in ("p1", "p2", "p3"):
        c.multipart({"name": n}, n.encode())
    g = c.call("GET", obj("p1"))[1]["generation"]

    def compose(to, sources, query="", **more):
        body = dict({"sourceObjects": [x if isinstance(x, dict) else {"name": x} for x in sources]}, **more)
        return c.call("POST", obj(to) + "/compose" + query, body)

    s, o = compose("c/1", ["p1", "p2", "p3"], "?ifGenerationMatch=0", destination={"contentType": "text/c"})
    check(
        "compose",
        s == 200
        and o["componentCount"] == 3
        and "md5Hash" not in o
        and o["crc32c"] == c.put("same", b"p1p2p3")[1]["crc32c"]
        and o["contentType"] == "text/c"
        and media(c, "c/1") == b"p1p2p3",
        o,
    )
    check("no hash of md5", "md5" not in c.headers["x-goog-hash"], c.headers)
    s, o = compose("c/2", ["c/1", "p1"])
    check("composite of composite", s == 200 and o["componentCount"] == 4 and "contentType" not in o, o)
    check("compose once 412", compose("c/1", ["p1"], "?ifGenerationMatch=0")[0] == 412)
    check("no source 400", compose("c/3", [])[0] == 400)
    check("32 sources", compose("c/3", ["p1"] * 32)[0] == 200 and media(c, "c/3") == b"p1" * 32)
    check("33 sources 400", compose("c/4", ["p1"] * 33)[0] == 400)
    check("missing source 404", compose("c/4", ["p1", "none"])[0] == 404)
    check("source generation", compose("c/4", [{"name": "p1", "generation": g}])[0] == 200)
    check("other generation 404", compose("c/4", [{"name": "p1", "generation": "1"}])[0] == 404)
    stale = {"name": "p1", "objectPreconditions": {"ifGenerationMatch": "1"}}
    check("source precondition 412", compose("c/4", [stale])[0] == 412)
    check("into itself", compose("p1", ["p1", "p2"])[0] == 200 and media(c, "p1") == b"p1p2")


def test_rewrite(c):
    data = os.urandom(2_500_000)
    c.call("POST", "/storage/v1/b?project=p", {"name": "far", "location": "EU"})
    s, o = c.multipart({"name": "w/from", "metadata": {"k": "v"}}, data)

    def rewrite(to, query="", body=b"", bucket="bkt"):
        return c.call("POST", f"{obj('w/from')}/rewriteTo/b/{bucket}/o/w%2F{to}{query}", body)

    s, r = rewrite("to", "?ifGenerationMatch=0&ifSourceGenerationMatch=" + o["generation"])
    check(
        "rewrite",
        s == 200
        and r["done"]
        and r["totalBytesRewritten"] == r["objectSize"] == str(len(data))
        and r["resource"]["metadata"] == {"k": "v"}
        and r["resource"]["md5Hash"] == o["md5Hash"]
        and media(c, "w/to") == data,
        r,
    )
    check("rewrite once 412", rewrite("to", "?ifGenerationMatch=0")[0] == 412)
    check("stale source 412", rewrite("x", "?ifSourceGenerationMatch=1")[0] == 412)
    check("missing source 404", c.call("POST", obj("none") + "/rewriteTo/b/bkt/o/x", b"")[0] == 404)
    check("missing bucket 404", rewrite("x", bucket="nobucket")[0] == 404)
    s, r = rewrite("meta", body={"contentType": "text/new"})
    check(
        "metadata replaced",
        r["resource"]["contentType"] == "text/new" and "metadata" not in r["resource"],
        r,
    )
    done, token, calls = False, "", 0
    while not done and calls < 9:
        s, r = rewrite("far", token, bucket="far")
        done, calls = r["done"], calls + 1
        token = "?rewriteToken=" + urllib.parse.quote(r.get("rewriteToken", ""), safe="")
    got = c.call("GET", "/storage/v1/b/far/o/w%2Ffar?alt=media", raw=True)[1]
    check("tokens between locations", done and calls == 3 and got == data, (calls, r))
    s, r = rewrite("steps", "?maxBytesRewrittenPerCall=1048576")
    token = urllib.parse.quote(r["rewriteToken"], safe="")
    check("step by the caller", not r["done"] and r["totalBytesRewritten"] == "1048576", r)
    check("token of another rewrite 400", rewrite("other", "?rewriteToken=" + token)[0] == 400)
    check(
        "step must stay",
        rewrite("steps", "?maxBytesRewrittenPerCall=2097152&rewriteToken=" + token)[0] == 400,
    )
    check("step not of MiB 400", rewrite("steps", "?maxBytesRewrittenPerCall=1000")[0] == 400)
    s, r = c.call("POST", obj("w/from") + "/copyTo/b/bkt/o/w%2Fcopy", b"")
    check("copyTo", s == 200 and r["kind"] == "storage#object" and media(c, "w/copy") == data, r)
    c.call("DELETE", obj("w/from"))
    check("copies outlive the source", media(c, "w/to") == data and media(c, "w/copy") == data)
    check("bare path", c.call("GET", "/b/bkt/o/w%2Fto")[0] == 200)


def insert(c, table, rows, **more):
    rows = [r if "json" in r else {"json": r} for r in rows]
    return c.call("POST", f"/projects/p/datasets/d/tables/{table}/insertAll", dict({"rows": rows}, **more))


def errors_of(answer):
    return [(e["index"], e["errors"][0]["reason"]) for e in answer[1].get("insertErrors", [])]


def make_table(c, name, fields, **more):
    fields = [dict(zip(("name", "type", "mode"), f.split(":"))) for f in fields.split()]
    body = dict({"tableReference": {"tableId": name}, "schema": {"fields": fields}}, **more)
    return c.call("POST", "/projects/p/datasets/d/tables", body)[0]


def test_insert(c):
    make_table(c, "s", "id:INTEGER:REQUIRED t:STRING tags:STRING:REPEATED j:JSON b:BOOLEAN")
    a = insert(c, "s", [{"id": 1, "t": "x", "tags": ["a"], "j": '{"k":[1]}', "b": True}, {"id": "2"}])
    check("insertAll", a == (200, {"kind": "bigquery#tableDataInsertAllResponse"}), a)
    check(
        "rows visible",
        c.rows("s") == 2 and c.values("SELECT JSON_VALUE(j, '$.k[0]') FROM d.s WHERE id = 1") == [["1"]],
    )
    a = insert(c, "s", [{"id": 3}, {"id": "x"}, {"id": 4, "surprise": 1}])
    check("stopped", a[0] == 200 and errors_of(a) == [(0, "stopped"), (1, "invalid"), (2, "invalid")], a)
    e = a[1]["insertErrors"]
    want = {
        "reason": "invalid",
        "location": "surprise",
        "debugInfo": "",
        "message": "no such field: surprise.",
    }
    check("error names the column", e[2]["errors"] == [want] and e[1]["errors"][0]["location"] == "id", e)
    check("nothing inserted", c.rows("s") == 2)
    a = insert(c, "s", [{"id": 3}, {"id": "x"}, {"id": 4}], skipInvalidRows=True)
    check("skipInvalidRows", errors_of(a) == [(1, "invalid")] and c.rows("s") == 4, a)
    a = insert(c, "s", [{"id": 5, "surprise": {"deep": 1}}], ignoreUnknownValues=True)
    check("ignoreUnknownValues", errors_of(a) == [] and c.rows("s") == 5, a)
    for row in (
        {},
        {"id": None},
        {"id": 1, "t": 5},
        {"id": 1, "tags": "a"},
        {"id": 1, "tags": [None]},
        {"id": 1, "j": {"k": 1}},
        {"id": 1, "j": "{"},
        {"id": 1, "b": 1},
        {"id": 1.5},
    ):
        check(f"row {json.dumps(row)} invalid", errors_of(insert(c, "s", [row])) == [(0, "invalid")])
    check("row needs json", errors_of(insert(c, "s", [{"json": 1}])) == [(0, "invalid")])
    check(
        "insertId too long",
        errors_of(insert(c, "s", [{"insertId": "x" * 129, "json": {"id": 1}}])) == [(0, "invalid")],
    )
    twice = [{"insertId": "a", "json": {"id": 6}}, {"insertId": "b", "json": {"id": 7}}]
    before = c.rows("s")
    answers = [errors_of(insert(c, "s", twice)) for _ in range(3)]
    check("insertId once", answers == [[], [], []] and c.rows("s") == before + 2, c.rows("s"))
    mixed = [twice[0], {"insertId": "c", "json": {"id": "x"}}]
    insert(c, "s", [{"insertId": "d", "json": {"id": 8}}, {"insertId": "e", "json": {"id": "x"}}])
    a = insert(c, "s", [{"insertId": "d", "json": {"id": 8}}])
    check("a stopped row's id is free", errors_of(a) == [] and c.rows("s") == before + 3)
    check(
        "repeated row beside a bad one",
        errors_of(insert(c, "s", mixed)) == [(0, "stopped"), (1, "invalid")],
    )
    c.stop(signal.SIGKILL)
    c.start()
    check(
        "rows and ids outlive a kill",
        c.rows("s") == before + 3 and errors_of(insert(c, "s", twice)) == [] and c.rows("s") == before + 3,
    )


def test_insert_limits(c):
    path = "/projects/p/datasets/d/tables/s/insertAll"
    before = c.rows("s")
    check("no rows 400", insert(c, "s", [])[0] == 400)
    check("50,001 rows 400", insert(c, "s", [{"id": 1}] * 50001)[0] == 400)
    check(
        "50,000 rows",
        errors_of(insert(c, "s", [{"id": 1}] * 50000)) == [] and c.rows("s") == before + 50000,
    )
    check("over 10 MB 413", insert(c, "s", [{"id": 1, "t": "x" * (10 << 20)}])[0] == 413)
    check("templateSuffix 501", insert(c, "s", [{"id": 1}], templateSuffix="_x")[0] == 501)
    check("long traceId 400", insert(c, "s", [{"id": 1}], traceId="x" * 37)[0] == 400)
    check("unknown member 400", insert(c, "s", [{"id": 1}], rowz=1)[0] == 400)
    check("no JSON 400", c.call("POST", path, b"{")[0] == 400)
    check("missing table 404", reason(insert(c, "nothing", [{"id": 1}])) == (404, "notFound"))
    check("decorator 501", insert(c, "s$20240101", [{"id": 1}])[0] == 501)
    day = {"type": "DAY", "field": "d"}
    make_table(c, "sp", "d:DATE", timePartitioning=day)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    for days, ok in ((-3650, True), (-3652, False), (366, True), (368, False), (0, True)):
        a = insert(c, "sp", [{"d": str(today + datetime.timedelta(days=days))}])
        check(f"partition {days:+} days {'taken' if ok else 'refused'}", (errors_of(a) == []) == ok, a)
    check("partition null", errors_of(insert(c, "sp", [{"d": None}])) == [])
    other = Cloud(os.path.join(c.data, "delayed"), "--table-delay", "700", "--dedupe", "300")
    other.start()
    try:
        other.call("POST", "/projects/p/datasets", {"datasetReference": {"datasetId": "d"}})
        make_table(other, "t", "id:INTEGER")
        rows = [{"insertId": "a", "json": {"id": 1}}]
        first = insert(other, "t", rows)
        time.sleep(0.8)
        answers = [errors_of(insert(other, "t", rows)) for _ in range(2)]
        check(
            "404 for a while after creation",
            first[0] == 404 and answers == [[], []] and other.rows("t") == 1,
            first,
        )
        time.sleep(0.4)
        check("insertId forgotten", errors_of(insert(other, "t", rows)) == [] and other.rows("t") == 2)
    finally:
        other.stop()


def test_bigquery_faults(c):
    def fault(**spec):
        c.call("DELETE", "/localcloud/faults")
        return c.call("POST", "/localcloud/faults", dict(spec, service="bigquery"))[0]

    check("row_every 0 refused", fault(row_reason="invalid", row_every=0) == 400)
    rows = [{"id": i} for i in range(100, 105)]
    fault(row_reason="backendError", row_every=2, count=1)
    a = errors_of(insert(c, "s", rows, skipInvalidRows=True))
    check("rows refused by fault", a == [(i, "backendError") for i in (0, 2, 4)], a)
    check("once", errors_of(insert(c, "s", rows)) == [])
    fault(row_reason="invalid", row_contains='"id":103')
    a = [errors_of(insert(c, "s", rows)) for _ in range(2)]
    check("poison row", a[0] == a[1] == [(i, "invalid" if i == 3 else "stopped") for i in range(5)], a)
    check("others pass", errors_of(insert(c, "s", rows[:3])) == [])
    c.put("fault.json", "".join(f'{{"id":{i}}}\n' for i in range(10)))
    before = c.rows("s")
    fault(job_reason="jobRateLimitExceeded", message="too many", count=2)
    failed = [c.job(f"fj{i}", ["gs://bkt/fault.json"], "s")[1]["status"] for i in range(3)]
    reasons = [j.get("errorResult", {}).get("reason") for j in failed]
    check("jobs fail by fault", reasons == ["jobRateLimitExceeded"] * 2 + [None], failed)
    check("and load nothing", c.rows("s") == before + 10)
    fault(job_rows=-3, count=1)
    s, j = c.job("fj4", ["gs://bkt/fault.json"], "s")
    check(
        "wrong outputRows", j["statistics"]["load"]["outputRows"] == "7" and c.rows("s") == before + 20, j
    )
    c.call("DELETE", "/localcloud/faults")


def test_job_upload(c):
    path = "/upload/bigquery/v2/projects/p/jobs?uploadType="
    lines = b"".join(b'{"id":%d}\n' % i for i in range(5))

    def job(job_id, **more):
        load = {
            "sourceFormat": "NEWLINE_DELIMITED_JSON",
            "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "s"},
        }
        return {
            "jobReference": {"projectId": "p", "jobId": job_id},
            "configuration": {"load": dict(load, **more)},
        }

    def multipart(meta, data):
        head = b"--B\r\nContent-Type: application/json\r\n\r\n" + json.dumps(meta).encode()
        body = head + b"\r\n--B\r\nContent-Type: */*\r\n\r\n" + data + b"\r\n--B--"
        return c.call("POST", path + "multipart", body, {"Content-Type": "multipart/related; boundary=B"})

    before = c.rows("s")
    s, j = multipart(job("up1"), lines)
    check("job with its file", s == 200 and c.wait("up1")[1]["statistics"]["load"]["outputRows"] == "5", j)
    check("same job 409", reason(multipart(job("up1"), lines)) == (409, "duplicate"))
    check("URIs beside a file 400", multipart(job("up2", sourceUris=["gs://bkt/x"]), lines)[0] == 400)
    check(
        "gzip file",
        multipart(job("up3"), gzip.compress(lines))[0] == 200
        and "errorResult" not in c.wait("up3")[1]["status"],
    )
    headers = {"Content-Type": "application/json"}
    s, _ = c.call("POST", path + "resumable", job("up4"), headers, raw=True)
    where = c.headers["location"].split(str(c.port), 1)[1]
    check("session for a job", s == 200 and where.startswith("/upload/bigquery/v2/projects/p/jobs?"), where)
    check("308", c.call("PUT", where, b"", {"Content-Range": "bytes */*"})[0] == 308)
    s, j = c.call("PUT", where, lines, {"Content-Range": f"bytes 0-{len(lines) - 1}/{len(lines)}"})
    check("resumable job", s == 200 and "errorResult" not in c.wait("up4")[1]["status"], j)
    check("rows of all", c.rows("s") == before + 15)
    check(
        "bad job refused at once",
        c.call("POST", path + "resumable", {"configuration": {}}, headers)[0] == 400,
    )
    check("no file left", os.listdir(os.path.join(c.data, "loads")) == [])


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
            test_resumable,
            test_resumable_checks,
            test_resumable_faults,
            test_compose,
            test_rewrite,
            test_insert,
            test_insert_limits,
            test_bigquery_faults,
            test_job_upload,
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
