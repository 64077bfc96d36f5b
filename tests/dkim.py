"""Receivers for tests: dkimpy and authheaders verify what arrived, with a dictionary as DNS."""

import importlib.util
from collections.abc import Callable, Sequence

import dkim

from mailer.compose.dkim_keys import DkimKey
from tests.conftest import missing

Dns = Callable[..., str | None]


def dns(selectors: Sequence[DkimKey], **others: str) -> Dns:
    """Return a DNS with these keys' records and `others`, by name with _ for each dot."""
    records = {f"{selector.record_name}.": selector.record for selector in selectors}
    records |= {f"{name.replace('__', '.')}.": value for name, value in others.items()}

    def look_up(name: bytes | str, timeout: int = 5) -> str | None:
        text = name.decode() if isinstance(name, bytes) else name
        return records.get(text if text.endswith(".") else f"{text}.")

    return look_up


def verified(message: bytes, ask: Dns) -> list[bool]:
    """Return for each signature of a message, top first, whether dkimpy accepts it."""
    if b"a=ed25519" in message:
        _need("nacl")
    return [_accepts(message, at, ask) for at in range(message.lower().count(b"dkim-signature:"))]


def _accepts(message: bytes, index: int, ask: Dns) -> bool:
    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=ask))
    except Exception:  # a message that cannot be read any more is refused, too
        return False


def results(message: bytes, ask: Dns) -> str:
    """Return the Authentication-Results header that a receiver writes with authheaders, DMARC included."""
    _need("authheaders")
    import authheaders

    return str(authheaders.authenticate_message(message, "mx.example", dnsfunc=ask))


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        missing(module)
