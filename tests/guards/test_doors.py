"""Routes: every route of the web declares its access, and the table of routes is complete."""

import re

import pytest

from mailer.monitoring.logs import scrub
from mailer.service import Service
from mailer.web.access import ACCESS
from mailer.web.app import build, list_routes
from mailer.web.postoffice import PostOfficePages

ROUTES = list_routes(PostOfficePages(lambda: None))


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_every_route_declares_its_access() -> None:
    assert not [route for route in ROUTES if route.access not in ACCESS]


def test_a_route_with_a_token_in_its_path_has_token_access() -> None:
    for route in ROUTES:
        assert ("{token}" in route.path) == (route.access == "token"), route.path


def test_the_post_office_is_for_this_machine_only() -> None:
    for route in ROUTES:
        assert route.path.startswith("/postoffice") == (route.access == "loopback"), route.path


def test_every_route_is_in_the_table(service: Service) -> None:
    served = {(route.path, method) for route in build(service).routes for method in route.methods}
    assert {(path, method) for path, method in served if method != "HEAD"} == {
        (route.path, route.method) for route in ROUTES
    }


def test_paths_are_plain_words() -> None:
    for route in ROUTES:
        assert route.method in {"GET", "POST"}
        assert re.fullmatch(r"/|(/[a-z0-9.{}_]+)+", route.path), route.path


def test_no_log_line_contains_a_token() -> None:
    for route in ROUTES:
        if route.access == "token":
            line = scrub("https://mail.test" + route.path.replace("{token}", "41.1792512000.ea0eac815bc8"))
            assert "ea0eac815bc8" not in line, route.path
