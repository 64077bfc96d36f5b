"""Policy: every kind of message has a policy, and the policies are consistent."""

from datetime import timedelta

import pytest

from mailer.outbox.outbox import OutboxRow
from mailer.policy import LIST_FIELDS, POLICY, RESOURCES, SERVICE_FIELDS, Policy
from tests import parts

KINDS = sorted(POLICY)


def test_every_source_has_a_policy_for_each_of_its_kinds_and_every_policy_a_source() -> None:
    sources = parts.built().sources
    assert sorted(sources) == KINDS
    for kind, source in sources.items():
        assert kind in source.kinds


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_left_needs_a_yes_and_what_needs_a_yes_can_be_left(kind: str) -> None:
    policy = POLICY[kind]
    assert policy.list_mail == (policy.needs == "confirmed")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_name_that_fits_and_an_end(kind: str) -> None:
    assert len(kind) <= OutboxRow.__table__.c.kind.type.length  # type: ignore[attr-defined]
    assert timedelta(0) < POLICY[kind].expires_after <= timedelta(days=5)


def test_what_somebody_waits_for_overtakes_everything_else() -> None:
    first = {kind for kind in KINDS if POLICY[kind].priority == 0}
    assert first == {kind for kind in KINDS if not (POLICY[kind].list_mail or POLICY[kind].to_staff)}
    assert POLICY["invitation"].priority < POLICY["sequence"].priority < POLICY["broadcast"].priority


def test_only_what_staff_send_by_hand_is_not_automatic() -> None:
    assert {kind for kind in KINDS if not POLICY[kind].automatic} == {"broadcast"}


def test_an_update_is_never_sent_twice_by_a_guess() -> None:
    assert POLICY["broadcast"].on_unknown == "keep"
    assert POLICY["confirmation"].on_unknown == POLICY["invitation"].on_unknown == "resend"


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_may_use_what_every_letter_has(kind: str) -> None:
    policy: Policy = POLICY[kind]
    assert policy.fields >= SERVICE_FIELDS
    assert policy.list_mail == (policy.fields >= LIST_FIELDS)
    assert {"leave_url", "preferences_url", "postal_address", "greeting", "name"} <= policy.fields


def test_every_resource_can_be_linked_and_say_its_language() -> None:
    assert {f"{name}_{part}" for name in RESOURCES for part in ("url", "note")} <= LIST_FIELDS


def test_a_purpose_asks_for_the_kinds_need_on_the_named_list() -> None:
    purpose = POLICY["broadcast"].purpose("organizers")
    assert (purpose.needs, purpose.list) == ("confirmed", "organizers")
