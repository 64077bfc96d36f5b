"""What the tests of the pages can ask for."""

import pytest

from mailer.service import Service
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor


@pytest.fixture
def visitor(service: Service, clock: StoppedClock) -> Visitor:
    """Somebody at this machine, who reads English."""
    return Visitor(service, clock)
