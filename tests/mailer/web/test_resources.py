"""The address in a mail leads to the current version, and a file is sent only as a download."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lists.db import Database
from lists.errors import BadInput
from mailer import service as composition
from mailer.library import file_store, resources
from mailer.library.file_store import StoredFile
from mailer.service import Service
from mailer.settings.loading import Settings
from tests.clocks import StoppedClock
from tests.mailer.test_service import earnest
from tests.mailer.web.visitor import Visitor, words

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 1_000


@pytest.fixture
def public(settings: Settings, database: Database, clock: StoppedClock) -> Iterator[Visitor]:
    """A visitor of an installation that sends real mail, and has no resource yet."""
    instance = composition.build(earnest(settings), clock=clock)
    yield Visitor(instance, clock, client="192.0.2.7", host="mail.example.org")
    instance.close()


def link(service: Service, url: str, *, slot: str = "toolkit", language: str = "en", **more: str) -> None:
    with service.database.write() as session:
        now = service.clock.now()
        resources.add(session, slot, language=language, link=url, now=now, actor="staff", **more)


def file(
    service: Service, folder: Path, content: bytes = PDF, *, language: str = "en", ending: str = "pdf"
) -> str:
    path = folder / f"Ana's {language} draft, final <2>.{ending}"
    path.write_bytes(content)
    stored_file = file_store.store_file(path, home=service.settings.home)
    with service.database.write() as session:
        resources.add(
            session,
            "toolkit",
            language=language,
            stored_file=stored_file,
            now=service.clock.now(),
            actor="staff",
        )
    return stored_file.digest


def test_an_old_mail_leads_to_the_newest_link(public: Visitor) -> None:
    for url in ("https://example.org/1", "https://example.org/2"):
        link(public.service, url)
        answer = public.get("/r/toolkit?lang=en")
        assert (answer.status_code, answer.headers["location"]) == (302, url)
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert public.ask("HEAD", "/r/toolkit").headers["location"] == url


def test_the_language_is_the_mails_then_the_browsers_then_what_there_is(public: Visitor) -> None:
    link(public.service, "https://example.org/en")
    assert public.get("/r/toolkit?lang=es").headers["location"] == "https://example.org/en"
    link(public.service, "https://example.org/es", language="es")
    assert public.get("/r/toolkit?lang=es").headers["location"] == "https://example.org/es"
    spanish = {"accept-language": "es-MX"}
    assert public.get("/r/toolkit", spanish).headers["location"] == "https://example.org/es"
    assert public.get("/r/toolkit?lang=fr").headers["location"] == "https://example.org/en"


def test_a_file_is_saved_under_a_clean_name_and_shown_as_no_page(public: Visitor, tmp_path: Path) -> None:
    digest = file(public.service, tmp_path)
    answer = public.get("/r/toolkit?lang=es")
    assert (answer.status_code, answer.content) == (200, PDF)
    headers = answer.headers
    assert headers["content-disposition"] == 'attachment; filename="toolkit-en.pdf"'
    assert headers["content-type"] == "application/pdf"
    assert headers["content-length"] == str(len(PDF))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["cache-control"] == "no-cache"
    assert headers["etag"] == f'"{digest}"'
    assert "set-cookie" not in headers
    assert "Ana" not in str(headers)


def test_only_the_head_or_a_part_or_nothing_new_is_sent_where_that_is_asked_for(
    public: Visitor, tmp_path: Path
) -> None:
    digest = file(public.service, tmp_path)
    head = public.ask("HEAD", "/r/toolkit")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(PDF)))
    part = public.get("/r/toolkit", {"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, PDF[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(PDF)}"
    assert public.get("/r/toolkit", {"range": f"bytes={len(PDF)}-"}).status_code == 416
    older = public.get("/r/toolkit", {"range": "bytes=5-9", "if-range": '"another version"'})
    assert (older.status_code, older.content) == (200, PDF)
    for etags in (f'"{digest}"', f'W/"{digest}"', f'"x", "{digest}"', "*"):
        response = public.get("/r/toolkit", {"if-none-match": etags})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", f'"{digest}"')
    assert public.get("/r/toolkit", {"if-none-match": '"x"'}).status_code == 200


def test_a_page_in_a_text_file_stays_a_text(public: Visitor, tmp_path: Path) -> None:
    file(public.service, tmp_path, b"<script>alert(1)</script>\n", ending="txt")
    headers = public.get("/r/toolkit").headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "word",
    [
        "..",
        "%2e%2e",
        "..%2f..%2fsecrets%2fpepper",
        "toolkit%2f..",
        "toolkit%00",
        "TOOLKIT",
        "x" * 3_000,
        "%f0%9f",
    ],
)
def test_no_word_of_an_address_reaches_the_disk(public: Visitor, tmp_path: Path, word: str) -> None:
    digest = file(public.service, tmp_path)
    for path in (f"/r/{word}", f"/r/{digest}", f"/resources/{digest}", f"/r/../data/resources/{digest}"):
        answer = public.get(path)
        assert answer.status_code == 404
        assert str(tmp_path) not in answer.text


def test_an_empty_slot_is_a_sample_in_a_try_out_and_on_its_way_in_earnest(
    visitor: Visitor, public: Visitor
) -> None:
    sample = visitor.get("/r/guide?lang=es")
    assert sample.status_code == 200
    assert "SAMPLE" in sample.text
    coming = public.get("/r/guide?lang=es")
    assert (coming.status_code, coming.headers["location"]) == (303, "/resources?lang=es#guide")


def test_a_file_that_is_gone_is_not_found_and_told_to_operators(public: Visitor, tmp_path: Path) -> None:
    digest = file(public.service, tmp_path)
    path = public.service.settings.home / "resources" / digest
    path.unlink()
    path.symlink_to(tmp_path / "secrets" / "pepper")
    with capture_logs() as logs:
        assert public.get("/r/toolkit").status_code == 404
    assert [entry["event"] for entry in logs] == ["the file of a resource is missing"]


def test_the_page_tells_of_each_what_it_is_how_large_and_from_when(public: Visitor, tmp_path: Path) -> None:
    file(public.service, tmp_path)
    file(public.service, tmp_path, PDF * 10, language="es")
    link(public.service, "https://example.org/g", slot="guide", dated="2012-05-01", note="Look <b>here</b>.")
    english, spanish = (words(public.get(f"/resources?lang={language}")) for language in ("en", "es"))
    assert "PDF, 250.0 kB, October 20, 2026" in english
    assert "at example.org, May 1, 2012" in english
    assert "Look <b>here</b>." in english and "<b>here" not in public.get("/resources").text
    assert "PDF, 2.4 MB, 20 de octubre de 2026" in spanish
    assert "(en inglés)" in spanish and "(in English)" not in english
    assert english.count("Also in Spanish") == spanish.count("También en inglés") == 1
    assert "We are preparing this one." in english


def test_allies_stand_by_their_titles_and_mails_lead_to_them_all(public: Visitor) -> None:
    assert "such as AltoPoli-Migra" in words(public.get("/resources"))
    link(public.service, "https://one.example.org/", slot="allies", title="One")
    link(public.service, "https://two.example.org/", slot="allies", title="Two")
    page = public.get("/resources").text
    for name in ("one", "two"):
        assert f'<a href="https://{name}.example.org/" rel="noreferrer">' in page
    assert public.get("/r/allies?lang=en").headers["location"] == "/resources?lang=en#allies"


def test_a_try_out_shows_what_is_missing_as_samples(visitor: Visitor) -> None:
    assert words(visitor.get("/resources")).count("(sample)") == 5


def test_what_others_wrote_is_not_copied(public: Visitor) -> None:
    stored_file = StoredFile(digest="0" * 64, kind="pdf", size=1)
    with public.service.database.write() as session, pytest.raises(BadInput, match="linked and not copied"):
        now = public.service.clock.now()
        resources.add(
            session, "allies", language="en", stored_file=stored_file, title="One", now=now, actor="staff"
        )
