"""Privacy page: what is stored, why and how long."""

from mailer.smtp.relay_settings import Relay
from mailer.web.page_request import PageRequest, PageResponse


def show(request: PageRequest) -> PageResponse:
    """Show the privacy page; it names the mail servers that carry our mail, except any on this machine."""
    smtp_url = request.service.settings.smtp_url
    relays = () if smtp_url is None else Relay.parse_all(smtp_url.get_secret_value())
    carriers = sorted({relay.host for relay in relays if not relay.loopback})
    return PageResponse(request=request, template="privacy.html", values={"carriers": ", ".join(carriers)})
