"""Addresses: parse and normalize an email address, and suggest a correction of a likely typo.

The input was typed by a person or sent by an unknown client. Everything that could break the SMTP envelope or
deceive a reader is refused here, before another library gets it (aiosmtplib 5.1 passes CR and LF on). This is
the only module that imports email_validator. No DNS query is made: an address that does not exist stays
unconfirmed.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from lists import keyed_hash
from lists.errors import BadAddress

MAX_OCTETS = 254  # RFC 5321 4.5.3.1.3 allows a path of 256, of which two are its angle brackets
MAX_LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1
MAX_SHOWN = 60  # characters of a refused text that an error sentence repeats
MAX_TEXT = 1000  # characters; a longer text is not parsed
# A name of this length or more that is one letter away from a common one is a typo even at its first letter.
LONG_NAME = 7

INVISIBLE_CATEGORIES = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # Unicode, of invisible characters
DOMAIN_CACHE_SIZE = 4_000  # domains
PLAIN_LOCAL_PART = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]+", re.ASCII | re.IGNORECASE
)  # RFC 5322 3.2.3, with its dots

DOT_INSENSITIVE_DOMAINS = ("gmail.com", "googlemail.com")  # one server with two names, which ignores dots

SENTENCES = {
    "empty": {
        "en": "Write your email address, like ana@example.org.",
        "es": "Escriba su correo electrónico, como ana@example.org.",
    },
    "no_at": {
        "en": "“{shown}” has no @: write the whole address, like ana@example.org.",
        "es": "A «{shown}» le falta la @: escriba la dirección completa, como ana@example.org.",
    },
    "two_ats": {
        "en": "“{shown}” has more than one @: write one address only, like ana@example.org.",
        "es": "«{shown}» tiene más de una @: escriba una sola dirección, como ana@example.org.",
    },
    "no_local": {
        "en": "“{shown}” is not complete: write the part before the @, like ana@example.org.",
        "es": "«{shown}» no está completa: escriba la parte antes de la @, como ana@example.org.",
    },
    "no_domain": {
        "en": "“{shown}” is not complete: write the part after the @, like ana@example.org.",
        "es": "«{shown}» no está completa: escriba la parte después de la @, como ana@example.org.",
    },
    "no_dot": {
        "en": "“{shown}” is not complete: the part after the @ needs a dot and an ending, like example.org.",
        "es": "«{shown}» no está completa: después de la @ falta un punto y un final, como example.org.",
    },
    "dots": {
        "en": "“{shown}” has a dot too many: no dot may begin or end a part, or follow another dot.",
        "es": "«{shown}» tiene un punto de más: ninguna parte empieza ni termina así, ni lleva dos seguidos.",
    },
    "space": {
        "en": "“{shown}” has a space in it: write the address without spaces.",
        "es": "«{shown}» tiene un espacio: escriba la dirección sin espacios.",
    },
    "brackets": {
        "en": "“{shown}” has more than the address in it: write only the address, without a name or < >.",
        "es": "«{shown}» lleva algo más que la dirección: escriba solo la dirección, sin nombre ni < >.",
    },
    "hidden": {
        "en": "“{shown}” has characters that cannot be seen or written: type the address by hand.",
        "es": "«{shown}» tiene caracteres que no se ven o no se escriben: escriba la dirección a mano.",
    },
    "look_alike": {
        "en": "“{shown}” mixes letters of different alphabets that look alike: type the address by hand.",
        "es": "«{shown}» mezcla letras parecidas de distintos alfabetos: escriba la dirección a mano.",
    },
    "long_local": {
        "en": "The part before the @ is too long: at most 64 characters can be used.",
        "es": "La parte antes de la @ es demasiado larga: caben 64 caracteres como máximo.",
    },
    "long": {
        "en": "This address is too long: at most 254 characters can be used.",
        "es": "Esta dirección es demasiado larga: caben 254 caracteres como máximo.",
    },
    "local": {
        "en": "“{shown}” has a character before the @ that an email address cannot have: check it.",
        "es": "«{shown}» tiene antes de la @ un carácter que un correo no puede llevar: revíselo.",
    },
    "domain": {
        "en": "“{shown}” cannot receive email: check the part after the @, like example.org.",
        "es": "«{shown}» no puede recibir correo: revise la parte después de la @, como example.org.",
    },
}

# Common mailbox domains in the United States; a domain one typo away from these is probably a typo.
COMMON_DOMAINS = tuple(
    """gmail.com yahoo.com hotmail.com outlook.com icloud.com comcast.net verizon.net sbcglobal.net
    bellsouth.net protonmail.com earthlink.net optonline.net googlemail.com rocketmail.com windstream.net
    centurylink.net frontiernet.net fastmail.com""".split()  # noqa: SIM905 (a column of quotes reads worse)
)
# Real domains close to a common one. Names as short as mac.com are never corrected: max.com exists, too.
REAL_DOMAINS = frozenset(
    """aol.com msn.com live.com att.net cox.net me.com mac.com juno.com mail.com ymail.com email.com
    fmail.com zmail.com qmail.com gmail.de gmx.com gmx.net gmx.de hotmail.es hotmail.fr hotmail.ca outlook.es
    outlook.fr yahoo.es yahoo.ca proton.me protonmail.ch cloud.com""".split()  # noqa: SIM905
)
# None of these endings exists, so they are corrected after any name; .co, .cm and .om are real countries.
MISTYPED_ENDINGS = {
    **dict.fromkeys(("con", "cmo", "comm", "ocm", "coom", "vom", "xom", "cpm", "clm", "cim", "c0m"), "com"),
    **dict.fromkeys(("ogr", "orgg", "rog", "prg", "0rg"), "org"),
    **dict.fromkeys(("nte", "nett", "ent", "met", "ner"), "net"),
    **dict.fromkeys(("eud", "deu", "eduu"), "edu"),
}


@dataclass(frozen=True, kw_only=True)
class Address:
    """One mailbox: `email` is the recipient, `key` is unique per person, `digest` replaces it after erasure.

    `email` keeps the local part as it was typed, with the domain in lower case and punycode. `key` is `email`
    casefolded. `digest` is 16 octets of HMAC-SHA256 of `key` under the pepper.
    """

    email: str
    key: str
    digest: bytes


def parse(text: str, *, pepper: bytes, language: str = "en") -> Address:
    """Read one bare email address (RFC 5321, 6531); spaces around it are removed, because keyboards add them.

    Raises BadAddress with a sentence in `language` ("en" or "es") that says what to do.
    """
    local, domain = _split(text, language)
    email = f"{local}@{domain}"
    key = f"{_fold_case(local)}@{domain}"
    return Address(email=email, key=key, digest=keyed_hash.compute(pepper, "address", key))


def suggest_correction(text: str) -> str | None:
    """Return the address that was probably intended (ana@gmial.com → ana@gmail.com), or None.

    Never raises.
    """
    if len(text) > MAX_TEXT or text.count("@") != 1:
        return None
    local, _, typed = text.strip(" ").partition("@")
    typed = typed.lower()
    corrected = _correct_domain(typed.replace(",", ".").strip("."))
    if corrected == typed:
        return None
    try:
        _split(f"{local}@{corrected}", "en")
    except BadAddress:
        return None
    return f"{local}@{corrected}"


def domain_of(email: str) -> str:
    """Return the domain of an address."""
    return email.rpartition("@")[2]


def guess_mailbox(key: str) -> str:
    """Return the key of the mailbox that probably receives mail to this key.

    Most servers treat the text after a “+” as a tag (RFC 5233), and Gmail ignores dots. It is a guess: use it
    only for hints and rate limits. On other servers ana+1 and ana.b can be different people.
    """
    local, _, domain = key.rpartition("@")
    local = local.partition("+")[0] or local
    if domain in DOT_INSENSITIVE_DOMAINS:
        return f"{local.replace('.', '')}@{DOT_INSENSITIVE_DOMAINS[0]}"
    return f"{local}@{domain}"


def _split(text: str, language: str) -> tuple[str, str]:
    """Return local part and ASCII domain, or raise BadAddress."""
    text = text.strip(" ")
    reason = _find_text_fault(text)
    if reason is None:
        local, _, domain = text.partition("@")
        reason = _find_local_fault(local) or _find_domain_fault(domain)
    if reason is None:
        local, domain = _validate(text) or ("", "")
        reason = None if domain else "domain"
    if reason is None and any(
        len(f"{part}@{domain}".encode()) > MAX_OCTETS for part in (local, _fold_case(local))
    ):
        reason = "long"  # casefolding lengthens a few letters, and the key is stored, too
    if reason is not None:
        sentence = SENTENCES[reason].get(language, SENTENCES[reason]["en"])
        raise BadAddress(sentence.format(shown=_printable_start(text)))
    return local, domain


def _find_text_fault(text: str) -> str | None:
    if not text:
        return "empty"
    if len(text) > MAX_TEXT:
        return "long"  # before any work for each character
    plain = text.isascii() and text.isprintable()
    if not plain and any(unicodedata.category(character) in INVISIBLE_CATEGORIES for character in text):
        return "hidden"  # CR, LF, NUL, bidi overrides, lone surrogates, zero-width characters
    if len(text.encode()) > MAX_OCTETS:
        return "long"
    if any(character in text for character in '<>",;'):
        return "brackets"
    if " " in text or (not plain and any(unicodedata.category(character) == "Zs" for character in text)):
        return "space"
    return {0: "no_at", 1: None}.get(text.count("@"), "two_ats")


def _find_local_fault(local: str) -> str | None:
    if not local:
        return "no_local"
    if len(unicodedata.normalize("NFC", local).encode()) > MAX_LOCAL_OCTETS:
        return "long_local"
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "dots"
    if unicodedata.normalize("NFKC", local) != unicodedata.normalize("NFC", local):
        return "look_alike"  # full-width or ornamental forms of plain letters
    return None


@lru_cache(maxsize=DOMAIN_CACHE_SIZE)
def _find_domain_fault(domain: str) -> str | None:
    if not domain:
        return "no_domain"
    if domain.startswith(".") or domain.endswith(".") or ".." in domain:
        return "dots"
    if not re.search(r"[.。．｡]", domain):
        return "no_dot"
    # A label in one alphabet is accepted (as punycode); a mixture with Latin imitates another name.
    for label in re.split(r"[.。．｡]", unicodedata.normalize("NFKC", domain)):
        alphabets = {
            unicodedata.name(character, "?").split()[0] for character in label if character.isalpha()
        }
        if "LATIN" in alphabets and alphabets & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"}:
            return "look_alike"
    return None


def _validate(text: str) -> tuple[str, str] | None:
    local, _, domain = text.partition("@")
    if PLAIN_LOCAL_PART.fullmatch(local):
        # The library would not check more of such a local part, and a file repeats most domains many times.
        ascii_domain = _ascii_domain(domain)
        return None if ascii_domain is None else (local, ascii_domain)
    return _validate_with_library(text)


@lru_cache(maxsize=DOMAIN_CACHE_SIZE)
def _ascii_domain(domain: str) -> str | None:
    parts = _validate_with_library(f"x@{domain}")
    return None if parts is None else parts[1]


def _validate_with_library(text: str) -> tuple[str, str] | None:
    import email_validator  # imported late: it takes 40 ms, and most commands do not need it

    # A try-out and the tests send to reserved names, which have no mail server.
    email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = [
        name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name not in ("test", "localhost")
    ]
    try:
        validated = email_validator.validate_email(text, check_deliverability=False)
    except email_validator.EmailNotValidError:
        return None
    return validated.local_part, validated.ascii_domain.lower()


def _fold_case(local: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).casefold())


def _printable_start(text: str) -> str:
    """Return the start of a refused text, with every unprintable character replaced."""
    start = text[:MAX_SHOWN] + ("…" if len(text) > MAX_SHOWN else "")
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in start
    )


def _correct_domain(domain: str) -> str:
    if not domain or domain in REAL_DOMAINS or domain in COMMON_DOMAINS:
        return domain
    name, _, ending = domain.rpartition(".")
    if not name:
        domains_by_name = {common_domain.partition(".")[0]: common_domain for common_domain in COMMON_DOMAINS}
        domain = domains_by_name.get(domain, domain)
    elif ending in MISTYPED_ENDINGS:
        domain = f"{name}.{MISTYPED_ENDINGS[ending]}"
    if domain in REAL_DOMAINS or domain in COMMON_DOMAINS:
        return domain
    return next(
        (common_domain for common_domain in COMMON_DOMAINS if _is_one_typo_away(domain, common_domain)),
        domain,
    )


def _is_one_typo_away(typed: str, intended: str) -> bool:
    """Return whether one letter was dropped, added, changed or transposed."""
    if abs(len(typed) - len(intended)) > 1:
        return False
    start = next((index for index, (a, b) in enumerate(zip(typed, intended, strict=False)) if a != b), None)
    if start is None:
        return True  # one letter more or less at the very end
    swapped = typed[start : start + 2] == intended[start : start + 2][::-1]
    if swapped and typed[start + 2 :] == intended[start + 2 :]:
        return True
    if start > 0 and sorted(typed) == sorted(intended):
        return True  # icould.com; but lookout.com is not outlook.com
    if start == 0 and len(intended.partition(".")[0]) < LONG_NAME:
        return False  # email.com, fmail.com and cloud.com are real mailbox domains
    rest, intended_rest = typed[start + 1 :], intended[start + 1 :]
    return rest == intended_rest or rest == intended[start:] or typed[start:] == intended_rest
