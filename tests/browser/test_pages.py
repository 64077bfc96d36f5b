"""Every page in a real browser: no accessibility finding, no overflow, nothing fetched from elsewhere.

`PICTURES=folder scripts/test tests/browser` keeps a picture of each, to be looked at.
"""

import os
import re
from pathlib import Path

import pytest

LANGUAGES = ("en", "es")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Both widths and both schemes in each language, and all four together over the two languages.
LOOKS = {"en": ((375, "light"), (1280, "dark")), "es": ((375, "dark"), (1280, "light"))}
SMALL = """
[...document.querySelectorAll('a, button, input, textarea, summary')].filter(each => {
  const box = each.getBoundingClientRect(), within = each.closest('label');
  const inline = each.matches('a') && getComputedStyle(each).display === 'inline';
  const shown = box.width > 0 && !each.closest('.trap') && !each.matches('.skip, [type=hidden]');
  const height = within ? within.getBoundingClientRect().height : box.height;
  return shown && !inline && height < 44;
}).map(each => each.outerHTML.slice(0, 100))
"""


def go(path):
    return lambda page, world: page.goto(world.address + with_language(path, page))


def unfolded(path):
    def walk(page, world):
        go(path)(page, world)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")

    return walk


def to(link):
    return lambda page, world: page.goto(world.address + with_language(world.links[link], page))


def with_language(path, page):
    return f"{path}{'&' if '?' in path else '?'}lang={page.language}"


def wrong(page, world):
    go("/organize")(page, world)
    page.fill("#email", "dora@")
    page.fill("#zip", "123")
    page.click("main button")


def sent(page, world):
    go("/join")(page, world)
    page.fill("#email", "dora@gmial.com")
    page.click("main button")


def mended(page, world):
    sent(page, world)
    page.click("button.plain")


def old(page, world):
    go("/join")(page, world)
    page.evaluate("document.querySelector('[name=opened]').value = ''")
    page.fill("#email", "dora@example.org")
    page.click("main button")


def pressed(link, button="main button"):
    def walk(page, world):
        to(link)(page, world)
        page.click(button)

    return walk


def confirmed(link):
    """Confirm by the form; who confirmed before, in the other language, finds none and sends it anew."""

    def walk(page, world):
        to(link)(page, world)
        with page.expect_navigation():
            page.evaluate(
                "(document.querySelector('main form') ?? Object.assign("
                "document.body.appendChild(document.createElement('form')), {method: 'post'})).submit()"
            )

    return walk


def confirmed_before(page, world):
    confirmed("confirm-interest")(page, world)
    to("confirm-interest")(page, world)


def resumed(page, world):
    pressed("preferences", "[value=pause-30]")(page, world)


def mail(page, world):
    go("/postoffice")(page, world)
    page.click(".mails a >> nth=0")
    page.wait_for_load_state("networkidle")


def advance_by_zero_days(page, world):
    go("/postoffice")(page, world)
    page.fill("#days", "0")
    page.click(".advance button")


def open_data_page(page, world):
    to("mine")(page, world)
    page.click("[href*='/all']")


def open_all_sections(page, world):
    open_data_page(page, world)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


WALKS = {
    "home": go("/"),
    "join": go("/join"),
    "join-added": go("/join/clergy"),
    "join-closed": go("/join/choir"),
    "join-wrong": wrong,
    "join-old": old,
    "sent": sent,
    "sent-mended": mended,
    "organize": go("/organize"),
    "privacy": go("/privacy"),
    "resources": unfolded("/resources"),
    "sample": go("/r/toolkit"),
    "confirm-interest": to("confirm-interest"),
    "confirm-organizers": to("confirm-organizers"),
    "confirmed-interest": confirmed("confirm-interest"),
    "confirmed-organizers": confirmed("confirm-organizers"),
    "confirm-added": to("confirm-added"),
    "confirmed-added": confirmed("confirm-added"),
    "confirmed-before": confirmed_before,
    "confirm-back": to("confirm-back"),
    "preferences-not-mailed": pressed("preferences-later", "[value=mine]"),
    "confirmed-back": confirmed("confirm-back"),
    "unsubscribe-added": to("unsubscribe-added"),
    "confirm-ended": to("confirm-ended"),
    "preferences": to("preferences"),
    "preferences-paused": resumed,
    "preferences-none": to("preferences-none"),
    "preferences-mailed": pressed("preferences", "[value=mine]"),
    "mine": to("mine"),
    "known": open_data_page,
    "known-opened": open_all_sections,
    "mine-saved": pressed("mine", "[value=save]"),
    "forget": pressed("mine", "[value=forget]"),
    "unsubscribe": to("unsubscribe"),
    "left": pressed("unsubscribe-left"),
    "rsvp": to("rsvp"),
    "rsvp-done": pressed("rsvp"),
    "postoffice": go("/postoffice"),
    "postoffice-wrong": advance_by_zero_days,
    "mail": mail,
    **{f"refused-{status}": go(f"/refused/{status}") for status in (403, 404, 500)},
}


@pytest.fixture(params=LANGUAGES)
def page(request, browser, world):
    """A new page of a browser in one language; its requests are recorded."""
    context = browser.new_context(locale={"en": "en-US", "es": "es-US"}[request.param])
    new_page = context.new_page()
    new_page.language = request.param
    new_page.requested_urls = []
    new_page.on("request", lambda browser_request: new_page.requested_urls.append(browser_request.url))
    yield new_page
    context.close()


@pytest.mark.parametrize("name", WALKS)
def test_a_page_is_sound(page, world, axe, name):
    WALKS[name](page, world)
    page.evaluate(axe)
    for width, scheme in LOOKS[page.language]:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        keep(page, f"{name}-{page.language}-{width}-{scheme}")
        report = page.evaluate("rules => axe.run(document, {runOnly: rules, iframes: false})", RULES)
        violations = [
            f"{each['id']} ({each['impact']}): {node['html'][:120]}"
            for each in report["violations"]
            for node in each["nodes"]
        ]
        assert not violations, f"{width} {scheme}"
        assert page.evaluate("document.documentElement.lang") == page.language
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SMALL) == []
    page.set_viewport_size({"width": 320, "height": 600})  # WCAG 1.4.10: 1280 px at 400 %
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert {re.match(r"https?://[^/]*", url).group() for url in page.requested_urls} == {world.address}


def keep(page, name):
    """Keep a picture where the environment asks for it."""
    folder = os.environ.get("PICTURES")
    if folder:
        page.wait_for_timeout(300)  # a framed mail is rendered a moment later
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_the_keyboard_reaches_the_page_and_shows_where_it_is(page, world):
    go("/join")(page, world)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "email"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_way_from_a_mistake_leads_to_its_field(page, world):
    wrong(page, world)
    page.click(".summary a >> nth=0")
    assert page.evaluate("document.activeElement.id") == "email"
    assert page.input_value("#email") == "dora@"
