"""Encryption: encrypts a stream under a passphrase, without which it can be neither read nor changed.

scrypt (RFC 7914) derives the key; the stream is cut into chunks, each encrypted by ChaCha20-Poly1305
(RFC 8439) under its number and whether it is the last (the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizár), with the header as associated data. So a changed, swapped, missing or added octet is
detected, and so is a truncated file. Memory is bounded by one chunk, whatever the length.
"""

import os
import struct
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lists.errors import BadInput

MAGIC = b"mailer sealed 1\n"
HEADER = struct.Struct(f"<{len(MAGIC)}sBBB16s")  # magic; scrypt's log2 N, r, p; salt
SCRYPT_COST = (17, 8, 1)  # 128 MiB and about half a second for each guess
MAX_SCRYPT_COST = (20, 16, 4)  # accepted from a file, which another program may have written
SALT_OCTETS, KEY_OCTETS, TAG_OCTETS = 16, 32, 16
CHUNK_OCTETS = 256 * 1024
NONCE = struct.Struct("<QxxxB")  # the chunk's number, and 1 for the last


class Encryptor:
    """Encrypts what is written to it into `file`; without `close` the file reads as incomplete."""

    def __init__(
        self, file: BinaryIO, passphrase: bytes, *, hardness: tuple[int, int, int] = SCRYPT_COST
    ) -> None:
        self._file = file
        self._header = HEADER.pack(MAGIC, *hardness, os.urandom(SALT_OCTETS))
        self._cipher = _cipher(self._header, passphrase)
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def write(self, data: bytes) -> int:
        """Append to the stream; one chunk is buffered, because only `close` can tell which is the last."""
        self._waiting += data
        while len(self._waiting) > CHUNK_OCTETS:
            self._encrypt_chunk(bytes(self._waiting[:CHUNK_OCTETS]), last=False)
            del self._waiting[:CHUNK_OCTETS]
        return len(data)

    def close(self) -> None:
        """Encrypt the last chunk."""
        self._encrypt_chunk(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _encrypt_chunk(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(NONCE.pack(self._number, last), chunk, self._header))
        self._number += 1


class Decryptor:
    """Decrypts what an Encryptor wrote; returns only data that is authenticated."""

    def __init__(self, file: BinaryIO, passphrase: bytes) -> None:
        """Read the header; raises BadInput for another kind of file."""
        self._file = file
        self._header = file.read(HEADER.size)
        if len(self._header) < HEADER.size or not self._header.startswith(MAGIC):
            raise BadInput("This is not a backup made by this program.")
        _, *hardness, _ = HEADER.unpack(self._header)
        if any(cost > maximum or cost < 1 for cost, maximum in zip(hardness, MAX_SCRYPT_COST, strict=True)):
            raise BadInput("This is not a backup made by this program: its header is damaged.")
        self._cipher = _cipher(self._header, passphrase)
        self._next = file.read(CHUNK_OCTETS + TAG_OCTETS)
        self._ready = bytearray()
        self._number = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return up to `size` octets of the stream, b"" at its end.

        Raises BadInput for the wrong passphrase, and for a file that is damaged or cut short.
        """
        while len(self._ready) < size and not self._ended:
            self._decrypt_chunk()
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _decrypt_chunk(self) -> None:
        chunk, self._next = self._next, self._file.read(CHUNK_OCTETS + TAG_OCTETS)
        last = not self._next
        try:
            self._ready += self._cipher.decrypt(NONCE.pack(self._number, last), chunk, self._header)
        except InvalidTag:
            if self._number == 0:
                raise BadInput("The passphrase is not the right one, or the file is damaged.") from None
            raise BadInput("The file is damaged or was cut short. Nothing of it can be trusted.") from None
        self._number += 1
        self._ended = last


def _cipher(header: bytes, passphrase: bytes) -> ChaCha20Poly1305:
    _, cost, block, parallelization, salt = HEADER.unpack(header)
    key = Scrypt(salt=salt, length=KEY_OCTETS, n=2**cost, r=block, p=parallelization).derive(passphrase)
    return ChaCha20Poly1305(key)
