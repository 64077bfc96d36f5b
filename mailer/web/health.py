"""What watches over the service may ask: whether it is well (anybody), and its figures (operators)."""

import json

from mailer.monitoring import health, metrics
from mailer.web.visit import PageRequest, RawResponse

HEALTHY, UNHEALTHY = 200, 503


def show(request: PageRequest) -> RawResponse:
    """Tell whether everything goes on, a sentence for each part: 200 unless there is trouble, else 503."""
    service = request.service
    findings = health.run_checks(service.database, service.clock, home=service.settings.home)
    well = health.is_healthy(findings)
    told = {
        "status": "ok" if well else "trouble",
        "checks": {
            finding.name: {"status": finding.level, "sentence": finding.sentence} for finding in findings
        },
    }
    body = json.dumps(told, indent=2).encode() + b"\n"
    return RawResponse(body=body, kind="application/json", status=HEALTHY if well else UNHEALTHY)


def show_metrics(request: PageRequest) -> RawResponse:
    """Tell the figures in Prometheus's text format; raises StorageError."""
    service = request.service
    findings = health.run_checks(service.database, service.clock, home=service.settings.home)
    read = metrics.read(service.database, service.clock, statuses=findings)
    return RawResponse(body=metrics.format_text(read), kind=metrics.CONTENT_TYPE)
