"""The differences between kinds of message, as one table: nothing after a source asks `if kind ==`."""

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
    """How one kind of message is treated.

    `needs`: what must be true of the reader (see lists.permission); `list_mail`: it can be left, so it says
    how; `automatic`: no person pressed “send” (RFC 3834); `priority`: 0 leaves first; `expires_after`: from
    being put into the outbox; `on_unknown`: what to do when nobody can say whether the server took it;
    `fields`: what its templates may use; `topic`: what a reader may decline on its own (see
    lists.topic_optouts); `to_staff`: it goes to staff and never to anybody else, so nobody is asked whether
    they would get it.
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
        """Return the purpose to ask the permission rule with."""
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
        expires_after=timedelta(minutes=30),  # what leaves later would be of no use for long
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
        expires_after=timedelta(days=1),  # what waits is told anew the day after
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


def is_urgent(kind: str) -> bool:
    """Tell whether somebody waits for messages of this kind: they have connections of their own."""
    return POLICY[kind].priority <= URGENT_PRIORITY
