"""A sign-up sheet is printed for a congregation, and people who wrote on it are asked by mail like others."""

import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import select

from lists.consents import Consent
from lists.errors import BadInput
from mailer.service import Service
from mailer.tryout import postoffice
from mailer.web import congregation_slug, signup_sheet
from tests import commands
from tests.commands import Mailer
from tests.mailer.web.visitor import Visitor

CHROMIUM = shutil.which("chromium")
SHEET_CSV = "name,email,zip,language,agree\nDora,dora@example.org,85003,es,x\nEli,eli@example.org,,,\n"


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("St. Mark", "st-mark"),
        ("Parroquia San José, Tucson", "parroquia-san-jose-tucson"),
        ("x" * 90, "x" * 40),
    ],
)
def test_a_congregation_has_a_plain_tag(name: str, tag: str) -> None:
    assert congregation_slug.make(name) == congregation_slug.parse(tag) == tag


@pytest.mark.parametrize("name", ["", "!!", "משכן"])
def test_a_name_that_makes_no_tag_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="letters or digits"):
        congregation_slug.make(name)


@pytest.mark.parametrize("text", ["", "St Mark", "<b>", "x" * 41, "a\n"])
def test_what_is_no_tag_is_passed_over(text: str) -> None:
    assert congregation_slug.parse(text) == ""


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("paper", ["letter", "a4"])
def test_a_sheet_says_the_whole_sentence_and_needs_nothing_from_elsewhere(
    mailer: Mailer, tmp_path: Path, language: str, paper: str
) -> None:
    file = tmp_path / "sheet.html"
    arguments = (
        "list",
        "sheet",
        file,
        "--congregation",
        "St. <Mark>",
        "--language",
        language,
        "--paper",
        paper,
    )
    assert mailer(*arguments).status == 0
    text = file.read_text("utf-8")
    assert f'lang="{language}"' in text and "St. &lt;Mark&gt;" in text and "<svg" in text
    assert signup_sheet.build_evidence("x", date="x", language=language).split("“")[1][:60] in text
    assert "src=" not in text and "url(" not in text and "http-equiv" not in text
    assert text.count("<tr><td>") == signup_sheet.PAPER_SIZES[paper][1]
    assert "is there already" in mailer(*arguments).refusal


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; scripts/test installs it")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("paper", ["letter", "a4"])
def test_a_sheet_prints_on_one_page(service: Service, tmp_path: Path, language: str, paper: str) -> None:
    long = "Comunidad Unitaria Universalista y Parroquia de Nuestra Señora de Guadalupe del Valle del Sol"
    text = signup_sheet.render_html(service.settings, congregation=long, language=language, paper=paper)
    (tmp_path / "sheet.html").write_text(text, "utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [f"--user-data-dir={tmp_path}/browser", f"--print-to-pdf={tmp_path}/sheet.pdf"]
    subprocess.run([*command, f"{tmp_path}/sheet.html"], check=True, capture_output=True, timeout=60)
    assert (tmp_path / "sheet.pdf").read_bytes().count(b"/Type /Page\n") == 1


def test_what_was_written_comes_in_with_its_evidence_and_is_asked(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(SHEET_CSV, "utf-8")
    arguments = ("list", "import", tmp_path / "x.csv", "--list", "interest", "--sheet", "St. Mark")
    assert "--date" in mailer(*arguments).refusal
    dated_arguments = (*arguments, "--date", "2026-10-04", "--sheet-language", "es")
    assert "no --consent or --confirmed" in mailer(*dated_arguments, "--confirmed").refusal
    result = mailer(*dated_arguments)
    assert "1  added" in result.out and "1  passed over" in result.out and "did not tick" in result.out
    service.jobs.tick()
    service.deliver_until_empty()
    with service.database.read() as session:
        assert [message.to for message in postoffice.list_messages(session, limit=5)] == ["dora@example.org"]
        (wording,) = session.scalars(select(Consent.wording).where(Consent.action == "imported"))
    assert wording.startswith(
        "Wrote it on the paper sheet of St. Mark on 2026-10-04, which says: “Al escribir"
    )


def test_the_qr_code_leads_to_the_form_which_keeps_the_congregation(
    service: Service, visitor: Visitor
) -> None:
    form = visitor.get("/join?via=st-mark&lang=es")
    assert 'name="via" value="st-mark"' in form.text
    assert "via=st-mark" in form.text.split('class="tongue"')[1][:200]
    assert 'name="via"' not in visitor.get("/join?via=%3Cb%3E").text
    for via, page in (("st-mark", "/join?via=st-mark"), ("<script>", "/join")):
        visitor.post("/join", {"email": f"dora+{len(via)}@example.org", "via": via})
        with service.database.read() as session:
            newest = select(Consent.page).order_by(Consent.id.desc()).limit(1)
            assert session.scalar(newest) == page
