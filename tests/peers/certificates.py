"""Certificates: a certificate authority for tests, created with openssl in a temporary folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DAYS = "3"


def openssl(*words: str) -> None:
    if shutil.which("openssl") is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("openssl is not installed: apt install openssl")
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Authority:
    """Signs certificates for test servers; `certificate` is the file that clients must trust."""

    def __init__(self, folder: Path, *, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate, self.key = folder / "authority.pem", folder / "authority.key"
        subject = f"/CN={name}"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", DAYS, "-subj", subject, "-keyout", str(self.key), "-out", str(self.certificate)),
        )

    def issue(self, host: str = "localhost") -> tuple[Path, Path]:
        """Return a server's (certificate, key) for this host name."""
        request, key = self.folder / f"{host}.csr", self.folder / f"{host}.key"
        certificate, extension = self.folder / f"{host}.pem", self.folder / f"{host}.ext"
        extension.write_text(f"subjectAltName=DNS:{host}\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={host}", "-keyout", str(key), "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-days", DAYS, "-in", str(request), "-out", str(certificate)),
            *("-CA", str(self.certificate), "-CAkey", str(self.key), "-CAcreateserial"),
            *("-extfile", str(extension)),
        )
        return certificate, key
