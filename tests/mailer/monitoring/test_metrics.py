"""Metrics: /metrics reports figures from the tables, in any process, to operators only."""

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from lists.errors import BadSettings
from mailer.coordination.job_runs import FinishedRun, record
from mailer.outbox.outbox import STATES
from mailer.people import messages
from mailer.policy import POLICY
from mailer.reasons import Reason, describe
from mailer.service import Service, build
from mailer.settings import loading as configuration
from mailer.settings.loading import Settings
from mailer.web import access
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor
from tests.people import Person
from tests.relays import DOWN, World, confirmation, deliver

TOKEN = "f00dfeed" * 6
BEARER = {"authorization": f"Bearer {TOKEN}"}
LOCAL_HEADERS = {"host": "127.0.0.1:8000"}


@dataclass(frozen=True)
class Figures:
    """The figures of /metrics, by name and labels."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    def of(self, name: str, **labels: str) -> float:
        return self.values[name, tuple(sorted(labels.items()))]


def read(visitor: Visitor) -> Figures:
    answer = visitor.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    families = text_string_to_metric_families(answer.text)
    return Figures(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }
    )


def public(settings: Settings, **changes: object) -> Settings:
    """The same settings where others can reach the pages."""
    return settings.model_copy(
        update={"public_url": "https://mail.example.org", "smtp_url": SecretStr("smtp://r"), **changes}
    )


def test_messages_are_counted_by_kind_and_state_also_where_there_are_none(
    service: Service, visitor: Visitor, ana: Person, ben: Person, cleo: Person, clock: StoppedClock
) -> None:
    service.jobs.tick()
    clock.advance(seconds=90)
    figures = read(visitor)
    assert figures.of("mailer_messages", kind="sequence", state="queued") == 2  # Ana's and Ben's, not Cleo's
    assert figures.of("mailer_messages", kind="broadcast", state="sent") == 0
    assert sum(1 for name, _ in figures.values if name == "mailer_messages") == len(POLICY) * len(STATES)
    assert (figures.of("mailer_waiting"), figures.of("mailer_oldest_waiting_seconds")) == (2, 90)


def test_what_the_relay_answered_is_summed_and_never_falls(
    service: Service, visitor: Visitor, ben: Person, world: World, clock: StoppedClock
) -> None:
    confirmation(service, ben)
    world.answer = lambda _: DOWN
    deliver(service, world)
    clock.advance(minutes=2)
    world.answer = World.answer
    deliver(service, world)
    figures = read(visitor)
    assert figures.of("mailer_handed_over_total", outcome="sent") == 1
    assert figures.of("mailer_handed_over_total", outcome="unreachable") >= 1
    assert figures.of("mailer_handed_over_total", outcome="refused") == 0
    assert figures.of("mailer_sent_last_minute") == 1


def test_jobs_tell_when_they_ran_how_long_and_whether_it_went_well(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    with service.database.write() as session:
        record(session, [FinishedRun(job="expire", at=clock.real(), seconds=0.5, rows=3)])
        record(session, [FinishedRun(job="expire", at=clock.real(), seconds=1.5, rows=4, fault="KeyError")])
    figures = read(visitor)
    assert figures.of("mailer_job_last_run_seconds", job="expire") == 1.5
    assert figures.of("mailer_job_last_run_rows", job="expire") == 4
    assert figures.of("mailer_job_last_run_failed", job="expire") == 1
    assert figures.of("mailer_job_last_run_timestamp_seconds", job="expire") == clock.real().timestamp()
    assert figures.of("mailer_check_ok", check="database") == 1
    assert figures.of("mailer_check_ok", check="schedule") == 0
    assert figures.of("mailer_workers") == 0


def test_it_names_nobody_and_no_secret(
    service: Service, visitor: Visitor, ana: Person, ben: Person, cleo: Person, settings: Settings
) -> None:
    service.jobs.tick()
    text = visitor.get("/metrics").text
    for secret in ("@", ana.email, "Ben", str(settings.home), settings.database_url, service.name):
        assert secret not in text


def test_elsewhere_only_the_token_opens(service: Service, clock: StoppedClock, settings: Settings) -> None:
    assert Visitor(service, clock, client="203.0.113.9").get("/metrics").status_code == 404
    public_settings = public(settings, metrics_token=SecretStr(TOKEN))
    public_service = build(public_settings, clock=clock)
    visitor = Visitor(public_service, clock, client="203.0.113.9", host="mail.example.org")
    assert visitor.get("/metrics", headers=BEARER).status_code == 200
    refused_headers = [None, {"authorization": "Bearer "}, {"authorization": f"Basic {TOKEN}"}]
    refused_headers += [{"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": f"Bearer {TOKEN}é"}]
    for headers in refused_headers:
        assert visitor.get("/metrics", headers=headers).status_code == 404
    assert visitor.get(f"/metrics?token={TOKEN}").status_code == 404
    public_service.close()


def test_without_a_token_in_the_settings_no_token_opens(settings: Settings) -> None:
    for header in ("Bearer ", "Bearer None", f"Bearer {TOKEN}"):
        headers = {"host": "mail.example.org", "authorization": header}
        assert not access.can_read_metrics(public(settings), client="203.0.113.9", headers=headers)


def test_a_proxy_on_this_machine_is_not_this_machine(settings: Settings) -> None:
    untrusting, trusting = public(settings), public(settings, trusted_proxies=("127.0.0.1",))
    assert not access.can_read_metrics(
        untrusting, client="127.0.0.1", headers=LOCAL_HEADERS
    )  # it may forward requests of others
    assert access.can_read_metrics(trusting, client="127.0.0.1", headers=LOCAL_HEADERS)
    assert access.can_read_metrics(settings, client="::1", headers={"host": "[::1]:8000"})
    for local in (settings, trusting):
        for name in access.FORWARDING_HEADERS:
            assert not access.can_read_metrics(
                local, client="127.0.0.1", headers={**LOCAL_HEADERS, name: "127.0.0.1"}
            )
        assert not access.can_read_metrics(local, client="127.0.0.1", headers={"host": "mail.example.org"})
        assert not access.can_read_metrics(local, client="203.0.113.9", headers=LOCAL_HEADERS)


def test_the_token_is_read_from_the_secrets_and_shown_to_nobody(settings: Settings) -> None:
    path = settings.home / "secrets" / "metrics_token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    explained = configuration.explain({}, home=settings.home)
    assert explained.settings.metrics_token is not None
    assert explained.settings.metrics_token.get_secret_value() == TOKEN
    (explanation,) = [key for key in explained.keys if key.key == "metrics_token"]
    assert explanation.value == "set, not shown"
    assert TOKEN not in repr(explained)
    path.write_text("short")
    with pytest.raises(BadSettings, match="24 letters and digits or more") as caught:
        configuration.load({}, home=settings.home)
    assert "short" not in str(caught.value)


def test_a_token_in_a_file_that_others_can_read_is_refused(settings: Settings) -> None:
    file = settings.home / "mailer.toml"
    file.write_text(f'metrics_token = "{TOKEN}"\n')
    file.chmod(0o644)
    with pytest.raises(BadSettings, match="chmod 600"):
        configuration.load({}, home=settings.home)


def test_reasons_for_waiting_are_counted_where_there_are_any(
    service: Service, ben: Person, world: World, clock: StoppedClock
) -> None:
    confirmation(service, ben)
    with service.database.read() as session:
        assert messages.count_by_reason(session) == {}
    world.answer = lambda _: DOWN
    deliver(service, world)
    with service.database.read() as session:
        assert messages.count_by_reason(session) == {("queued", describe(Reason.RELAY_UNREACHABLE)): 1}
