"""Every setting is explained to operators, and no explanation outlives its setting."""

import re

from mailer.settings.model import list_keys
from tests.guards import source

TEXT = (source.ROOT / "docs" / "settings.md").read_text("utf-8")
EXPLAINED = set(re.findall(r"^\| `([a-z_.]+)`", TEXT, re.MULTILINE))


def test_every_setting_is_explained() -> None:
    assert set(list_keys()) - EXPLAINED == set()


def test_no_explanation_outlives_its_setting() -> None:
    assert EXPLAINED - set(list_keys()) == set()


def test_every_setting_says_what_it_is() -> None:
    assert all(list_keys().values())
