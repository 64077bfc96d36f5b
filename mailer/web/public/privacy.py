"""What is kept, why and how long; and the pages that stand in for resources without a link."""

from lists.errors import NotFound
from mailer.policy import RESOURCES
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the privacy page."""
    return Page(visit=visit, template="privacy.html")


def sample(visit: Visit) -> Page:
    """Show the page marked SAMPLE in place of a resource; NotFound except in a try-out."""
    name = visit.parameters["name"]
    if not visit.service.settings.tryout or name not in RESOURCES:
        raise NotFound("There is no such sample.")
    return Page(visit=visit, template="sample.html", values={"name": name})
