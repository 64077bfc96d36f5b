"""Every door of the web declares who may enter, and no route is made around the table of doors."""

import re

import pytest

from mailer.monitoring.logs import scrub
from mailer.service import Service
from mailer.web.access import ACCESS
from mailer.web.app import build, list_routes
from mailer.web.postoffice import PostOfficePages

DOORS = list_routes(PostOfficePages(lambda: None))


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_every_door_declares_who_may_enter() -> None:
    assert not [door for door in DOORS if door.access not in ACCESS]


def test_a_door_with_a_token_in_its_address_is_a_token_door() -> None:
    for door in DOORS:
        assert ("{token}" in door.path) == (door.access == "token"), door.path


def test_the_post_office_is_for_this_machine_only() -> None:
    for door in DOORS:
        assert door.path.startswith("/postoffice") == (door.access == "loopback"), door.path


def test_every_route_is_a_door(service: Service) -> None:
    routes = {(route.path, method) for route in build(service).routes for method in route.methods}
    assert {(path, method) for path, method in routes if method != "HEAD"} == {
        (door.path, door.method) for door in DOORS
    }


def test_addresses_are_plain_words() -> None:
    for door in DOORS:
        assert door.method in {"GET", "POST"}
        assert re.fullmatch(r"/|(/[a-z0-9.{}_]+)+", door.path), door.path


def test_no_log_ever_holds_what_opens_a_door() -> None:
    for door in DOORS:
        if door.access == "token":
            told = scrub("https://mail.test" + door.path.replace("{token}", "41.1792512000.ea0eac815bc8"))
            assert "ea0eac815bc8" not in told, door.path
