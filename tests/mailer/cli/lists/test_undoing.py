"""`mailer list undo` undoes a wrong import, names the mail that was sent, and affects no other person."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lists import addresses, consents, contacts, departures, imports, subscriptions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.db import Database
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources.confirmations import SignupRequest
from mailer.sources.journeys import Journey
from mailer.tryout import postoffice
from mailer.web.public import opt_out
from tests import commands
from tests.commands import Mailer
from tests.importing import state
from tests.people import PEPPER, Person

NAMES = ("dora", "eli", "fay", "gil", "hal")
DORA, ELI, FAY, GIL, HAL = (f"{name}@example.org" for name in NAMES)


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text("email,name\n" + "".join(f"{name}@example.org,{name}\n" for name in NAMES), "utf-8")
    return path


def import_file(mailer: Mailer, file: Path, *more: str, list_name: str = "interest") -> int:
    words = ["list", "import", str(file), "--list", list_name, "--consent", "a sheet", *more]
    number = mailer(*words, "--json").json["number"]
    assert isinstance(number, int)
    return number


def deliver(service: Service) -> dict[str, int]:
    service.jobs.tick()
    service.deliver_until_empty()
    with service.database.read() as session:
        recipients = [message.to for message in postoffice.list_messages(session, limit=1_000)]
    return {email: recipients.count(email) for email in recipients}


def number_of(database: Database, email: str) -> int | None:
    with database.read() as session:
        contact = contacts.find(session, addresses.parse(email, pepper=PEPPER))
        return None if contact is None else contact.id


def confirm(service: Service, email: str) -> None:
    with service.database.write() as session:
        contact_id = number_of(service.database, email)
        assert contact_id is not None
        subscription = subscriptions.find(session, contact_id=contact_id, list="interest")
        assert subscription is not None
        service.confirmations.confirm(
            session,
            subscription_id=subscription.id,
            round=subscription.round,
            page="/confirm",
            now=service.clock.now(),
        )


def collect_rows(database: Database, *people: Person) -> object:
    """Return all stored data of people who have nothing to do with an import."""
    with database.read() as session:
        ids = [person.id for person in people]
        mail = select(OutboxRow.id, OutboxRow.state, OutboxRow.reason).where(OutboxRow.contact_id.in_(ids))
        return (
            [(row.email, row.version) for row in session.scalars(select(Contact).where(Contact.id.in_(ids)))],
            [
                [(each.list, each.state) for each in subscriptions.list_for_contact(session, one)]
                for one in ids
            ],
            [[(each.action, each.list) for each in consents.list_for_contact(session, one)] for one in ids],
            sorted(tuple(row) for row in session.execute(mail)),
            session.scalars(select(Journey.id).where(Journey.contact_id.in_(ids))).all(),
        )


def test_a_wrong_import_is_taken_back_and_the_bystanders_stay_as_they_are(
    service: Service, mailer: Mailer, file: Path, ana: Person, ben: Person, cleo: Person
) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write(f"{ben.email},Ben\n{cleo.email},Cleo\n")
    before = collect_rows(service.database, ana, ben, cleo)
    number = import_file(mailer, file, "--confirmed")
    result = mailer("list", "undo", number)
    assert result.status == 0 and "5  taken off the list" in result.out
    assert f"Nothing was changed. To do it: mailer list undo {number} --yes" in result.out
    assert state(service.database, DORA) == "confirmed"
    result = mailer("list", "undo", number, "--yes")
    assert "Nobody whom it brought was written to." in result.out and "Of 5 nothing is kept." in result.out
    assert [number_of(service.database, email) for email in (DORA, ELI, FAY, GIL, HAL)] == [None] * 5
    assert collect_rows(service.database, ana, ben, cleo) == before
    with service.database.read() as session:
        entries = session.execute(select(AuditEntry.action, AuditEntry.subject).order_by(AuditEntry.id)).all()
        assert tuple(entries[-1]) == ("import taken back", f"import {number}, 5 off interest")
        assert imports.find(session, number).state == "undone"


def test_what_waits_is_cancelled_and_what_has_left_is_named(
    service: Service, mailer: Mailer, file: Path, ben: Person
) -> None:
    number = import_file(mailer, file)
    assert deliver(service)[DORA] == 1
    more = file.with_name("more.csv")
    more.write_text("email\nivy@example.org\n", "utf-8")
    later = import_file(mailer, more)
    service.jobs.get("fill-confirmation").run()
    report = mailer("list", "undo", later, "--json").json
    assert (report["cancelled"], report["mails"], report["undone"]) == (1, [], False)
    assert mailer("list", "undo", later, "--yes", "--json").json["deleted"] == 1
    report = mailer("list", "undo", number, "--show", "--yes")
    assert "This mail has left for them already" in report.out
    assert all(f"{name}@example.org" in report.out for name in NAMES)
    assert "\nTaken back. 5 are still known here, without this list.\n" in report.out
    repeated = mailer("list", "undo", number, "--show", "--json").json
    assert repeated["mails"] == [{"kind": "confirmation", "state": "sent", "number": 5}]
    assert [row["email"] for row in repeated["people"]] == [DORA, ELI, FAY, GIL, HAL]
    assert deliver(service)[DORA] == 1 and "ivy@example.org" not in deliver(service)
    with service.database.read() as session:
        assert {row.state for row in session.scalars(select(OutboxRow))} == {"sent"}
        (dora, undone) = consents.list_for_contact(session, number_of(service.database, DORA) or 0)
        assert (dora.action, undone.action) == ("imported", "undone")


def test_who_acted_for_themselves_meanwhile_stays_as_they_chose(
    service: Service, mailer: Mailer, file: Path
) -> None:
    number = import_file(mailer, file)
    deliver(service)
    confirm(service, DORA)
    with service.database.write() as session:
        eli = number_of(service.database, ELI)
        assert eli is not None
        opt_out.leave(session, contact_id=eli, page="/unsubscribe", now=service.clock.now())
    service.clock.sleep(0)
    with service.database.write() as session:
        signup = SignupRequest(
            address=addresses.parse(FAY, pepper=service.keys.pepper),
            list="interest",
            language="en",
            wording="words",
            page="/join",
        )
        service.confirmations.record_signup(session, signup, now=service.clock.now() + timedelta(hours=30))
    report = mailer("list", "undo", number, "--yes", "--json").json
    assert (report["off_the_list"], report["left"], report["stay"]) == (2, 1, 2)
    states = {name: state(service.database, f"{name}@example.org") for name in NAMES}
    assert states == {"dora": "confirmed", "eli": "left", "fay": "pending", "gil": None, "hal": None}


def test_who_signed_up_at_the_form_after_a_vouched_import_is_asked_for_a_yes(
    service: Service, mailer: Mailer, file: Path
) -> None:
    number = import_file(mailer, file, "--confirmed")
    with service.database.write() as session:
        fay = addresses.parse(FAY, pepper=service.keys.pepper)
        signup = SignupRequest(address=fay, list="interest", language="en", wording="words", page="/join")
        service.confirmations.record_signup(session, signup, now=service.clock.now())
    report = mailer("list", "undo", number, "--yes", "--json").json
    assert (report["off_the_list"], report["asked_again"]) == (4, 1)
    assert (state(service.database, FAY), state(service.database, GIL)) == ("pending", None)
    assert GIL not in deliver(service) and deliver(service)[FAY] >= 1
    with service.database.read() as session:
        kinds = session.scalars(select(OutboxRow.kind).where(OutboxRow.state == "sent")).all()
        assert "confirmation" in kinds


def test_who_was_known_before_loses_only_what_the_import_gave(
    service: Service, mailer: Mailer, file: Path, ana: Person
) -> None:
    file.write_text(f"email\n{ana.email}\n", "utf-8")
    before = collect_rows(service.database, ana)
    number = import_file(mailer, file, "--confirmed")
    assert state(service.database, ana.email) == "confirmed"
    assert mailer("list", "undo", number, "--yes", "--json").json["deleted"] == 0
    assert collect_rows(service.database, ana) == before


def test_taking_back_twice_is_taking_back_once(service: Service, mailer: Mailer, file: Path) -> None:
    number = import_file(mailer, file, "--confirmed")
    mailer("list", "undo", number, "--yes")
    repeated = mailer("list", "undo", number, "--yes")
    assert (repeated.status, "It was taken back already." in repeated.out) == (0, True)
    assert "There is no import 77" in mailer("list", "undo", 77).refusal
    assert f"mailer list undo {number}" in mailer("list", "undo").refusal
    with service.database.read() as session:
        statement = select(func.count()).where(AuditEntry.action == "import taken back")
        assert session.scalar(statement) == 1
    assert import_file(mailer, file) == number + 1
    assert state(service.database, DORA) == "pending"


def test_an_interrupted_undo_writes_to_nobody_and_goes_on(
    service: Service, mailer: Mailer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "many.csv"
    file.write_text("email\n" + "".join(f"p{number}@example.org\n" for number in range(700)), "utf-8")
    number = import_file(mailer, file, "--confirmed")
    pauses = []

    def interrupt(_seconds: float) -> None:
        pauses.append(1)
        if len(pauses) == 6:  # four while it selects who stays, and the second after a batch is undone
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(service.clock, "sleep", interrupt)
        assert mailer("list", "undo", number, "--yes").refusal == "Stopped."
    with service.database.read() as session:
        assert 0 < (session.scalar(select(func.count(Contact.id))) or 0) < 700
    assert mailer("list", "--json").json[0]["confirmed"] == 0
    refusal = mailer(
        "list", "import", file, "--list", "interest", "--consent", "a sheet", "--confirmed"
    ).refusal
    assert f"mailer list undo {number} --yes" in refusal
    assert mailer("list", "undo", number, "--yes").status == 0
    with service.database.read() as session:
        assert session.scalar(select(func.count(Contact.id))) == 0


def test_who_leaves_by_a_mail_of_an_import_that_was_taken_back_never_comes_in_by_a_file(
    service: Service, mailer: Mailer, file: Path
) -> None:
    number = import_file(mailer, file)
    deliver(service)
    mailer("list", "undo", number, "--yes")
    dora = number_of(service.database, DORA)
    assert dora is not None
    with service.database.write() as session:
        opt_out.leave(session, contact_id=dora, list="interest", page="/unsubscribe", now=service.clock.now())
    report = mailer("list", "import", file, "--list", "interest", "--consent", "again", "--json").json
    assert (report["counts"]["left"], report["counts"]["added"]) == (1, 4)
    assert state(service.database, DORA) is None
    with service.database.read() as session:
        assert [each.what for _, each in departures.list_pending(session, limit=9)] == ["left"]
