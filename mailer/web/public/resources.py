"""Resources: their page, and the address in mails that leads to the current version of a slot.

No request is logged or counted.
"""

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from urllib.parse import urlsplit

from lists.errors import NotFound
from mailer.library import file_store, file_types, law_cards, us_states
from mailer.library.law_cards import LawCard
from mailer.library.resources import MULTIPLE_SLOTS, CurrentVersion
from mailer.policy import RESOURCES
from mailer.templates import local_time
from mailer.web.page_request import (
    Download,
    ExternalRedirect,
    HandlerResponse,
    PageRedirect,
    PageRequest,
    PageResponse,
)

SIZE_UNITS = ((1024 * 1024, "MB"), (1024, "kB"))


def show(request: PageRequest) -> PageResponse:
    """Show the current version of every slot, and the links of allies."""
    library = request.service.editions.library
    with request.service.database.read() as session:
        current = library.list_current(session)
        versions = library.list_for_language(session, request.language)
        cards = law_cards.list_valid(session, now=request.now)
    languages = {(version.slot, version.language) for version in current}
    other = "es" if request.language == "en" else "en"
    items = [
        {
            "slot": slot,
            "url": _build_path(slot, request.language) if versions[slot] or library.tryout else "",
            "other": _build_path(slot, other)
            if {(slot, request.language), (slot, other)} <= languages
            else "",
            "version": _describe(request, versions[slot][0]) if versions[slot] else None,
        }
        for slot in RESOURCES
        if slot not in MULTIPLE_SLOTS
    ]
    allies = [
        {**_describe(request, version), "url": version.link}
        for slot in sorted(MULTIPLE_SLOTS)
        for version in versions[slot]
    ]
    return PageResponse(
        request=request,
        template="resources.html",
        values={"items": items, "allies": allies, "law": _list_law_cards(request, cards)},
    )


def open_resource(request: PageRequest) -> HandlerResponse:
    """Redirect to a slot's link or send its file, in the request's language where there is one.

    An empty slot has a page marked SAMPLE in a try-out; else the page of resources says that it is coming.
    The slot in the address only selects a row; the file on the disk is found by the hash in it.
    """
    slot = request.parameters["slot"]
    if slot not in RESOURCES:
        raise NotFound("There is no such resource.")
    library = request.service.editions.library
    with request.service.database.read() as session:
        versions = library.list_for_language(session, request.language)[slot]
    if not versions and library.tryout:
        return PageResponse(request=request, template="sample.html", values={"name": slot})
    if not versions or slot in MULTIPLE_SLOTS:
        return PageRedirect(path="/resources", query={"lang": request.language}, fragment=slot)
    version = versions[0]
    if version.link:
        return ExternalRedirect(link=version.link)
    path = file_store.require_path(version.file, home=request.service.settings.home)
    return Download(
        path=path, kind=file_types.FILE_TYPES[version.kind].media_type, name=version.name, etag=version.file
    )


def _build_path(slot: str, language: str) -> str:
    return f"/r/{slot}?lang={language}"


def _describe(request: PageRequest, version: CurrentVersion) -> dict[str, object]:
    """Return the description of a version: what it is, its size and its date, as far as they are stored."""
    words = request.words.resources
    parts = [words.kinds[version.kind], _format_size(version.size)] if version.file else []
    if version.link:
        parts.append(words.at(host=urlsplit(version.link).hostname))
    if version.dated:
        parts.append(
            local_time.format_full_date(date.fromisoformat(version.dated), language=request.language)
        )
    return {
        "title": version.title,
        "note": version.note,
        "language": version.language,
        "foreign": version.language != request.language,
        "about": ", ".join(map(str, parts)),
    }


def _list_law_cards(request: PageRequest, cards: Sequence[LawCard]) -> list[dict[str, object]]:
    """Return the cards by state, each with its text, its source, and by whom it was checked when."""
    sections: list[dict[str, object]] = []
    for state, group in groupby(cards, key=lambda card: card.state):
        rows: list[dict[str, object]] = [
            {
                "text": card.text[request.language],
                "source": card.source,
                "host": urlsplit(card.source).hostname,
                "on": local_time.format_full_date(
                    date.fromisoformat(card.checked_on), language=request.language
                ),
                "by": card.checked_by,
            }
            for card in group
        ]
        sections.append({"name": us_states.get_name(state, language=request.language), "cards": rows})
    return sections


def _format_size(octets: int) -> str:
    """Return a size in words: “2.1 MB”."""
    unit, name = next(((unit, name) for unit, name in SIZE_UNITS if octets >= unit), SIZE_UNITS[-1])
    return f"{max(octets / unit, 0.1):.1f} {name}"
