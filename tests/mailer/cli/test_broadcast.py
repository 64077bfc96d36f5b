"""An update is previewed, counted, and sent once to everyone who may get it."""

import re
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from lists import subscriptions
from mailer.compose.editions import Edition
from mailer.jobs import jobs
from mailer.outbox import stats
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.broadcasts import Broadcast
from mailer.tryout import postoffice
from tests import commands, people
from tests.commands import Mailer
from tests.people import Person
from tests.relays import states

BOTH = """---
subject:
  en: A county decided
  es: Un condado decidió
---
<!-- en -->
{{ greeting }}

The county will ask for a warrant.
<!-- es -->
{{ greeting }}

El condado pedirá una orden judicial.
"""
ENGLISH = "---\nsubject: A county decided\n---\n{{ greeting }}\n\nThe county will ask for a warrant.\n"


@pytest.fixture
def mailer(service: Service, ben: Person, cleo: Person) -> Mailer:
    return commands.mailer(service)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "update.md"
    path.write_text(BOTH, "utf-8")
    return path


@pytest.fixture
def dora(service: Service) -> Person:
    with service.database.write() as session:
        return people.add(
            session,
            name="Dora",
            email="dora@example.org",
            language="en",
            zip="10027",
            list="interest",
            now=service.clock.now(),
        )


def send(file: Path, *more: str) -> list[str]:
    return ["broadcast", "send", "--file", str(file), "--audience", "interest", *more]


def updates(service: Service) -> list[str]:
    with service.database.read() as session:
        messages = postoffice.list_messages(session, limit=50)
        return [message.to for message in messages if "onda" in message.subject or "ount" in message.subject]


def rows(service: Service) -> int:
    with service.database.read() as session:
        return sum(stats.count_by_kind_and_state(session, kind="broadcast").values())


def test_a_look_shows_who_gets_it_and_who_does_not_and_changes_nothing(
    service: Service, mailer: Mailer, file: Path, dora: Person
) -> None:
    result = mailer(*send(file, "--dry-run"))
    assert result.status == 0
    for part in (
        "Subject: A county decided",
        "Hello Alex,",
        "Subject: Un condado decidió",
        "El condado pedirá",
        "Who gets it: 2 people",
        "1  read English",
        "1  read Spanish",
        "1  do not get it: This person left the list.",
        "Nothing was sent.",
    ):
        assert part in result.out
    with service.database.read() as session:
        assert session.scalar(select(func.count(Edition.id)).where(Edition.name == "broadcast")) == 0
        assert session.scalar(select(func.count(Broadcast.id))) == 0


def test_ben_and_dora_get_it_in_their_languages_and_cleo_does_not(
    service: Service, mailer: Mailer, file: Path, dora: Person, ben: Person, cleo: Person
) -> None:
    result = mailer(*send(file, "--yes"))
    assert "Update 1 is in the outbox for 2 people." in result.out
    assert mailer("deliver").status == 0
    assert sorted(updates(service)) == sorted([ben.email, dora.email])
    mails = mailer("postoffice", "list", "--json").json
    subjects = {mail["to"]: mail["subject"] for mail in mails if "onda" in mail["subject"]}
    assert subjects == {ben.email: "Un condado decidió"}
    status = mailer("broadcast", "status", 1, "--json").json
    assert (status["state"], status["counts"]) == ("filled", {"sent": 2})
    assert "2  sent" in mailer("broadcast", "status", 1).out
    (row,) = mailer("broadcast", "list", "--json").json
    assert (row["subject"], row["sent"], row["waiting"]) == ("A county decided", 2, 0)


def test_what_was_previewed_is_what_leaves(
    service: Service, mailer: Mailer, file: Path, dora: Person
) -> None:
    preview = mailer(*send(file, "--dry-run", "--json")).json["previews"]["en"]
    mailer(*send(file, "--yes"))
    mailer("deliver")
    with service.database.read() as session:
        (dora_message,) = [
            each for each in postoffice.list_messages(session, limit=50) if "county" in each.subject
        ]
        text = postoffice.parse_message(postoffice.get_message(session, dora_message.id).raw).text

    def words(shown: str) -> list[str]:
        return re.sub(r"https?://\S+", "LINK", shown).replace("Dora", "Alex").split()

    assert words(text) == words(preview["text"])


def test_staff_are_asked_and_may_say_no(service: Service, mailer: Mailer, file: Path) -> None:
    result = mailer(*send(file), typed="n\n")
    assert (result.refusal, rows(service)) == ("Stopped.", 0)
    assert mailer(*send(file), typed="y\n").status == 0
    assert rows(service) == 1
    assert "add --yes" in mailer(*send(file, "--json")).refusal


def test_readers_without_a_text_of_their_own_are_told_of(mailer: Mailer, file: Path) -> None:
    file.write_text(ENGLISH, "utf-8")
    printed = mailer(*send(file, "--dry-run")).out
    assert "one person reads Spanish, and this update has no Spanish text: they get it in English." in printed


def test_the_same_text_is_not_sent_twice_by_mistake(service: Service, mailer: Mailer, file: Path) -> None:
    mailer(*send(file, "--yes"))
    result = mailer(*send(file, "--yes"))
    assert (result.status, "on October 20, 2026, as update 1" in result.refusal) == (2, True)
    assert rows(service) == 1
    assert mailer(*send(file, "--yes", "--again", "--json")).json["broadcast"] == 2
    assert rows(service) == 2


def test_an_update_to_nobody_is_refused(service: Service, mailer: Mailer, file: Path, ben: Person) -> None:
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=service.clock.now())
    result = mailer(*send(file, "--yes"))
    assert (result.status, "Nobody on the list interest" in result.refusal) == (2, True)
    assert mailer("broadcast", "list").out == "No update was ever sent.\n"


def test_a_broken_file_is_refused_with_its_line(service: Service, mailer: Mailer, file: Path) -> None:
    file.write_text(ENGLISH.replace("county will", "{{ ''.__class__ }}"), "utf-8")
    result = mailer(*send(file, "--yes"))
    assert (result.status, result.refusal.startswith("update.md, line 6:")) == (2, True)
    assert "There is no file" in mailer(*send(file.with_name("none.md"))).refusal
    assert rows(service) == 0


def test_many_are_filled_in_batches_and_a_stop_is_gone_on_with(
    service: Service, mailer: Mailer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service.database.write() as session:
        for number in range(7):
            people.add(
                session,
                name="",
                email=f"person{number}@example.org",
                language="en",
                zip="10027",
                list="interest",
                now=service.clock.now(),
            )
    monkeypatch.setattr(jobs, "BATCH", 3)
    pauses: list[float] = []

    def stop(seconds: float) -> None:
        pauses.append(seconds)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(service.clock, "sleep", stop)
        assert mailer(*send(file, "--yes")).refusal == "Stopped."
    assert (rows(service), pauses) == (3, [jobs.PAUSE_SECONDS])
    assert mailer("broadcast", "status", 1, "--json").json["state"] == "filling"
    service.jobs.get("fill-broadcast").run()
    assert mailer("broadcast", "status", 1, "--json").json["waiting"] == 8


def test_an_unknown_update_is_told(mailer: Mailer) -> None:
    result = mailer("broadcast", "status", 9)
    assert (result.status, "no broadcast number 9" in result.refusal) == (2, True)


def test_a_recall_stops_whatever_waits_and_tells_who_got_it(
    service: Service, mailer: Mailer, file: Path, dora: Person, ben: Person
) -> None:
    mailer(*send(file, "--yes"))
    assert service.deliver_until_empty().sent == 2
    with service.database.write() as session:  # as if it had reached Ben and not yet Dora
        session.execute(
            update(OutboxRow).where(OutboxRow.contact_id == dora.id).values(state="queued", sent_at=None)
        )
    refused = mailer("broadcast", "recall", 1, typed="n\n")
    assert (refused.refusal, states(service)) == ("Stopped.", {"sent": 1, "queued": 1})
    result = mailer("broadcast", "recall", 1, typed="y\n")
    assert (
        result.out.splitlines()[-1]
        == "Update 1 is recalled: one person had it already, one person will not get it."
    )
    assert states(service) == {"sent": 1, "cancelled": 1}
    assert service.deliver_until_empty().sent == 0
    status = mailer("broadcast", "status", 1, "--json").json
    assert (status["state"], status["recalled_at"] is not None) == ("recalled", True)
    (row,) = mailer("broadcast", "list", "--json").json
    assert (row["state"], row["others"]) == ("recalled", 1)
    repeated = mailer("broadcast", "recall", 1, "--yes", "--json").json
    assert repeated == {"broadcast": 1, "counts": {"sent": 1, "cancelled": 1}}


def test_a_recall_that_was_stopped_is_gone_on_with_by_the_service(
    service: Service, mailer: Mailer, file: Path, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailer(*send(file, "--yes"))
    monkeypatch.setattr(broadcasts, "WITHDRAW_BATCH", 1)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(service.clock, "sleep", stop)
        assert mailer("broadcast", "recall", 1, "--yes").refusal == "Stopped."
    assert states(service) == {"queued": 1, "cancelled": 1}
    service.jobs.get("withdraw").run()
    assert states(service) == {"cancelled": 2}


def test_an_update_that_is_recalled_while_it_is_put_into_the_outbox_goes_no_further(
    service: Service, mailer: Mailer, file: Path, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BATCH", 1)

    def recall(_: float) -> None:
        with service.database.write() as session:
            broadcasts.recall(session, 1, now=service.clock.now(), actor="staff")

    with monkeypatch.context() as patched:
        patched.setattr(service.clock, "sleep", recall)
        assert "Update 1 was recalled meanwhile." in mailer(*send(file, "--yes")).refusal
    assert rows(service) == 1
    assert service.jobs.get("fill-broadcast").run() == 0
    service.jobs.get("withdraw").run()
    assert states(service) == {"cancelled": 1}


def test_what_cannot_be_recalled_is_told_so(service: Service, mailer: Mailer, file: Path) -> None:
    mailer(*send(file, "--yes"))
    assert "add --yes" in mailer("broadcast", "recall", 1, "--json").refusal
    service.deliver_until_empty()
    result = mailer("broadcast", "recall", 1, "--yes")
    assert (result.status, "nothing to recall" in result.refusal) == (2, True)
    assert "no broadcast number 9" in mailer("broadcast", "recall", 9, "--yes").refusal
