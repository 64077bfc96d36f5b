"""Readdressing: somebody has another address, which they must confirm before anything else is written there.

```
old address ─staff→ new address, asked once ─yes→ everything as it was
```
The new address is a contact of its own, and the old one becomes part of it by lists/merging.py. What was
confirmed waits for one yes, because only the address is in question; what was never confirmed is asked as a
sign-up is. Should nobody say yes, then `mailer/people/retention.py` ends the wait after 14 days.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import contacts, departures, directory, merge_redirects, subscriptions, suppressions
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import Conflict
from lists.merging import PERSON_WIDE_REASONS

SAME_ADDRESS = "{old} is the address we have. Nothing needs to be changed."
SAME_MAILBOX = (
    "{old} and {new} are one address, written in two ways. Mail reaches both, so nothing needs to be changed."
)
ALREADY_A_CONTACT = (
    "{new} is here already. If both are one person, make one of them: “mailer contact merge {new} {old}”."
)
MERGED_EARLIER = "{new} became part of {of} earlier. Look there first: “mailer contact show {of}”."
NEW_ADDRESS_SUPPRESSED = "{new} must not be written to: {reason}. Ask them for another address."
OLD_ADDRESS_SUPPRESSED = (
    "{old} must not be written to: {reason}. That is about the person, so it counts for {new} as well."
)
NEW_ADDRESS_LEFT = (
    "Somebody with the address {new} left the list {list}. They can join again themselves, on the page."
)
NO_LIST = (
    "{old} is on no list and waits for none, so there is nothing to write to another address. If they want to"
    " hear from us again, they can join with {new} themselves."
)


def find_refusal(session: Session, old: Contact, new: Address) -> str:
    """Return why this contact cannot get this address, as a sentence that says what to do; "" if it can."""
    named = {"old": old.email, "new": new.email}
    if new.key == old.email_key:
        return (SAME_ADDRESS if new.email == old.email else SAME_MAILBOX).format(**named)
    if contacts.find(session, new) is not None:
        return ALREADY_A_CONTACT.format(**named)
    of = merge_redirects.find_targets(session, [new.digest]).get(new.digest, old.id)
    if of != old.id:
        return MERGED_EARLIER.format(**named, of=contacts.get(session, of).email)
    barred = suppressions.find_reason(session, new.digest)
    if barred is not None:
        return NEW_ADDRESS_SUPPRESSED.format(**named, reason=barred)
    refused = set(suppressions.list_reasons(session, old.email_digest)).intersection(PERSON_WIDE_REASONS)
    if refused:
        return OLD_ADDRESS_SUPPRESSED.format(**named, reason=min(refused))
    gone = departures.find_exclusions(session, [new.digest]).get(new.digest, ())
    here = [each.list for each in subscriptions.list_for_contact(session, old.id) if each.state != "left"]
    left = sorted(set(gone).intersection(here))
    if left:
        return NEW_ADDRESS_LEFT.format(**named, list=left[0])
    return "" if here else NO_LIST.format(**named)


def begin(session: Session, old: Contact, new: Address, *, version: int, now: datetime) -> Contact:
    """Add the contact of the new address, and hold back what the old one, in this version, was confirmed for.

    In the file of departures the old address has left these lists, so that an older backup writes there no
    more. Raises Conflict when the contact has changed since, or somebody with the new address came just now.
    """
    contacts.amend(session, old.id, version=version, readdressed_at=None)  # a question to it is over
    if not contacts.add(session, new, now=now, language=old.language):
        raise Conflict(ALREADY_A_CONTACT.format(old=old.email, new=new.email))
    contact = contacts.find(session, new)
    assert contact is not None
    contacts.amend(session, contact.id, readdressed_at=now)
    for each in subscriptions.list_for_contact(session, old.id):
        if each.state != "left":
            departures.record_leave(
                session, contact_id=old.id, list=each.list, now=now, except_digest=new.digest
            )
    subscriptions.require_reconfirmation(session, contact_id=old.id, now=now)
    directory.require_confirmation(session, contact_id=old.id)
    session.expire_all()
    return contact
