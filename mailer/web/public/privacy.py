"""What is kept, why and how long."""

from mailer.smtp.relay import Relay
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the privacy page; it names the mail servers that carry our mail, but not one of this machine."""
    written = visit.service.settings.smtp_url
    relays = () if written is None else Relay.parse_all(written.get_secret_value())
    carriers = sorted({relay.host for relay in relays if not relay.loopback})
    return Page(visit=visit, template="privacy.html", values={"carriers": ", ".join(carriers)})
