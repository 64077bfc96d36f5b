"""Confirmation: by the link in the mail; a GET shows a button and changes nothing: scanners open links."""

from sqlalchemy.orm import Session

from lists import contacts, topic_optouts
from lists import subscriptions as subs
from lists.errors import NotFound
from lists.subscriptions import Confirmation, Subscription
from mailer.policy import POLICY
from mailer.sources import journeys
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public import added_list

NEW_ADDRESS = "back"  # instead of a list: a new address is confirmed, for all lists alike
RESOURCE_SLOTS = ("toolkit", "webinar", "powerpoint", "guide")


def show(request: PageRequest) -> PageResponse:
    """Show the button, or that the sign-up has ended."""
    subscription_id, in_round = _read_token(request)
    with request.service.database.read() as session:
        subscription = session.get(Subscription, subscription_id)
        if subscription is None:
            raise NotFound("This sign-up is gone.")
        request = request.with_default_language(contacts.get(session, subscription.contact_id).language)
        is_open = subs.find_by_token(session, subscription_id=subscription_id, round=in_round) is not None
        if not is_open:
            return _ended_page(request, subscription.list)
        is_reconfirmation = subscription.list in request.service.confirmations.find_lists_to_restore(
            session, subscription.contact_id
        )
        description = None if is_reconfirmation else added_list.describe(session, request, subscription.list)
        is_confirmed = subscription.state == "confirmed" and not is_reconfirmation
    values = {
        "list": NEW_ADDRESS if is_reconfirmation else subscription.list,
        "added": description,
        "is_confirmed": is_confirmed,
    }
    return PageResponse(request=request, template="confirm.html", values=values)


def post(request: PageRequest) -> PageResponse:
    """Confirm, and show what was promised or what happens next."""
    subscription_id, in_round = _read_token(request)
    with request.service.database.write() as session:
        subscription = session.get(Subscription, subscription_id)
        if subscription is None:
            raise NotFound("This sign-up is gone.")
        request = request.with_default_language(contacts.get(session, subscription.contact_id).language)
        confirmation = request.service.confirmations.confirm(
            session, subscription_id=subscription_id, round=in_round, page="/confirm", now=request.now
        )
        if confirmation is None:
            return _ended_page(request, subscription.list)
        description = (
            None
            if confirmation.is_reconfirmation
            else added_list.describe(session, request, confirmation.list)
        )
        next_mail = _find_next_mail(session, request, confirmation)
    settings = request.service.settings
    values = {
        "list": NEW_ADDRESS if confirmation.is_reconfirmation else confirmation.list,
        "added": description,
        "next_mail": next_mail,
        "resources": list_resources(request),
        "sender": f"{settings.from_name} <{settings.from_address}>",
    }
    return PageResponse(request=request, template="confirmed.html", values=values)


def _find_next_mail(session: Session, request: PageRequest, confirmation: Confirmation) -> str:
    """Return which email comes next: "first" or "resumed" of the sequence, later "news", or "none"."""
    optouts = topic_optouts.list_for_contact(session, confirmation.contact_id)
    states = [
        journeys.find_state(session, confirmation.contact_id, schedule.name)
        for schedule in request.service.schedules
        if schedule.list == confirmation.list
    ]
    if POLICY["sequence"].topic not in optouts:
        if None in states:
            return "first"
        if any(state not in journeys.ENDED_STATES for state in states):
            return "resumed"
    return "none" if POLICY["broadcast"].topic in optouts else "news"


def list_resources(request: PageRequest) -> list[dict[str, object]]:
    """Return the resources for a language: name, url ("" for none), language, and whether it is a sample."""
    library = request.service.editions.library
    with request.service.database.read() as session:
        versions = library.list_for_language(session, request.language)
    return [
        {
            "name": name,
            "url": library.build_url(name, request.language) if versions[name] or library.tryout else "",
            "language": versions[name][0].language if versions[name] else request.language,
            "sample": not versions[name],
        }
        for name in RESOURCE_SLOTS
    ]


def _read_token(request: PageRequest) -> tuple[int, int]:
    ids = request.service.tokens.read_confirm(request.parameters["token"])
    if ids is None:
        raise NotFound("This link is not one of ours.")
    return ids


def _ended_page(request: PageRequest, list_name: str) -> PageResponse:
    return PageResponse(
        request=request,
        template="ended.html",
        values={"sign_up": added_list.sign_up_path(list_name)},
        status=410,
    )
