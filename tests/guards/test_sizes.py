"""Sizes: no file and no function is too long to read at once."""

import ast

from tests.guards import source

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
GENERATED = "mailer/migrations/versions/"
CODE = (".py", ".css", ".js", ".html", ".toml", "")


def test_no_file_is_longer_than_400_lines() -> None:
    long_files = {
        path.relative_to(source.ROOT).as_posix(): lines
        for path in source.files()
        if path.suffix in CODE
        and not path.relative_to(source.ROOT).as_posix().startswith(GENERATED)
        and (lines := len(path.read_text("utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long_files


def test_no_function_is_longer_than_70_lines() -> None:
    long_functions = [
        f"{name}: {node.name} has {length} lines"
        for name, tree in source.python("lists", "mailer", "scripts", "tests")
        for node in ast.walk(tree)
        if not name.startswith(GENERATED)
        and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long_functions
