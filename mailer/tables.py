"""Tables: every table of the database; an import of this module registers all of them."""

from collections.abc import Sequence

from sqlalchemy import Table

from lists import (
    audit,
    catalog,
    consents,
    contacts,
    departures,
    directory,
    fields,
    imports,
    list_exclusions,
    merge_redirects,
    notes,
    search,
    subscriptions,
    suppressions,
    tags,
    topic_optouts,
)
from lists.db import Base
from mailer.compose import editions
from mailer.coordination import (
    counters,
    heartbeat,
    job_runs,
    leases,
    rate_limits,
    send_hold,
    signup_throttle,
    suspensions,
)
from mailer.events import events
from mailer.library import law_cards, resources
from mailer.outbox import attempts, outbox
from mailer.settings import key_check, public_url
from mailer.smtp import capabilities
from mailer.sources import broadcasts, invitations, journeys
from mailer.tryout import postoffice, time_machine

MODULES = (
    audit, catalog, consents, contacts, departures, directory, fields, imports, list_exclusions,
    merge_redirects, notes, search, subscriptions, suppressions, tags, topic_optouts,
    counters, heartbeat, job_runs, leases, rate_limits, send_hold, signup_throttle, suspensions,
    events, law_cards, resources, attempts, outbox, key_check, public_url, capabilities,
    broadcasts, invitations, journeys, editions, postoffice, time_machine,
)  # fmt: skip
TABLES: Sequence[Table] = Base.metadata.sorted_tables
