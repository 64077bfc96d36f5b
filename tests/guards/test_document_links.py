"""Document links: a link from one document to another, or to a heading, leads somewhere."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.guards import source

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
NO_ANCHOR = re.compile(r"[^\w\- ]")


def list_documents() -> list[Path]:
    docs = source.ROOT / "docs"
    return [
        path
        for path in source.files()
        if path.suffix == ".md" and (path.parent == source.ROOT or docs in path.parents)
    ]


@cache
def list_anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them; a second heading gets a number."""
    anchors: set[str] = set()
    for heading in HEADING.findall(
        re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.S | re.M)
    ):
        anchor = base = NO_ANCHOR.sub("", heading.lower()).replace(" ", "-")
        number = 0
        while anchor in anchors:
            number += 1
            anchor = f"{base}-{number}"
        anchors.add(anchor)
    return anchors


def list_links() -> Iterator[tuple[Path, Path, str]]:
    """Yield each link within the project: the document, where it leads, and the heading there or ""."""
    for document in list_documents():
        for file, anchor in LINK.findall(CODE.sub("", document.read_text("utf-8"))):
            yield document, (document.parent / file).resolve() if file else document, anchor


def test_every_link_within_the_documents_leads_somewhere() -> None:
    links = list(list_links())
    assert any(anchor for _, _, anchor in links)
    broken = [
        f"{document.relative_to(source.ROOT)} -> {target.relative_to(source.ROOT)}#{anchor}"
        for document, target, anchor in links
        if not target.exists() or (anchor and anchor not in list_anchors(target))
    ]
    assert not broken


def test_an_anchor_is_made_as_on_github(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Relays, limits, pauses\n## `db merge`\n```\n# no heading\n```\n## db merge\n")
    assert list_anchors(document) == {"relays-limits-pauses", "db-merge", "db-merge-1"}
