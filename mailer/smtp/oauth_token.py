"""OAuth token: the short-lived token that a relay requires instead of a password, from a program (XOAUTH2).

The program is run without a shell and prints one token. A token is cached for a while, requested again when
the relay refuses it, and appears in no log, error or `repr`.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

TIMEOUT_SECONDS = 30.0  # of the program
CACHE_SECONDS = 45 * 60.0  # providers' tokens are valid for an hour
MAX_OCTETS = 16_384
_TOKEN = re.compile(rb"[\x21-\x7e]+")


class NoToken(OSError):
    """The program printed no token: a fault on the sender's side."""


class OAuthTokenProvider:
    """Gets tokens from one program, for all connections to one relay."""

    def __init__(self, command: str, *, time: Callable[[], float] | None = None) -> None:
        self._command = command
        self._time = time
        self._token, self._expires_at = "", float("-inf")
        self._lock = asyncio.Lock()

    async def get_token(self) -> str:
        """Return a token, from the program where none is cached; raises NoToken."""
        async with self._lock:
            now = self._time or asyncio.get_running_loop().time
            if now() > self._expires_at:
                self._token, self._expires_at = await self._run_command(), now() + CACHE_SECONDS
            return self._token

    def discard(self, token: str) -> None:
        """Discard a token that the relay refused."""
        if token == self._token:
            self._expires_at = float("-inf")

    async def _run_command(self) -> str:
        devnull = asyncio.subprocess.DEVNULL
        try:
            program = await asyncio.create_subprocess_exec(
                self._command, stdin=devnull, stdout=asyncio.subprocess.PIPE, stderr=devnull
            )
        except OSError as error:
            raise NoToken(f"The program of token_command= cannot be run: {error.strerror}.") from None
        assert program.stdout is not None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                output = await program.stdout.read(MAX_OCTETS)
                while chunk := await program.stdout.read(MAX_OCTETS):
                    output += chunk[: MAX_OCTETS - len(output)]
                status = await program.wait()
        except TimeoutError:
            raise NoToken("The program of token_command= did not end in time.") from None
        finally:
            if program.returncode is None:
                with suppress(ProcessLookupError):
                    program.kill()
                await program.wait()
        if status or not _TOKEN.fullmatch(output.strip()):
            raise NoToken(f"The program of token_command= gave no token (status {status}).")
        return output.strip().decode("ascii")
