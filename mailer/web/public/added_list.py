"""Added list: the words of a list that staff added, in the language of a request."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from lists import catalog
from lists.catalog import BUILT_IN_LISTS
from mailer.web.page_request import PageRequest

SIGN_UP_PATHS = {"interest": "/join", "organizers": "/organize"}


@dataclass(frozen=True, kw_only=True)
class ListDescription:
    """The title of a list and what it sends, in one language; `closed` when nobody can join any more."""

    title: str
    about: str
    closed: bool


def describe(session: Session, request: PageRequest, name: str) -> ListDescription | None:
    """Return the words of a list that staff added; None for a built-in list."""
    added_list = catalog.find(session, name)
    if added_list is None:
        return None
    return ListDescription(
        title=added_list.title[request.language],
        about=added_list.about[request.language],
        closed=added_list.closed_at is not None,
    )


def leave_question(session: Session, request: PageRequest, name: str) -> str:
    """Return the question whether to leave a list, by its name where a restored backup lacks the list."""
    words = request.words.unsubscribe
    if name in BUILT_IN_LISTS:
        return str(words[f"heading_{name}"])
    return words.heading_added(title=find_title(session, request, name))  # type: ignore[no-any-return]


def find_title(session: Session, request: PageRequest, name: str) -> str:
    """Return the title of a list."""
    if name in BUILT_IN_LISTS:
        return str(request.words.preferences[name])
    description = describe(session, request, name)
    return description.title if description else name


def sign_up_path(name: str) -> str:
    """Return the path of the page where people join a list."""
    return SIGN_UP_PATHS.get(name, f"/join/{name}")
