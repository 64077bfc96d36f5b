"""Source: the project's own files, as the guards read them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@cache
def files() -> tuple[Path, ...]:
    """Return every file of the project, also new ones, except deleted and ignored ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(ROOT / name for name in output.split("\0") if name and (ROOT / name).is_file())


def python(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the Python files under these folders: name from the top of the project, and syntax tree."""
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and name.startswith(tuple(f"{folder}/" for folder in folders)):
            yield name, parse_file(path)


@cache
def parse_file(path: Path) -> ast.Module:
    """Return the syntax tree of one file."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))
