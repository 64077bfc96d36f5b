"""A commit that took effect though nobody could say so: nobody is lost and nobody is mailed twice."""

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
    """The connection to a database server may break before it has answered to COMMIT."""
    crowd(service, 5)
    broadcast(service)
    usual, unanswered = service.database.write, 6

    @contextmanager
    def write() -> Iterator[Session]:
        nonlocal unanswered
        with usual() as session:
            yield session
        unanswered -= 1
        if unanswered >= 0:
            raise StorageError("The database does not answer.")

    monkeypatch.setattr(service.database, "write", write)
    deliver(service, world)
    assert unanswered < 0
    assert states(service) == {"sent": 6}
    assert sorted(Counter(world.arrived).values()) == [1] * 6
    assert cleo.email not in world.arrived
