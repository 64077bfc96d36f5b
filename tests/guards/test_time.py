"""Only lists/clock.py asks the machine the time; everybody else is told."""

import ast

from tests.guards import source

CLOCK = "lists/clock.py"
ASKING = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
}


def test_only_the_clock_asks_the_time() -> None:
    asked = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        if name != CLOCK
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in ASKING
    ]
    assert not asked


def test_nobody_imports_a_way_around_the_clock() -> None:
    around = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        if name != CLOCK
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and {alias.name for alias in node.names} - {"sleep"}
    ]
    assert not around


def test_no_moment_is_made_without_a_zone() -> None:
    naive = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("datetime", "datetime.datetime")
        and len(node.args) < 8
        and not any(keyword.arg in ("tzinfo", None) for keyword in node.keywords)
    ]
    assert not naive
