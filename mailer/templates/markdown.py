"""Markdown: converts it to HTML and to readable plain text, with template tags hidden as marks.

The only importer of markdown_it. Raw HTML, pictures and links to anything but a plain address or one address
field are refused, with the line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from lists.errors import BrokenTemplate
from mailer.templates.placeholders import Placeholders

_ADDRESS = re.compile(r"https?://[^\s/]+\S*|mailto:[^\s@]+@[^\s@]+", re.IGNORECASE)
_HTML = re.compile(r"</?[A-Za-z][^<>]*>|<!--|<\?|<![A-Z]")
_RULE = "- - -"
_WIDEST_UNDERLINE = 60
_WIDTH_OF_A_FIELD = 8


@dataclass(frozen=True, kw_only=True)
class ConvertedBody:
    """One body in its two forms, its template tags still hidden as marks."""

    html: str
    text: str


def convert(body: str, *, placeholders: Placeholders, path: str, lines: Sequence[int]) -> ConvertedBody:
    """Convert Markdown into HTML and text.

    `lines[i]` is the line in the file of the body's line i. A paragraph that holds only one link becomes the
    mail's button. Raises BrokenTemplate for elements that an email cannot carry.
    """
    parser = _parser()
    tokens = parser.parse(body)
    source_map = _SourceMap(path=path, lines=lines)
    _check(tokens, placeholders, source_map)
    for number, token in enumerate(tokens):
        if _is_statement_paragraph(tokens, number, placeholders):
            _unwrap(tokens, number)
        elif (
            token.type == "inline" and token.level == 1 and _is_only_link(token.children or (), placeholders)
        ):
            tokens[number - 1].attrSet("class", "button")
        elif token.type == "fence":
            token.info = ""
    html = parser.renderer.render(tokens, parser.options, {})
    return ConvertedBody(
        html=html, text=_PlainTextWriter(placeholders).blocks(SyntaxTreeNode(tokens).children)
    )


def _parser() -> MarkdownIt:
    """Return the parser of the one dialect used: CommonMark without indented code, which mails never use."""
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable("code")
    parser.validateLink = lambda _: True  # type: ignore[assignment, method-assign]  # checked below
    return parser


@dataclass(frozen=True, kw_only=True)
class _SourceMap:
    """The line numbers of a body in its file."""

    path: str
    lines: Sequence[int]

    def build_error(self, sentence: str, row: int) -> BrokenTemplate:
        """Return the error for a row of the body, counted from 0."""
        line = self.lines[min(row, len(self.lines) - 1)] if self.lines else 1
        return BrokenTemplate(sentence, path=self.path, line=line)


def _check(tokens: Sequence[Token], placeholders: Placeholders, source_map: _SourceMap) -> None:
    """Refuse pictures, unsafe links, and conditions that begin in one paragraph and end in another."""
    open_blocks: list[int] = []
    conditions: list[tuple[int, ...]] = []
    for number, token in enumerate(tokens):
        if token.type == "inline":
            inside = (
                open_blocks[:-1] if _is_statement_paragraph(tokens, number, placeholders) else open_blocks
            )
            _check_inline(
                token, placeholders=placeholders, source_map=source_map, inside=inside, conditions=conditions
            )
        elif token.type == "fence":
            _check_conditions(
                token.content,
                placeholders=placeholders,
                source_map=source_map,
                place=(number,),
                conditions=conditions,
            )
        elif token.nesting == 1:
            open_blocks.append(number)
        elif token.nesting == -1:
            open_blocks.pop()


def _check_inline(
    inline: Token,
    *,
    placeholders: Placeholders,
    source_map: _SourceMap,
    inside: Sequence[int],
    conditions: list[tuple[int, ...]],
) -> None:
    """Check one stretch of running text; `conditions` holds the place of each open `{% if %}`."""
    row = inline.map[0] if inline.map else 0
    place = list(inside)
    for number, token in enumerate(inline.children or ()):
        if token.type in ("softbreak", "hardbreak"):
            row += 1
        elif token.type == "image":
            raise source_map.build_error(
                "Pictures cannot be used in a mail. Link to a page that shows it.", row
            )
        elif token.type == "link_open":
            _check_link(
                str(token.attrGet("href") or ""), placeholders=placeholders, source_map=source_map, row=row
            )
            token.attrs.pop("title", None)
        elif token.type == "text" and (html := _HTML.search(token.content)):
            excerpt = placeholders.restore(html[0][:40])
            raise source_map.build_error(
                f"HTML cannot be used here ({excerpt}). Write Markdown; a note goes in {{# #}}.", row
            )
        elif token.type == "text" and "](" in token.content:
            raise source_map.build_error(
                "This link cannot be read. Write [words](https://address), without blanks.", row
            )
        if token.nesting == 1:
            place.append(-1 - number)
        elif token.nesting == -1:
            place.pop()
        token_place = (*place, number) if token.type == "code_inline" else tuple(place)
        _check_conditions(
            token.content,
            placeholders=placeholders,
            source_map=source_map,
            place=token_place,
            conditions=conditions,
        )


def _check_conditions(
    text: str,
    *,
    placeholders: Placeholders,
    source_map: _SourceMap,
    place: tuple[int, ...],
    conditions: list[tuple[int, ...]],
) -> None:
    """Refuse a condition whose tags stand in different places of the page, which would tear its elements."""
    for tag in placeholders.find_all(text):
        if tag.word == "if":
            conditions.append(place)
        elif tag.word and conditions and conditions[-1] != place:
            sentence = (
                f"This {{% {tag.word} %}} stands in another paragraph, list or emphasis than its "
                "{% if %}. Put both inside the same one, or each on a line of its own."
            )
            raise BrokenTemplate(sentence, path=source_map.path, line=tag.line)
        elif tag.word == "endif" and conditions:
            conditions.pop()


def _check_link(target: str, *, placeholders: Placeholders, source_map: _SourceMap, row: int) -> None:
    """Refuse a target that is neither one address field nor a plain web or mail address."""
    tag = placeholders.get(target)
    if tag is not None and tag.link:
        return
    if placeholders.find_all(target):
        raise source_map.build_error(
            "A link leads to one address field alone, such as {{ toolkit_url }}; its name ends in _url, and "
            "nothing stands before or after it.",
            row,
        )
    if not _ADDRESS.fullmatch(target):
        raise source_map.build_error(
            f"A link may lead to an address with https://, http:// or mailto:, not to “{target[:60]}”.",
            row,
        )


def _is_only_link(children: Sequence[Token], placeholders: Placeholders) -> bool:
    """Return whether a stretch of text is one link and nothing else but conditions around it."""
    depth = links = 0
    for token in children:
        if token.type == "link_open":
            links += 1
        depth += token.nesting
        outside = depth == 0 and token.type not in ("link_close", "softbreak")
        if outside and token.content.strip() and not placeholders.has_only_statements(token.content):
            return False
    return links == 1


def _is_statement_paragraph(tokens: Sequence[Token], number: int, placeholders: Placeholders) -> bool:
    """Return whether a stretch of text is a paragraph of statements alone."""
    return (
        tokens[number].type == "inline"
        and tokens[number - 1].type == "paragraph_open"
        and placeholders.has_only_statements(tokens[number].content)
    )


def _unwrap(tokens: list[Token], number: int) -> None:
    """Remove the paragraph around statements on lines of their own."""
    statement = Token("html_block", "", 0, content=tokens[number].content + "\n", map=tokens[number].map)
    tokens[number] = statement
    for edge in (number - 1, number + 1):
        tokens[edge] = Token("html_block", "", 0, content="")


class _PlainTextWriter:
    """Writes a parsed body as plain text: a line a paragraph, no marks of emphasis, addresses in full."""

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders = placeholders

    def blocks(self, nodes: Sequence[SyntaxTreeNode]) -> str:
        """Write blocks one below the other; statements between them add no line."""
        pieces = []
        for node in nodes:
            if node.type == "html_block":
                pieces.append(node.content.strip())
            else:
                is_tight = node.type == "paragraph" and node.hidden
                pieces.append(self._block(node) + ("\n" if is_tight else "\n\n"))
        return "".join(pieces)

    def _block(self, node: SyntaxTreeNode) -> str:
        """Write one block without the blank line after it."""
        if node.type == "heading":
            return self._heading(node)
        if node.type in ("bullet_list", "ordered_list"):
            return self._list(node)
        if node.type == "blockquote":
            return "\n".join(
                f"> {line}".rstrip() for line in self.blocks(node.children).rstrip("\n").split("\n")
            )
        if node.type == "fence":
            return "\n".join(f"    {line}" for line in node.content.rstrip("\n").split("\n"))
        if node.type == "hr":
            return _RULE
        return self._inline(node.children[0], button=node.level == 0) if node.children else ""

    def _heading(self, node: SyntaxTreeNode) -> str:
        """Write a heading with a line under it, about as long as its words."""
        words = self._inline(node.children[0], button=False)
        width = len(self._placeholders.pattern.sub("", words))
        width += sum(_WIDTH_OF_A_FIELD for tag in self._placeholders.find_all(words) if not tag.word)
        line = ("=" if node.tag == "h1" else "-") * max(3, min(width, _WIDEST_UNDERLINE))
        return f"{words}\n{line}"

    def _list(self, node: SyntaxTreeNode) -> str:
        """Write a list with dashes or numbers, inner lines indented."""
        first = int(node.attrs.get("start", 1))
        items = []
        for number, item in enumerate(node.children):
            sign = "- " if node.type == "bullet_list" else f"{first + number}. "
            lines = self.blocks(item.children).rstrip("\n").split("\n")
            rest = [" " * len(sign) + line if line else line for line in lines[1:]]
            items.append("\n".join([sign + lines[0], *rest]))
        is_tight = all(
            child.hidden for item in node.children for child in item.children if child.type == "paragraph"
        )
        return ("\n" if is_tight else "\n\n").join(items)

    def _inline(self, node: SyntaxTreeNode, *, button: bool) -> str:
        """Write running text; one link alone becomes `label: address`, or a button of two lines."""
        is_only_link = _is_only_link(
            [token for child in node.children for token in child.to_tokens()], self._placeholders
        )
        return "".join(
            self._piece(child, is_only_link=is_only_link, button=button) for child in node.children
        )

    def _piece(self, node: SyntaxTreeNode, *, is_only_link: bool, button: bool) -> str:
        """Write one piece of running text."""
        if node.type == "softbreak":
            return " "
        if node.type == "hardbreak":
            return "\n"
        if node.type == "link":
            return self._link(node, is_only_link=is_only_link, button=button)
        if node.children:
            return "".join(
                self._piece(child, is_only_link=is_only_link, button=button) for child in node.children
            )
        return node.content

    def _link(self, node: SyntaxTreeNode, *, is_only_link: bool, button: bool) -> str:
        """Write a link with its address in full."""
        target = str(node.attrs.get("href", ""))
        address = target[len("mailto:") :].split("?")[0] if target.lower().startswith("mailto:") else target
        label = "".join(
            self._piece(child, is_only_link=False, button=False) for child in node.children
        ).strip()
        if label in (address, target, ""):
            return address
        if not is_only_link:
            return f"{label} ({address})"
        return f"{label.rstrip(':')}:{chr(10) if button else ' '}{address}"
