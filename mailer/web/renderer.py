"""Renderer: renders a page from its template, the words of its language and the campaign's texts."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from mailer.settings.loading import Settings
from mailer.templates import rendering
from mailer.web.page_request import TEMPLATES, PageRequest, PageResponse

STATIC = Path(__file__).parent / "static"
DEFAULT_VALUES: dict[str, Any] = {
    "mistakes": {},
    "form_values": {},
    "is_expired": False,
    "opened": "",
    "did": "",
}


class PageRenderer:
    """Holds the templates; one for the whole process, thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates = rendering.create_page_environment(TEMPLATES)
        stylesheet = (STATIC / "public.css").read_bytes()
        self._stylesheet = f"/static/public.css?v={hashlib.sha256(stylesheet).hexdigest()[:12]}"

    def render(self, page: PageResponse, *, access: str) -> str:
        """Return the HTML of a page with this access."""
        request, settings = page.request, self._settings
        other_language = "es" if request.language == "en" else "en"

        other_query = urlencode({**_query_to_keep(request), "lang": other_language})

        def build_link(path: str, **query: object) -> str:
            return _build_url(request, path, {key: str(value) for key, value in query.items()})

        return self._templates.get_template(page.template).render(
            DEFAULT_VALUES
            | {
                "t": request.words,
                "lang": request.language,
                "other_lang": other_language,
                "other_language": f"{quote(request.path)}?{other_query}",
                "to": build_link,
                "path": request.path,
                "campaign": settings.campaign_name[request.language],
                "motto": settings.motto[request.language],
                "postal_address": settings.postal_address,
                "reply_to": settings.reply_to,
                "tryout": settings.tryout and settings.loopback,
                "private": access != "public",
                "stylesheet": self._stylesheet,
                "mail_link": _mail_link,
                "strong": _strong,
                **page.values,
            }
        )


def _build_url(request: PageRequest, path: str, query: dict[str, str]) -> str:
    """Return the address of one of our pages, with the language where the browser would not request it."""
    if request.chosen_language or request.language != request.accepted_language:
        query["lang"] = request.language
    return f"{path}?{urlencode(query)}" if query else path


def _query_to_keep(request: PageRequest) -> dict[str, str]:
    return {key: value for key, value in request.query.items() if key in ("answer", "page", "via")}


def _mail_link(address: str) -> Markup:
    return Markup('<a href="mailto:{0}">{0}</a>').format(address)


def _strong(text: str) -> Markup:
    return Markup('<strong class="address">{}</strong>').format(text)
