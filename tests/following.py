"""The required effect of following each link of ours, by its route; a route without an entry is an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from mailer.service import Service
from mailer.web import app
from mailer.web.postoffice import PostOfficePages
from tests import links
from tests.links import Hands, Rows, Shelter

OK = 200


@dataclass(frozen=True, kw_only=True)
class Addressee:
    """The recipient of a mail, and its list ("" where it belongs to none)."""

    contact_id: int
    list: str


Effect = Callable[["Follower", str, Addressee], None]


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Follows links one by one, each from the same start; `seen` are the links followed so far."""

    service: Service
    hands: Hands
    shelter: Shelter
    seen: set[tuple[str, Addressee | None]] = field(default_factory=set)

    def follow(self, raw: bytes, to: Addressee) -> set[str]:
        """Follow each link of ours in a message once; returns the routes they lead to."""
        message_links = links.links(raw)
        home = urlsplit(self.service.links.home).netloc
        routes = set()
        for link in message_links.all:
            if urlsplit(link).netloc != home:
                continue
            route = self._find_route(link)
            routes.add(route)
            if (link, to if "{token}" in route else None) in self.seen:
                continue
            self.seen.add((link, to if "{token}" in route else None))
            self._look(link, route)
            if route in EFFECTS:
                self._try(EFFECTS[route], link, to)
            if link == message_links.one_click:
                self._try(Follower.one_click, link, to)
        assert not message_links.one_click or (message_links.one_click, to) in self.seen
        return routes

    def _find_route(self, link: str) -> str:
        path = urlsplit(link).path or "/"
        routes = {
            each.path for each in app.list_routes(PostOfficePages(lambda: None)) if each.method == "GET"
        }
        exact = path if path in routes else ""
        matching = exact or next(
            (each for each in sorted(routes) if "{" in each and _matches(each, path)), ""
        )
        assert matching in EFFECTS or matching in PAGES, f"no effect is defined for {link}"
        return matching

    def _look(self, link: str, route: str) -> None:
        """Open a link as people and scanners do, in either case of its letters; nothing may change."""
        before = self.shelter.version
        spellings = [link]
        if "{token}" in route:
            head, _, token = urlsplit(link).path.rpartition("/")
            spellings += [f"{head}/{token.upper()}", f"{head}/{token.lower()}"]
            assert token[-1].isalnum(), link
        for spelling in spellings:
            for method in ("GET", "HEAD"):
                page = self.hands.look(spelling, method=method)
                assert page.status_code == OK, (method, spelling, page.status_code)
        assert self.shelter.version == before, link

    def _try(self, effect: Effect, link: str, to: Addressee) -> None:
        before = self.shelter.rows()
        try:
            effect(self, link, to)
        finally:
            self.shelter.put_back(before)

    def one_click(self, link: str, to: Addressee) -> None:
        """Post as a mailbox provider does: the person leaves this list, and no other."""
        before = self.shelter.rows()
        answer = self.hands.one_click(link)
        assert answer.status_code == OK, (link, answer.status_code)
        self._left(before, to, list=to.list)

    def _left(self, before: Rows, to: Addressee, *, list: str) -> None:
        """Check that this person left this list, and that nobody left another."""
        changed = links.changes(before, self.shelter.rows())
        assert [(row["contact_id"], row["list"], row["state"]) for row in changed["subscriptions"]] == [
            (to.contact_id, list, "left")
        ]

    def unsubscribe(self, link: str, to: Addressee) -> None:
        """Press the button: the person leaves this list."""
        before = self.shelter.rows()
        assert self.hands.press(self.hands.look(link)).status_code == OK
        self._left(before, to, list=to.list)

    def preferences(self, link: str, to: Addressee) -> None:
        """Press every button of the page, each from the same start."""
        page = self.hands.look(link)
        wishes = [value for form in links.forms(page) for name, value in form.buttons if name == "do"]
        assert "mine" in wishes and (not to.list or f"leave-{to.list}" in wishes), wishes
        before = self.shelter.rows()
        for wish in wishes:
            response = self.hands.press(page, wish)
            assert response.status_code == OK, wish
            changed = links.changes(before, self.shelter.rows())
            if wish.startswith("leave-") and wish != "leave-all":
                self._left(before, to, list=wish.removeprefix("leave-"))
            elif wish == "leave-all":
                assert {row["state"] for row in changed["subscriptions"]} == {"left"}
            elif wish.startswith("pause-"):
                assert all(row["paused_until"] for row in changed["subscriptions"])
                assert {row["contact_id"] for row in changed["subscriptions"]} == {to.contact_id}
            elif wish == "mine":
                assert [row["kind"] for row in changed.get("outbox", [])] in (["access"], [])
            else:
                assert wish in ("language", "resume"), wish
            self.shelter.put_back(before)

    def confirm(self, link: str, to: Addressee) -> None:
        """Press the button: the person is on the list, or waits for staff."""
        before = self.shelter.rows()
        page = self.hands.press(self.hands.look(link))
        assert page.status_code == OK, (link, page.status_code)
        after = self.shelter.rows()
        state = {(row["contact_id"], row["list"]): row["state"] for row in after["subscriptions"].values()}
        if to.list == "organizers":
            waiting = {row["contact_id"]: row["state"] for row in after["listings"].values()}
            assert waiting.get(to.contact_id, "waiting") == "waiting"
        else:
            assert state[to.contact_id, to.list] == "confirmed"
        changed = links.changes(before, after).get("subscriptions", [])
        assert {row["contact_id"] for row in changed} <= {to.contact_id}

    def rsvp(self, link: str, to: Addressee) -> None:
        """Send the answer that the link selects, or another one."""
        answer = parse_qs(urlsplit(link).query).get("answer", ["maybe"])[0]
        page = self.hands.look(link)
        before = self.shelter.rows()
        response = self.hands.press(page, answer=answer)
        assert response.status_code == OK, (link, response.status_code)
        rows = links.changes(before, self.shelter.rows())["rsvps"]
        assert [(row["contact_id"], row["answer"]) for row in rows] == [(to.contact_id, answer)]

    def profile(self, link: str, to: Addressee) -> None:
        """Open every page, download the data, and save another name."""
        page = self.hands.look(link)
        for suffix in ("/all", "/all.json"):
            assert self.hands.look(urlsplit(link).path + suffix).status_code == OK
        before = self.shelter.rows()
        assert self.hands.press(page, "save", name="Another").status_code == OK
        (row,) = links.changes(before, self.shelter.rows())["contacts"]
        assert (row["id"], row["name"]) == (to.contact_id, "Another")


def _matches(route: str, path: str) -> bool:
    parts, path_parts = route.split("/"), path.split("/")
    return len(parts) == len(path_parts) and all(
        part == segment or (part.startswith("{") and segment)
        for part, segment in zip(parts, path_parts, strict=True)
    )


EFFECTS: Mapping[str, Effect] = {
    "/unsubscribe/{token}": Follower.unsubscribe,
    "/preferences/{token}": Follower.preferences,
    "/confirm/{token}": Follower.confirm,
    "/rsvp/{token}": Follower.rsvp,
    "/mine/{token}": Follower.profile,
}
PAGES = {"/", "/join", "/join/{list}", "/organize", "/privacy", "/resources", "/r/{slot}"}
