"""What watches over the service may ask: whether it is well (anybody), and its figures (operators)."""

import json

from mailer.monitoring import health, metrics
from mailer.web.visit import File, Visit

WELL, TROUBLE = 200, 503


def look(visit: Visit) -> File:
    """Tell whether everything goes on, a sentence for each part: 200 unless there is trouble, else 503."""
    service = visit.service
    findings = health.look(service.database, service.clock, home=service.settings.home)
    well = health.well(findings)
    told = {
        "status": "ok" if well else "trouble",
        "checks": {
            finding.name: {"status": finding.level, "sentence": finding.sentence} for finding in findings
        },
    }
    body = json.dumps(told, indent=2).encode() + b"\n"
    return File(body=body, kind="application/json", status=WELL if well else TROUBLE)


def figures(visit: Visit) -> File:
    """Tell the figures in Prometheus's text format; raises StorageError."""
    service = visit.service
    findings = health.look(service.database, service.clock, home=service.settings.home)
    read = metrics.read(service.database, service.clock, findings=findings)
    return File(body=metrics.text(read), kind=metrics.KIND)
