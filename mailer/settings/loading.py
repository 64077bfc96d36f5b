"""Settings, read once: defaults < last start < mailer.toml < secrets < environment, every mistake told.

A key `campaign_name.es` is `es = "…"` under `[campaign_name]` in `mailer.toml`, and
`MAILER_CAMPAIGN_NAME__ES` in the environment. An empty value is the same as none.
The keys themselves are in mailer/settings/model.py.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lists.addresses import domain_of
from lists.errors import BadSettings
from mailer.settings.layers import (
    SettingsLayer,
    merge,
    read_environment,
    read_file,
    read_last_start,
    read_secrets,
)
from mailer.settings.model import SMTP_FORMS, PerLanguage, Resources, Settings, default_home, list_keys

__all__ = [
    "PerLanguage",
    "Resources",
    "SettingValue",
    "Settings",
    "SettingsReport",
    "explain",
    "find_home",
    "load",
    "remember_port",
    "secret_folder",
]


LAST_PORT = "port"  # a file in the data folder
SECRETS = "secrets"
SETTINGS = "mailer.toml"


@dataclass(frozen=True, kw_only=True)
class SettingValue:
    """One key as `config show` prints it: `value` never holds a secret, `place` says where it was set."""

    key: str
    value: str
    place: str
    what: str


@dataclass(frozen=True, kw_only=True)
class SettingsReport:
    """The settings, and every key with the place it came from."""

    settings: Settings
    keys: tuple[SettingValue, ...]


def load(environ: Mapping[str, str], *, home: Path | None = None) -> Settings:
    """Read the settings; BadSettings names every mistake, where it stands and what to write."""
    return explain(environ, home=home).settings


def explain(environ: Mapping[str, str], *, home: Path | None = None) -> SettingsReport:
    """Read the settings and say where each came from; BadSettings as in `load`."""
    told = environ.get("MAILER_HOME", "")
    folder = home.absolute() if home else find_home(environ)
    in_file, mistakes = read_file(folder / SETTINGS)
    in_secrets, more = read_secrets(folder / SECRETS)
    last = read_last_start(folder / LAST_PORT)
    layers: tuple[SettingsLayer, ...] = (last, in_file, in_secrets, read_environment(environ))
    values = {**merge(layers), "home": folder}
    if told and home is None:
        layers = (
            SettingsLayer(values={"home": told}, default_place="the environment variable MAILER_HOME"),
            *layers,
        )
    settings, wrong = _validate(values, layers)
    mistakes += [*more, *wrong]
    if mistakes or settings is None:
        raise BadSettings(mistakes)
    return SettingsReport(settings=settings, keys=tuple(_list_values(settings, layers)))


def find_home(environ: Mapping[str, str]) -> Path:
    """Return the data folder, whatever is in it."""
    told = environ.get("MAILER_HOME", "")
    return (Path(told).expanduser() if told else default_home()).absolute()


def remember_port(settings: Settings) -> None:
    """Write down the port of this start: links in mails made by other commands lead to it."""
    (settings.home / LAST_PORT).write_text(f"{settings.port}\n", "ascii")


def secret_folder(settings: Settings) -> Path:
    """Return the folder of the keys and of the secret settings."""
    return settings.home / SECRETS


def _validate(
    values: dict[str, object], layers: Sequence[SettingsLayer]
) -> tuple[Settings | None, list[str]]:
    """Check each key, then the others together without the wrong ones, so that every mistake is told."""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        every = [mistake for mistake in error.errors() if mistake["type"] != "default_factory_not_called"]
        wrong = [mistake for mistake in every if _find_place(_mistake_path(mistake), layers)] or every
        broken = {str(mistake["loc"][0]) for mistake in wrong}
        sentences = [_describe_mistake(mistake, layers) for mistake in wrong]
        rest = {key: value for key, value in values.items() if key not in broken}
        settings = Settings.model_validate(rest)
        return None, sentences + [text for keys, text in _list_contradictions(settings) if not broken & keys]
    return settings, [text for _, text in _list_contradictions(settings)]


def _describe_mistake(mistake: Any, layers: Sequence[SettingsLayer]) -> str:
    path = _mistake_path(mistake)
    key = ".".join(path)
    place = _find_place(path, layers) or "the defaults"
    if mistake["type"] == "extra_forbidden":
        near = get_close_matches(key, list(list_keys()), n=1)
        return (
            f"{key}, in {place}, is not a setting; {f'did you mean {near[0]}?' if near else 'take it out.'}"
        )
    if mistake["type"] == "value_error":
        return f"{key}, in {place}, cannot be used; {mistake['ctx']['error']}."
    return f"{key}, in {place}, cannot be used; write {Settings.model_fields[path[0]].examples[0]}."  # type: ignore[index]


def _mistake_path(mistake: Any) -> list[str]:
    return [step for step in mistake["loc"] if isinstance(step, str)]


def _list_contradictions(settings: Settings) -> list[tuple[set[str], str]]:
    """What is wrong between keys that are each well written: the keys it takes, and the sentence."""
    found: list[tuple[set[str], str]] = []
    if not settings.loopback and settings.tryout:
        sentence = (
            f"public_url is {settings.public_url}, which others can reach, but smtp_url names no mail server;"
            f" write {SMTP_FORMS} into the file secrets/smtp_url."
        )
        found.append(({"public_url", "smtp_url"}, sentence))
    if not settings.loopback and settings.public_url.startswith("http://"):
        sentence = (
            f"public_url is {settings.public_url}, so links would travel in the open; write https:// instead."
        )
        found.append(({"public_url"}, sentence))
    return found + ([] if settings.tryout else _list_missing_for_real_mail(settings))


def _list_missing_for_real_mail(settings: Settings) -> list[tuple[set[str], str]]:
    found: list[tuple[set[str], str]] = []
    if not settings.postal_address or settings.postal_address.startswith("SAMPLE"):
        sentence = (
            "postal_address is missing, and no mail may leave without one; write a street or box address."
        )
        found.append(({"postal_address", "smtp_url"}, sentence))
    domain = domain_of(settings.from_address).lower()
    if not domain:
        sentence = "from_address is missing; write the email address your mail comes from."
        found.append(({"from_address", "smtp_url"}, sentence))
    if not settings.sending_domains:
        sentence = (
            "sending_domains is missing; write the domains your mail server may send for,"
            f" such as {domain or 'example.org'}."
        )
        found.append(({"sending_domains", "smtp_url"}, sentence))
    elif domain and domain not in settings.sending_domains:
        sentence = (
            f"from_address is at {domain}, which sending_domains does not name; add {domain} there,"
            " or write an address at one of its domains."
        )
        found.append(({"from_address", "sending_domains"}, sentence))
    return found


def _list_values(settings: Settings, layers: Sequence[SettingsLayer]) -> list[SettingValue]:
    rows = []
    for key, what in list_keys().items():
        value: object = settings
        for step in key.split("."):
            value = getattr(value, step)
        place = _find_place(key.split("."), layers) or "default"
        rows.append(SettingValue(key=key, value=_format_value(key, value), place=place, what=what))
    return rows


def _format_value(key: str, value: object) -> str:
    if key in ("smtp_url", "metrics_token"):
        return "not set" if value is None else "set, not shown"
    if key == "database_url":
        return re.sub(r"//[^/]*@", "//…@", str(value))
    return ", ".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def _find_place(path: Sequence[str], layers: Sequence[SettingsLayer]) -> str | None:
    return next((place for layer in reversed(layers) if (place := layer.place(path))), None)
