"""Imports: imports go downward only, and each third-party library is imported in few files."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.guards import source

IMPORTERS = {
    "aiosmtpd": ("mailer/tryout/postoffice.py",),
    "aiosmtplib": ("mailer/smtp/connection.py",),
    "alembic": ("mailer/migrations/",),
    "apscheduler": ("mailer/processes/scheduler.py",),
    "babel": ("mailer/templates/local_time.py",),
    "click": ("mailer/cli/",),
    "cryptography": ("mailer/compose/dkim_keys.py", "mailer/backup/encryption.py"),
    "css_inline": ("mailer/templates/rendering.py", "mailer/templates/markdown.py"),
    "email_validator": ("lists/addresses.py",),
    "icalendar": ("mailer/events/icalendar.py",),
    "jinja2": ("mailer/templates/rendering.py", "mailer/templates/sandbox.py"),
    "markdown_it": ("mailer/templates/markdown.py",),
    "prometheus_client": ("mailer/monitoring/metrics.py",),
    "psycopg": (),
    "pydantic": ("mailer/settings/model.py", "mailer/settings/loading.py"),
    "rich": ("mailer/cli/",),
    "segno": ("mailer/web/signup_sheet.py",),
    "starlette": ("mailer/web/",),
    "uvicorn": ("mailer/web/server.py",),
    "zipcodes": ("lists/geography.py",),
}


def test_imports_go_downward_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=source.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_library_is_imported_only_where_it_may_be() -> None:
    violations = [
        f"{name} imports {library}, which only {IMPORTERS[library]} may"
        for name, tree in source.python("lists", "mailer")
        for library in sorted(_list_imports(tree) & set(IMPORTERS))
        if not any(name.startswith(importer) for importer in IMPORTERS[library])
    ]
    assert not violations


def _list_imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
