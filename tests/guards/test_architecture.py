"""Architecture: ARCHITECTURE.md, the contracts and the folders agree about the wings."""

import ast
import re
import tomllib

from tests.guards import source

MAX_FILES = 25
ROW = re.compile(r"\| (\d+) \| `(\w+)` \| ")


def _levels() -> list[set[str]]:
    contracts = tomllib.loads((source.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (wings,) = (each for each in contracts["contracts"] if each["type"] == "layers")
    return [set(line.split(" | ")) for line in wings["layers"]]


def _wings() -> list[str]:
    packages = {path.parent for path in source.files() if path.name == "__init__.py"}
    return sorted(
        path.relative_to(source.ROOT).as_posix()
        for path in packages
        if path.relative_to(source.ROOT).parts[0] in ("lists", "mailer")
    )


def test_the_table_of_wings_is_that_of_the_contracts() -> None:
    table: dict[int, set[str]] = {}
    for level, wing in ROW.findall((source.ROOT / "ARCHITECTURE.md").read_text("utf-8")):
        table.setdefault(int(level), set()).add(wing)
    levels = [each - {"__main__"} for each in _levels()]
    assert [table[level] for level in sorted(table, reverse=True)] == [*filter(None, levels), {"lists"}]


def test_each_wing_has_a_docstring_and_imports_nothing() -> None:
    for wing in _wings():
        body = ast.parse((source.ROOT / wing / "__init__.py").read_text("utf-8")).body
        assert ast.get_docstring(ast.Module(body=body, type_ignores=[])), wing
        if wing not in ("mailer/cli", "mailer/migrations"):  # these contain the command itself, and `upgrade`
            assert len(body) == 1, wing


def test_no_wing_has_more_files_than_a_reader_can_keep_apart() -> None:
    for wing in _wings():
        files = [path for path in (source.ROOT / wing).glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, wing
