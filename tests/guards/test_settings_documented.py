"""Settings: every setting is documented for operators, and every documented setting exists."""

import re

from mailer.settings.model import list_keys
from tests.guards import source

TEXT = (source.ROOT / "docs" / "settings.md").read_text("utf-8")
DOCUMENTED = set(re.findall(r"^\| `([a-z_.]+)`", TEXT, re.MULTILINE))


def test_every_setting_is_documented() -> None:
    assert set(list_keys()) - DOCUMENTED == set()


def test_every_documented_setting_exists() -> None:
    assert DOCUMENTED - set(list_keys()) == set()


def test_every_setting_has_a_description() -> None:
    assert all(list_keys().values())
