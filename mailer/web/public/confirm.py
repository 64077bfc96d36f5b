"""Confirming by the link in the mail: a GET shows a button and changes nothing, for scanners open links."""

from lists import contacts
from lists import subscriptions as subs
from lists.errors import NotFound
from lists.subscriptions import Subscription
from mailer.web.public import added_list
from mailer.web.visit import Page, Visit

BACK = "back"  # instead of a list: what is confirmed is a new address, for all lists alike
SHELF = ("toolkit", "webinar", "powerpoint", "guide")


def show(visit: Visit) -> Page:
    """Show the button, or that the sign-up has ended."""
    subscription_id, in_round = _token(visit)
    with visit.service.database.read() as session:
        subscription = session.get(Subscription, subscription_id)
        if subscription is None:
            raise NotFound("This sign-up is gone.")
        visit = visit.speaking(contacts.get(session, subscription.contact_id).language)
        good = subs.find_by_token(session, subscription_id=subscription_id, round=in_round) is not None
        if not good:
            return _ended(visit, subscription.list)
        back = subscription.list in visit.service.confirmations.list_returning(
            session, subscription.contact_id
        )
        words = None if back else added_list.words(session, visit, subscription.list)
    values = {"list": BACK if back else subscription.list, "added": words}
    return Page(visit=visit, template="confirm.html", values=values)


def post(visit: Visit) -> Page:
    """Confirm, and show what was promised or what happens next."""
    subscription_id, in_round = _token(visit)
    with visit.service.database.write() as session:
        subscription = session.get(Subscription, subscription_id)
        if subscription is None:
            raise NotFound("This sign-up is gone.")
        visit = visit.speaking(contacts.get(session, subscription.contact_id).language)
        done = visit.service.confirmations.confirm(
            session, subscription_id=subscription_id, round=in_round, page="/confirm", now=visit.now
        )
        if done is None:
            return _ended(visit, subscription.list)
        words = None if done.is_reconfirmation else added_list.words(session, visit, done.list)
    settings = visit.service.settings
    values = {
        "list": BACK if done.is_reconfirmation else done.list,
        "added": words,
        "resources": resources(visit),
        "sender": f"{settings.from_name} <{settings.from_address}>",
    }
    return Page(visit=visit, template="confirmed.html", values=values)


def resources(visit: Visit) -> list[dict[str, object]]:
    """Return what stands on the shelf for a language: name, url ("" while there is none), and its marks."""
    shelf = visit.service.editions.library
    with visit.service.database.read() as session:
        offered = shelf.list_for_language(session, visit.language)
    return [
        {
            "name": name,
            "url": shelf.build_url(name, visit.language) if offered[name] or shelf.tryout else "",
            "language": offered[name][0].language if offered[name] else visit.language,
            "sample": not offered[name],
        }
        for name in SHELF
    ]


def _token(visit: Visit) -> tuple[int, int]:
    read = visit.service.tokens.read_confirm(visit.parameters["token"])
    if read is None:
        raise NotFound("This link is not one of ours.")
    return read


def _ended(visit: Visit, list_name: str) -> Page:
    return Page(
        visit=visit, template="ended.html", values={"sign_up": added_list.page(list_name)}, status=410
    )
