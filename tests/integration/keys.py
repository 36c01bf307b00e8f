"""Certificates for tests of TLS."""

import subprocess


def make(folder, openssl):
    """An authority, a node and a scanner it knows, a host of another name, and a stranger who signed himself."""

    def issue(name, *more):
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        address = ["-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2"]
        command = [openssl, "req", "-x509", *new, *files, *(more or address)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    issue("authority", "-addext", "basicConstraints=critical,CA:TRUE")
    issue("stranger")
    signed = ["-CA", "authority.pem", "-CAkey", "authority.key", "-addext", "subjectAltName=IP:127.0.0.1"]
    issue("node", *signed)
    issue("scanner", *signed)
    issue("elsewhere", *signed[:-1], "subjectAltName=DNS:pacs.example")
    return folder
