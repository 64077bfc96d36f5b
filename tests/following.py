"""What following a link of ours must do, by the door it leads to; a door without a line here is an error."""

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
    """Whom a mail was written to, and for which list ("" where it belongs to none)."""

    contact_id: int
    list: str


Effect = Callable[["Follower", str, Addressee], None]


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Follows links one by one, each from the same start; `seen` are the pages that belong to nobody."""

    service: Service
    hands: Hands
    shelter: Shelter
    seen: set[tuple[str, Addressee | None]] = field(default_factory=set)

    def follow(self, raw: bytes, to: Addressee) -> set[str]:
        """Follow what links of ours a message holds, each once; returns the doors they lead to."""
        found = links.links(raw)
        home = urlsplit(self.service.links.home).netloc
        doors = set()
        for link in found.all:
            if urlsplit(link).netloc != home:
                continue
            door = self._door(link)
            doors.add(door)
            if (link, to if "{token}" in door else None) in self.seen:
                continue
            self.seen.add((link, to if "{token}" in door else None))
            self._look(link, door)
            if door in EFFECTS:
                self._try(EFFECTS[door], link, to)
            if link == found.one_click:
                self._try(Follower.one_click, link, to)
        assert not found.one_click or (found.one_click, to) in self.seen
        return doors

    def _door(self, link: str) -> str:
        path = urlsplit(link).path or "/"
        doors = {each.path for each in app.list_routes(PostOfficePages(lambda: None)) if each.method == "GET"}
        fixed = path if path in doors else ""
        matching = fixed or next((each for each in sorted(doors) if "{" in each and _matches(each, path)), "")
        assert matching in EFFECTS or matching in PAGES, f"nobody knows what {link} must do"
        return matching

    def _look(self, link: str, door: str) -> None:
        """Open a link as people and scanners do, in either case of its letters; nothing may change."""
        before = self.shelter.version
        spellings = [link]
        if "{token}" in door:
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
        """Post as a mailbox provider does: gone from this list, and from no other."""
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
        """Press the button: gone from this list."""
        before = self.shelter.rows()
        assert self.hands.press(self.hands.look(link)).status_code == OK
        self._left(before, to, list=to.list)

    def preferences(self, link: str, to: Addressee) -> None:
        """Press every button there is, each from the same start."""
        page = self.hands.look(link)
        wishes = [value for form in links.forms(page) for name, value in form.buttons if name == "do"]
        assert "mine" in wishes and (not to.list or f"leave-{to.list}" in wishes), wishes
        before = self.shelter.rows()
        for wish in wishes:
            done = self.hands.press(page, wish)
            assert done.status_code == OK, wish
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
        """Press the button: on the list, or waiting for staff."""
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
        """Send the answer that the link has chosen, or another one."""
        chosen = parse_qs(urlsplit(link).query).get("answer", ["maybe"])[0]
        page = self.hands.look(link)
        before = self.shelter.rows()
        sent = self.hands.press(page, answer=chosen)
        assert sent.status_code == OK, (link, sent.status_code)
        rows = links.changes(before, self.shelter.rows())["rsvps"]
        assert [(row["contact_id"], row["answer"]) for row in rows] == [(to.contact_id, chosen)]

    def profile(self, link: str, to: Addressee) -> None:
        """See everything, take it along, and save another name."""
        page = self.hands.look(link)
        for more in ("/all", "/all.json"):
            assert self.hands.look(urlsplit(link).path + more).status_code == OK
        before = self.shelter.rows()
        assert self.hands.press(page, "save", name="Another").status_code == OK
        (row,) = links.changes(before, self.shelter.rows())["contacts"]
        assert (row["id"], row["name"]) == (to.contact_id, "Another")


def _matches(door: str, path: str) -> bool:
    parts, asked = door.split("/"), path.split("/")
    return len(parts) == len(asked) and all(
        part == said or (part.startswith("{") and said) for part, said in zip(parts, asked, strict=True)
    )


EFFECTS: Mapping[str, Effect] = {
    "/unsubscribe/{token}": Follower.unsubscribe,
    "/preferences/{token}": Follower.preferences,
    "/confirm/{token}": Follower.confirm,
    "/rsvp/{token}": Follower.rsvp,
    "/mine/{token}": Follower.profile,
}
PAGES = {"/", "/join", "/join/{list}", "/organize", "/privacy", "/resources", "/r/{slot}"}
