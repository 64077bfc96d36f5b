"""Editions: checked when the service starts, frozen at their first use, and sent as staff previewed them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists.db import Database
from lists.errors import BadInput, BrokenTemplate, NotFound
from mailer.compose import editions as editions_module
from mailer.compose.editions import Edition, Editions, add_greeting
from mailer.service import EMAIL_TEMPLATES
from tests import parts
from tests.clocks import StoppedClock
from tests.races import at_once

NAME, KIND = "confirm/interest", "confirmation"


@pytest.fixture
def editions() -> Editions:
    return parts.built().editions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped templates, for tests that damage it."""
    copy = tmp_path / "templates" / "email"
    shutil.copytree(EMAIL_TEMPLATES, copy)
    return copy


def _load(folder: Path, editions: Editions) -> Editions:
    values = {"frames": editions.frames, "shared": editions.shared, "library": editions.library}
    return editions_module.load(folder, kinds={NAME: KIND}, **values)


def _count(session: Session) -> int:
    return session.scalar(select(func.count(Edition.id))) or 0


def test_the_same_wording_is_one_edition_however_often_it_is_used(
    editions: Editions, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        first = editions.freeze_current(session, NAME, KIND, now=clock.now())
        assert editions.freeze_current(session, NAME, KIND, now=clock.advance(days=1)) == first
        assert _count(session) == 1


def test_two_who_freeze_at_once_get_the_same_edition(
    editions: Editions, database: Database, clock: StoppedClock
) -> None:
    def freeze(session: Session) -> int:
        return editions.freeze_current(session, NAME, KIND, now=clock.now())

    assert len(set(at_once(database, freeze, freeze, freeze))) == 1


@pytest.mark.parametrize("changed", ["wording", "shared value", "frame"])
def test_anything_a_reader_could_see_makes_a_new_edition_and_leaves_the_old_one(
    editions: Editions, database: Database, clock: StoppedClock, folder: Path, changed: str
) -> None:
    with database.write() as session:
        old = editions.freeze_current(session, NAME, KIND, now=clock.now())
        content = session.get_one(Edition, old).content
    if changed == "wording":
        page = folder / NAME / "es.md"
        page.write_text(page.read_text("utf-8") + "\nMuchas gracias.\n", "utf-8")
        newer = _load(folder, editions)
    elif changed == "shared value":
        shared = {**editions.shared["en"], "postal_address": "2 New Street"}
        newer = replace(editions, shared={**editions.shared, "en": shared})
    else:
        frame = replace(editions.frames["en"], text=editions.frames["en"].text + "\nPeace\n")
        newer = replace(editions, frames={**editions.frames, "en": frame})
    with database.write() as session:
        assert newer.freeze_current(session, NAME, KIND, now=clock.now()) != old
        assert session.get_one(Edition, old).content == content
        assert _count(session) == 2


def test_a_preview_reads_as_the_letter_will(
    editions: Editions, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        edition = editions.freeze(session, editions.templates[NAME], KIND, now=clock.now())
        sample = {"name": "Ana", "confirm_url": "https://example.org/confirm/x", "leave_url": ""}
        for language, greeting in (("en", "Hello Ana,"), ("es", "Hola, Ana:")):
            preview = editions.preview(
                edition, language, sample={**sample, "preferences_url": "https://x.org"}
            )
            assert preview.text.startswith(greeting)
            assert "https://example.org/confirm/x" in preview.text
            assert editions.shared[language]["postal_address"] in preview.text


def test_a_greeting_takes_a_name_as_it_is(
    editions: Editions, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        edition = editions.freeze(session, editions.templates[NAME], KIND, now=clock.now())
    for name, greeting in (("Ana", "Hello Ana,"), ("", "Hello,"), ("{{ motto }}", "Hello {{ motto }},")):
        assert add_greeting(edition, "en", {"name": name})["greeting"] == greeting
    assert add_greeting(edition, "en", {})["greeting"] == "Hello,"
    assert add_greeting(edition, "fr", {"name": "Ana"})["greeting"] == "Hello Ana,"


def test_a_template_that_lacks_a_language_is_refused_when_loaded(editions: Editions, folder: Path) -> None:
    (folder / NAME / "es.md").unlink()
    with pytest.raises(BadInput, match=r"confirm/interest has no es\.md"):
        _load(folder, editions)


def test_a_template_that_cannot_be_used_is_refused_by_a_check_with_its_line(
    editions: Editions, folder: Path
) -> None:
    page = folder / NAME / "en.md"
    lines = len(page.read_text("utf-8").splitlines())
    page.write_text(page.read_text("utf-8") + "\n{{ ''.__class__.__mro__ }}\n", "utf-8")
    with pytest.raises(BrokenTemplate, match=rf"confirm/interest/en\.md, line {lines + 2}:"):
        _load(folder, editions).check()


def test_a_template_may_only_use_the_fields_of_its_kind(editions: Editions, folder: Path) -> None:
    page = folder / NAME / "en.md"
    page.write_text(page.read_text("utf-8") + "\n{{ event_title }}\n", "utf-8")
    with pytest.raises(BrokenTemplate, match="event_title"):
        _load(folder, editions).check()


def test_a_template_that_is_not_there_is_named(editions: Editions, folder: Path) -> None:
    shutil.rmtree(folder / NAME)
    with pytest.raises(NotFound, match="confirm/interest"):
        _load(folder, editions)


def test_every_shipped_template_can_be_frozen_in_both_languages(
    editions: Editions, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        for name, template in editions.templates.items():
            kind = "sequence" if name.startswith(("welcome/", "organizer/")) else name.partition("/")[0]
            kind = "confirmation" if kind == "confirm" else kind
            edition = editions.freeze(session, template, kind, now=clock.now())
            assert set(edition.content) == set(edition.shared) == {"en", "es"}
