"""Health: the state of the service for monitors (public), and its metrics (for operators)."""

import json

from mailer.monitoring import health, metrics
from mailer.web.page_request import PageRequest, RawResponse

HEALTHY, UNHEALTHY = 200, 503


def show(request: PageRequest) -> RawResponse:
    """Return the state of each part, with a sentence: 200 unless there is trouble, else 503."""
    service = request.service
    findings = health.run_checks(service.database, service.clock, home=service.settings.home)
    is_well = health.is_healthy(findings)
    report = {
        "status": "ok" if is_well else "trouble",
        "checks": {
            finding.name: {"status": finding.level, "sentence": finding.sentence} for finding in findings
        },
    }
    body = json.dumps(report, indent=2).encode() + b"\n"
    return RawResponse(body=body, kind="application/json", status=HEALTHY if is_well else UNHEALTHY)


def show_metrics(request: PageRequest) -> RawResponse:
    """Return the metrics in Prometheus's text format; raises StorageError."""
    service = request.service
    findings = health.run_checks(service.database, service.clock, home=service.settings.home)
    samples = metrics.read(service.database, service.clock, statuses=findings)
    return RawResponse(body=metrics.format_text(samples), kind=metrics.CONTENT_TYPE)
