"""Address change: a contact gets another address, which must be confirmed before list mail is sent to it.

```
old address ─staff→ new address, asked once ─yes→ subscriptions as before
```
The new address is a contact of its own. lists/identity/merging.py merges the old contact into it. A
subscription that was confirmed waits for one yes, because only the address is in question. A subscription
that was never confirmed is asked for as after a sign-up. Without a yes, `mailer/people/retention.py` ends the
wait after 14 days.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import (
    contacts,
    departures,
    directory,
    list_exclusions,
    merge_redirects,
    subscriptions,
    suppressions,
)
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import Conflict
from lists.identity.merging import PERSON_WIDE_REASONS

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
    emails = {"old": old.email, "new": new.email}
    if new.key == old.email_key:
        return (SAME_ADDRESS if new.email == old.email else SAME_MAILBOX).format(**emails)
    if contacts.find(session, new) is not None:
        return ALREADY_A_CONTACT.format(**emails)
    target_id = merge_redirects.find_targets(session, [new.digest]).get(new.digest, old.id)
    if target_id != old.id:
        return MERGED_EARLIER.format(**emails, of=contacts.get(session, target_id).email)
    suppression_reason = suppressions.find_reason(session, new.digest)
    if suppression_reason is not None:
        return NEW_ADDRESS_SUPPRESSED.format(**emails, reason=suppression_reason)
    reasons = set(suppressions.list_reasons(session, old.email_digest)).intersection(PERSON_WIDE_REASONS)
    if reasons:
        return OLD_ADDRESS_SUPPRESSED.format(**emails, reason=min(reasons))
    excluded_lists = list_exclusions.find_lists(session, [new.digest]).get(new.digest, ())
    active_lists = [
        subscription.list
        for subscription in subscriptions.list_for_contact(session, old.id)
        if subscription.state != "left"
    ]
    lists_left = sorted(set(excluded_lists).intersection(active_lists))
    if lists_left:
        return NEW_ADDRESS_LEFT.format(**emails, list=lists_left[0])
    return "" if active_lists else NO_LIST.format(**emails)


def begin(session: Session, old: Contact, new: Address, *, version: int, now: datetime) -> Contact:
    """Add the contact of the new address, and require a new confirmation of the old contact's subscriptions.

    `version` is that of the old contact. The departures file records that the old address left these lists,
    so that after the restore of an older backup nothing is sent to it. Raises Conflict when the contact has
    changed since that version, or when another transaction has just added the new address.
    """
    contacts.amend(session, old.id, version=version, readdressed_at=None)  # ends an earlier address change
    if not contacts.add(session, new, now=now, language=old.language):
        raise Conflict(ALREADY_A_CONTACT.format(old=old.email, new=new.email))
    contact = contacts.find(session, new)
    assert contact is not None
    contacts.amend(session, contact.id, readdressed_at=now)
    for subscription in subscriptions.list_for_contact(session, old.id):
        if subscription.state != "left":
            departures.record_leave(
                session, contact_id=old.id, list=subscription.list, now=now, except_digest=new.digest
            )
    subscriptions.require_reconfirmation(session, contact_id=old.id, now=now)
    directory.require_confirmation(session, contact_id=old.id)
    session.expire_all()
    return contact
