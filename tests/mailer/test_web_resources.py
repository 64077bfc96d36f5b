"""The address in a mail leads to what stands there today, and a file is handed out as nothing but a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lists.db import Database
from mailer import deposits, resources
from mailer import service as composition
from mailer.service import Service
from mailer.settings import Settings
from tests.clocks import StoppedClock
from tests.mailer.test_service import earnest
from tests.mailer.visitor import Visitor

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 1_000


@pytest.fixture
def public(settings: Settings, database: Database, clock: StoppedClock) -> Iterator[Visitor]:
    """A visitor of a house that sends real mail, and has no resource yet."""
    built = composition.build(earnest(settings), clock=clock)
    yield Visitor(built, clock, client="192.0.2.7", host="mail.example.org")
    built.close()


def link(service: Service, url: str, *, slot: str = "toolkit", language: str = "en", title: str = "") -> None:
    with service.database.write() as session:
        resources.add(
            session, slot, language=language, link=url, title=title, now=service.clock.now(), actor="staff"
        )


def file(
    service: Service, folder: Path, content: bytes = PDF, *, language: str = "en", ending: str = "pdf"
) -> str:
    path = folder / f"Ana's {language} draft, final <2>.{ending}"
    path.write_bytes(content)
    kept = deposits.keep(path, home=service.settings.home)
    with service.database.write() as session:
        resources.add(
            session, "toolkit", language=language, deposit=kept, now=service.clock.now(), actor="staff"
        )
    return kept.digest


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
    told = answer.headers
    assert told["content-disposition"] == 'attachment; filename="toolkit-en.pdf"'
    assert told["content-type"] == "application/pdf"
    assert told["content-length"] == str(len(PDF))
    assert told["x-content-type-options"] == "nosniff"
    assert told["content-security-policy"] == "default-src 'none'; sandbox"
    assert told["cache-control"] == "no-cache"
    assert told["etag"] == f'"{digest}"'
    assert "set-cookie" not in told
    assert "Ana" not in str(told)


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
    for known in (f'"{digest}"', f'W/"{digest}"', f'"x", "{digest}"', "*"):
        same = public.get("/r/toolkit", {"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", f'"{digest}"')
    assert public.get("/r/toolkit", {"if-none-match": '"x"'}).status_code == 200


def test_a_page_in_a_text_file_stays_a_text(public: Visitor, tmp_path: Path) -> None:
    file(public.service, tmp_path, b"<script>alert(1)</script>\n", ending="txt")
    told = public.get("/r/toolkit").headers
    assert told["content-type"] == "text/plain; charset=utf-8"
    assert told["content-disposition"].startswith("attachment;")


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


def test_an_empty_slot_is_a_sample_in_a_try_out_and_not_found_in_earnest(
    visitor: Visitor, public: Visitor
) -> None:
    sample = visitor.get("/r/guide?lang=es")
    assert sample.status_code == 200
    assert "SAMPLE" in sample.text
    assert public.get("/r/guide").status_code == 404


def test_a_file_that_is_gone_is_not_found_and_told_to_operators(public: Visitor, tmp_path: Path) -> None:
    digest = file(public.service, tmp_path)
    kept = public.service.settings.home / "resources" / digest
    kept.unlink()
    kept.symlink_to(tmp_path / "secrets" / "pepper")
    with capture_logs() as logs:
        assert public.get("/r/toolkit").status_code == 404
    assert [entry["event"] for entry in logs] == ["the file of a resource is missing"]
