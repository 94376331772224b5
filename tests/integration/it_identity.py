#!/usr/bin/env python3
"""Goal: a data directory that is wiped, copied or put back from an older copy is recognised, and never
makes one event overwrite, replace or double another.

Method: daemons of one node name on one bucket and dataset. What they acknowledged is compared by id;
where Penstock cannot know better it must refuse to start or park, and say why.
"""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import owner  # noqa: E402
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

AT = "2026-11-21T10:00:00Z"  # one minute for all: it is part of objects' names
TYPES = [{"name": "note", "time_field": "at"}]


def body(first, n):
    return b"".join(json.dumps({"event_type": "note", "n": first + i, "at": AT}).encode() + b"\n" for i in range(n))


def archived(cloud):
    return sorted(json.loads(line)["n"] for _, line in cloud.lines("output/note/"))


def rows(cloud):
    return sorted(int(v) for v in cloud.column("note", "JSON_VALUE(event, '$.n')"))


def test_wiped():
    """Everything local is gone: the next run begins anew beside what is there, under new names."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES)
        daemon.post_ok(body(0, 100))
        daemon.settle()
        daemon.stop()
        before = {o["name"]: o["generation"] for o in cloud.listing("output/")}
        shutil.rmtree(daemon.config["data_dir"])
        daemon.start()
        daemon.post_ok(body(100, 100))
        daemon.flush()
        until(lambda: daemon.pending() == 0, 60, "nothing pending")
        equal(archived(cloud), list(range(200)), "objects")
        equal(rows(cloud), list(range(200)), "rows")
        now = {o["name"]: o["generation"] for o in cloud.listing("output/")}
        equal({name: now.get(name) for name in before}, before, "what was there before")
        code, text = daemon.cli("verify")  # the table has more than this directory knows of
        expect(code == 1 and "earlier data directory" in text and "missing" not in text, text)
        expect("node test had another data directory" in daemon.log(), daemon.log()[-900:])
        daemon.clean()
        daemon.stop()


def test_parts_wiped():
    """Without its delivery log a journal with events is refused; without its journals a log is not used."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES, shutdown={"grace": "0s"})
        cloud.fault(status=503)
        daemon.post_ok(body(0, 100))
        daemon.stop()
        data = daemon.config["data_dir"]
        shutil.move(os.path.join(data, "delivery"), place.file("delivery"))
        daemon.process = daemon.launch()
        equal(daemon.process.wait(30), 1, "exit status without the delivery log")
        expect("the delivery log that says which of them are delivered is gone" in daemon.log(), daemon.log()[-600:])
        shutil.rmtree(os.path.join(data, "delivery"))
        shutil.move(place.file("delivery"), os.path.join(data, "delivery"))
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        equal((archived(cloud), rows(cloud)), (list(range(100)),) * 2, "events")
        daemon.stop()


def test_older_copy():
    """A journal or a delivery log that is put back from an older copy does not fit the other."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES)
        daemon.post_ok(body(0, 10))
        daemon.settle()
        daemon.stop()
        data = daemon.config["data_dir"]
        shutil.copytree(os.path.join(data, "journal"), place.file("journal"))
        daemon.start()
        for i in range(1, 6):
            daemon.post_ok(body(10 * i, 10))
            daemon.settle()
        daemon.stop()
        shutil.move(os.path.join(data, "journal"), place.file("newer"))
        shutil.copytree(place.file("journal"), os.path.join(data, "journal"))
        daemon.process = daemon.launch()
        equal(daemon.process.wait(30), 1, "exit status with an older journal")
        expect("do not belong together" in daemon.log(), daemon.log()[-600:])
        shutil.rmtree(os.path.join(data, "journal"))
        shutil.move(place.file("newer"), os.path.join(data, "journal"))
        daemon.start()
        daemon.settle()
        equal((archived(cloud), rows(cloud)), (list(range(60)),) * 2, "events")
        daemon.stop()


def owned(place, cloud, name="daemon", **more):
    """A daemon whose claim is renewed every second, without loads."""
    return place.daemon(cloud, name=name, listed=TYPES, bigquery={"enabled": False}, shutdown={"grace": "0s"},
                        gcs={"owner_renew": "1s"}, journal={"limit": "64MiB", "segment": "8MiB"},
                        delivery_log={"file": "8MiB"}, **more)


def copy_of(place, cloud, daemon, name="copy"):
    """Another daemon, not started, with a copy of the folder."""
    copy = owned(place, cloud, name, start=False)
    shutil.copytree(daemon.config["data_dir"], copy.config["data_dir"], ignore=shutil.ignore_patterns("*.sock", "new"))
    return copy


def refused(daemon, *words):
    """It does not start, or ends by itself, and says why."""
    if daemon.process is None or not daemon.process.alive():
        daemon.process = daemon.launch()
    equal(daemon.process.wait(60), 1, "exit status")
    expect(all(word in daemon.log() for word in words), daemon.log()[-900:])


def settled(daemon):
    until(lambda: daemon.pending() == 0, 60, lambda: f"nothing pending: {daemon.status()}")


def test_copied():
    """cp -a on the same machine: the copy is refused, beside the original or after it, until it is adopted; then
    the original is refused, and ends if it runs."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud)
        daemon.post_ok(body(0, 100))
        daemon.flush()
        copy = copy_of(place, cloud, daemon)
        stat = subprocess.run(["stat", "-f", "-c", "%T", place.path], capture_output=True, text=True, check=True)
        if stat.stdout.strip() not in ("overlayfs", "fuseblk", "v9fs", "cifs", "smb2"):  # inodes may change there
            refused(copy, "is a copy", "--adopt")
        daemon.post_ok(body(100, 100))
        daemon.flush()
        copy.start("--adopt")
        expect("is adopted" in copy.log(), copy.log())
        refused(daemon, "has been taken over", "stopping: what is here is delivered by nobody")
        copy.post_ok(body(1000, 100))
        copy.flush()
        copy.restart()
        refused(daemon, "a copy of this data directory has been in use")
        equal(archived(cloud), list(range(200)) + list(range(1000, 1100)), "all there is")
        ids = [json.loads(line)["penstock_id"] for _, line in cloud.lines("output/note/")]
        equal(len(set(ids)), 300, "no place of a journal was given twice")
        copy.stop()


def test_cloned():
    """A clone of the whole disk, which looks as the original does: only the bucket can tell. While the original
    runs, the clone is refused; when it has stopped, whoever comes first goes on, and the other is refused."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud)
        cloud.fault(status=503, method="POST", path_contains="/upload/")
        daemon.post_ok(body(0, 100))
        until(lambda: daemon.status()["sinks"]["gcs"]["planned"] == 100, 30, "plans")
        copy = copy_of(place, cloud, daemon)
        owner.as_cloned(copy.config["data_dir"])
        cloud.clear_faults()
        refused(copy, "this data directory is in use elsewhere")
        daemon.flush()
        daemon.post_ok(body(100, 50))
        daemon.stop()  # with grace 0: what it has acknowledged waits
        shutil.rmtree(copy.config["data_dir"])
        shutil.copytree(daemon.config["data_dir"], copy.config["data_dir"])
        owner.as_cloned(copy.config["data_dir"])
        copy.start()
        settled(copy)
        refused(daemon, "a copy of this data directory has been in use")
        equal(archived(cloud), list(range(150)), "each event once")
        equal(copy.status()["parked"]["objects"], 0, "parked")
        copy.stop()


def test_other_machine():
    """A disk that was moved: refused until it is adopted, once."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud)
        cloud.fault(status=503)
        daemon.post_ok(body(0, 100))
        daemon.stop()
        cloud.clear_faults()
        owner.as_of_another_machine(daemon.config["data_dir"])
        refused(daemon, "was written on another machine", "--adopt")
        daemon.start("--adopt")
        settled(daemon)
        daemon.restart()
        daemon.post_ok(body(100, 10))
        daemon.flush()
        equal(archived(cloud), list(range(110)), "each event once")
        daemon.verify()
        daemon.stop()


def test_bucket_changes():
    """Another bucket, and back again: no copy was in use."""
    with Place() as place:
        cloud = place.cloud()
        cloud.call("POST", "/storage/v1/b?project=test-project", {"name": "other-bucket"})
        daemon = owned(place, cloud)
        for i, bucket in enumerate(("other-bucket", cloud.bucket, cloud.bucket)):
            daemon.post_ok(body(10 * i, 10))
            daemon.flush()
            daemon.stop()
            daemon.config["gcs"]["bucket"] = bucket
            daemon.start()
            daemon.until_owner()
        equal(archived(cloud), list(range(10)) + list(range(20, 30)), "events in the first bucket")
        daemon.stop()


def test_older_backup():
    """A backup that was made while the daemon ran has its token, but not what it acknowledged since. Adopted, it
    goes on under new names; a backup with nothing pending doubles nothing."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud)
        daemon.post_ok(body(0, 100))
        daemon.flush()
        backup = copy_of(place, cloud, daemon)
        for i in range(5):  # without a flush, which takes a plan id
            daemon.post_ok(body(100 + 20 * i, 20))
            settled(daemon)
        daemon.restart()  # the bucket knows how far the journal is
        daemon.kill()
        record = owner.read(daemon.config["data_dir"])
        owner.change(backup.config["data_dir"], token=record["token"])
        owner.as_cloned(backup.config["data_dir"])
        refused(backup, "an older state of a data directory")
        backup.start("--adopt")
        for i in range(5):  # under the ids of before, if they were not skipped
            backup.post_ok(body(1000 + 10 * i, 10))
            until(lambda: backup.pending() == 0 or backup.status()["parked"]["objects"] > 0, 60, "nothing pending")
        equal(archived(cloud), list(range(200)) + list(range(1000, 1050)), "nothing was replaced")
        equal(backup.status()["parked"]["objects"], 0, "parked")
        backup.stop()


def test_same_node():
    """Two directories of one node name: each delivers under names of its own, and the second says what it found."""
    with Place() as place:
        cloud = place.cloud()
        first, second = owned(place, cloud), owned(place, cloud, "second")
        until(lambda: "node test has another data directory" in second.log(), 30, "a warning")
        first.post_ok(body(0, 100))
        second.post_ok(body(100, 100))
        for daemon in (first, second):
            daemon.flush()
            daemon.stop()
        equal(archived(cloud), list(range(200)), "events")
        first.start()
        until(lambda: "had another data directory, stopped on host" in first.log(), 30, "a note")
        first.stop()


def test_bucket_away():
    """Without the bucket's word events are taken and nothing is sent; when it may not be asked, all goes on."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud, start=False)
        cloud.fault(status=503, path_contains="penstock%2Fowner")
        daemon.start()
        daemon.post_ok(body(0, 100))
        until(lambda: "nothing is sent before the bucket has said" in str(daemon.cli_json("sinks")), 30, "why it waits")
        equal(cloud.names("output/"), [], "objects without the bucket's word")
        equal(daemon.status()["owner"]["state"], "asking", "owner")
        cloud.clear_faults()
        settled(daemon)
        equal(daemon.status()["owner"], {"state": "held", "text": ""}, "owner")
        daemon.stop()
        cloud.fault(status=403, reason="forbidden", path_contains="penstock%2Fowner")
        daemon.start()
        daemon.post_ok(body(100, 100))
        daemon.flush()
        expect("cannot be told" in daemon.log(), daemon.log()[-900:])
        equal(archived(cloud), list(range(200)), "events")
        daemon.stop()


def test_killed_while_claiming():
    """Starts that are killed one after the other, the first with its claim made and the answer lost, the others with a
    claim that never came: what the bucket says is still known as this directory's."""
    with Place() as place:
        cloud = place.cloud()
        daemon = owned(place, cloud)
        daemon.post_ok(body(0, 100))
        daemon.flush()
        daemon.kill()
        for fault in [{"lose_answer": True}] + [{"reset": True}] * 12:
            cloud.fault(method="POST", path_contains="/upload/", **fault)
            daemon.process = daemon.launch()
            until(lambda: cloud.faults()["faults"][0]["hits"] > 0, 30, "a claim")
            daemon.kill()
            cloud.clear_faults()
        daemon.start()
        daemon.post_ok(body(100, 100))
        daemon.flush()
        equal(archived(cloud), list(range(200)), "events")
        equal(daemon.status()["owner"], {"state": "held", "text": ""}, "owner")
        daemon.stop()


sys.exit(run_tests([test_wiped, test_parts_wiped, test_older_copy, test_copied, test_cloned, test_other_machine,
                    test_bucket_changes, test_older_backup, test_same_node, test_bucket_away,
                    test_killed_while_claiming]))
