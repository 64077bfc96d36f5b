"""Loading: reads the settings once, with all mistakes: defaults < last start < file < secrets < environment.

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
    """One key as `config show` prints it: `value` never holds a secret, `place` is where it was set."""

    key: str
    value: str
    place: str
    what: str


@dataclass(frozen=True, kw_only=True)
class SettingsReport:
    """The settings, and every key with the place where it was set."""

    settings: Settings
    keys: tuple[SettingValue, ...]


def load(environ: Mapping[str, str], *, home: Path | None = None) -> Settings:
    """Read the settings; BadSettings names every mistake, its place and what to write."""
    return explain(environ, home=home).settings


def explain(environ: Mapping[str, str], *, home: Path | None = None) -> SettingsReport:
    """Read the settings with the place of each; BadSettings as in `load`."""
    home_variable = environ.get("MAILER_HOME", "")
    folder = home.absolute() if home else find_home(environ)
    in_file, mistakes = read_file(folder / SETTINGS)
    in_secrets, secret_mistakes = read_secrets(folder / SECRETS)
    last = read_last_start(folder / LAST_PORT)
    layers: tuple[SettingsLayer, ...] = (last, in_file, in_secrets, read_environment(environ))
    values = {**merge(layers), "home": folder}
    if home_variable and home is None:
        layers = (
            SettingsLayer(
                values={"home": home_variable}, default_place="the environment variable MAILER_HOME"
            ),
            *layers,
        )
    settings, invalid = _validate(values, layers)
    mistakes += [*secret_mistakes, *invalid]
    if mistakes or settings is None:
        raise BadSettings(mistakes)
    return SettingsReport(settings=settings, keys=tuple(_list_values(settings, layers)))


def find_home(environ: Mapping[str, str]) -> Path:
    """Return the data folder, whatever is in it."""
    home_variable = environ.get("MAILER_HOME", "")
    return (Path(home_variable).expanduser() if home_variable else default_home()).absolute()


def remember_port(settings: Settings) -> None:
    """Write down the port of this start: links in mails of other commands lead to it."""
    (settings.home / LAST_PORT).write_text(f"{settings.port}\n", "ascii")


def secret_folder(settings: Settings) -> Path:
    """Return the folder of the keys and of the secret settings."""
    return settings.home / SECRETS


def _validate(
    values: dict[str, object], layers: Sequence[SettingsLayer]
) -> tuple[Settings | None, list[str]]:
    """Check each key, then the others together without the wrong ones, so that every mistake is listed."""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        errors = [mistake for mistake in error.errors() if mistake["type"] != "default_factory_not_called"]
        relevant = [mistake for mistake in errors if _find_place(_mistake_path(mistake), layers)] or errors
        wrong_keys = {str(mistake["loc"][0]) for mistake in relevant}
        sentences = [_describe_mistake(mistake, layers) for mistake in relevant]
        valid = {key: value for key, value in values.items() if key not in wrong_keys}
        settings = Settings.model_validate(valid)
        return None, sentences + [
            text for keys, text in _list_contradictions(settings) if not wrong_keys & keys
        ]
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
    """Return what is wrong between keys that are each valid: the keys it concerns, and the sentence."""
    contradictions: list[tuple[set[str], str]] = []
    if not settings.loopback and settings.tryout:
        sentence = (
            f"public_url is {settings.public_url}, which others can reach, but smtp_url names no mail server;"
            f" write {SMTP_FORMS} into the file secrets/smtp_url."
        )
        contradictions.append(({"public_url", "smtp_url"}, sentence))
    if not settings.loopback and settings.public_url.startswith("http://"):
        sentence = (
            f"public_url is {settings.public_url}, so links would travel in the open; write https:// instead."
        )
        contradictions.append(({"public_url"}, sentence))
    return contradictions + ([] if settings.tryout else _list_missing_for_real_mail(settings))


def _list_missing_for_real_mail(settings: Settings) -> list[tuple[set[str], str]]:
    contradictions: list[tuple[set[str], str]] = []
    if not settings.postal_address or settings.postal_address.startswith("SAMPLE"):
        sentence = (
            "postal_address is missing, and no mail may leave without one; write a street or box address."
        )
        contradictions.append(({"postal_address", "smtp_url"}, sentence))
    domain = domain_of(settings.from_address).lower()
    if not domain:
        sentence = "from_address is missing; write the email address your mail comes from."
        contradictions.append(({"from_address", "smtp_url"}, sentence))
    if not settings.sending_domains:
        sentence = (
            "sending_domains is missing; write the domains your mail server may send for,"
            f" such as {domain or 'example.org'}."
        )
        contradictions.append(({"sending_domains", "smtp_url"}, sentence))
    elif domain and domain not in settings.sending_domains:
        sentence = (
            f"from_address is at {domain}, which sending_domains does not name; add {domain} there,"
            " or write an address at one of its domains."
        )
        contradictions.append(({"from_address", "sending_domains"}, sentence))
    return contradictions


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
