"""Who may enter by which door, in which language, and what every answer tells the browser to refuse."""

import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from lists.contacts import LANGUAGES
from mailer.settings.loading import Settings

ACCESS = ("public", "token", "loopback", "operator")
ONE_CLICK = ("List-Unsubscribe", "One-Click")  # RFC 8058, section 3.2
FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
MAX_LANGUAGES = 20  # of an Accept-Language header
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
FRAMED_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)


def choose_language(header: str) -> str:
    """Return the language of ours that an Accept-Language header (RFC 9110, 12.5.4) likes best, else "en"."""
    best, liking = "en", 0.0
    for part in header.split(",")[:MAX_LANGUAGES]:
        tag, _, weight = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight.strip() else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > liking:
            best, liking = language, quality
    return best


def build_headers(access: str, settings: Settings) -> dict[str, str]:
    """Return the headers of a page behind this kind of door.

    A page whose address holds a token names itself to nobody, not even to us. The others tell our own pages
    only: with "no-referrer" older browsers would send `Origin: null` with our own forms.
    """
    told = {
        **SECURITY_HEADERS,
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "same-origin",
    }
    if access == "token":
        told |= {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
    if access == "loopback":
        told["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"
    if settings.public_url.startswith("https://"):
        told["Strict-Transport-Security"] = "max-age=31536000"
    return told


def build_download_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of a kept file: whatever it holds, no browser is to show it as a page of ours.

    It may be kept by browsers, which ask each time whether it is still the same.
    """
    told = build_headers("public", settings)
    return told | {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}


def is_from_this_machine(settings: Settings, *, client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a visit to the try-out's post office comes from this very machine.

    The settings, the visitor's address and the Host header must all say so (a page elsewhere can point its
    own name at 127.0.0.1), and nothing may have been forwarded: a proxy here also has a loopback address.
    """
    return settings.tryout and settings.loopback and _is_local(client, headers)


def can_read_metrics(settings: Settings, *, client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a visitor may read the figures: one who shows the `metrics_token`, or this machine.

    A proxy on this machine looks like this machine unless it says for whom it asks. So where pages are public
    and the settings trust no proxy to say that, only the token opens.
    """
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    if settings.metrics_token is not None and scheme.lower() == "bearer":
        known = settings.metrics_token.get_secret_value()
        return hmac.compare_digest(shown.strip().encode(), known.encode())
    return (settings.loopback or bool(settings.trusted_proxies)) and _is_local(client, headers)


def is_cross_site(settings: Settings, *, access: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a POST was sent by a page that is not ours.

    Browsers say so in Sec-Fetch-Site; older ones in Origin, which is "null" from our own pages behind tokens,
    because those say "no-referrer". What sends neither is no browser.
    """
    site = headers.get("sec-fetch-site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = headers.get("origin", "")
    if not origin:
        return False
    if origin == "null":
        return access != "token"
    return origin != settings.public_url and urlsplit(origin).netloc != headers.get("host", "")


def is_one_click(form: Mapping[str, str]) -> bool:
    """Tell whether a form is the RFC 8058 one that mailbox providers post for their readers."""
    name, value = ONE_CLICK
    return form.get(name) == value


def hash_network(client: str, *, pepper: bytes) -> bytes:
    """Return 16 bytes that stand for a network of visitors (an IPv6 /64) and tell it to nobody."""
    try:
        address = ip_address(client)
    except ValueError:
        network = client
    else:
        wide = isinstance(address, IPv6Address) and address.ipv4_mapped is None
        network = str(ip_network(f"{address}/64", strict=False)) if wide else str(address)
    return hmac.digest(pepper, f"source/{network}".encode(), hashlib.sha256)[:16]


def _is_local(client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a visit comes from this machine, asks for it by its own name, and was not forwarded."""
    return (
        _is_loopback(client)
        and _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
        and not any(name in headers for name in FORWARDING_HEADERS)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
