"""Every setting is explained to operators, and no explanation outlives its setting."""

import re

from mailer.settings.model import known_keys
from tests.guards import source

TEXT = (source.ROOT / "docs" / "settings.md").read_text("utf-8")
EXPLAINED = set(re.findall(r"^\| `([a-z_.]+)`", TEXT, re.MULTILINE))


def test_every_setting_is_explained() -> None:
    assert set(known_keys()) - EXPLAINED == set()


def test_no_explanation_outlives_its_setting() -> None:
    assert EXPLAINED - set(known_keys()) == set()


def test_every_setting_says_what_it_is() -> None:
    assert all(known_keys().values())
