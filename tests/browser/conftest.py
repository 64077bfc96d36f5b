"""A real browser on a real server: Debian's Chromium, and the service with Ana, Ben and Cleo.

Playwright holds this thread's event loop as long as the browser is open: so the browser is closed after this
folder, and code that needs a loop of its own runs in another thread.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from mailer import service
from mailer.service import Service
from mailer.settings import keys
from mailer.settings.loading import Settings
from mailer.tryout.postoffice import PostOffice
from mailer.web import app, bot_detection
from tests import databases, people, served, settled
from tests.conftest import missing

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


@dataclass(frozen=True, kw_only=True)
class World:
    """The running service, its address, and the paths of the links in the mails."""

    service: Service
    address: str
    links: dict[str, str]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window and without background requests."""
    if not CHROMIUM.exists():
        missing("Chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-background-networking", "--disable-component-update"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def axe() -> str:
    """The accessibility rules, as a script."""
    if not AXE.exists():
        missing("axe-core")
    return AXE.read_text("utf-8")


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A try-out with a call planned and some mails in its post office; forms may be sent at once."""
    home = tmp_path_factory.mktemp("home")
    files = databases.SqliteFiles(tmp_path_factory.mktemp("template"))
    settings = Settings(home=home, database_url=files.fresh(home), port=served.free_port())
    pepper = keys.load(home / "secrets").pepper
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "PEPPER", pepper)
        patch.setattr(bot_detection, "MIN_FILL_TIME", bot_detection.MILLISECOND)
        instance = service.build(settings)
        office = PostOffice(instance.database, instance.clock, home=home)
        office.start()
        application = app.build(instance)
        application.routes.append(settled.REFUSED)
        with served.serving(application, settings) as address:
            yield World(
                service=instance,
                address=address,
                links=settled.settle(instance, deliver=lambda: deliver(instance)),
            )
        office.stop()
        instance.close()


def deliver(service_instance: Service) -> None:
    """Deliver all that is due."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(service_instance.deliver_until_empty).result()
