"""DKIM keys: the keys a domain signs its mail with, and the DNS records that publish them.

A key is the file `<home>/secrets/dkim/<domain>/<selector>.pem` (PKCS 8 or PKCS 1, mode 600). Every key in a
domain's folder signs, so a new one is added beside the old one until its record has spread everywhere. Only
this module touches private keys; each is read once and never shown.
"""

import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from lists.errors import BadInput, BadSettings, Conflict, StorageError
from mailer.directory_sync import sync_directory

KINDS = ("rsa", "ed25519")
RSA_BITS, MIN_RSA_BITS, MAX_RSA_BITS = 2048, 2048, 4096  # what every receiver must be able to verify
MAX_SELECTORS = 4  # of one domain: two kinds, each old and new
MAX_FILE = 64 * 1024
MAX_NAME = 253  # octets of a DNS name
TXT_STRING_OCTETS = 255  # octets of one string in a TXT record
SUFFIX = ".pem"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PADDING, _HASH = PKCS1v15(), Prehashed(SHA256())


@dataclass(frozen=True, kw_only=True)
class DkimKey:
    """One key of one domain: `kind` is rsa or ed25519, `bits` the key's length, `public_key` its `p=`."""

    domain: str
    name: str
    kind: str
    bits: int
    public_key: str
    key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest (RFC 8017 PKCS1-v1_5, or RFC 8463); the same digest gives the same bytes."""
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, _PADDING, _HASH)
        return self.key.sign(digest)

    @property
    def record_name(self) -> str:
        """Return the DNS name of the record."""
        return f"{self.name}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """Return the value of the TXT record (RFC 6376, 3.6.1)."""
        return f"v=DKIM1; k={self.kind}; p={self.public_key}"

    @property
    def strings(self) -> tuple[str, ...]:
        """Return the record's value in the strings that make up a TXT record, at most 255 octets each."""
        return tuple(
            self.record[at : at + TXT_STRING_OCTETS] for at in range(0, len(self.record), TXT_STRING_OCTETS)
        )


def folder(home: Path) -> Path:
    """Return the directory of the keys; it has a folder for each domain."""
    return home / "secrets" / "dkim"


def load(directory: Path, *, domains: Sequence[str]) -> tuple[DkimKey, ...]:
    """Return every key, by domain, rsa first; no folder means no key.

    Raises BadSettings, which names each file that cannot be used: open to others, damaged, too short, or of a
    domain that is not among `domains`.
    """
    keys: list[DkimKey] = []
    mistakes: list[str] = []
    for path in _find_key_files(directory, mistakes):
        domain = path.parent.name
        if domain not in domains:
            mistakes.append(
                f"{path} is a key for {domain}, which sending_domains does not name;"
                f" add {domain} there, or take the file away."
            )
            continue
        try:
            keys.append(_read_key(path))
        except BadInput as error:
            mistakes.append(str(error))
    counts = Counter(key.domain for key in keys)
    mistakes += [
        f"{directory / domain} holds {count} keys, and all would sign each mail;"
        f" keep at most {MAX_SELECTORS}."
        for domain, count in counts.items()
        if count > MAX_SELECTORS
    ]
    if mistakes:
        raise BadSettings(mistakes)
    return tuple(sorted(keys, key=lambda key: (key.domain, KINDS.index(key.kind), key.name)))


def generate(directory: Path, *, domain: str, name: str, kind: str) -> DkimKey:
    """Generate a key of `kind` and write its file, complete and synced to disk, or nothing.

    `directory` is the folder of all domains, in a folder that is private already. Raises BadInput for a name
    that cannot be a selector, Conflict when there is such a key, StorageError when it cannot be written.
    """
    if not _SELECTOR.fullmatch(name) or len(f"{name}._domainkey.{domain}") > MAX_NAME:
        raise BadInput(f"“{name[:60]}” cannot be a selector. Write lower-case letters, digits and hyphens.")
    path = directory / domain / f"{name}{SUFFIX}"
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, RSA_BITS)
    unfinished = path.with_name(f".{name}.{os.getpid()}.unfinished")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if sum(map(_is_key_file, path.parent.iterdir())) >= MAX_SELECTORS:
            raise Conflict(f"{path.parent} holds {MAX_SELECTORS} keys already. Take away one not in use.")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(unfinished)  # unlike a rename, this never replaces a key
        finally:
            unfinished.unlink()
        sync_directory(path.parent)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise Conflict(
                f"{path} is there already. Give the new key another name with --selector."
            ) from error
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
    return _build_key(domain, name, key)


def describe_difference(key: DkimKey, published: str) -> str:
    """Return a sentence on how the published record differs from this key's; "" when it does not.

    `published` is any form that people copy: the value, quoted strings, output of dig, lines of a zone file.
    """
    records = [tags for line in _parse_records(published) if "p" in (tags := _parse_tags(line))]
    if any(tags["p"] == key.public_key and tags.get("k", "rsa") == key.kind for tags in records):
        return ""
    if not records:
        return "there is no DKIM record in it"
    if any(tags["p"] == key.public_key for tags in records):
        return f"the record is this key's, but does not say k={key.kind}"
    truncated = [tags["p"] for tags in records if tags["p"] and key.public_key.startswith(tags["p"])]
    if truncated:
        published_length, full_length = len(truncated[0]), len(key.public_key)
        return (
            f"the record ends after {published_length} of {full_length} letters of the key; publish all of it"
        )
    if not any(tags["p"] for tags in records):
        return "the record is empty after p=, which withdraws the key"
    return "the record belongs to another key"


def _find_key_files(directory: Path, mistakes: list[str]) -> Iterator[Path]:
    """Return the key files in order; folders and files with other names are ignored."""
    try:
        for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
            if entry.is_dir():
                yield from sorted(path for path in entry.iterdir() if _is_key_file(path))
            elif _is_key_file(entry):
                mistakes.append(f"{entry} belongs into a folder named like its domain; move it there.")
    except OSError as error:
        mistakes.append(f"{error.filename} cannot be read ({error.strerror}); give it to this account.")


def _is_key_file(path: Path) -> bool:
    return path.suffix == SUFFIX and not path.name.startswith(".")


def _read_key(path: Path) -> DkimKey:
    """Return the key of one file; raises BadInput with the fault of the file and its remedy."""
    name = path.name.removesuffix(SUFFIX)
    if not _SELECTOR.fullmatch(name) or len(f"{name}._domainkey.{path.parent.name}") > MAX_NAME:
        raise BadInput(f"{path} is not named like a selector; use lower-case letters, digits and hyphens.")
    try:
        if not path.is_file():
            raise BadInput(f"{path} is not a file; put the key there, or take it away.")
        if path.stat().st_mode & 0o077:
            raise BadInput(f"{path} is open to others on this machine; run: chmod 600 {path}")
        with path.open("rb") as file:
            pem = file.read(MAX_FILE)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}); give it to this account, mode 600."
        ) from error
    try:
        private_key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadInput(f"{path} is locked with a password; write the key without one, mode 600.") from None
    except (ValueError, UnsupportedAlgorithm):
        # Without the cause: a parser's message about a key may quote it.
        raise BadInput(
            f"{path} is damaged or no private key; put it back from a backup, or make a new one"
            f" under another name with: mailer dkim keygen {path.parent.name}"
        ) from None
    if not isinstance(private_key, RSAPrivateKey | Ed25519PrivateKey):
        raise BadInput(f"{path} is neither an rsa nor an ed25519 key; take it away and make a new one.")
    key = _build_key(path.parent.name, name, private_key)
    if key.kind == "rsa" and key.bits < MIN_RSA_BITS:
        raise BadInput(f"{path} has {key.bits} bits; receivers want {MIN_RSA_BITS}. Make a new one.")
    if key.bits > MAX_RSA_BITS:
        raise BadInput(f"{path} has {key.bits} bits; many receivers read no more than {MAX_RSA_BITS}.")
    return key


def _build_key(domain: str, name: str, key: RSAPrivateKey | Ed25519PrivateKey) -> DkimKey:
    public_key = key.public_key()
    if isinstance(key, RSAPrivateKey):
        kind, bits = "rsa", key.key_size
        octets = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, bits = "ed25519", 256
        octets = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return DkimKey(
        domain=domain, name=name, kind=kind, bits=bits, public_key=b64encode(octets).decode(), key=key
    )


def _parse_records(published: str) -> list[str]:
    """Return the records' values: brackets joined, quoted strings concatenated, escapes decoded."""
    joined = re.sub(r"\([^()]*\)", lambda match: " ".join(match[0][1:-1].split()), published)
    values = []
    for line in joined.splitlines():
        quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
        values.append(re.sub(r"\\(.)", r"\1", "".join(quoted) if quoted else line))
    return values


def _parse_tags(record: str) -> dict[str, str]:
    """Return the tags of a record (RFC 6376, 3.2), without the blanks within values."""
    parts = (part.partition("=") for part in record.split(";"))
    return {name.strip(): "".join(value.split()) for name, equals, value in parts if equals}
