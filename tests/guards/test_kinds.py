"""Kinds: every kind of message has a policy, a source, templates, and a sample."""

from pathlib import Path

import pytest

from lists.db import Database
from mailer.policy import POLICY
from mailer.service import TEMPLATE_KINDS, Service
from tests.guards import test_texts as texts
from tests.guards.source import ROOT

WRITTEN_BY_STAFF = {"broadcast"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_every_kind_has_a_policy_and_a_source(service: Service) -> None:
    assert set(service.sources) == set(POLICY)
    for kind, source in service.sources.items():
        assert kind in source.kinds


def test_every_kind_has_a_template(service: Service) -> None:
    assert {*TEMPLATE_KINDS.values(), "sequence"} == set(POLICY) - WRITTEN_BY_STAFF
    names = {path.parent.relative_to(ROOT / "templates" / "email").as_posix() for path in _list_templates()}
    assert set(service.editions.templates) == names


def test_every_template_has_a_sample_in_both_languages(service: Service, database: Database) -> None:
    assert set(service.editions.templates) == set(texts.TEMPLATES)
    for name, template in service.editions.templates.items():
        kind = TEMPLATE_KINDS.get(name, "sequence")
        with database.write() as session:
            edition = service.editions.freeze(session, template, kind, now=service.clock.now())
        for language in texts.LANGUAGES:
            preview = service.editions.preview(edition, language, sample=_sample(kind, language))
            assert preview.subject
            assert not {"{{", "{%", "[["} & {
                preview.text[start : start + 2] for start in range(len(preview.text))
            }


def _sample(kind: str, language: str) -> dict[str, str]:
    """Return the fields of a sample message: those of the texts, and a link for each URL."""
    links = {field: f"https://example.org/{field}" for field in POLICY[kind].fields if field.endswith("_url")}
    return dict.fromkeys(POLICY[kind].fields, "") | links | texts.SAMPLE[language]


def _list_templates() -> list[Path]:
    return [path for path in (ROOT / "templates" / "email").rglob("*.md") if path.stem in texts.LANGUAGES]
