"""Code uses the field's terms; pages and emails use everyday words (docs: STYLE.md, “Two vocabularies”)."""

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.guards import source

# No value, function or class is called so: participles and pronouns that stand for a noun, and metaphors.
BANNED = frozenset(
    """told found known gone said asked heard wanted given taken kept looked opened built settled begun
    counted moved aside back over fate whose them these mine theirs here there same own
    house door porter visit press shelf lane lanes letter letters tenure testimony verdict verdicts
    brake brakes pulse tally tallies census handout handover story notice notices""".split()  # noqa: SIM905
)
# What people read has a plain word for each (English and Spanish).
TERMS = re.compile(
    r"\b(?:broadcasts?|sequences?|segments?|suppress\w*|organizers?|point persons?|law cards?|jurisdictions?"
    r"|barred|held|recall\w*|canary|task list|bounced?|bounces|audit log|outbox|edition|mail|mails"
    r"|segmentos?|supresi\w+|organizador\w*|difusi\w+)\b",
    re.IGNORECASE,
)
LETTER = re.compile(r"\b(?:letters?|cartas?)\b", re.IGNORECASE)
OF_THE_ALPHABET = ("plain letters", "clear letters", "letters like")
# The section about them on the data page may say “letter” after its heading “Automatic letters”.
AUTOMATIC = (
    "automatic letter", "each letter comes", "gets the letters",
    "cartas automátic", "carta automátic", "cada carta llegue", "recibe las cartas",
)  # fmt: skip
PLACEHOLDER = re.compile(r"\{[^}]*\}+|https?://\S+")


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    mapped = {
        id(statement.target)
        for statement in ast.walk(tree)
        if isinstance(statement, ast.AnnAssign) and "Mapped[" in ast.unparse(statement.annotation)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()) if id(node) not in mapped:
                yield node.lineno, node.id
            case ast.arg():
                yield node.lineno, node.arg
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name


def test_no_name_in_the_code_is_a_participle_a_pronoun_or_a_metaphor() -> None:
    banned = [
        f"{name}, line {line}: {word}"
        for name, tree in source.python("lists", "mailer")
        if "/versions/" not in name
        for line, word in _names(tree)
        if word.strip("_").lower() in BANNED
    ]
    assert not banned


def _texts() -> Iterator[tuple[str, str]]:
    for path in source.files():
        name = path.relative_to(source.ROOT).as_posix()
        if name.startswith("templates/web/") and path.suffix == ".toml":
            yield from _values(name, tomllib.loads(path.read_text("utf-8")))
        elif name.startswith("templates/email/") and path.suffix == ".md":
            yield name, path.read_text("utf-8")


def _values(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(f"{name}: {key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(name, inner)
    else:
        yield name, str(value)


@pytest.mark.parametrize(("name", "text"), [pytest.param(*each, id=each[0]) for each in _texts()])
def test_no_page_and_no_email_shows_a_term_of_the_code(name: str, text: str) -> None:
    shown = PLACEHOLDER.sub("", text)
    assert not TERMS.findall(shown)
    for line in shown.splitlines():
        if not any(words in line.lower() for words in (*OF_THE_ALPHABET, *AUTOMATIC)):
            assert not LETTER.search(line)
