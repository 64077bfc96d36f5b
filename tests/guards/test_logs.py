"""Logs: every log event is a plain sentence, and docs/operating.md says what to do about it."""

import ast
import re
from collections.abc import Iterator

from tests.guards import source

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
LOGS_AS_A_LIBRARY = {"mailer/tryout/postoffice.py"}
PRINTING = ("print", "sys.stderr.write", "sys.stdout.write")
OPERATING = (source.ROOT / "docs" / "operating.md").read_text("utf-8")
DOCUMENTED = re.findall(
    r"^\| `([^`]+)` \|", OPERATING.partition("\n## The log\n")[2].partition("\n## ")[0], re.MULTILINE
)


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for name, tree in source.python("lists", "mailer"):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and re.fullmatch(r"_?log|structlog\.get_logger\(\)", ast.unparse(node.func.value))
            ):
                yield name, node


def test_every_event_is_a_constant_sentence_and_its_facts_are_keywords() -> None:
    violations = [
        f"{name}, line {call.lineno}"
        for name, call in _calls()
        if name not in LOGS_AS_A_LIBRARY
        and not (len(call.args) == 1 and isinstance(call.args[0], ast.Constant))
    ]
    assert not violations


def test_every_event_is_documented_for_operators() -> None:
    events = {
        str(call.args[0].value)
        for name, call in _calls()
        if name not in LOGS_AS_A_LIBRARY and isinstance(call.args[0], ast.Constant)
    }
    assert events
    assert events - set(DOCUMENTED) == set(), "docs/operating.md, “The log”, says what to do about each"


def test_each_event_is_documented_once() -> None:
    assert sorted(DOCUMENTED) == sorted(set(DOCUMENTED))


def test_nothing_is_printed_instead_of_logged() -> None:
    calls = [
        f"{name}, line {node.lineno}"
        for name, tree in source.python("lists", "mailer")
        if not name.startswith(("mailer/cli/", "mailer/migrations/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stderr.write", "sys.stdout.write")
    ]
    assert not calls
