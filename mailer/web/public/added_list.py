"""The words of a list that staff added, in the language of a visit; a list of the house has its own pages."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from lists import catalog
from lists.catalog import BUILT_IN_LISTS
from mailer.web.visit import PageRequest

SIGN_UP_PATHS = {"interest": "/join", "organizers": "/organize"}


@dataclass(frozen=True, kw_only=True)
class ListDescription:
    """What a list is called and what comes, in one language; `closed` when nobody can join any more."""

    title: str
    about: str
    closed: bool


def describe(session: Session, request: PageRequest, name: str) -> ListDescription | None:
    """Return the words of a list that staff added; None for one of the house."""
    found = catalog.find(session, name)
    if found is None:
        return None
    return ListDescription(
        title=found.title[request.language],
        about=found.about[request.language],
        closed=found.closed_at is not None,
    )


def leave_question(session: Session, request: PageRequest, name: str) -> str:
    """Return the question whether to leave a list, by its name where a backup older than the list is back."""
    said = request.words.unsubscribe
    if name in BUILT_IN_LISTS:
        return str(said[f"heading_{name}"])
    return said.heading_added(title=find_title(session, request, name))  # type: ignore[no-any-return]


def find_title(session: Session, request: PageRequest, name: str) -> str:
    """Return what people call a list."""
    if name in BUILT_IN_LISTS:
        return str(request.words.preferences[name])
    found = describe(session, request, name)
    return found.title if found else name


def sign_up_path(name: str) -> str:
    """Return the path of the page where people join a list."""
    return SIGN_UP_PATHS.get(name, f"/join/{name}")
