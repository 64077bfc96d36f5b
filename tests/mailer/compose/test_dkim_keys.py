"""DKIM keys: each in its file, for this account only, refused with a sentence when it is unsafe."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput, BadSettings, Conflict, StorageError
from mailer.compose import dkim_keys
from mailer.compose.dkim_keys import DkimKey, describe_difference

DOMAIN = "campaign.example.org"
LOCKED = BestAvailableEncryption(b"sesame")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "dkim"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[DkimKey, ...]:
    folder = tmp_path_factory.mktemp("secrets") / "dkim"
    for kind in dkim_keys.KINDS:
        dkim_keys.generate(folder, domain=DOMAIN, name=f"{kind}-1", kind=kind)
    return dkim_keys.load(folder, domains=[DOMAIN])


def pem(key, form=PrivateFormat.PKCS8, lock=None) -> bytes:
    return key.private_bytes(Encoding.PEM, form, lock or NoEncryption())


def write_key(
    directory: Path, octets: bytes, *, domain: str = DOMAIN, name: str = "k1.pem", mode: int = 0o600
) -> Path:
    path = directory / domain / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def load_refusal(directory: Path, domains: tuple[str, ...] = (DOMAIN,)) -> str:
    with pytest.raises(BadSettings) as refused:
        dkim_keys.load(directory, domains=domains)
    return "\n".join(refused.value.mistakes)


def test_no_folder_and_other_files_are_no_keys(directory: Path) -> None:
    assert dkim_keys.load(directory, domains=[DOMAIN]) == ()
    for name in ("README", "k1.txt", ".k1.123.unfinished", ".k1.pem"):
        write_key(directory, b"nothing", name=name, mode=0o644)
    assert dkim_keys.load(directory, domains=[DOMAIN]) == ()


def test_a_key_is_made_once_for_this_account_only_and_read_again(directory: Path) -> None:
    key = dkim_keys.generate(directory, domain=DOMAIN, name="s1", kind="ed25519")
    path = directory / DOMAIN / "s1.pem"
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_nlink == 1
    assert {folder.stat().st_mode & 0o777 for folder in (directory, path.parent)} == {0o700}
    assert [path_entry.name for path_entry in path.parent.iterdir()] == ["s1.pem"]
    before = path.read_bytes()
    with pytest.raises(Conflict, match="--selector"):
        dkim_keys.generate(directory, domain=DOMAIN, name="s1", kind="ed25519")
    assert path.read_bytes() == before
    assert dkim_keys.load(directory, domains=[DOMAIN]) == (key,)


def test_keys_stand_by_domain_and_rsa_first(pair) -> None:
    assert [(key.name, key.kind, key.bits) for key in pair] == [
        ("rsa-1", "rsa", 2048),
        ("ed25519-1", "ed25519", 256),
    ]


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../x", "a/b", "a..b", "é", "x" * 64, "a\n"])
def test_a_name_that_cannot_be_a_selector_is_refused(directory: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be a selector"):
        dkim_keys.generate(directory, domain=DOMAIN, name=name, kind="ed25519")
    assert not directory.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_key_open_to_others_is_refused_with_the_command_that_closes_it(directory: Path, mode: int) -> None:
    path = write_key(directory, pem(ed25519.Ed25519PrivateKey.generate()), mode=mode)
    assert f"run: chmod 600 {path}" in load_refusal(directory)


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"", "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VzYW1l\n-----END PRIVATE KEY-----\n", "damaged"),
        (pem(ed25519.Ed25519PrivateKey.generate())[:-40], "damaged"),
        (pem(rsa.generate_private_key(65537, 2048)).replace(b"A", b"B", 40), "damaged"),
        (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "damaged or no private key",
        ),
        (b"\x00\xff" * 100_000, "damaged"),
        (pem(ed25519.Ed25519PrivateKey.generate(), lock=LOCKED), "locked with a password"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither an rsa nor an ed25519 key"),
        (pem(rsa.generate_private_key(65537, 1024)), "has 1024 bits"),
    ],
    ids=lambda parameter: parameter if isinstance(parameter, str) else "",
)  # fmt: skip
def test_a_key_of_the_wrong_form_is_refused_and_not_shown(
    directory: Path, octets: bytes, sentence: str
) -> None:
    path = write_key(directory, octets)
    message = load_refusal(directory)
    assert message.startswith(str(path)) and sentence in message and message.endswith((".", DOMAIN))
    assert "PRIVATE" not in message and "c2VzYW1l" not in message


def test_a_key_too_long_for_receivers_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(directory, pem(rsa.generate_private_key(65537, 3072)))
    assert dkim_keys.load(directory, domains=[DOMAIN])[0].bits == 3072
    monkeypatch.setattr(dkim_keys, "MAX_RSA_BITS", 2048)
    assert "3072 bits" in load_refusal(directory)


def test_the_older_form_of_an_rsa_key_is_read_too(directory: Path) -> None:
    write_key(directory, pem(rsa.generate_private_key(65537, 2048), PrivateFormat.TraditionalOpenSSL))
    assert dkim_keys.load(directory, domains=[DOMAIN])[0].kind == "rsa"


def test_misplaced_and_misnamed_keys_are_told_all_at_once(directory: Path) -> None:
    key = pem(ed25519.Ed25519PrivateKey.generate())
    write_key(directory, key, domain="elsewhere.example")
    write_key(directory, key, name="UPPER.pem")
    (directory / "stray.pem").write_bytes(key)
    (directory / DOMAIN / "folder.pem").mkdir()
    message = load_refusal(directory)
    assert "elsewhere.example, which sending_domains does not name" in message
    assert "not named like a selector" in message
    assert "stray.pem belongs into a folder named like its domain" in message
    assert "folder.pem is not a file" in message
    assert len(message.splitlines()) == 4


def test_more_keys_than_anybody_needs_are_neither_made_nor_used(directory: Path) -> None:
    for number in range(dkim_keys.MAX_SELECTORS):
        dkim_keys.generate(directory, domain=DOMAIN, name=f"k{number}", kind="ed25519")
    with pytest.raises(Conflict, match="4 keys already"):
        dkim_keys.generate(directory, domain=DOMAIN, name="k9", kind="ed25519")
    assert len(dkim_keys.load(directory, domains=[DOMAIN])) == 4
    write_key(directory, pem(ed25519.Ed25519PrivateKey.generate()), name="k9.pem")
    assert "keep at most 4" in load_refusal(directory)


def test_a_folder_that_cannot_be_written_is_trouble_with_storage(directory: Path) -> None:
    directory.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        dkim_keys.generate(directory, domain=DOMAIN, name="s1", kind="ed25519")


def test_a_key_is_never_shown(pair) -> None:
    assert all("PrivateKey" not in repr(key) for key in pair)


def test_the_record_is_cut_into_strings_the_dns_can_hold(pair) -> None:
    for key in pair:
        assert "".join(key.strings) == key.record == f"v=DKIM1; k={key.kind}; p={key.public_key}"
        assert max(map(len, key.strings)) <= 255
    assert len(pair[0].strings) == 2 and len(pair[1].public_key) == 44


def list_answers(key: DkimKey) -> list[str]:
    """Return the forms that people copy: the value, output of dig, a zone file, escaped characters."""
    quoted = " ".join(f'"{string}"' for string in key.strings)
    return [
        key.record,
        quoted,
        f"{key.record_name}. 300 IN TXT {quoted}\n",
        f"{key.record_name}. IN TXT (\n  {quoted.replace(' ', chr(10), 1)} )\n",
        quoted.replace(";", "\\;"),
        f'"v=spf1 -all"\n{quoted}\n',
        key.record.replace("k=rsa; ", ""),
        key.record.replace("; ", ";").replace("p=", "p= "),
    ]


@pytest.mark.parametrize("form", range(8))
def test_what_the_dns_answers_is_recognized(pair, form: int) -> None:
    for key in pair:
        other = next(candidate for candidate in pair if candidate is not key)
        assert describe_difference(key, list_answers(key)[form]) == ""
        assert describe_difference(other, list_answers(key)[form])


def test_what_is_wrong_with_a_record_is_said(pair) -> None:
    first, second = pair
    assert describe_difference(first, "") == "there is no DKIM record in it"
    assert describe_difference(first, f'"{first.strings[0]}"').startswith("the record ends after ")
    assert "withdraws" in describe_difference(first, "v=DKIM1; k=rsa; p=")
    assert "another key" in describe_difference(first, second.record)
    assert "does not say k=ed25519" in describe_difference(second, f"v=DKIM1; p={second.public_key}")


@given(st.text(alphabet='v=DKIM1;p"()\\ \nabc') | st.text())
def test_nothing_the_dns_says_can_raise(pair, text: str) -> None:
    assert describe_difference(pair[0], text)
