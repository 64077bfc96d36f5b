"""Postfix peer: a real Postfix in a temporary folder, on free ports, without changes to the system.

It accepts mail only over TLS and after a login (Cyrus SASL with a separate database), delivers to a Maildir
for each configured person, refuses all other recipients, and sends no mail elsewhere.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.certificates import Authority

LOGIN, PASSWORD = "campaign@lists.example", "open sesame/&?#"
NEEDED = {"postfix": "postfix", "saslpasswd2": "sasl2-bin libsasl2-modules", "openssl": "openssl"}
ADDED = ("return-path", "x-original-to", "delivered-to", "received")
SECONDS = 20.0

MAIN = """
compatibility_level = 3.6
myhostname = mail.peer.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.2/32
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log/mail.log
maillog_file_prefixes = {root}
alias_maps =
local_transport = error:this Postfix delivers to its test mailboxes only
default_transport = error:this Postfix sends nothing anywhere
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
message_size_limit = 1000000
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_authenticated_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {root}/etc/sasl
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""

# Debian's Postfix reads it from the folder "sasl" beside main.cf and ignores cyrus_sasl_config_path.
SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {root}/etc/sasl/sasldb2
mech_list: PLAIN LOGIN
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, kw_only=True)
class Postfix:
    """A running Postfix: `port` is for STARTTLS, `implicit` for TLS at once; `authority` signs for both."""

    root: Path
    port: int
    implicit: int
    authority: Authority

    def url(self, *, password: str = "open%20sesame%2F%26%3F%23", scheme: str = "smtp") -> str:
        """Return the relay's address for the settings; the certificate is verified."""
        port = self.implicit if scheme == "smtps" else self.port
        login = LOGIN.replace("@", "%40")
        return f"{scheme}://{login}:{password}@localhost:{port}?ca_file={self.authority.certificate}"

    def mailbox(self, address: str) -> list[bytes]:
        """Return every message delivered to this person, oldest first, as Postfix wrote it (LF line ends)."""
        new = self.root / "mail" / address / "new"
        return [path.read_bytes() for path in sorted(new.glob("*"), key=lambda path: path.stat().st_mtime_ns)]

    def wait_for(self, address: str, *, messages: int = 1) -> list[bytes]:
        """Return the mailbox once it holds so many messages."""
        end = time.monotonic() + SECONDS
        while len(messages_read := self.mailbox(address)) < messages:
            if time.monotonic() > end:
                raise AssertionError(f"{address} has {len(messages_read)} messages\n{self.log()}")
            time.sleep(0.02)
        return messages_read

    def log(self) -> str:
        """Return the log of Postfix, for the message of a failed test."""
        log = self.root / "log" / "mail.log"
        return log.read_text(errors="replace") if log.exists() else ""


def as_sent(stored: bytes) -> bytes:
    """Return a delivered message without the headers that Postfix added before it, with CRLF again."""
    lines = stored.split(b"\n")
    while lines[0][:1] in (b" ", b"\t") or lines[0].partition(b":")[0].decode().lower() in ADDED:
        del lines[0]
    return b"\r\n".join(lines)


def require() -> None:
    """Skip where Postfix cannot be started; fail where no test may be skipped."""
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    reason = f"apt install {' '.join(missing)}" if missing else "run as root" if os.geteuid() else ""
    if reason:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"a real Postfix cannot be started: {reason}")


@contextmanager
def postfix(*people: str) -> Iterator[Postfix]:
    """Run a Postfix with a mailbox for each of these people."""
    require()
    root = Path(tempfile.mkdtemp(prefix="postfix-"))
    try:
        root.chmod(0o755)
        server = _lay_out(root, people)
        _postfix(root, "start")
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            _postfix(root, "stop")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _lay_out(root: Path, people: tuple[str, ...]) -> Postfix:
    nobody, owner = pwd.getpwnam("nobody"), pwd.getpwnam("postfix")
    for name in ("etc", "queue", "data", "mail", "log", "etc/sasl"):
        (root / name).mkdir()
    os.chown(root / "data", owner.pw_uid, owner.pw_gid)
    os.chown(root / "mail", nobody.pw_uid, nobody.pw_gid)
    authority = Authority(root / "authority")
    certificate, key = authority.issue("localhost")
    port, implicit = _free_ports(2)
    text = MAIN.format(
        root=root,
        domains=" ".join(sorted({address.partition("@")[2] for address in (*people, "cleo@left.example")})),
        mailboxes=", ".join(f"{{{address} = {address}/}}" for address in people),
        uid=nobody.pw_uid,
        gid=nobody.pw_gid,
        certificate=certificate,
        key=key,
    )
    (root / "etc" / "main.cf").write_text(text)
    (root / "etc" / "master.cf").write_text(MASTER.format(port=port, implicit=implicit))
    (root / "etc" / "sasl" / "smtpd.conf").write_text(SASL.format(root=root))
    user, _, realm = LOGIN.partition("@")
    database = root / "etc" / "sasl" / "sasldb2"
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-f", str(database), "-u", realm, user],
        input=PASSWORD.encode(),
        check=True,
        capture_output=True,
    )
    os.chown(database, owner.pw_uid, owner.pw_gid)
    return Postfix(root=root, port=port, implicit=implicit, authority=authority)


def _postfix(root: Path, verb: str) -> None:
    process = subprocess.run(
        ["postfix", "-c", str(root / "etc"), verb], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr


def _wait_until_it_answers(postfix: Postfix) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", postfix.port), timeout=SECONDS) as line:
                assert line.recv(100).startswith(b"220 ")
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
