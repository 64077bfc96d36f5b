"""Time: only lists/clock.py asks the machine for the time."""

import ast

from tests.guards import source

CLOCK = "lists/clock.py"
TIME_FUNCTIONS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
}


def test_only_the_clock_reads_the_time() -> None:
    calls = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        if name != CLOCK
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in TIME_FUNCTIONS
    ]
    assert not calls


def test_no_module_imports_another_clock() -> None:
    imports = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        if name != CLOCK
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and {alias.name for alias in node.names} - {"sleep"}
    ]
    assert not imports


def test_no_datetime_is_made_without_a_zone() -> None:
    calls = [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, tree in source.python("lists", "mailer")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("datetime", "datetime.datetime")
        and len(node.args) < 8
        and not any(keyword.arg in ("tzinfo", None) for keyword in node.keywords)
    ]
    assert not calls
