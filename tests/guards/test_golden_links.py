"""Golden links: links of messages that eb00ebd sent still work: a GET changes nothing, a POST acts."""

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


def find_differences(installation: Installation, after: dict[str, Any]) -> list[str]:
    """Return the expected facts that are not true now."""
    if "forgotten" in after:
        result = installation.mailer("contact", "show", after["forgotten"])
        return [] if result.status == 2 and "forgotten" in result.refusal else ["is not forgotten"]
    if "address" not in after:
        return []
    person, differences = installation.person(after["address"]), []
    subscriptions = {item["list"]: item for item in person["subscriptions"]}
    differences += [
        f"{name} is {subscriptions[name]['state']}"
        for name, state in after.get("lists", {}).items()
        if subscriptions[name]["state"] != state
    ]
    differences += [
        f"{key} is {person['contact'][key]}"
        for key, value in after.get("contact", {}).items()
        if person["contact"][key] != value
    ]
    if "paused" in after and after["paused"] != any(item["paused_until"] for item in subscriptions.values()):
        differences.append("the pause is another")
    if "kind" in after and after["kind"] not in {item["kind"] for item in person["messages"]}:
        differences.append("no such mail is on its way")
    if "call" in after:
        number, answer = after["call"]
        answers = {item["event_id"]: item["answer"] for item in person["answers"]}
        differences += [] if answers.get(number) == answer else [f"the answer is {answers.get(number)}"]
    return differences


def open_links(installation: Installation, links: Sequence[Link]) -> dict[str, str]:
    """Open every link as mail scanners do, and return the answers that differ from the expected ones."""
    answers = {link["about"]: (installation.get(link["url"]).status_code, link["get"]) for link in links}
    return {
        about: f"a look answers {actual}"
        for about, (actual, expected) in answers.items()
        if actual != expected
    }


def submit_form(installation: Installation, link: Link) -> list[str]:
    """Submit the form of a link, and return what differs from the expected result."""
    differences = []
    if link["form"] is not None:
        status = installation.post(link["url"], link["form"]).status_code
        differences += [] if status == link["post"] else [f"a press answers {status}"]
    return differences + find_differences(installation, link["after"])


def test_the_links_of_old_messages_work(installation: Installation) -> None:
    """Some of them did not work then, because tokens allowed no digits and no - in names of lists."""
    links = golden.told("links.json")
    before = {table: golden.rows(installation.url, table) for table in CHANGED_BY_LINKS}
    assert not open_links(installation, links)
    assert {table: golden.rows(installation.url, table) for table in CHANGED_BY_LINKS} == before
    assert not {
        link["about"]: differences for link in links if (differences := submit_form(installation, link))
    }


def test_a_form_that_was_opened_before_the_upgrade_is_accepted_after_it(installation: Installation) -> None:
    opened_token = golden.told("present.json")["opened"]
    form = {
        "email": "late@neighbors.example.org",
        "name": "",
        "zip": "",
        "language": "en",
        "opened": opened_token,
    }
    installation.clock.advance(seconds=30)
    response = installation.post(
        f"{URL}/join", {**form, "opened": f"{opened_token[:-1]}{'1' if opened_token[-1] == '0' else '0'}"}
    )
    assert response.status_code == 200
    assert installation.mailer("contact", "show", form["email"]).status == 2
    assert installation.post(f"{URL}/join", form).status_code == 200
    assert installation.lists(form["email"]) == {"interest": "pending"}
