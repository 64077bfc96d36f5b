"""Access: which requests may use which routes, the language of the page, and the security headers."""

import hmac
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from lists import keyed_hash
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
    """Return our language that an Accept-Language header (RFC 9110, 12.5.4) prefers, else "en"."""
    best, best_quality = "en", 0.0
    for part in header.split(",")[:MAX_LANGUAGES]:
        tag, _, weight = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight.strip() else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def build_headers(access: str, settings: Settings) -> dict[str, str]:
    """Return the headers of a page with this access.

    A page whose address holds a token sends no referrer, not even to our pages. The others send it to our own
    pages only: with "no-referrer" older browsers would send `Origin: null` with our own forms.
    """
    headers = {
        **SECURITY_HEADERS,
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "same-origin",
    }
    if access == "token":
        headers |= {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
    if access == "loopback":
        headers["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"
    if settings.public_url.startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def build_download_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of a stored file: whatever it holds, no browser may show it as a page of ours.

    Browsers may cache it, and must check each time whether it is still the same.
    """
    headers = build_headers("public", settings)
    return headers | {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}


def is_from_this_machine(settings: Settings, *, client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request to the try-out's post office comes from this very machine.

    The settings, the client's address and the Host header must all say so (a page elsewhere can point its
    own name at 127.0.0.1), and nothing may have been forwarded: a proxy here also has a loopback address.
    """
    return settings.tryout and settings.loopback and _is_local(client, headers)


def can_read_metrics(settings: Settings, *, client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a client may read the metrics: one that sends the `metrics_token`, or this machine.

    A proxy on this machine looks like this machine unless it names the client. So where pages are public and
    the settings trust no proxy to name it, only the token gives access.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if settings.metrics_token is not None and scheme.lower() == "bearer":
        token = settings.metrics_token.get_secret_value()
        return hmac.compare_digest(credentials.strip().encode(), token.encode())
    return (settings.loopback or bool(settings.trusted_proxies)) and _is_local(client, headers)


def is_cross_site(settings: Settings, *, access: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a POST was sent by a page that is not ours.

    Browsers send Sec-Fetch-Site; older ones Origin, which is "null" from our own pages behind tokens, because
    those say "no-referrer". A client that sends neither is no browser.
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
    """Tell whether a form is the RFC 8058 one that mailbox providers post for their users."""
    name, value = ONE_CLICK
    return form.get(name) == value


def hash_network(client: str, *, pepper: bytes) -> bytes:
    """Return 16 bytes that stand for the network of a client (an IPv6 /64) without revealing it."""
    try:
        address = ip_address(client)
    except ValueError:
        network = client
    else:
        is_ipv6 = isinstance(address, IPv6Address) and address.ipv4_mapped is None
        network = str(ip_network(f"{address}/64", strict=False)) if is_ipv6 else str(address)
    return keyed_hash.compute(pepper, "source", network)


def _is_local(client: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from this machine, names it as its host, and was not forwarded."""
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
