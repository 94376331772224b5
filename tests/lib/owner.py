"""DATA_DIR/owner, as tests read and change it: what a clone of a whole disk or machine looks like."""
import os
import re

SLOT = 4096


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read(data_dir):
    """The newer slot as {key: text}."""
    with open(os.path.join(data_dir, "owner"), "rb") as file:
        data = file.read()
    found = []
    for at in (0, SLOT):
        text = data[at:at + SLOT].rstrip(b"\0").decode()
        if text.startswith("penstock-owner 1\n"):
            found.append(dict(line.split(" ", 1) for line in text.splitlines()[1:]))
    return max(found, key=lambda record: int(record["seq"]))


def change(data_dir, **changes):
    """Writes it with some values changed."""
    record = read(data_dir)
    record.update({key: str(value) for key, value in changes.items()})
    record["seq"] = str(int(record["seq"]) + 1)
    record.pop("check")
    text = "penstock-owner 1\n" + "".join(f"{key} {value}\n" for key, value in record.items())
    text += f"check {crc32c(text.encode()):08x}\n"
    with open(os.path.join(data_dir, "owner"), "r+b") as file:
        file.seek(int(record["seq"]) % 2 * SLOT)
        file.write(text.encode().ljust(SLOT, b"\0"))


def as_cloned(data_dir):
    """A copied folder as if its whole disk had been cloned: the file is where it was."""
    change(data_dir, inode=os.stat(os.path.join(data_dir, "owner")).st_ino, born=0)


def as_of_another_machine(data_dir, machine="f" * 32):
    """As if the disk had been in another machine before."""
    change(data_dir, machine=machine)
    journals = os.path.join(data_dir, "journal")
    for name in os.listdir(journals):
        meta = os.path.join(journals, name, "meta")
        with open(meta, encoding="ascii") as file:
            text = file.read()
        with open(meta, "w", encoding="ascii") as file:
            file.write(re.sub(r"^machine .*$", f"machine {machine}", text, flags=re.M))
