"""Resources: the address in mails that leads to what stands in a slot today. Nobody notes who comes by."""

from lists.errors import NotFound
from mailer import deposits
from mailer.policy import RESOURCES
from mailer.web.visit import Answer, Away, Download, Page, Visit


def go(visit: Visit) -> Answer:
    """Lead to a slot's link or file, in the visitor's language where there is one.

    An empty slot has a page marked SAMPLE in a try-out; else NotFound. The word in the address only chooses a
    row; what is looked for on the disk is the hash in it.
    """
    slot = visit.parameters["slot"]
    if slot not in RESOURCES:
        raise NotFound("There is no such resource.")
    shelf = visit.service.editions.shelf
    with visit.service.database.read() as session:
        offered = shelf.offered(session, visit.language)[slot]
    if not offered:
        if not shelf.tryout:
            raise NotFound("Nothing stands in this slot now.")
        return Page(visit=visit, template="sample.html", values={"name": slot})
    version = offered[0]
    if version.link:
        return Away(link=version.link)
    path = deposits.find(version.file, home=visit.service.settings.home)
    return Download(path=path, kind=deposits.KINDS[version.kind].media, name=version.name, mark=version.file)
