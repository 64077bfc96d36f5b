"""Nothing in the installation gets too big to read in one sitting."""

import ast

from tests.guards import source

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 70
WRITTEN_BY_A_PROGRAM = "mailer/migrations/versions/"
CODE = (".py", ".css", ".js", ".html", ".toml", "")


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        path.relative_to(source.ROOT).as_posix(): lines
        for path in source.files()
        if path.suffix in CODE
        and not path.relative_to(source.ROOT).as_posix().startswith(WRITTEN_BY_A_PROGRAM)
        and (lines := len(path.read_text("utf-8").splitlines())) > LINES_OF_A_FILE
    }
    assert not long


def test_no_function_is_longer_than_70_lines() -> None:
    long = [
        f"{name}: {node.name} has {length} lines"
        for name, tree in source.python("lists", "mailer", "scripts", "tests")
        for node in ast.walk(tree)
        if not name.startswith(WRITTEN_BY_A_PROGRAM)
        and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_FUNCTION
    ]
    assert not long
