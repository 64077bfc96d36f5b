"""Reasons: every code has a sentence in both languages, the document lists all, and no sentence is compared.

`python -m tests.guards.test_reasons` writes docs/reasons.md anew.
"""

import ast
from string import Formatter

import pytest

from lists import permission
from lists.contacts import LANGUAGES
from mailer import reasons
from mailer.reasons import MAX_CODE_LENGTH, SENTENCES, Reason
from tests.guards import source

DOCUMENT = source.ROOT / "docs" / "reasons.md"
HEADING = """# Reasons

Why a message is in its state: the code that the database and `--json` hold, and the sentence that people read
in each language. `…` stands for the detail, such as a domain or a reply of a server. This file is generated:
`python -m tests.guards.test_reasons`.

| code | English | Spanish |
|---|---|---|
"""


def build_document() -> str:
    lines = []
    for reason in Reason:
        sentences = [reasons.describe(reason, "…", language=language) for language in LANGUAGES]
        lines.append(f"| `{reason}` | {' | '.join(sentences)} |")
    return HEADING + "\n".join(lines) + "\n"


def test_every_code_has_a_sentence_in_both_languages() -> None:
    assert set(SENTENCES) == set(Reason)
    for reason, sentences in SENTENCES.items():
        assert set(sentences) == set(LANGUAGES), reason
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in sentences.values()]
        assert fields[0] == fields[1] and fields[0] <= {"detail"}, reason
        assert len(reason) <= MAX_CODE_LENGTH


def test_every_reason_of_the_permission_rule_has_a_sentence() -> None:
    assert set(permission.REASONS) <= set(Reason)
    assert set(permission.REASONS) >= permission.PERMANENT_REASONS


def test_the_document_lists_every_reason() -> None:
    assert DOCUMENT.read_text("utf-8") == build_document(), "run: python -m tests.guards.test_reasons"


@pytest.mark.parametrize(
    ("reason", "detail", "sentence"),
    [
        ("", "", ""),
        ("domain_paused", "x.example", "Staff paused mail to x.example. “mailer relay resume” ends that."),
        ("our_fault", "{name} {0}", "A fault of ours: {name} {0}. Mend it, then “mailer outbox retry”."),
        ("a newer version's", "", "a newer version's"),
        ("a newer version's", "x", "a newer version's: x"),
    ],
)
def test_a_code_is_described_with_its_detail(reason: str, detail: str, sentence: str) -> None:
    assert reasons.describe(reason, detail) == sentence
    assert reasons.describe(reason, detail, language="fr") == sentence


def test_no_code_compares_or_cuts_a_sentence() -> None:
    """Look for comparisons of a reason or detail with a text that is no code, and for texts that are cut."""
    faults = []
    for name, tree in source.python("mailer"):
        if "/versions/" in name:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and _names_reason(node.left):
                texts = [
                    each.value
                    for comparator in node.comparators
                    for each in ast.walk(comparator)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
                faults += [f"{name}:{node.lineno}: {text}" for text in texts if text not in {"", *Reason}]
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("startswith", "removeprefix", "endswith", "partition", "like")
                and _names_reason(node.func.value)
            ):
                faults.append(f"{name}:{node.lineno}: .{node.func.attr}()")
    assert faults == []


def _names_reason(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr in ("reason", "detail", "why")) or (
        isinstance(node, ast.Name) and node.id in ("reason", "detail", "why")
    )


if __name__ == "__main__":
    DOCUMENT.write_text(build_document(), "utf-8")
