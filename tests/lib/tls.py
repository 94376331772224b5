"""Certificates for tests, by the openssl command: an authority, and what it signs."""
import os
import socket
import ssl
import subprocess

from penstock import expect


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, timeout=60)
    expect(done.returncode == 0, "openssl", arguments[0], done.stderr.decode()[-300:])


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name):
        self.folder, self.name, self.serial = folder, name, 1
        os.makedirs(folder, exist_ok=True)
        self.certificate, self.key = self.file(f"{name}.pem"), self.file(f"{name}.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    def file(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, rsa=False, days=30):
        """Makes a key and a certificate for 127.0.0.1; returns their files."""
        key, request, certificate = (self.file(f"{name}.{end}") for end in ("key", "csr", "pem"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.file("san")
        with open(extensions, "w") as file:
            file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.serial += 1
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-set_serial",
                str(self.serial), "-days", str(days), "-extfile", extensions, "-out", certificate)
        return certificate, key


def client(authority, own=None, oldest=None, newest=None):
    """A client's settings: trusts authority, and shows own = (certificate, key)."""
    context = ssl.create_default_context(cafile=authority.certificate)
    if own:
        context.load_cert_chain(*own)
    if oldest:
        context.minimum_version = oldest
    if newest:
        context.maximum_version = newest
    return context


def connect(port, context):
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")
