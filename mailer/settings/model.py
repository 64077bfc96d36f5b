"""Model of the settings: every key, with its type, its default and what to write when it is wrong.

docs/settings.md explains them to operators; a guard test compares the two.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from lists import addresses
from lists.addresses import domain_of
from lists.errors import BadAddress, BadSettings
from mailer.smtp.rate import DOMAIN_FORMS, parse_per_domain
from mailer.smtp.relay_settings import Relay
from mailer.templates import characters

SHIPPED_NAME = {
    "en": "Restoring Trust: Breaking ICE's Hold",
    "es": "Restoring Trust: recuperar la confianza, poner fin a las retenciones de ICE",
}
SHIPPED_MOTTO = {
    "en": "The only secure community is the beloved community",
    "es": "La única comunidad segura es la comunidad amada",
}
SHIPPED_SENDER = "Restoring Trust"
SAMPLE_ADDRESS = "campaign@restoring-trust.example"
DATABASE_FORMS = "sqlite:////folder/mailer.db or postgresql+psycopg://user:password@host/name"
SMTP_FORMS = "smtp://user:password@host:587 or smtps://user:password@host:465"
METRICS_BEARER_FORMS = "24 letters and digits or more, such as “openssl rand -hex 24” prints"
SAMPLE_POSTAL_ADDRESS = "SAMPLE: 123 Example Street, Anytown, NY 00000"

_LOCAL_PART = re.compile(r"[^@\s<>()\[\]\\,;:\"]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{24,200}")  # RFC 6750, section 2.1
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


def _line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("write it on one line, without control characters")
    if sentence := characters.describe_unsendable(text, "write it anew: it"):
        raise ValueError(sentence)
    return text.strip()


def _web_address(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise ValueError("write a full web address, such as https://example.org/toolkit")
    return text


def _link(text: str) -> str:
    return _web_address(text) if text else ""


def _public_url(text: str) -> str:
    parts = _split(_web_address(text))
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("write only scheme, host and port, such as https://mail.example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _database_url(text: str) -> str:
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///") and ":memory:" not in text:
        return text
    if text.startswith("postgresql+psycopg://"):
        _split(text)
        return text
    raise ValueError(f"write {DATABASE_FORMS}")


def _smtp_url(secret: SecretStr) -> SecretStr:
    for url in secret.get_secret_value().split():
        parts = _split(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError(f"write {SMTP_FORMS}")
    try:
        Relay.parse_all(secret.get_secret_value())
    except BadSettings as error:
        sentence = " ".join(error.mistakes).removesuffix(".")
        raise ValueError(sentence[0].lower() + sentence[1:]) from None
    return secret


def _token(secret: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(secret.get_secret_value()):
        raise ValueError(f"write {METRICS_BEARER_FORMS}")
    return secret


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(_line(url))
        _ = parts.port
    except ValueError:
        raise ValueError("write a full address with a host, and a port of 1 to 65535 or none") from None
    return parts


def _mailbox(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if text and not (_LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain.lower())):
        raise ValueError(f"write an email address, such as {SAMPLE_ADDRESS}")
    return text


def _reachable(text: str) -> str:
    try:
        return addresses.parse(text, pepper=b"").email if text else ""
    except BadAddress:
        raise ValueError("write an email address that staff read, such as office@example.org") from None


def _split_list(value: object) -> object:
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


def _domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    for domain in domains:
        if not _DOMAIN.fullmatch(domain.lower()):
            raise ValueError("write domains in plain letters, such as example.org, separated by commas")
    return tuple(domain.lower() for domain in domains)


def _rates(texts: tuple[str, ...]) -> tuple[str, ...]:
    parse_per_domain(texts)
    return texts


def _proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    for proxy in proxies:
        try:
            ip_network(proxy)
        except ValueError:
            raise ValueError("write IP addresses or networks, such as 127.0.0.1 or 10.0.0.0/8") from None
    return proxies


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("write a time zone by its IANA name, such as America/New_York") from None
    return name


Line = Annotated[str, AfterValidator(_line)]


class PerLanguage(BaseModel):
    """A text in English and in Spanish; `text[language]` reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    en: Line = ""
    es: Line = ""

    def __getitem__(self, language: str) -> str:
        return self.es if language == "es" else self.en


def _fill_missing_language(shipped: Mapping[str, str]) -> BeforeValidator:
    """Let another campaign's English name also stand for a Spanish one that is missing."""

    def fill(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        english = value.get("en") or shipped["en"]
        return {
            **value,
            "en": english,
            "es": value.get("es") or (english if value.get("en") else shipped["es"]),
        }

    return BeforeValidator(fill)


class ResourceLink(PerLanguage):
    """The link of one resource in each language; "" while there is no real link."""

    en: Annotated[str, AfterValidator(_link)] = ""
    es: Annotated[str, AfterValidator(_link)] = ""


class Resources(BaseModel):
    """The resources that sequences lead to; `resources[name][language]` reads a link."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    toolkit: ResourceLink = Field(default=ResourceLink(), description="the campaign toolkit")
    webinar: ResourceLink = Field(default=ResourceLink(), description="the recorded webinar")
    powerpoint: ResourceLink = Field(default=ResourceLink(), description="the PowerPoint for a congregation")
    guide: ResourceLink = Field(default=ResourceLink(), description="the guide to hold requests")
    pledge: ResourceLink = Field(default=ResourceLink(), description="the pledge for family unity")
    allies: ResourceLink = Field(default=ResourceLink(), description="resources of allies")

    def __getitem__(self, name: str) -> ResourceLink:
        link: ResourceLink = getattr(self, name)
        return link


def _setting(what: str, *, write: str, default: Any = None, **limits: Any) -> Any:
    """Declare a setting: what it is, what to write when it is wrong; a callable default uses earlier keys."""
    if callable(default):
        return Field(default_factory=default, description=what, examples=[write], **limits)
    return Field(default, description=what, examples=[write], **limits)


class Settings(BaseModel):
    """Everything that an operator may set; frozen, and its text shows no secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    home: Path = _setting(
        "the data folder; only MAILER_HOME sets it", write="a folder", default=lambda: default_home()
    )
    port: int = _setting(
        "where the web server listens; PORT sets it too",
        write="a number from 1 to 65535, such as 8000",
        default=8000,
        ge=1,
        le=65535,
    )
    database_url: Annotated[str, AfterValidator(_database_url)] = _setting(
        "the database: SQLite in the data folder, or PostgreSQL",
        write=DATABASE_FORMS,
        default=lambda data: f"sqlite:///{data['home']}/mailer.db",
        repr=False,
    )
    public_url: Annotated[str, AfterValidator(_public_url)] = _setting(
        "the address people reach the pages at; every link begins with it",
        write="https:// and your host name",
        default=lambda data: f"http://127.0.0.1:{data['port']}",
    )
    smtp_url: Annotated[SecretStr, AfterValidator(_smtp_url)] | None = _setting(
        "the mail server, or several; while it is missing, mail goes to the try-out post office",
        write=SMTP_FORMS,
    )
    metrics_token: Annotated[SecretStr, AfterValidator(_token)] | None = _setting(
        "what opens /metrics to a program on another machine", write=METRICS_BEARER_FORMS
    )
    connections: int = _setting(
        "connections of one worker to each mail server",
        write="a number from 1 to 100",
        default=10,
        ge=1,
        le=100,
    )
    domain_limits: Annotated[tuple[str, ...], BeforeValidator(_split_list), AfterValidator(_rates)] = (
        _setting(
            "how many messages may begin in a while to a recipient's domain, by all workers together",
            write=f"domains and rates, such as {DOMAIN_FORMS}",
            default=(),
        )
    )
    campaign_name: Annotated[PerLanguage, _fill_missing_language(SHIPPED_NAME)] = _setting(
        "the campaign's name", write="campaign_name.en and campaign_name.es", default=SHIPPED_NAME
    )
    motto: Annotated[PerLanguage, _fill_missing_language(SHIPPED_MOTTO)] = _setting(
        "the campaign's motto", write="motto.en and motto.es", default=SHIPPED_MOTTO
    )
    postal_address: Line = _setting(
        "the street or box address at the foot of every mail; the law asks for one",
        write="a street or box address on one line",
        default=lambda data: "" if data["smtp_url"] else SAMPLE_POSTAL_ADDRESS,
    )
    from_name: Line = _setting(
        "the sender's name",
        write="a name on one line",
        default=lambda data: _default_sender(data["campaign_name"].en),
    )
    from_address: Annotated[Line, AfterValidator(_mailbox)] = _setting(
        "the sender's address; its domain is one of sending_domains",
        write=f"an email address, such as {SAMPLE_ADDRESS}",
        default=lambda data: "" if data["smtp_url"] else SAMPLE_ADDRESS,
    )
    reply_to: Annotated[Line, AfterValidator(_mailbox)] = _setting(
        "a mailbox that people read; the sender's address unless told otherwise",
        write=f"an email address, such as {SAMPLE_ADDRESS}",
        default=lambda data: data["from_address"],
    )
    staff_address: Annotated[Line, AfterValidator(_reachable)] = _setting(
        "where a mail goes, at most once a day, when something waits for staff",
        write="an email address that staff read, such as office@example.org",
        default="",
    )
    sending_domains: Annotated[tuple[str, ...], BeforeValidator(_split_list), AfterValidator(_domains)] = (
        _setting(
            "the domains the mail server may send for",
            write="domains separated by commas, such as example.org",
            default=lambda data: () if data["smtp_url"] else (domain_of(data["from_address"]),),
        )
    )
    default_zone: Annotated[str, AfterValidator(_zone)] = _setting(
        "the time zone of people whose ZIP code is not known",
        write="an IANA name, such as America/New_York",
        default="America/New_York",
    )
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_split_list), AfterValidator(_proxies)] = (
        _setting(
            "proxies whose word about a visitor's address is believed",
            write="IP addresses or networks separated by commas",
            default=(),
        )
    )
    resources: Resources = _setting(
        "links to the resources", write="resources.toolkit.en and so on", default=Resources()
    )

    @property
    def tryout(self) -> bool:
        """Tell whether no mail server is set, so that nothing leaves the machine."""
        return self.smtp_url is None

    @property
    def loopback(self) -> bool:
        """Tell whether only this machine can reach the public URL."""
        host = urlsplit(self.public_url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def list_keys() -> dict[str, str]:
    """Return every key that an operator may write, such as `resources.toolkit.es`, with its description."""
    keys: dict[str, str] = {}
    for name, declared in Settings.model_fields.items():
        what = declared.description or ""
        if name == "resources":
            for resource, inner in Resources.model_fields.items():
                keys |= {f"resources.{resource}.{lang}": f"{inner.description}" for lang in ("en", "es")}
        elif declared.annotation is PerLanguage:
            keys |= {f"{name}.{lang}": what for lang in ("en", "es")}
        else:
            keys[name] = what
    return keys


def _default_sender(campaign: str) -> str:
    return SHIPPED_SENDER if campaign == SHIPPED_NAME["en"] else campaign


def default_home() -> Path:
    """Return `data` beside pyproject.toml in a checkout, else in the current folder."""
    checkout = Path(__file__).parents[2]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "data"
