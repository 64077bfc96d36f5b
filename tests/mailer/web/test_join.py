"""Joining: the response and the effect, for people, for programs, and for anyone who probes addresses."""

from time import perf_counter

import pytest
from sqlalchemy import select

from lists import consents, contacts
from lists import subscriptions as subs
from lists.contacts import Contact
from mailer.coordination import signup_throttle
from mailer.outbox.outbox import OutboxRow
from mailer.smtp import capabilities
from mailer.smtp.capabilities import Capabilities
from mailer.web import routes
from tests.mailer.web.visitor import Visitor, hidden, words


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Skip the time floor, except in the tests of it."""
    if "floor" not in request.node.name:
        monkeypatch.setattr(routes, "RESPONSE_STEP_SECONDS", 0.001)


def mails(service):
    with service.database.read() as session:
        return [(row.kind, row.list) for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id))]


def people(service):
    with service.database.read() as session:
        return sorted(session.scalars(select(Contact.email)))


def test_dora_joins_and_is_told_where_to_look(visitor, service):
    answer = visitor.join(email="dora@example.org", name="Dora", zip="85004", language="es")
    assert answer.status_code == 200
    assert "dora@example.org" in words(answer)
    assert service.settings.from_address in words(answer)
    assert mails(service) == [("confirmation", "interest")]
    with service.database.read() as session:
        dora = session.scalars(select(Contact)).one()
        assert (dora.name, dora.language, dora.city, dora.zone) == (
            "Dora",
            "es",
            "Phoenix",
            "America/Phoenix",
        )
        consent = consents.list_for_contact(session, dora.id)[0]
        assert consent.action == "asked"
        assert consent.page == "/join"
        assert consent.wording in words(visitor.get("/join"))


def test_known_unknown_left_and_forgotten_addresses_get_the_same_page(visitor, service, ana, ben, cleo):
    pages = {}
    for email in ("new@fresh.example.org", ben.email, cleo.email):
        answer = visitor.join(email=email)
        fresh = hidden(answer)["opened"]
        pages[email] = answer.status_code, answer.text.replace(email, "X").replace(fresh, "Y")
    assert len(set(pages.values())) == 1
    kinds = [kind for kind, _ in mails(service)]
    assert kinds == ["confirmation", "already", "confirmation"]


def test_the_answer_has_a_floor_of_time_for_everybody(visitor, ben):
    def measure_join(email):
        form = {**visitor.read_form("/join"), "email": email, "language": "en"}
        visitor.clock.advance(seconds=20)
        began = perf_counter()
        visitor.post("/join", form)
        return perf_counter() - began

    measure_join("warm@example.org")
    unknown_durations = [measure_join(f"new{number}@example.org") for number in range(4)]
    known_durations = [measure_join(ben.email) for _ in range(4)]
    assert min(unknown_durations + known_durations) >= routes.RESPONSE_STEP_SECONDS
    assert abs(min(unknown_durations) - min(known_durations)) < 0.1  # the fastest: a busy machine only adds


def test_cleo_who_left_is_asked_again_and_nothing_more_until_she_says_yes(visitor, service, cleo):
    visitor.join(email=cleo.email, name="Mallory")
    with service.database.read() as session:
        subscription = subs.find(session, contact_id=cleo.id, list="interest")
        assert subscription.state == "pending"
        assert contacts.get(session, cleo.id).name == "Cleo"


def test_one_address_signed_up_many_times_gets_one_mail_a_day_and_three_over_all_lists(visitor, service):
    for _ in range(30):
        visitor.join(email="dora@example.org", seconds=3)
        visitor.join("/organize", email="dora@example.org", organization="St. Mark", zip="10027", seconds=3)
    assert mails(service) == [("confirmation", "interest"), ("confirmation", "organizers")]


def test_one_source_is_limited_and_another_is_not(visitor, service, clock, monkeypatch):
    monkeypatch.setattr(signup_throttle, "SIGNUPS_PER_NETWORK", 5)
    statuses = [visitor.join(email=f"p{n}@example.org", seconds=3).status_code for n in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert len(people(service)) == 5
    elsewhere = Visitor(service, clock, client="203.0.113.9")
    assert elsewhere.join(email="dora@example.org").status_code == 200
    clock.advance(hours=1)
    assert visitor.join(email="later@example.org").status_code == 200


def test_a_global_brake_holds_when_the_sources_are_many(service, clock, monkeypatch):
    monkeypatch.setattr(signup_throttle, "SIGNUPS_TOTAL", 4)
    statuses = [
        Visitor(service, clock, client=f"203.0.113.{n}")
        .join(email=f"p{n}@example.org", seconds=3)
        .status_code
        for n in range(6)
    ]
    assert statuses == [200] * 4 + [429] * 2


@pytest.mark.parametrize("machine", [{"office_fax": "555"}, {"seconds": 0.2}, {"seconds": 0.0}])
def test_a_machine_gets_the_same_page_and_no_mail(visitor, service, machine):
    person = visitor.join(email="dora@example.org")
    before = mails(service), people(service)
    answer = visitor.join(email="evil@example.org", **machine)
    assert (mails(service), people(service)) == before
    pages = [
        page.text.replace(hidden(page)["opened"], "Y").replace("evil@", "dora@") for page in (answer, person)
    ]
    assert pages[0] == pages[1]


def test_a_form_that_was_open_for_days_only_asks_to_press_again(visitor, service):
    form = {**visitor.read_form("/join"), "email": "dora@example.org", "name": "Dora", "language": "es"}
    visitor.clock.advance(days=3)
    again = visitor.post("/join", form)
    assert again.status_code == 200
    assert "press the button again" in words(again)
    assert 'value="Dora"' in again.text
    assert mails(service) == []
    visitor.clock.advance(seconds=0.2)  # at once, as people do
    assert "dora@example.org" in words(visitor.post("/join", {**form, **hidden(again)}))
    assert mails(service) == [("confirmation", "interest")]


def test_a_form_from_another_page_of_the_campaign_needs_no_stamp(visitor, service):
    assert visitor.post("/join", {"email": "dora@example.org"}).status_code == 200
    assert mails(service) == [("confirmation", "interest")]


def test_a_form_with_a_forged_stamp_asks_to_press_again(visitor, service):
    for stamp in ({"opened": ""}, {"opened": "1.2"}, {"opened": "١٢٣.x"}, {"opened": "-1." + "0" * 32}):
        assert "press the button again" in words(visitor.post("/join", {"email": "a@b.example.org", **stamp}))
    assert mails(service) == []


def test_the_time_machine_does_not_make_forms_too_old(visitor, service):
    from mailer.tryout import time_machine

    form = {**visitor.read_form("/join"), "email": "dora@example.org"}
    visitor.clock.advance(seconds=5)
    with service.database.write() as session:
        time_machine.move_clock_to(
            session, visitor.clock.real().replace(year=2027), real=visitor.clock.real()
        )
    visitor.post("/join", form)
    assert mails(service) == [("confirmation", "interest")]


def test_a_mistyped_address_is_offered_mended_and_sent_at_once(visitor, service):
    answer = visitor.join(email="dora@gmial.com", name="Dora")
    assert "Did you mean dora@gmail.com?" in words(answer)
    corrected = visitor.post("/join", {**hidden(answer), "mend": "dora@gmail.com"})
    assert 'value="dora@gmail.com"' in corrected.text
    assert 'value="Dora"' in corrected.text
    form = {**hidden(corrected), "email": "dora@gmail.com", "language": "en"}
    assert "Did you mean" not in words(visitor.post("/join", form))
    assert people(service) == ["dora@gmail.com", "dora@gmial.com"]


def test_mistakes_are_told_at_the_top_with_links_and_nothing_is_lost(visitor, service):
    answer = visitor.join(email="dora@", name="Dora", zip="123")
    assert answer.status_code == 422
    assert 'href="#email"' in answer.text
    assert 'href="#zip"' in answer.text
    assert 'value="Dora"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert answer.text.index("There is a problem") < answer.text.index("<h1>")
    assert people(service) == []


def test_the_mended_form_may_be_sent_at_once(visitor, service):
    answer = visitor.join(email="dora@")
    form = {**hidden(answer), "email": "dora@example.org", "language": "en"}
    visitor.post("/join", form)
    assert mails(service) == [("confirmation", "interest")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", ""),
        ("email", "dora@example.org\r\nBcc: all@example.org"),
        ("email", "dora@example.org\0"),
        ("email", "<dora@example.org>"),
        ("name", "Dora\r\nBcc: all@example.org"),
        ("name", "Dora\u202ecod.exe"),
        ("name", "D" * 81),
        ("zip", "99999"),
        ("zip", "8500٤"),
        ("language", "fr"),
    ],
)
def test_what_could_harm_a_mail_is_refused_at_the_door(visitor, service, field, value):
    answer = visitor.join(**{"email": "dora@example.org", field: value})
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert people(service) == []


def test_what_people_type_is_shown_as_they_typed_it(visitor):
    answer = visitor.join(email="dora@", name="<script>alert(1)</script>{{7*7}}")
    assert "<script" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}" in answer.text


def test_an_organizer_is_kept_until_the_address_is_confirmed(visitor, service):
    answer = visitor.join(
        "/organize",
        email="emil@example.org",
        name="Emil",
        organization="Friends Meeting",
        tradition="Quaker",
        role="clerk",
        zip="10027",
        offer="A room.\r\nTea.",
    )
    assert answer.status_code == 200
    assert mails(service) == [("confirmation", "organizers")]
    from lists import directory

    with service.database.read() as session:
        listing = directory.list_applications(session)[0]
        stored = (
            listing.state,
            listing.organization,
            listing.tradition,
            listing.role,
            listing.zip,
            listing.offer,
        )
        assert stored == ("asked", "Friends Meeting", "Quaker", "clerk", "10027", "A room.\nTea.")


def test_an_organizer_must_name_the_congregation_and_the_place(visitor, service):
    answer = visitor.join("/organize", email="emil@example.org")
    assert answer.status_code == 422
    assert 'href="#organization"' in answer.text
    assert 'href="#zip"' in answer.text
    assert people(service) == []


def test_the_page_speaks_the_browsers_language_and_the_chosen_one_wins(visitor):
    assert (
        '<html lang="es">'
        in visitor.get("/join", headers={"accept-language": "fr, es-MX;q=0.8, en;q=0.3"}).text
    )
    assert '<html lang="en">' in visitor.get("/join", headers={"accept-language": "fr"}).text
    chosen = visitor.get("/join?lang=es")
    assert '<html lang="es">' in chosen.text
    assert 'action="/join?lang=es"' in chosen.text
    assert 'href="/privacy?lang=es"' in chosen.text
    answer = visitor.join("/join?lang=es", email="dora@")
    assert '<html lang="es">' in answer.text
    assert answer.headers["content-language"] == "es"


@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "cannot write to"), ("es", "todavía no puede escribir")]
)
def test_an_address_that_no_mail_server_of_ours_can_write_to_is_told_so_kindly(
    visitor, service, clock, monkeypatch, language, sentence
):
    monkeypatch.setattr(type(service), "relay_names", ["relay.example:25", "other.example:25"])
    visitor.headers["accept-language"] = language

    def record_capability(relay, *, smtputf8):
        with service.database.write() as session:
            answer = Capabilities(smtputf8=smtputf8, eightbit=True, size=0)
            capabilities.record(session, relay, answer, now=clock.now())

    assert visitor.join(email="muñoz@example.org").status_code == 200  # not known yet
    record_capability("relay.example:25", smtputf8=False)
    assert visitor.join(email="peña@example.org").status_code == 200  # the other one may
    record_capability("other.example:25", smtputf8=False)
    response = visitor.join(email="begoña@example.org")
    assert (
        response.status_code == 422 and sentence in words(response) and "begoña@example.org" in response.text
    )
    assert visitor.join(email="ana@señal.example.org").status_code == 200  # a domain becomes plain letters
    record_capability("other.example:25", smtputf8=True)
    assert visitor.join(email="begoña@example.org").status_code == 200
    assert f"ana@{'señal'.encode('idna').decode()}.example.org" in people(service)
