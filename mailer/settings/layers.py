"""Layers of settings, the later wins: the last start, `mailer.toml`, the secrets, the environment."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "MAILER_"
NESTING = "__"
SECRET_KEYS = ("smtp_url", "database_url", "metrics_token")

Values = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class SettingsLayer:
    """One source of settings: the values, and for each key's path the place in words."""

    values: Values
    places: Mapping[str, str] = field(default_factory=dict)
    default_place: str = ""

    def place(self, path: Sequence[str]) -> str | None:
        """Return where the key of this path is set, or None when this layer does not set it."""
        value: object = self.values
        for step in path:
            if not isinstance(value, dict):
                break
            if step not in value:
                return None
            value = value[step]
        return next(
            (self.places[key] for key in _list_prefixes(path) if key in self.places), self.default_place
        )


def read_last_start(path: Path) -> SettingsLayer:
    """Read the port that `mailer serve` was last started with, so that other commands make the same links."""
    try:
        port = int(path.read_text("ascii"))
    except (OSError, ValueError):
        return SettingsLayer(values={})
    return SettingsLayer(values={"port": port}, default_place="the last “mailer serve”")


def read_file(path: Path) -> tuple[SettingsLayer, list[str]]:
    """Read `mailer.toml`; a missing file gives no values."""
    place = str(path)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        values = {}
    except (OSError, UnicodeDecodeError) as trouble:
        reason = trouble.strerror if isinstance(trouble, OSError) else "it is not UTF-8 text"
        return SettingsLayer(values={}), [
            f"{place} cannot be read ({reason}); make it a text file this account may read."
        ]
    except tomllib.TOMLDecodeError as trouble:
        return SettingsLayer(values={}), [
            f'{place} is not valid TOML: {trouble}; write lines such as key = "value".'
        ]
    mistakes = []
    if values.pop("home", None) is not None:
        mistakes.append(f"home in {place} has no effect, the file is found in it; set MAILER_HOME instead.")
    if _has_password(values) and path.stat().st_mode & 0o077:
        mistakes.append(
            f"{place} holds a password and others on this machine can read it; run: chmod 600 {place}"
        )
    return SettingsLayer(values=_without_empty(values), default_place=place), mistakes


def read_secrets(folder: Path) -> tuple[SettingsLayer, list[str]]:
    """Read the secret settings, one file each, named like the key."""
    values: Values = {}
    places, mistakes = {}, []
    for key in SECRET_KEYS:
        path = folder / key
        try:
            text = path.read_text("utf-8").strip()
            open_to_others = path.stat().st_mode & 0o077
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            mistakes.append(f"{path} cannot be read; make it a text file this account may read, mode 600.")
            continue
        if open_to_others:
            mistakes.append(f"{path} can be read by others on this machine; run: chmod 600 {path}")
        if text:
            values[key], places[key] = text, str(path)
    return SettingsLayer(values=values, places=places), mistakes


def read_environment(environ: Mapping[str, str]) -> SettingsLayer:
    """Read every variable that begins with MAILER_, and PORT."""
    values: Values = {}
    places: dict[str, str] = {}
    if environ.get("PORT"):
        values["port"], places["port"] = environ["PORT"], "the environment variable PORT"
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name] or name == "MAILER_HOME":
            continue
        *groups, key = name.removeprefix(PREFIX).lower().split(NESTING)
        table = values
        for group in groups:
            inner = table.get(group)
            if not isinstance(inner, dict):
                table[group] = inner = {}
            table = inner
        table[key] = environ[name]
        places[".".join([*groups, key])] = f"the environment variable {name}"
    return SettingsLayer(values=values, places=places)


def merge(layers: Sequence[SettingsLayer]) -> Values:
    """Merge the layers, table by table; later layers win."""
    result: Values = {}
    for layer in layers:
        result = _merge_tables(result, layer.values)
    return result


def _merge_tables(below: Values, above: Values) -> Values:
    result = dict(below)
    for key, value in above.items():
        previous = result.get(key)
        result[key] = (
            _merge_tables(previous, value)
            if isinstance(previous, dict) and isinstance(value, dict)
            else value
        )
    return result


def _without_empty(values: Values) -> Values:
    result: Values = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result[key] = _without_empty(value)
        elif value != "":
            result[key] = value
    return result


def _has_password(values: Values) -> bool:
    urls = any("@" in str(values.get(key, "")) for key in ("smtp_url", "database_url"))
    return urls or bool(values.get("metrics_token"))


def _list_prefixes(path: Sequence[str]) -> list[str]:
    return [".".join(path[:length]) for length in range(len(path), 0, -1)]
