"""Links of mails that eb00ebd sent do what they promised: a look changes nothing, a press does it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests import golden
from tests.golden import URL, Installation

CHANGED_BY_LINKS = (
    "contacts",
    "subscriptions",
    "consents",
    "declines",
    "rsvps",
    "suppressions",
    "outbox",
    "listings",
)

Link = Mapping[str, Any]


def true_of(installation: Installation, after: dict[str, Any]) -> list[str]:
    """Say what of this is not true now."""
    if "forgotten" in after:
        ran = installation.mailer("contact", "show", after["forgotten"])
        return [] if ran.status == 2 and "forgotten" in ran.refusal else ["is not forgotten"]
    if "address" not in after:
        return []
    person, wrong = installation.person(after["address"]), []
    standing = {each["list"]: each for each in person["subscriptions"]}
    wrong += [
        f"{name} is {standing[name]['state']}"
        for name, state in after.get("lists", {}).items()
        if standing[name]["state"] != state
    ]
    wrong += [
        f"{key} is {person['contact'][key]}"
        for key, value in after.get("contact", {}).items()
        if person["contact"][key] != value
    ]
    if "paused" in after and after["paused"] != any(each["paused_until"] for each in standing.values()):
        wrong.append("the pause is another")
    if "kind" in after and after["kind"] not in {each["kind"] for each in person["messages"]}:
        wrong.append("no such mail is on its way")
    if "call" in after:
        number, answer = after["call"]
        given = {each["event_id"]: each["answer"] for each in person["answers"]}
        wrong += [] if given.get(number) == answer else [f"the answer is {given.get(number)}"]
    return wrong


def looked_at(installation: Installation, links: Sequence[Link]) -> dict[str, str]:
    """Open every link as scanners of mail do, and say what is not answered as it must be."""
    answers = {link["about"]: (installation.get(link["url"]).status_code, link["get"]) for link in links}
    return {about: f"a look answers {now}" for about, (now, then) in answers.items() if now != then}


def pressed(installation: Installation, link: Link) -> list[str]:
    """Press the button of a link, and say what is not as it must be."""
    wrong = []
    if link["form"] is not None:
        answered = installation.post(link["url"], link["form"]).status_code
        wrong += [] if answered == link["post"] else [f"a press answers {answered}"]
    return wrong + true_of(installation, link["after"])


def test_the_links_of_old_mails_do_what_they_promised(installation: Installation) -> None:
    """Among them are those that were dead then, because tokens knew no digits and no - in names of lists."""
    links = golden.told("links.json")
    before = {table: golden.rows(installation.url, table) for table in CHANGED_BY_LINKS}
    assert not looked_at(installation, links)
    assert {table: golden.rows(installation.url, table) for table in CHANGED_BY_LINKS} == before
    assert not {link["about"]: found for link in links if (found := pressed(installation, link))}


def test_a_form_that_was_opened_before_the_upgrade_is_taken_after_it(installation: Installation) -> None:
    opened = golden.told("present.json")["opened"]
    form = {"email": "late@neighbors.example.org", "name": "", "zip": "", "language": "en", "opened": opened}
    installation.clock.advance(seconds=30)
    refused = installation.post(
        f"{URL}/join", {**form, "opened": f"{opened[:-1]}{'1' if opened[-1] == '0' else '0'}"}
    )
    assert refused.status_code == 200
    assert installation.mailer("contact", "show", form["email"]).status == 2
    assert installation.post(f"{URL}/join", form).status_code == 200
    assert installation.lists(form["email"]) == {"interest": "pending"}
