"""The whole flow through a real Postfix: verified STARTTLS, a login, every kind of mail read back."""

import email
import email.policy
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from lists import addresses, contacts, directory, subscriptions
from lists.clock import Clock
from lists.directory import Application
from mailer import migrations
from mailer import service as composition
from mailer.events import events
from mailer.service import Service
from mailer.settings import keys, loading
from mailer.sources import broadcasts
from mailer.sources.confirmations import SignupRequest
from mailer.templates import templates
from tests.peers.postfix import Postfix, postfix

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
UPDATE = "---\nsubject: A date\n---\n{{ greeting }}\n\nThe hearing is on Tuesday.\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Postfix]:
    with postfix(ANA, BEN, CLEO) as running:
        yield running


@pytest.fixture
def installation(server: Postfix, database_url: str, tmp_path: Path) -> Iterator[Service]:
    """A service for real mail: its relay is that Postfix, and its links lead to a public address."""
    links = {
        f"MAILER_RESOURCES__{name}__EN": "https://example.org/" + name for name in ("TOOLKIT", "WEBINAR")
    }
    keys.load(tmp_path / "secrets")
    instance = composition.build(
        loading.load(
            {
                "MAILER_HOME": str(tmp_path),
                "MAILER_DATABASE_URL": database_url,
                "MAILER_SMTP_URL": server.url(),
                "MAILER_PUBLIC_URL": "https://campaign.example",
                "MAILER_POSTAL_ADDRESS": "1 Main Street, New York, NY 10001",
                "MAILER_FROM_ADDRESS": "campaign@lists.example",
                "MAILER_SENDING_DOMAINS": "lists.example",
                **links,
            }
        )
    )
    migrations.upgrade(instance.database)
    yield instance
    instance.close()


def sign_up(
    installation: Service, address: str, *, list: str, language: str, application: Application | None = None
) -> None:
    signup = SignupRequest(
        address=addresses.parse(address, pepper=installation.keys.pepper),
        list=list,
        language=language,
        wording="Yes, write to me.",
        page="/join",
        name=address.partition("@")[0].title(),
    )
    with installation.database.write() as session:
        installation.confirmations.record_signup(
            session, signup, now=installation.clock.now(), application=application
        )


def confirm(installation: Service, address: str, *, list: str) -> int:
    with installation.database.write() as session:
        contact = contacts.find(session, addresses.parse(address, pepper=installation.keys.pepper))
        assert contact is not None
        subscription = subscriptions.find(session, contact_id=contact.id, list=list)
        assert subscription is not None
        installation.confirmations.confirm(
            session,
            subscription_id=subscription.id,
            round=subscription.round,
            page="/confirm",
            now=installation.clock.now(),
        )
        return contact.id


def deliver(installation: Service) -> None:
    installation.jobs.tick()
    worker = installation.deliver_until_empty()
    assert worker.trouble == ""


def wait_for_messages(server: Postfix, address: str, *subjects: str) -> dict[str, EmailMessage]:
    """Wait until messages with these subjects are in the mailbox; returns all of it by subject."""
    number = 1
    while True:
        raw = server.wait_for(address, messages=number)
        parsed = [email.message_from_bytes(each, policy=email.policy.default) for each in raw]
        by_subject = {str(message["Subject"]): message for message in parsed}
        if set(subjects) <= set(by_subject):
            return by_subject
        number = len(raw) + 1


def test_every_kind_of_mail_reaches_its_mailbox_and_cleo_s_stays_as_it_was(
    server: Postfix, installation: Service
) -> None:
    before = len(server.mailbox(CLEO))
    sign_up(installation, BEN, list="interest", language="es")
    sign_up(installation, CLEO, list="interest", language="en")
    sign_up(
        installation,
        ANA,
        list="organizers",
        language="en",
        application=Application(organization="St. Mark's Church"),
    )
    deliver(installation)
    confirm(installation, BEN, list="interest")
    cleo = confirm(installation, CLEO, list="interest")
    confirm(installation, ANA, list="organizers")
    with installation.database.write() as session:
        now = installation.clock.now()
        subscriptions.leave(session, contact_id=cleo, now=now)
        (waiting,) = directory.list_applications(session, state="waiting")
        directory.approve(session, waiting.id, now=now, actor="test")
        event = _call(installation, session)
        installation.invitations.invite(session, event.id, now=now, actor="test")
        sources = templates.parse_update(UPDATE, path="update.md")
        template = templates.Template(name="broadcast", sources=sources)
        edition = installation.editions.freeze(session, template, "broadcast", now=now)
        broadcasts.create(
            session, subject="A date", audience="interest", edition_id=edition.id, now=now, actor="test"
        )
    deliver(installation)
    ben = wait_for_messages(server, BEN, "Por favor, confirme su dirección de correo", "A date")
    ana = wait_for_messages(server, ANA, "Please confirm your sign-up", "Invitation: Winter call")
    assert ben["A date"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert ben["A date"]["List-Unsubscribe"].startswith("<https://campaign.example/unsubscribe/")
    invitation = ana["Invitation: Winter call"]
    kinds = [part.get_content_type() for part in invitation.walk()]
    assert kinds.count("text/calendar") == 1
    assert "application/ics" in kinds
    assert len(server.mailbox(CLEO)) == before + 1  # the confirmation of her sign-up, no more


def _call(installation: Service, session: Session) -> events.Event:
    starts = (Clock().now() + timedelta(days=10)).strftime("%Y-%m-%d 20:00")
    return events.create(
        session,
        title={"en": "Winter call", "es": "Llamada de invierno"},
        starts=starts,
        zone="America/New_York",
        minutes=60,
        join_url="https://meet.example.org/winter",
        audience="organizers",
        now=installation.clock.now(),
        actor="test",
    )
