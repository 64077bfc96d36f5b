"""What is kept, why and how long; and the pages that stand in for resources without a link."""

from lists.errors import NotFound
from mailer.policy import RESOURCES
from mailer.relay import Relay
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the privacy page; it names the mail servers that carry our mail, but not one of this machine."""
    written = visit.service.settings.smtp_url
    relays = () if written is None else Relay.parse_all(written.get_secret_value())
    carriers = sorted({relay.host for relay in relays if not relay.loopback})
    return Page(visit=visit, template="privacy.html", values={"carriers": ", ".join(carriers)})


def sample(visit: Visit) -> Page:
    """Show the page marked SAMPLE in place of a resource; NotFound except in a try-out."""
    name = visit.parameters["name"]
    if not visit.service.settings.tryout or name not in RESOURCES:
        raise NotFound("There is no such sample.")
    return Page(visit=visit, template="sample.html", values={"name": name})
