"""A renamed command works under its old name for one more version."""

from collections.abc import Sequence

import pytest
from click.testing import CliRunner, Result

from mailer import cli
from mailer.service import Service


def run(service: Service, words: Sequence[str]) -> Result:
    return CliRunner().invoke(cli.root, words, obj=service, prog_name="mailer")


@pytest.mark.parametrize(
    ("old", "present"),
    [
        (["fact", "list"], ["law-card", "list"]),
        (["contact", "readdress", "--help"], ["contact", "change-address", "--help"]),
    ],
)
def test_an_old_name_does_the_same_and_says_the_new_one(
    service: Service, old: list[str], present: list[str]
) -> None:
    by_old, by_present = run(service, old), run(service, present)
    assert (by_old.exit_code, by_old.stdout) == (0, by_present.stdout)
    assert f"is now “mailer {' '.join(present[:-1])}" in by_old.stderr
    assert by_present.stderr == ""


def test_help_names_the_present_commands_only(service: Service) -> None:
    names = [
        line.split()[0] for line in run(service, ["--help"]).stdout.splitlines() if line.startswith("  ")
    ]
    assert "law-card" in names
    assert "fact" not in names


def test_a_name_that_never_was_is_refused(service: Service) -> None:
    assert run(service, ["facts", "list"]).exit_code == 2
