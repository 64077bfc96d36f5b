"""Scripts: every script is listed, executable, stops at the first error, and is short."""

import os
import re

import pytest

from tests.guards import source

SCRIPTS = [
    path
    for path in source.files()
    if path.relative_to(source.ROOT).parts[:-1] in [("scripts",), (".ci",)] and path.name != "README.md"
]
MAX_LINES = 45


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_and_stops_at_the_first_error(path: os.PathLike[str]) -> None:
    text = source.Path(path).read_text("utf-8")
    assert os.access(path, os.X_OK)
    assert len(text.splitlines()) <= MAX_LINES
    if text.startswith("#!/usr/bin/env bash"):
        assert "\nset -euo pipefail\n" in text


def test_every_script_is_listed() -> None:
    listed = re.findall(
        r"^\| `([^` ]+)", (source.ROOT / "scripts" / "README.md").read_text("utf-8"), re.MULTILINE
    )
    names = {
        path.relative_to(source.ROOT / "scripts").parts[0]
        for path in SCRIPTS
        if path.parent.name == "scripts"
    }
    assert set(listed) >= names
    assert all((source.ROOT / "scripts" / name).exists() for name in listed)
