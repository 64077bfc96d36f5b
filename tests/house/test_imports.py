"""Imports go downward only, and each foreign library has one door into the house."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.house import source

DOORS = {
    "aiosmtpd": ("mailer/postoffice.py",),
    "aiosmtplib": ("mailer/smtp.py",),
    "alembic": ("mailer/migrations/",),
    "apscheduler": ("mailer/scheduler.py",),
    "babel": ("mailer/moments.py",),
    "click": ("mailer/cli/",),
    "cryptography": ("mailer/selectors.py", "mailer/sealing.py"),
    "css_inline": ("mailer/rendering.py", "mailer/markdown.py"),
    "email_validator": ("lists/addresses.py",),
    "icalendar": ("mailer/itip.py",),
    "jinja2": ("mailer/rendering.py", "mailer/grammar.py"),
    "markdown_it": ("mailer/markdown.py",),
    "prometheus_client": ("mailer/metrics.py",),
    "psycopg": (),
    "pydantic": ("mailer/schema.py", "mailer/settings.py"),
    "rich": ("mailer/cli/",),
    "segno": ("mailer/web/sheet.py",),
    "starlette": ("mailer/web/",),
    "uvicorn": ("mailer/web/server.py",),
    "zipcodes": ("lists/geography.py",),
}


def test_imports_go_downward_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=source.ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_library_has_one_door() -> None:
    strays = [
        f"{name} imports {library}, which only {DOORS[library]} may"
        for name, tree in source.python("lists", "mailer")
        for library in sorted(_imported(tree) & set(DOORS))
        if not any(name.startswith(door) for door in DOORS[library])
    ]
    assert not strays


def _imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
