"""Every route has an access level, and every response has the security headers."""

import re

import pytest

from mailer.settings.loading import Settings
from mailer.web import access, app
from mailer.web.postoffice import PostOfficePages
from tests.mailer.web.visitor import Visitor, title, words

TABLE = app.list_routes(PostOfficePages(lambda: None))
PUBLIC = [
    route.path
    for route in TABLE
    if route.method == "GET" and route.access == "public" and "{" not in route.path
]
LOOPBACK = [route for route in TABLE if route.access == "loopback"]
FOREIGN = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}


def test_no_route_is_there_twice():
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)


def test_every_form_that_tells_who_is_known_has_a_floor_of_time():
    assert {route.path for route in TABLE if route.has_time_floor} == {"/join", "/join/{list}", "/organize"}


@pytest.mark.parametrize("path", [*PUBLIC, "/r/toolkit", "/postoffice", "/confirm/1.0.x", "/nowhere"])
def test_every_answer_refuses_scripts_frames_sniffing_and_telling_others(visitor, path):
    headers = visitor.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert "set-cookie" not in headers


@pytest.mark.parametrize("path", ["/confirm/{}", "/preferences/{}", "/unsubscribe/{}", "/rsvp/{}"])
def test_token_pages_are_not_kept_name_themselves_to_nobody_and_have_a_neutral_title(visitor, service, path):
    answer = visitor.get(path.format("1.0.forged"))
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in answer.headers["x-robots-tag"]
    assert service.settings.campaign_name.en not in title(answer)


def test_nothing_on_a_page_comes_from_elsewhere(visitor):
    for path in [*PUBLIC, "/postoffice"]:
        if path.startswith(("/static", "/favicon")):
            continue
        page = visitor.get(path).text
        assert "<script" not in page
        assert " style=" not in page
        assert not re.search(r'(?:src|action)="(?!/)', page), path
        assert not re.search(r'<link[^>]*href="(?!/static/)', page), path


def test_head_is_answered_like_get_without_a_body(visitor):
    assert visitor.ask("HEAD", "/join").status_code == 200


def test_a_path_that_is_not_there_and_a_method_that_is_not_allowed_are_told_honestly(visitor):
    assert visitor.get("/nowhere").status_code == 404
    assert "Nothing is here" in words(visitor.get("/nowhere"))
    assert "Aquí no hay nada" in words(visitor.get("/nowhere", headers={"accept-language": "es"}))
    assert visitor.ask("DELETE", "/join").status_code == 405
    assert visitor.get("/postoffice/advance").status_code == 405


def test_a_fault_of_ours_is_told_without_its_details(visitor, monkeypatch):
    from mailer.web.public import signups

    def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(signups, "is_throttled", broken)
    answer = visitor.join(email="dora@example.org")
    assert answer.status_code == 500
    assert "not your fault" in words(answer)
    assert "secret detail" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_locked_database_says_so_and_loses_nothing(visitor, service, monkeypatch):
    from lists.errors import StorageError
    from mailer.web.public import signups

    def locked(*_):
        raise StorageError("busy")

    monkeypatch.setattr(signups, "is_throttled", locked)
    answer = visitor.join(email="dora@example.org")
    assert answer.status_code == 503
    assert "Nothing was lost" in words(answer)


@pytest.mark.parametrize("route", LOOPBACK, ids=lambda route: f"{route.method} {route.path}")
def test_the_post_office_is_there_only_for_this_machine(service, clock, route):
    path = route.path.replace("{id}", "1")
    visitors = [
        Visitor(service, clock, client="203.0.113.9"),
        Visitor(service, clock, host="mail.example.org"),
        Visitor(service, clock, host="127.0.0.1.evil.example:8000"),
        Visitor(service, clock, host=""),
    ]
    for visitor in visitors:
        assert visitor.ask(route.method, path).status_code == 404
    local_visitor = Visitor(service, clock)
    for name in access.FORWARDING_HEADERS:
        assert local_visitor.ask(route.method, path, headers={name: "127.0.0.1"}).status_code == 404


def test_the_post_office_is_not_there_in_earnest(tmp_path):
    headers = {"host": "127.0.0.1:8000"}
    tryout = Settings(home=tmp_path)
    earnest = tryout.model_copy(update={"smtp_url": "smtp://relay"})
    public = tryout.model_copy(update={"public_url": "https://mail.example.org"})
    assert access.is_from_this_machine(tryout, client="127.0.0.1", headers=headers)
    assert access.is_from_this_machine(tryout, client="::1", headers={"host": "[::1]:8000"})
    assert access.is_from_this_machine(tryout, client="127.0.0.1", headers={"host": "localhost:8000"})
    assert not access.is_from_this_machine(earnest, client="127.0.0.1", headers=headers)
    assert not access.is_from_this_machine(public, client="127.0.0.1", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        FOREIGN,
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/join", "/organize", "/postoffice/advance"])
def test_a_post_from_a_page_elsewhere_is_refused(visitor, service, path, headers):
    answer = visitor.post(path, {"email": "dora@example.org", "days": "1"}, headers=headers)
    assert answer.status_code == 403
    assert "another page" in words(answer)


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://127.0.0.1:8000"}],
)
def test_a_post_from_our_own_page_or_from_no_browser_is_taken(visitor, headers):
    assert visitor.post("/join", {"email": "x"}, headers=headers).status_code == 422


def test_links_come_from_the_settings_whatever_host_is_asked_for(service, clock):
    visitor = Visitor(service, clock, host="evil.example")
    for path in ("/", "/join", "/privacy", "/nowhere"):
        assert "evil.example" not in visitor.get(path).text
    assert "evil.example" not in visitor.join(email="dora@example.org").text
    service.deliver_until_empty()
    from mailer.tryout import postoffice

    with service.database.read() as session:
        message = postoffice.get_message(session, postoffice.list_messages(session, limit=1)[0].id)
    assert b"evil.example" not in message.raw


def test_the_stylesheet_may_be_kept_and_its_address_changes_with_it(visitor):
    address = re.search(r'href="(/static/public.css\?v=[0-9a-f]{12})"', visitor.get("/").text)
    answer = visitor.get(address.group(1))
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]


def test_an_ipv6_network_is_one_source():
    one, two, other = (
        access.hash_network(address, pepper=b"p")
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    )
    assert one == two != other
    assert len(one) == 16


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("es", "es"),
        ("es-419,es;q=0.9,en;q=0.8", "es"),
        ("en;q=0.4, es;q=0.5", "es"),
        ("fr, de", "en"),
        ("es;q=0", "en"),
        ("es;q=x, en", "en"),
        ("," * 100_000, "en"),
        ("ES", "es"),
    ],
)
def test_the_browsers_favorite_of_our_languages_is_spoken(header, language):
    assert access.choose_language(header) == language
