"""A commit without a reply that took effect: each person still gets the message once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from lists.errors import StorageError
from mailer.service import Service
from tests.people import Person
from tests.relays import World, broadcast, crowd, deliver, states


def test_a_claim_whose_commit_was_never_answered_is_given_back_and_leaves(
    service: Service, world: World, ben: Person, cleo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to a database server may break before it has replied to COMMIT."""
    crowd(service, 5)
    broadcast(service)
    original_write, failures_left = service.database.write, 6

    @contextmanager
    def write() -> Iterator[Session]:
        nonlocal failures_left
        with original_write() as session:
            yield session
        failures_left -= 1
        if failures_left >= 0:
            raise StorageError("The database does not answer.")

    monkeypatch.setattr(service.database, "write", write)
    deliver(service, world)
    assert failures_left < 0
    assert states(service) == {"sent": 6}
    assert sorted(Counter(world.arrived).values()) == [1] * 6
    assert cleo.email not in world.arrived
