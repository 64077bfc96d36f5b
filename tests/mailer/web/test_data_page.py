"""All stored data of a person can be read and downloaded by that person, and by no other."""

import json
from datetime import timedelta

import pytest

from lists import consents, contacts, fields, suppressions
from mailer import json_values
from mailer.events import events
from mailer.people import data_export
from mailer.sources import invitations
from mailer.sources.confirmations import ACCESS_LIFETIME
from tests.mailer.web.visitor import title, words


@pytest.fixture
def link(service, clock, ben):
    """The link that was just mailed to Ben."""
    return f"/mine/{service.tokens.sign_profile(ben.id, until=clock.now() + ACCESS_LIFETIME)}"


def test_ben_reads_all_of_it_in_his_language(visitor, service, ben, link):
    service.jobs.tick()
    assert f'href="{link}/all' in visitor.get(link).text
    answer = visitor.get(f"{link}/all")
    printed = words(answer)
    for part in (
        "Todo lo que sabemos de usted",
        ben.email,
        "Phoenix",
        "85003",
        "Noticias y correos de la campaña",
        "usted está en ella",
        "Dijo que sí",
        "Los correos de bienvenida",
        "espera su envío",
        "se borran a los 90 días",
    ):
        assert part in printed, part
    assert "waiting" not in printed
    assert answer.headers["content-language"] == "es"


def test_ben_s_choices_and_his_time_zone_are_in_words(visitor, service, clock, ben, link):
    with service.database.write() as session:
        for action, page, wording in (
            ("asked", "/join?via=st-mark", "Sí, escríbanme."),
            ("topics", "/mine", "follow-up, calls, webinars"),
            ("left", "/preferences", ""),
        ):
            consents.add(
                session,
                contact_id=ben.id,
                list="interest",
                action=action,
                page=page,
                wording=wording,
                now=clock.now(),
            )
    printed = words(visitor.get(f"{link}/all"))
    for part in (
        "la página para inscribirse, con el enlace de esta congregación: st-mark",
        "Sí, escríbanme.",
        "Los correos de bienvenida, Invitaciones a llamadas, Invitaciones a seminarios web",
        "la página con lo que sabemos de usted",
        "hora de Arizona",
    ):
        assert part in printed, part
    assert not [part for part in ("follow-up", "/mine", "/join", "/pref", "America/") if part in printed]
    file = json.loads(visitor.get(f"{link}/all.json").text)
    assert file["contact"]["zone"] == "America/Phoenix"
    assert file["consents"][-1]["page"] == "/preferences"


def test_neither_page_nor_file_is_kept_or_named_by_a_browser(visitor, service, link):
    page, file = visitor.get(f"{link}/all"), visitor.get(f"{link}/all.json")
    for answer in (page, file):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert title(page) == "Sus correos"
    assert file.headers["content-disposition"] == 'attachment; filename="about-me.json"'
    assert file.headers["content-type"] == "application/json"


def test_the_file_holds_what_staff_would_export(visitor, service, clock, ben, link):
    service.jobs.tick()
    with service.database.read() as session:
        facts = data_export.collect(session, contacts.get(session, ben.id), now=clock.now())
    assert json.loads(visitor.get(f"{link}/all.json").text) == json.loads(json_values.to_json(facts))


def test_ana_s_page_tells_nothing_of_ben(visitor, service, clock, ana, ben):
    link = f"/mine/{service.tokens.sign_profile(ana.id, until=clock.now() + ACCESS_LIFETIME)}"
    for path in (f"{link}/all", f"{link}/all.json"):
        answer = visitor.get(path)
        assert ana.email in answer.text
        assert ben.email not in answer.text


def test_cleo_who_left_finds_that_she_left(visitor, service, clock, cleo):
    link = f"/mine/{service.tokens.sign_profile(cleo.id, until=clock.now() + ACCESS_LIFETIME)}"
    printed = words(visitor.get(f"{link}/all?lang=en"))
    assert "you left it" in printed
    assert "It stays until you ask us to forget you. So nobody puts you back" in printed


def test_whoever_is_not_written_to_any_more_is_told_why(visitor, service, clock, ben, link):
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="bounce", now=clock.now())
    assert "because our emails came back" in words(visitor.get(f"{link}/all?lang=en"))


def test_an_answer_names_its_call(visitor, service, clock, ben, link):
    with service.database.write() as session:
        call = events.create(
            session,
            title={"en": "December call", "es": "Llamada de diciembre"},
            starts="2026-12-08 20:00",
            zone="America/New_York",
            minutes=60,
            join_url="https://example.org/join",
            audience="interest",
            now=clock.now(),
            actor="staff",
        )
        invitations.record_answer(
            session, event_id=call.id, contact_id=ben.id, answer="maybe", now=clock.now()
        )
    printed = words(visitor.get(f"{link}/all"))
    assert "Llamada de diciembre" in printed
    assert "tal vez" in printed


@pytest.mark.parametrize("end", ["/all", "/all.json"])
def test_after_the_hour_and_with_the_footer_s_token_there_is_nothing(visitor, service, clock, ben, link, end):
    assert visitor.get(f"/mine/{service.tokens.sign_preferences(ben.id)}{end}").status_code == 404
    clock.advance(seconds=(ACCESS_LIFETIME - timedelta(seconds=1)).total_seconds())
    assert visitor.get(link + end).status_code == 200
    clock.advance(seconds=1)
    response = visitor.get(link + end)
    assert response.status_code == 404
    assert ben.email not in response.text


def test_what_staff_wrote_down_has_the_title_of_its_field_and_not_the_name(
    visitor, service, clock, ben, link
):
    with service.database.write() as session:
        for name, title, kind in (("host", "Can host", "yes/no"), ("reply", "What they wrote", "text")):
            fields.add(session, name, title=title, type=kind, choices=(), now=clock.now(), actor="staff")
        fields.set_values(session, ben.id, {"host": "yes", "reply": "yes"})
        fields.retire(session, "host", now=clock.now(), actor="staff")
    printed = words(visitor.get(f"{link}/all"))
    assert "Qué Can host Dice sí" in printed and "Qué What they wrote Dice yes" in printed
    assert "reply" not in printed
    file = json.loads(visitor.get(f"{link}/all.json").text)
    assert {row["field"]: row["value"] for row in file["field_values"]} == {"host": "yes", "reply": "yes"}
