"""An encrypted stream can be read only with the passphrase, and only if no octet was changed."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.backup import encryption
from mailer.backup.encryption import CHUNK_OCTETS, HEADER, TAG_OCTETS, Decryptor, Encryptor

PASSPHRASE = b"five plain words in a row"
QUICK = (4, 8, 1)
ENCRYPTED_CHUNK = CHUNK_OCTETS + TAG_OCTETS


def encrypt(data: bytes) -> bytes:
    file = io.BytesIO()
    encryptor = Encryptor(file, PASSPHRASE, hardness=QUICK)
    encryptor.write(data)
    encryptor.close()
    return file.getvalue()


def decrypt(data: bytes, *, passphrase: bytes = PASSPHRASE) -> bytes:
    reader, plain = Decryptor(io.BytesIO(data), passphrase), b""
    while part := reader.read(100_000):
        plain += part
    return plain


@pytest.mark.parametrize(
    "length", [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 3 * CHUNK_OCTETS, 3 * CHUNK_OCTETS + 7]
)
def test_what_was_sealed_is_read_again(length: int) -> None:
    data = bytes(range(256)) * (length // 256 + 1)
    assert decrypt(encrypt(data[:length])) == data[:length]


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(BadInput, match="The passphrase is not the right one"):
        decrypt(encrypt(b"Ana"), passphrase=b"five plain words in a rov")


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_changed_octet_anywhere_is_noticed(place: int, change: int) -> None:
    data = bytearray(encrypt(b"Ben" * 100))
    data[place % len(data)] ^= change
    with pytest.raises(BadInput):
        decrypt(bytes(data))


@pytest.mark.parametrize(
    "left", [HEADER.size + ENCRYPTED_CHUNK, HEADER.size + ENCRYPTED_CHUNK + 9, HEADER.size, 9]
)
def test_a_file_that_was_cut_short_is_noticed_also_between_two_chunks(left: int) -> None:
    with pytest.raises(BadInput):
        decrypt(encrypt(bytes(2 * CHUNK_OCTETS))[:left])


def test_chunks_that_change_places_or_come_from_another_file_are_noticed() -> None:
    data = encrypt(bytes(3 * CHUNK_OCTETS))
    head, body = data[: HEADER.size], data[HEADER.size :]
    first, second, remaining = (
        body[:ENCRYPTED_CHUNK],
        body[ENCRYPTED_CHUNK : 2 * ENCRYPTED_CHUNK],
        body[2 * ENCRYPTED_CHUNK :],
    )
    other = encrypt(bytes(3 * CHUNK_OCTETS))[HEADER.size :][:ENCRYPTED_CHUNK]
    for forged in (
        second + first + remaining,
        first + remaining,
        first + second + remaining + remaining,
        other + second + remaining,
    ):
        with pytest.raises(BadInput):
            decrypt(head + forged)


def test_a_header_that_asks_for_too_much_memory_is_refused() -> None:
    data = bytearray(encrypt(b"Cleo"))
    data[len(encryption.MAGIC)] = 40
    with pytest.raises(BadInput, match="header is damaged"):
        decrypt(bytes(data))


def test_the_same_twice_looks_different_and_shows_nothing() -> None:
    first, second = encrypt(b"ana@example.org" * 9), encrypt(b"ana@example.org" * 9)
    assert first[HEADER.size :] != second[HEADER.size :]
    assert b"ana@" not in first
