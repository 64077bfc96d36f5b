"""Metrics: the figures of the service in Prometheus's format; no addresses, no secrets, no free text.

All figures are read from tables, so any process that serves pages can report those of all processes. This is
the only file that imports prometheus_client.
"""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from lists.clock import Clock
from lists.db import Database
from mailer.coordination import counters, heartbeat, job_runs, suspensions
from mailer.coordination.job_runs import JobRun
from mailer.monitoring.health import HealthStatus
from mailer.outbox import attempts, stats
from mailer.outbox.attempts import OUTCOMES
from mailer.outbox.outbox import STATES
from mailer.outbox.stats import OutboxStats
from mailer.policy import POLICY

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All figures, read in one transaction."""

    outbox_stats: OutboxStats
    attempt_counts: Mapping[str, int]
    suspended_scopes: Sequence[str]
    runs: Sequence[JobRun]
    workers: int
    statuses: Sequence[HealthStatus]
    dialect: str


def read(database: Database, clock: Clock, *, statuses: Sequence[HealthStatus]) -> Metrics:
    """Read every figure from the tables; raises StorageError."""
    now, real = clock.now(), clock.real()
    with database.read() as session:
        return Metrics(
            outbox_stats=stats.collect(session, now=now),
            attempt_counts=counters.read_totals(session),
            suspended_scopes=list(suspensions.read_all(session)),
            runs=job_runs.list_latest(session),
            workers=heartbeat.count_alive(session, real=real),
            statuses=statuses,
            dialect=database.dialect,
        )


def format_text(values: Metrics) -> bytes:
    """Return the figures in Prometheus's text format, version 0.0.4."""

    class Collector:
        def collect(self) -> Iterable[Metric]:
            yield from _message_metrics(values.outbox_stats)
            yield from _delivery_metrics(values)
            yield from _job_metrics(values.runs)
            yield _health_metric(values.statuses)
            yield _build_info(values.dialect)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _message_metrics(outbox_stats: OutboxStats) -> Iterable[Metric]:
    messages = GaugeMetricFamily(
        "mailer_messages", "Messages in the outbox by kind and state", labels=("kind", "state")
    )
    for kind in sorted({*POLICY, *(kind for kind, _ in outbox_stats.counts)}):
        for state in STATES:
            messages.add_metric((kind, state), outbox_stats.counts.get((kind, state), 0))
    yield messages
    yield GaugeMetricFamily("mailer_waiting", "Messages due or being handed over", value=outbox_stats.waiting)
    age = 0.0 if outbox_stats.age is None else outbox_stats.age.total_seconds()
    yield GaugeMetricFamily(
        "mailer_oldest_waiting_seconds", "How long the longest waiting message has been due", value=age
    )
    yield GaugeMetricFamily(
        "mailer_sent_last_minute", "Messages that left within the last minute", value=outbox_stats.last_minute
    )


def _delivery_metrics(values: Metrics) -> Iterable[Metric]:
    outcome_totals = CounterMetricFamily(
        "mailer_handed_over", "What the mail server answered, ever, by outcome", labels=("outcome",)
    )
    for outcome in OUTCOMES:
        outcome_totals.add_metric((outcome,), values.attempt_counts.get(outcome, 0))
    yield outcome_totals
    relay_totals = CounterMetricFamily(
        "mailer_relay_handed_over", "What each mail server answered, ever", labels=("relay", "outcome")
    )
    for (relay, outcome), number in sorted(attempts.select_relay_totals(values.attempt_counts).items()):
        relay_totals.add_metric((relay, outcome), number)
    yield relay_totals
    suspended_counts = GaugeMetricFamily(
        "mailer_paused", "Mail servers and domains that are paused", labels=("what",)
    )
    for what in ("relay", "domain"):
        suspended_counts.add_metric(
            (what,), sum(scope.startswith(f"{what}/") for scope in values.suspended_scopes)
        )
    yield suspended_counts
    yield GaugeMetricFamily("mailer_workers", "Delivery processes that live", value=values.workers)


def _job_metrics(runs: Sequence[JobRun]) -> Iterable[Metric]:
    def family(name: str, about: str, values: Iterable[float]) -> Metric:
        metric = GaugeMetricFamily(f"mailer_job_{name}", about, labels=("job",))
        for run, value in zip(runs, values, strict=True):
            metric.add_metric((run.job,), value)
        return metric

    yield family("last_run_timestamp_seconds", "When a job last ran", (_timestamp(run.at) for run in runs))
    yield family("last_run_seconds", "How long its last run took", (run.seconds for run in runs))
    yield family("last_run_rows", "How many rows its last run moved", (run.moved for run in runs))
    yield family("last_run_failed", "1 when its last run failed", (float(bool(run.fault)) for run in runs))


def _health_metric(statuses: Sequence[HealthStatus]) -> Metric:
    metric = GaugeMetricFamily("mailer_check_ok", "1 when /health finds no trouble here", labels=("check",))
    for status in statuses:
        metric.add_metric((status.name,), float(status.level != "trouble"))
    return metric


def _build_info(dialect: str) -> Metric:
    try:
        version_text = version("beloved-mailer")
    except PackageNotFoundError:
        version_text = "unknown"
    info = {"version": version_text, "python": platform.python_version(), "database": dialect}
    return InfoMetricFamily("mailer_build", "What runs here", value=info)


def _timestamp(moment: datetime) -> float:
    return moment.timestamp()
