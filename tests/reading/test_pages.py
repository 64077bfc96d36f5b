"""The pages keep the installation's rules about words, as the emails do (tests/guards/test_texts.py)."""

import pytest

from lists.contacts import LANGUAGES
from mailer.service import Service
from mailer.web.page_request import TEMPLATES, PageResponse
from mailer.web.renderer import PageRenderer
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Response, Visitor
from tests.reading import pages
from tests.reading.readability import MAX_WORDS

FOR_STAFF = {"postoffice.html", "mail.html"}  # the try-out's post office, on its own machine
ON_PAPER = {"signup_sheet.html"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url  # the words are the same


@pytest.fixture(params=LANGUAGES)
def walked(
    request: pytest.FixtureRequest, service: Service, clock: StoppedClock
) -> tuple[str, dict[str, Response]]:
    language: str = request.param
    return language, pages.walk(Visitor(service, clock), language=language)


def test_every_page_is_short_and_easy_and_asks_one_thing(walked: tuple[str, dict[str, Response]]) -> None:
    language, answers = walked
    troubles = []
    for name, answer in answers.items():
        assert answer.headers["content-language"] == language, name
        measured = pages.figures(answer, language=language)
        if measured.words > MAX_WORDS:
            troubles.append(f"{name} in {language}: {measured.words} words")
        if not measured.easy:
            troubles.append(f"{name} in {language}: {measured.scale} {measured.ease:.1f}")
        if len(pages.read(answer).primary) > 1:
            troubles.append(f"{name} in {language}: more than one first button")
    assert troubles == []


def test_no_page_is_left_unmeasured(
    service: Service, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: set[str] = set()
    render = PageRenderer.render

    def record(self: PageRenderer, page: PageResponse, *, access: str) -> str:
        rendered.add(page.template)
        return render(self, page, access=access)

    monkeypatch.setattr(PageRenderer, "render", record)
    pages.walk(Visitor(service, clock), language="en")
    shipped = {path.name for path in TEMPLATES.glob("*.html") if not path.name.startswith("_")}
    assert shipped - rendered == FOR_STAFF | ON_PAPER
