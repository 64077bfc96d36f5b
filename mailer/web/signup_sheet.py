"""Sign-up sheet: a printable page of lines to write on, with a QR code that leads to the form instead.

It is a file for a printer, with everything in it: no page of ours shows a name from a link that others made.
The QR code contains a short slug of the congregation, which reveals nothing about the people who use it.
"""

from urllib.parse import urlencode

import segno
from markupsafe import Markup

from lists import contacts
from mailer.settings.loading import Settings
from mailer.templates import rendering
from mailer.web import congregation_slug, words
from mailer.web.page_request import TEMPLATES

PAPER_SIZES = {
    "letter": ("Letter", 10),
    "a4": ("A4", 10),
}  # its name in CSS, and the number of lines that fit
INK = "#1d2433"
ERROR_CORRECTION = "m"  # 15 %: a fold or a stain does not make it unreadable


def build_evidence(congregation: str, *, date: str, language: str) -> str:
    """Return the evidence of consent for all people of a sheet: where, when, and the words printed on it."""
    wording = str(words.load(TEMPLATES, language).signup_sheet.consent)
    name = contacts.clean(congregation, label="name of the congregation")
    return f"Wrote it on the paper sheet of {name} on {date}, which says: “{wording}”"


def render_html(settings: Settings, *, congregation: str, language: str, paper: str) -> str:
    """Return the sheet as one HTML file for a printer; `paper` is a key of PAPER_SIZES."""
    query = urlencode({"via": congregation_slug.make(congregation), "lang": language})
    address = f"{settings.public_url.rstrip('/')}/join?{query}"
    code = segno.make(address, error=ERROR_CORRECTION, micro=False)
    svg = code.svg_inline(border=0, omitsize=True, dark=INK, svgclass="code", lineclass=None)
    size, lines = PAPER_SIZES[paper]
    page = rendering.create_page_environment(TEMPLATES).get_template("signup_sheet.html")
    return page.render(
        t=words.load(TEMPLATES, language),
        lang=language,
        campaign=settings.campaign_name[language],
        postal_address=settings.postal_address,
        congregation=contacts.clean(congregation, label="name of the congregation"),
        address=f"{settings.public_url.rstrip('/')}/join",
        code=Markup(svg),  # noqa: S704 (generated from an address of ours)
        paper=size,
        lines=lines,
    )
