"""Rendering: compiles an email template once and renders it per recipient; also the web pages' environment.

The only importer of jinja2 and css_inline. A template may only print fields and choose between texts: its
parsed tree is checked before it is ever compiled, and refused by default; values are never compiled.
"""

import html as entities
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
from css_inline import CSSInliner
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lists.errors import BadInput, BrokenTemplate
from mailer.templates import characters, markdown, sandbox
from mailer.templates.placeholders import Placeholder, Placeholders

MAX_CHARACTERS = 50_000
MAX_SUBJECT = 900  # characters; with the values of its fields it must fit into a header (mime.MAX_SUBJECT)

_WORD = re.compile(r"\[\[(\w+)\]\]")
_FIRST_WORD = re.compile(r"\{%[-+]?\s*\w+")
_LINK_FIELD = re.compile(r"\{\{\s*\w+_url\s*\}\}")
_BRACKETED = re.compile(r"<\s*(\w+)\s*>")
_OPAQUE = re.compile(
    r"<!--.*?-->|<(title|style)\b.*?</\1\s*>|<[a-z/](?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.I | re.S
)
_ELEMENT = re.compile(r"<[a-z](?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.I | re.S)
_HREF = re.compile(r"\shref=\"([^\"]*)\"")
_SAFE_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s<>\"'\\]+", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]+")  # they turn the direction of writing
_BREAKS = re.compile(r"[\t\n]+")


@dataclass(frozen=True, kw_only=True)
class TemplateSource:
    """One language of a template as read from `path`; the body starts at its line `first_line`."""

    subject: str
    preview: str
    body: str
    path: str
    first_line: int
    subject_line: int = 2
    preview_line: int = 3


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The frame around every email of one language; `[[word]]` stands for a word or a part of the mail."""

    html: str
    text: str
    css: str
    words: Mapping[str, str]
    path: str = "_layout"


@dataclass(frozen=True, kw_only=True)
class CompiledTemplate:
    """Template sources with the frame included, ready to be stored; `names` holds every field they use."""

    subject: str
    text: str
    html: str
    names: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class RenderedMessage:
    """The message for one recipient; lines end in a bare newline.

    `pieces` is the HTML in parts: the template's own text and, between, this reader's values.
    """

    subject: str
    text: str
    pieces: tuple[str, ...]

    @property
    def html(self) -> str:
        """Return the complete HTML."""
        return "".join(self.pieces)


def compile_template(source: TemplateSource, *, frame: Frame, fields: frozenset[str]) -> CompiledTemplate:
    """Compile one language of a template into the sources that are rendered for each recipient.

    Markdown becomes HTML and text, the frame is added around both, styles are inlined into the elements.
    Raises BrokenTemplate with file and line for anything but text, `fields`, simple filters and conditions.
    """
    check_source(source)
    parts = [source.subject, source.preview, source.body, frame.html, frame.text, *frame.words.values()]
    for part in parts:
        if len(part) > MAX_CHARACTERS:
            raise BrokenTemplate(
                f"More than {MAX_CHARACTERS:,} characters. Shorten it.", path=source.path, line=1
            )
    placeholders = Placeholders(avoid=[*parts, frame.css])
    hide = _PlaceholderHider(placeholders=placeholders, fields=fields)
    subject = hide(source.subject.strip(), path=source.path, line=source.subject_line)
    preview = hide(source.preview.strip(), path=source.path, line=source.preview_line)
    if not subject:
        raise BrokenTemplate("The subject is missing.", path=source.path, line=source.subject_line)
    if not source.body.strip():
        raise BrokenTemplate(
            "There is no text below the front matter.", path=source.path, line=source.first_line
        )
    body = _convert_body(source, placeholders=placeholders, hide=hide)
    html_path, txt_path = f"{frame.path}/frame.html", f"{frame.path}/frame.txt"
    words = {key: hide(word, path=f"{frame.path}/words", line=1) for key, word in frame.words.items()}
    plain = {**words, "subject": subject, "preview": preview}
    safe = {key: entities.escape(text) for key, text in plain.items()}
    text = _fill_words(hide(frame.text, path=txt_path, line=1), {**plain, "body": body.text}, path=txt_path)
    html = _fill_words(hide(frame.html, path=html_path, line=1), {**safe, "body": body.html}, path=html_path)
    html = _inline_styles(html, css=frame.css, placeholders=placeholders, path=html_path)
    outputs = [placeholders.restore(part) for part in (subject, text, html)]
    # Checked again on the text that will be compiled: neither Markdown nor the frame may create a tag
    # that the source does not have.
    trees = [_parse(part, path=source.path, line=1) for part in outputs]
    field_sets = [sandbox.check(tree, fields=fields, path=source.path, line=1) for tree in trees]
    names = frozenset[str]().union(*field_sets)
    return CompiledTemplate(subject=outputs[0], text=outputs[1], html=outputs[2], names=names)


def check_source(source: TemplateSource) -> None:
    """Raise BrokenTemplate for a subject that is too long, or a character that no mail can carry."""
    if len(source.subject) > MAX_SUBJECT:
        raise BrokenTemplate(
            f"The subject has {len(source.subject):,} characters; at most {MAX_SUBJECT} fit. Shorten it.",
            path=source.path,
            line=source.subject_line,
        )
    lines = [("The subject", source.subject, source.subject_line)]
    lines.append(("The preview", source.preview, source.preview_line))
    rows = enumerate(source.body.replace("\r\n", "\n").split("\n"), source.first_line)
    lines += [("This line", row, number) for number, row in rows]
    for label, text, number in lines:
        if sentence := characters.describe_unsendable(text, label):
            raise BrokenTemplate(sentence, path=source.path, line=number)


def list_constants(compiled: str) -> frozenset[str]:
    """Return the texts in quotes that a compiled template compares with, or prints."""
    return frozenset(
        node.value
        for node in _TEXT.parse(compiled).find_all(jinja2.nodes.Const)
        if isinstance(node.value, str)
    )


class EditionRenderer:
    """One language of an edition, compiled; renders it for any number of recipients, in any thread."""

    def __init__(self, compiled: CompiledTemplate, shared: Mapping[str, str]) -> None:
        """Take the compiled sources and the values that all recipients share."""
        self._names = tuple(sorted(compiled.names))
        self._links = frozenset(name for name in self._names if name.endswith("_url"))
        self._shared = {
            name: _strip_controls(value) for name, value in shared.items() if name in compiled.names
        }
        links = {name: value for name, value in self._shared.items() if value and name in self._links}
        self._unsafe = {name for name, value in links.items() if not _SAFE_ADDRESS.fullmatch(value)}
        self._subject = _TEXT.from_string(compiled.subject)
        self._text = _TEXT.from_string(compiled.text)
        self._html = _HTML.from_string(compiled.html)

    def render(self, fields: Mapping[str, str]) -> RenderedMessage:
        """Return subject, text and HTML for one recipient.

        `fields` must hold every field used, "" where it has no value. Values are shown as they are: never
        compiled, escaped in HTML, without control characters and controls of the writing direction.
        Raises BadInput for a missing field, or an address field that is no web or mail address.
        """
        values = dict(self._shared)
        for name in self._names:
            value = fields.get(name)
            if value is not None:
                values[name] = value if value.isprintable() else _BREAKS.sub(" ", _strip_controls(value))
                if name in self._links and value and not _SAFE_ADDRESS.fullmatch(values[name]):
                    raise _unsafe(name)
            elif name not in values:
                raise BadInput(f"This email uses the field “{name}”, which was not filled in.")
            elif name in self._unsafe:
                raise _unsafe(name)
        text_context = self._text.new_context(values, shared=True)
        html_context = self._html.new_context(values, shared=True)
        return RenderedMessage(
            subject=" ".join("".join(self._subject.root_render_func(text_context)).split()),
            text=_collapse_blank_lines("".join(self._text.root_render_func(text_context))),
            pieces=tuple(map(str, self._html.root_render_func(html_context))),  # str: never escaped again
        )


def _collapse_blank_lines(text: str) -> str:
    """Return a text without blanks at the ends of lines and without two empty lines in a row."""
    lines: list[str] = []
    for line in text.split("\n"):
        stripped = line.rstrip(" \t")
        if stripped or (lines and lines[-1]):
            lines.append(stripped)
    return "\n".join(lines).rstrip("\n") + "\n"


def _unsafe(name: str) -> BadInput:
    return BadInput(f"The field “{name}” must hold an address that begins with https:// or http://.")


def _strip_controls(value: str) -> str:
    """Return a value without control characters and controls of the writing direction."""
    return _BIDI_CONTROLS.sub("", _CONTROL.sub(" ", value.replace("\r\n", "\n")))


def create_page_environment(folder: Path) -> jinja2.Environment:
    """Return the environment for the web pages of a folder: escapes all, an unknown field is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    """Return an environment with the allowed filters, no loader, no globals, and only the test `none`."""
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in sandbox.FILTERS} | {
        "default": _fallback
    }
    environment.tests = {"none": environment.tests["none"]}
    return environment


def _fallback(value: str, default: str, _always: bool = True) -> str:
    """Return the value, or the default when it is empty: fields always exist, "" without a value."""
    return value or default


_TEXT = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


class _PlaceholderHider:
    """Hides the tags of several texts, after checking each against the grammar."""

    def __init__(self, *, placeholders: Placeholders, fields: frozenset[str]) -> None:
        self._placeholders = placeholders
        self._fields = fields

    def __call__(self, text: str, *, path: str, line: int) -> str:
        """Return the text with its tags as marks; `line` is where it starts in its file."""
        return "\n".join(row for _, row in self.rows(text, path=path, line=line))

    def rows(self, text: str, *, path: str, line: int) -> list[tuple[int, str]]:
        """Return each line with its number in the file, tags as marks, without lines of mere comments."""
        rows: list[tuple[int, str]] = [(line, "")]
        placeholders: list[Placeholder] = []
        line_number, has_comment = line, False
        for kind, source in _tokenize(text, path=path, line=line):
            if kind == "data":
                first, *others = source.split("\n")
                rows[-1] = (rows[-1][0], rows[-1][1] + first)
                for other in others:
                    line_number += 1
                    if has_comment and not rows[-1][1].strip():
                        rows.pop()
                    rows.append((line_number, other))
                    has_comment = False
                continue
            if kind == "comment":
                has_comment = True
            else:
                placeholders.append(self._build_placeholder(kind, source, line=line_number, path=path))
                rows[-1] = (rows[-1][0], rows[-1][1] + self._placeholders.hide(placeholders[-1]))
            line_number += source.count("\n")
        sandbox.check_balance(placeholders, path=path)
        longest = max(placeholders, key=lambda tag: len(tag.source), default=None)
        tree = _parse(text, path=path, line=line, suspect=longest)
        sandbox.check(tree, fields=self._fields, path=path, line=line)
        return rows

    def _build_placeholder(self, kind: str, source: str, *, path: str, line: int) -> Placeholder:
        """Return one tag; only conditions are allowed among the statements."""
        word = ""
        if kind == "block":
            word = (_FIRST_WORD.match(source) or ("",))[0].lstrip("{%+- \t\n")
            sandbox.check_statement(word, path=path, line=line)
        return Placeholder(
            source=source, word=word, link=_LINK_FIELD.fullmatch(source) is not None, line=line
        )


def _tokenize(text: str, *, path: str, line: int) -> Iterator[tuple[str, str]]:
    """Yield plain text ("data"), fields ("variable"), statements ("block") and comments ("comment")."""
    tag_source = ""
    try:
        for tag_line, kind, value in _TEXT.lex(text):
            if kind.endswith("_begin"):
                sandbox.check_opening(kind, value.strip(), path=path, line=line + tag_line - 1)
            if kind == "data":
                yield kind, value
                continue
            tag_source += value
            if kind.endswith("_end"):
                yield kind.removesuffix("_end"), tag_source
                tag_source = ""
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error, path=path, line=line) from error


def _parse(text: str, *, path: str, line: int, suspect: Placeholder | None = None) -> jinja2.nodes.Template:
    """Parse a text without compiling it; an error of the parser's limits names the line of `suspect`."""
    try:
        return _TEXT.parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error, path=path, line=line) from error
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        sentence = "This tag is too long or too deep. Write a plain field or a short condition."
        raise BrokenTemplate(sentence, path=path, line=suspect.line if suspect else line) from error


def _syntax_error(error: jinja2.TemplateSyntaxError, *, path: str, line: int) -> BrokenTemplate:
    """Return a BrokenTemplate for an error of the template language."""
    reason = (error.message or "it is not written as a template tag").rstrip(".")
    return BrokenTemplate(f"A tag cannot be read: {reason}.", path=path, line=line + error.lineno - 1)


def _convert_body(
    source: TemplateSource, *, placeholders: Placeholders, hide: _PlaceholderHider
) -> markdown.ConvertedBody:
    """Convert the body; a line of statements alone becomes a block of its own."""
    body: list[str] = []
    lines: list[int] = []
    for number, row in hide.rows(source.body, path=source.path, line=source.first_line):
        row = _BRACKETED.sub(lambda match: _expand_autolink(match[1], placeholders), row)
        block = ["", row, ""] if placeholders.has_only_statements(row) else [row]
        body += block
        lines += [number] * len(block)
    return markdown.convert("\n".join(body), placeholders=placeholders, path=source.path, lines=lines)


def _expand_autolink(mark: str, placeholders: Placeholders) -> str:
    """Return `<{{ page_url }}>` as a Markdown link."""
    return f"[{mark}]({mark})" if placeholders.get(mark) else f"<{mark}>"


def _fill_words(frame: str, words: Mapping[str, str], *, path: str) -> str:
    """Replace each `[[word]]` of a frame."""

    def expand(match: re.Match[str]) -> str:
        if match[1] not in words:
            line = frame.count("\n", 0, match.start()) + 1
            raise BrokenTemplate(
                f"The word [[{match[1]}]] is not in the words of this language.", path=path, line=line
            )
        return words[match[1]]

    return _WORD.sub(expand, frame)


def _inline_styles(html: str, *, css: str, placeholders: Placeholders, path: str) -> str:
    """Inline the styles into the elements, with every tag at its place.

    Between elements a tag is hidden in a comment, because text between the rows of a table would be moved out
    of it.
    """
    pieces, end = [], 0
    for match in _OPAQUE.finditer(html):
        pieces += [placeholders.pattern.sub(r"<!--\g<0>-->", html[end : match.start()]), match[0]]
        end = match.end()
    pieces.append(placeholders.pattern.sub(r"<!--\g<0>-->", html[end:]))
    inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False, extra_css=css)
    styled = inliner.inline("".join(pieces))
    for element in _ELEMENT.finditer(styled):
        remainder = _HREF.sub(lambda match: "" if _is_link(match[1], placeholders) else match[0], element[0])
        for tag in placeholders.find_all(remainder):
            raise BrokenTemplate(
                f'In an HTML element only a whole address may be a field, as in href="{{{{ leave_url }}}}"; '
                f"move {tag.source} out of it.",
                path=path,
                line=tag.line,
            )
    return re.sub(rf"<!--({placeholders.pattern.pattern})-->", r"\1", styled)


def _is_link(value: str, placeholders: Placeholders) -> bool:
    """Return whether an attribute's value is one address field and nothing else."""
    tag = placeholders.get(value)
    return tag is not None and tag.link
