"""DKIM signatures verify for receivers that follow the standard, and for no message that was altered."""

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from dkim import rfc822_parse
from dkim.canonicalization import Relaxed
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.compose import dkim, dkim_keys, mime
from mailer.compose.dkim import Signer, canonicalize_body, canonicalize_headers
from mailer.compose.dkim_keys import DkimKey
from mailer.compose.mime import MimeMessage
from tests.dkim import dns, results, verified

AT = datetime(2026, 10, 20, 15, 0, tzinfo=UTC)
DOMAIN = "campaign.example.org"
HEAD = f"From: Restoring Trust <news@{DOMAIN}>\r\nTo: ana@stmark.example.org\r\nSubject: Hello\r\n".encode()
CALENDAR = b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[DkimKey, ...]:
    directory = tmp_path_factory.mktemp("home") / "dkim"
    dkim_keys.generate(directory, domain=DOMAIN, name="e1", kind="ed25519")
    dkim_keys.generate(directory, domain=DOMAIN, name="r1", kind="rsa")
    return dkim_keys.load(directory, domains=[DOMAIN])


def build_message(**changes) -> MimeMessage:
    values = {
        "message_id": f"<1.abc@{DOMAIN}>",
        "date": AT,
        "sender": ("Restoring Trust, “la campaña”", f"news@{DOMAIN}"),
        "to": ("Ben", "ben@vecinos.example.org"),
        "subject": "Una novedad de la campaña, con un asunto que no cabe en una sola línea de la cabecera",
        "text": "Estimado Ben:\n\n.\n..\n.una línea con punto   y blancos  \n\n\n",
        "html": "<p>Estimado <b>Ben</b></p>\n",
        "reply_to": f"office@{DOMAIN}",
        "list_id": ("Restoring Trust", f"interest.{DOMAIN}"),
        "unsubscribe_url": f"https://{DOMAIN}/leave/" + "x" * 60,
        "help_url": f"https://{DOMAIN}/",
        "owner": f"office@{DOMAIN}",
    }
    return MimeMessage(**{**values, **changes})


def list_signed_names(message: bytes) -> list[str]:
    """Return the names in h= of the first signature."""
    tag = re.search(rb"h=([^;]*);", message.replace(b"\r\n ", b""))
    return tag[1].decode().split(":")


def test_both_signatures_of_every_kind_of_letter_are_accepted(pair) -> None:
    for message in (
        build_message(),
        build_message(calendar=CALENDAR),
        build_message(list_id=None, unsubscribe_url=None),
    ):
        signed = Signer(keys=pair).sign(mime.encode(message), at=AT)
        assert verified(signed, dns(pair)) == [True, True]


def test_a_receiver_sees_dkim_and_dmarc_pass_for_the_domain_in_from(pair) -> None:
    resolver = dns(pair, **{f"_dmarc__{DOMAIN.replace('.', '__')}": "v=DMARC1; p=reject; adkim=s"})
    signed = Signer(keys=pair).sign(mime.encode(build_message()), at=AT)
    header = results(signed, resolver)
    assert "dkim=pass" in header and f"header.d={DOMAIN}" in header and "dmarc=pass" in header
    altered = results(signed.replace(b"Estimado Ben", b"Estimada Ben", 1), resolver)
    assert "dkim=fail" in altered and "dmarc=fail" in altered


def test_what_people_see_is_signed_and_cannot_be_added_to(pair) -> None:
    message = mime.encode(build_message())
    signed = Signer(keys=pair).sign(message, at=AT)
    names = list_signed_names(signed)
    present = [name.decode() for name in canonicalize_headers(message.partition(b"\r\n\r\n")[0])]
    assert set(present) <= set(names)
    assert {"list-unsubscribe", "list-unsubscribe-post", "mime-version", "content-type"} <= set(names)
    assert "l=" not in signed.split(b"From:")[0].decode().replace("rel", "")
    for name in ("From", "To", "Cc", "Subject", "Reply-To", "List-Unsubscribe", "Content-Type", "Date"):
        assert verified(f"{name}: x@evil.example\r\n".encode() + signed, dns(pair)) == [False, False]
    assert verified(b"Received: from here by there; now\r\n" + signed, dns(pair)) == [True, True]


def test_the_same_row_gives_the_same_bytes_and_says_its_own_moment(pair) -> None:
    message = mime.encode(build_message())
    first, again = (Signer(keys=pair).sign(message, at=AT) for _ in range(2))
    assert first == again and first.endswith(message)
    assert first.count(f"\r\n t={int(AT.timestamp())};\r\n".encode()) == 2
    assert b" x=" not in first.partition(b"From:")[0]


def test_no_line_of_a_signature_is_longer_than_78(pair) -> None:
    signed = Signer(keys=pair).sign(mime.encode(build_message()), at=AT)
    signatures = signed[: signed.index(b"\r\nFrom:")]
    assert max(map(len, signatures.split(b"\r\n"))) <= 78
    assert signatures.isascii() and b"\n" not in signatures.replace(b"\r\n", b"")


def test_rsa_comes_first_because_more_receivers_read_it(pair) -> None:
    signed = Signer(keys=pair).sign(mime.encode(build_message()), at=AT)
    assert re.findall(rb"a=([a-z0-9-]+);", signed) == [b"rsa-sha256", b"ed25519-sha256"]


def test_without_a_key_for_its_domain_a_message_stays_as_it_is(pair) -> None:
    message = mime.encode(build_message(sender=("Somebody", "x@other.example")))
    assert Signer(keys=pair).sign(message, at=AT) is message
    assert Signer().sign(message, at=AT) is message
    lookalike = mime.encode(build_message(sender=(f"news@{DOMAIN}", f"x@sub.{DOMAIN}")))
    assert Signer(keys=pair).sign(lookalike, at=AT) is lookalike


def test_each_domain_signs_with_its_own_keys(pair, tmp_path: Path) -> None:
    dkim_keys.generate(tmp_path, domain="other.example", name="o1", kind="ed25519")
    keys = [*pair, *dkim_keys.load(tmp_path, domains=["other.example"])]
    message = mime.encode(build_message(sender=("Somebody", "x@OTHER.example")))
    signed = Signer(keys=keys).sign(message, at=AT)
    assert signed.count(b"DKIM-Signature:") == 1 and b" d=other.example;" in signed
    assert verified(signed, dns(keys)) == [True]


def test_while_a_key_is_replaced_old_and_new_sign_and_either_record_is_enough(pair, tmp_path: Path) -> None:
    dkim_keys.generate(tmp_path, domain=DOMAIN, name="r2", kind="rsa")
    new = dkim_keys.load(tmp_path, domains=[DOMAIN])
    signed = Signer(keys=[pair[0], *new]).sign(mime.encode(build_message()), at=AT)
    assert verified(signed, dns(pair)) == [True, False]
    assert verified(signed, dns(new)) == [False, True]


def test_a_message_without_crlf_is_refused(pair) -> None:
    with pytest.raises(BadInput, match="CRLF"):
        Signer(keys=pair).sign(mime.encode(build_message()).replace(b"\r\n", b"\n"), at=AT)


def test_what_we_write_never_holds_a_bare_line_break() -> None:
    text = "one\rtwo\r\nthree\n\r four \r\r\n\n"
    message = mime.encode(build_message(text=text, html=text, calendar=CALENDAR))
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", message)


@pytest.mark.parametrize(
    "body",
    [b"", b"\r\n", b"\r\n\r\n\r\n", b" \t\r\n\r\n", b"x", b"x \t \r\n \t\r\n\r\n", b".\r\n..\r\n.x\r\n",
     b"\xff\xfe\x00\x80  \x80\r\n", "días  y\tnoches\r\n".encode(), b"x\r\n" * 999,
     b" " * 999 + b"x\r\n"],
)  # fmt: skip
def test_every_body_is_accepted_as_it_arrives(pair, body: bytes) -> None:
    signed = Signer(keys=pair).sign(HEAD + b"\r\n" + body, at=AT)
    assert verified(signed, dns(pair)) == [True, True]


bodies = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"=", b".", b"\xff", b"\x0b", b"  \r\n"])).map(
    b"".join
)
values = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b"B", b":", b";", "é".encode(), b"  "])
).map(b"".join)
names = st.sampled_from([b"From", b"to", b"SUBJECT", b"X-Other", b"List-Unsubscribe", b"Date"])


@given(bodies)
def test_bodies_are_relaxed_as_another_library_does_it(body: bytes) -> None:
    body += b"\r\n" if body[-1:] in (b" ", b"\t") else b""  # dkimpy leaves blanks at an end without CRLF
    assert canonicalize_body(body) == Relaxed.canonicalize_body(body)


@given(st.lists(st.tuples(names, values), min_size=1))
def test_headers_are_relaxed_as_another_library_does_it(fields: list[tuple[bytes, bytes]]) -> None:
    head = b"\r\n".join(name + b":" + value for name, value in fields)
    expected: dict[bytes, list[bytes]] = {}
    for name, value in Relaxed.canonicalize_headers(rfc822_parse(head + b"\r\n\r\n")[0]):
        expected.setdefault(name, []).append(value.removesuffix(b"\r\n"))
    assert canonicalize_headers(head) == expected


@given(st.lists(st.tuples(names, values), max_size=6), bodies)
def test_any_head_and_body_is_accepted_by_another_library(
    pair, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    fields = [field for field in fields if field[0] != b"From"]
    head = b"".join(name + b":" + value + b"\r\n" for name, value in fields)
    signed = Signer(keys=pair).sign(HEAD.partition(b"\n")[0] + b"\n" + head + b"\r\n" + body, at=AT)
    ends = b"" if body.endswith(b"\r\n") or not body else b"\r\n"  # as SMTP would end it
    assert verified(signed + ends, dns(pair)) == [True, True]


MESSAGE = mime.encode(build_message())
PLACES = [at for at, octet in enumerate(MESSAGE) if octet not in b" \t\r\n"]


@given(st.sampled_from(PLACES), st.integers(0x21, 0xFF))
@example(0, ord("X"))
@example(PLACES[-1], ord("x"))
def test_one_altered_byte_anywhere_is_refused(pair, at: int, octet: int) -> None:
    altered = bytearray(MESSAGE)
    altered[at] = octet
    assume(bytes(altered).lower() != MESSAGE.lower())  # in the name of a header, case means nothing
    signed = Signer(keys=pair).sign(MESSAGE, at=AT)
    assert verified(signed.replace(MESSAGE, bytes(altered)), dns(pair)) == [False, False]


def test_a_million_blanks_take_no_longer_than_a_million_letters() -> None:
    assert canonicalize_body(b" " * 1_000_000 + b"x\r\n") == b" x\r\n"
    assert canonicalize_body((b"x" + b" " * 1_000) * 1_000) == b" ".join([b"x"] * 1_000) + b"\r\n"


VECTOR = Path(__file__).with_name("rfc8463.eml").read_bytes().replace(b"\n", b"\r\n")
SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RSA_RECORD = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/b"
    "yYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l"
    "/K4w3QIDAQAB"
)


def parse_vector(kind: str) -> tuple[bytes, bytes, bytes]:
    """Return, of a signature of RFC 8463, appendix A: the signed octets, the signature, and the body."""
    head, _, body = VECTOR.partition(b"\r\n\r\n")
    header = next(line for line in re.split(rb"\r\n(?=\S)", head) if f"a={kind}".encode() in line)
    value = b"".join(header.split())
    fields = canonicalize_headers(head)
    signed_names = re.search(rb"h=([^;]*);", value)[1].split(b":")
    signed = b"".join(name + b":" + fields[name].pop() + b"\r\n" for name in signed_names if fields.get(name))
    [(name, [unsigned])] = canonicalize_headers(re.sub(rb"(\sb=)[^;]*$", rb"\1", header)).items()
    signed += name + b":" + unsigned
    assert b64encode(sha256(canonicalize_body(body)).digest()) == re.search(rb"bh=([^;]*);", value)[1]
    return signed, b64decode(re.search(rb";b=(.*)$", value)[1]), body


def test_the_published_example_of_ed25519_comes_out_to_the_byte() -> None:
    signed, signature, _ = parse_vector("ed25519-sha256")
    key = Ed25519PrivateKey.from_private_bytes(b64decode(SEED))
    dkim_key = DkimKey(
        domain="football.example.com", name="brisbane", kind="ed25519", bits=256, public_key="", key=key
    )
    assert dkim_key.sign(sha256(signed).digest()) == signature


def test_the_published_example_of_rsa_is_accepted_over_our_octets() -> None:
    signed, signature, _ = parse_vector("rsa-sha256")
    key = load_der_public_key(b64decode(RSA_RECORD))
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, signed, PKCS1v15(), SHA256())


def test_what_is_missing_is_told_with_the_command_that_mends_it(pair) -> None:
    assert dkim.describe_missing_keys(pair, domain=DOMAIN) == ""
    assert f"mailer dkim keygen {DOMAIN}" in dkim.describe_missing_keys([], domain=DOMAIN)
    assert "only an ed25519 key" in dkim.describe_missing_keys(pair[1:], domain=DOMAIN)
