"""The parts of the service that use no database: templates, sources, composer, built once for all tests."""

import tempfile
from functools import cache
from pathlib import Path

from mailer import service as composition
from mailer.service import Service
from mailer.settings import keys
from mailer.settings.loading import Settings


@cache
def built() -> Service:
    """Return a service to take such parts from; its own database is empty and never used."""
    with tempfile.TemporaryDirectory() as folder:
        keys.load(Path(folder) / "secrets")
        return composition.build(Settings(home=Path(folder), database_url=f"sqlite:///{folder}/unused.db"))
