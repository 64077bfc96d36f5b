"""Policy: the differences between kinds of message, as one table, instead of `if kind ==` in the code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from lists.permission import Needs, Purpose

PERSONAL_FIELDS = frozenset({"name", "greeting", "preferences_url", "leave_url", "discreet"})
SHARED_FIELDS = frozenset({"campaign", "motto", "postal_address", "sender_name", "reply_to"})
PAGE_FIELDS = frozenset({"home_url", "privacy_url", "organize_url", "join_page_url"})
SERVICE_FIELDS = PERSONAL_FIELDS | SHARED_FIELDS | PAGE_FIELDS
RESOURCES = ("toolkit", "webinar", "powerpoint", "guide", "pledge", "allies")
RESOURCE_FIELDS = frozenset(f"{name}_{part}" for name in RESOURCES for part in ("url", "note"))
LIST_FIELDS = SERVICE_FIELDS | RESOURCE_FIELDS
EVENT_FIELDS = frozenset({"event_title", "event_when", "event_note", "event_minutes", "join_url"})
CUSTOM_LIST_FIELDS = frozenset({"list_title", "list_about"})  # of a list that staff added
DIGEST_FIELDS = frozenset(
    f"waits_{name}"
    for name in (
        "restore",
        "pauses",
        "resources",
        "faults",
        "servers",
        "unknown",
        "applications",
        "expired",
        "expiring",
        "sign_ups",
    )
)
RSVP_FIELDS = frozenset({"rsvp_yes_url", "rsvp_maybe_url", "rsvp_no_url"})


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The treatment of one kind of message.

    `needs`: the condition on the reader (see lists.permission); `list_mail`: it has the headers and link to
    leave its list; `automatic`: no person pressed “send” (RFC 3834); `priority`: 0 is sent first;
    `expires_after`: from its insertion into the outbox; `on_unknown`: the action when it is unknown whether
    the server accepted it; `fields`: the fields its templates may use; `topic`: the topic that a reader may
    opt out of (see lists.topic_optouts); `to_staff`: it goes to staff only, so eligibility omits it.
    """

    needs: Needs
    list_mail: bool
    automatic: bool
    priority: int
    expires_after: timedelta
    on_unknown: Literal["resend", "keep"]
    fields: frozenset[str]
    topic: str = ""
    to_staff: bool = False

    def purpose(self, list: str) -> Purpose:
        """Return the purpose for the permission rule."""
        return Purpose(needs=self.needs, list=list, topic=self.topic)


POLICY: Mapping[str, Policy] = {
    "confirmation": Policy(
        needs="asked",
        list_mail=False,
        automatic=True,
        priority=0,
        expires_after=timedelta(days=2),
        on_unknown="resend",
        fields=SERVICE_FIELDS | CUSTOM_LIST_FIELDS | {"confirm_url"},
    ),
    "already": Policy(
        needs="address",
        list_mail=False,
        automatic=True,
        priority=0,
        expires_after=timedelta(days=1),
        on_unknown="keep",
        fields=SERVICE_FIELDS,
    ),
    "access": Policy(
        needs="address",
        list_mail=False,
        automatic=True,
        priority=0,
        expires_after=timedelta(minutes=30),  # a link sent later would expire soon
        on_unknown="resend",
        fields=SERVICE_FIELDS | {"mine_url"},
    ),
    "received": Policy(
        needs="address",
        list_mail=False,
        automatic=True,
        priority=0,
        expires_after=timedelta(days=5),
        on_unknown="resend",
        fields=SERVICE_FIELDS,
    ),
    "notice": Policy(
        needs="address",
        list_mail=False,
        automatic=True,
        priority=1,
        expires_after=timedelta(days=1),  # the next day's digest replaces it
        on_unknown="keep",
        fields=SERVICE_FIELDS | DIGEST_FIELDS,
        to_staff=True,
    ),
    "invitation": Policy(
        needs="confirmed",
        list_mail=True,
        automatic=True,
        priority=1,
        expires_after=timedelta(days=5),
        on_unknown="resend",
        fields=LIST_FIELDS | EVENT_FIELDS | RSVP_FIELDS,
        topic="calls",
    ),
    "sequence": Policy(
        needs="confirmed",
        list_mail=True,
        automatic=True,
        priority=2,
        expires_after=timedelta(days=5),
        on_unknown="keep",
        fields=LIST_FIELDS,
        topic="follow-up",
    ),
    "broadcast": Policy(
        needs="confirmed",
        list_mail=True,
        automatic=False,
        priority=3,
        expires_after=timedelta(days=5),
        on_unknown="keep",
        fields=LIST_FIELDS,
        topic="updates",
    ),
}

URGENT_PRIORITY = max(POLICY[kind].priority for kind in ("confirmation", "invitation"))
LIST_MAIL_KINDS = tuple(kind for kind, policy in POLICY.items() if policy.list_mail)


def is_urgent(kind: str) -> bool:
    """Return whether a person waits for messages of this kind: connections are reserved for them."""
    return POLICY[kind].priority <= URGENT_PRIORITY
