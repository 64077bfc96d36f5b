"""Rendering: one Markdown source becomes HTML and text of the same content, and nothing in it can run."""

import re
import time
from contextlib import suppress
from html.parser import HTMLParser
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lists.errors import BadInput, BrokenTemplate
from mailer.templates import rendering
from mailer.templates.rendering import CompiledTemplate, EditionRenderer, Frame, TemplateSource

FIELDS = frozenset({"name", "greeting", "campaign", "toolkit_url", "toolkit_note", "leave_url", "event_note"})
FRAME = Frame(
    html=(
        "<!doctype html><html><head><title>[[subject]]</title></head><body><table>"
        '{% if leave_url %}<tbody><tr><td class="foot">[[body]]</td></tr></tbody>'
        "{% else %}<tbody><tr><td>[[body]]</td></tr></tbody>{% endif %}</table>"
        '<a href="{{ leave_url }}">[[leave]]</a>'
        '<div class="preview">[[preview]]</div></body></html>'
    ),
    text="[[body]]\n\n{% if leave_url %}[[leave]]:\n{{ leave_url }}\n{% endif %}",
    css=".foot { color: #7a2e12 } .button a { padding: 10px } "
    "@media (prefers-color-scheme: dark) { td { color: #eee } }",
    words={"leave": "Leave {{ campaign }} & its list"},
)
BARE = Frame(html="<html><body>[[body]]</body></html>", text="[[body]]", css="", words={})
VALUES = {
    "name": "Ana",
    "greeting": "Hello Ana,",
    "campaign": "Restoring Trust",
    "toolkit_url": "https://example.org/toolkit",
    "toolkit_note": "",
    "leave_url": "https://example.org/leave/1?a=b&c=d",
    "event_note": "",
}


def compile_body(
    body: str, *, subject: str = "Hello", preview: str = "", frame: Frame = BARE
) -> CompiledTemplate:
    """Compile one template whose body begins at line 5 of its file."""
    source = TemplateSource(subject=subject, preview=preview, body=body, path="letters/en.md", first_line=5)
    return rendering.compile_template(source, frame=frame, fields=FIELDS)


def render_body(
    body: str, *, frame: Frame = BARE, subject: str = "Hello", **values: str
) -> rendering.RenderedMessage:
    """Compile one template and render it for Ana."""
    return EditionRenderer(compile_body(body, frame=frame, subject=subject), {}).render({**VALUES, **values})


def compile_refused(body: str, **parts: str) -> BrokenTemplate:
    """Return the error that a template raises."""
    with pytest.raises(BrokenTemplate) as caught:
        compile_body(body, **parts)
    return caught.value


class Words(HTMLParser):
    """The visible words, the elements and the links of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = ""
        self.links: list[str] = []
        self.elements: list[str] = []
        self.open_elements: list[str] = []
        self.is_torn = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in ("br", "hr"):
            self.open_elements.append(tag)
        self.links += [value or "" for key, value in attrs if key == "href"]

    def handle_endtag(self, tag: str) -> None:
        self.is_torn = self.is_torn or not self.open_elements or self.open_elements.pop() != tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_one_source_becomes_html_and_a_text_that_reads_well():
    message = render_body(
        "# News\n\n{{ greeting }}\n\nThis is *very* **important**\nfor `us` &amp; you.\n\n"
        "- one\n- [two]({{ toolkit_url }})\n"
        "  1. deep\n\n> said\n>\n> twice\n\nSee [the guide](https://example.org/g) soon.\n\n---\n\n"
        "[Open the toolkit]({{ toolkit_url }})\n\nIn peace,\\\nAna\n"
    )
    assert message.text == (
        "News\n====\n\nHello Ana,\n\nThis is very important for us & you.\n\n"
        "- one\n- two: https://example.org/toolkit\n"
        "  1. deep\n\n> said\n>\n> twice\n\nSee the guide (https://example.org/g) soon.\n\n- - -\n\n"
        "Open the toolkit:\nhttps://example.org/toolkit\n\nIn peace,\nAna\n"
    )
    page = Words(message.html)
    tags = "html head body h1 p p em strong code ul li li a ol li blockquote p p p a hr p a p br"
    assert " ".join(page.elements) == tags
    assert page.links == [VALUES["toolkit_url"], "https://example.org/g", VALUES["toolkit_url"]]


def test_a_paragraph_that_is_one_link_is_a_button_and_a_real_link():
    message = render_body(
        "[Open it{{ toolkit_note }}]({{ toolkit_url }})\n\n[A](https://a.example) and more.\n", frame=FRAME
    )
    assert re.search(
        r'<p class="button"><a href="https://example.org/toolkit" style="padding: 10px;">Open', message.html
    )
    assert message.html.count('class="button"') == 1


def test_an_address_in_brackets_shows_itself_once():
    message = render_body("Here: <{{ toolkit_url }}>, or <https://b.example/>, or <ana@b.example>.\n")
    assert message.text == "Here: https://example.org/toolkit, or https://b.example/, or ana@b.example.\n"
    assert Words(message.html).links == [VALUES["toolkit_url"], "https://b.example/", "mailto:ana@b.example"]


def test_conditions_choose_paragraphs_and_words():
    body = (
        "Hello{% if name %} {{ name }}{% else %} friend{% endif %}.\n\n"
        "{% if event_note %}\nNote: {{ event_note }}\n"
        "{% elif name == 'Ben' %}\nBen, hello.\n{% else %}\nNo note.\n{% endif %}\nEnd.\n"
    )
    assert render_body(body).text == "Hello Ana.\n\nNo note.\n\nEnd.\n"
    assert render_body(body, name="", event_note="late").text == "Hello friend.\n\nNote: late\n\nEnd.\n"
    assert render_body(body, name="Ben").text == "Hello Ben.\n\nBen, hello.\n\nEnd.\n"
    assert "<p>Note: late</p>" in render_body(body, event_note="late").html
    assert "Note" not in render_body(body).html


def test_filters_work_and_default_stands_in_for_an_empty_value():
    body = '{{ name | upper }} {{ name | lower }} {{ name | trim }} {{ name | default("friend") }}\n'
    assert render_body(body).text == "ANA ana Ana Ana\n"
    assert render_body(body, name="").text == "   friend\n"


def test_the_frame_is_put_around_and_styles_move_to_the_elements_once():
    message = render_body("Text.\n", frame=FRAME, subject="Hi {{ name }} & co")
    assert '<td class="foot" style="color: #7a2e12;">' in message.html
    assert "@media (prefers-color-scheme: dark)" in message.html
    assert "<title>Hi Ana &amp; co</title>" in message.html
    assert "Leave Restoring Trust &amp; its list</a>" in message.html
    assert message.text == "Text.\n\nLeave Restoring Trust & its list:\nhttps://example.org/leave/1?a=b&c=d\n"
    assert message.subject == "Hi Ana & co"
    assert "foot" not in render_body("Text.\n", frame=FRAME, leave_url="").html.split("<body>")[1]
    assert Words(message.html).links == [VALUES["leave_url"]]


def test_every_field_used_anywhere_is_named():
    compiled = compile_body("{{ greeting }}", subject="{{ name }}", preview="{{ event_note }}", frame=FRAME)
    assert compiled.names == {"greeting", "name", "event_note", "leave_url", "campaign"}


@pytest.mark.parametrize(
    ("value", "html"),
    [
        ("{{7*7}}", "{{7*7}}"),
        ("{% raw %}", "{% raw %}"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('O\'Neil & "Sons"', "O&#39;Neil &amp; &#34;Sons&#34;"),
        ("**bold** [x](javascript:alert(1))", "**bold** [x](javascript:alert(1))"),
    ],
)
def test_a_value_is_shown_as_it_was_typed(value, html):
    message = render_body("Hello {{ name }}!\n", subject="For {{ name }}", name=value)
    assert message.text == f"Hello {value}!\n"
    assert message.subject == f"For {value}"
    assert f"<p>Hello {html}!</p>" in message.html


def test_marks_that_turn_the_writing_and_controls_do_not_leave_a_name():
    message = render_body(
        "Hello {{ name }}!\n", subject="For {{ name }}", name="Ana\u202egnp.\u2066x\u2069\r\nBcc: x\x00y"
    )
    assert message.text == "Hello Anagnp.x Bcc: x y!\n"
    assert message.subject == "For Anagnp.x Bcc: x y"
    family = "👩‍👩‍👧"
    assert render_body("{{ name }}\n", name=family).text == f"{family}\n"


def test_a_missing_field_and_a_dangerous_address_stop_the_message():
    renderer = EditionRenderer(compile_body("{{ name }} [x]({{ toolkit_url }})"), {})
    with pytest.raises(BadInput, match="“toolkit_url”, which was not filled in"):
        renderer.render({"name": "Ana"})
    for address in (
        "javascript:alert(1)",
        "https://a b",
        'https://a"onclick=',
        "//x",
        "https://a\x00b",
        "https://",
    ):
        with pytest.raises(BadInput, match="toolkit_url"):
            renderer.render({"name": "Ana", "toolkit_url": address})
    assert renderer.render({"name": "Ana", "toolkit_url": ""}).subject == "Hello"


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [
        ("{{ ''.__class__.__mro__ }}", "no parts to ask for with a dot"),
        ("{{ name['x'] }}", "with brackets"),
        ("{{ name|attr('x') }}", "no filter “attr”"),
        ("{{ name|center(100000000) }}", "no filter “center”"),
        ("{{ '%1000000000d'|format(1) }}", "no filter “format”"),
        ("{{ name.ljust(10**10) }}", "cannot call"),
        ("{{ 'a' * 1000000000 }}", "cannot calculate"),
        ("{{ 10 ** 10 ** 10 }}", "cannot calculate"),
        ("{{ -name }}", "cannot calculate"),
        ("{{ name ~ name }}", "one after the other"),
        ("{{ config }}", "no field “config”"),
        ("{{ self }}", "no field “self”"),
        ("{{ range(10) }}", "cannot call"),
        ("{{ lipsum() }}", "cannot call"),
        ("{{ nmae }}", "Did you mean {{ name }}?"),
        ("{{ name|uper }}", "Did you mean upper?"),
        ("{{ name|default(greeting) }}", "nothing in parentheses"),
        ("{{ name|default }}", "nothing in parentheses"),
        ("{{ name|upper(1) }}", "nothing in parentheses"),
        ("{{ name if greeting else 'x' }}", "{% else %}"),
        ("{{ name is defined }}", "has a value"),
        ("{{ [name] }}", "not possible"),
        ("{{ {1: 2} }}", "not possible"),
        ("{{ 1.5 }}", "small whole numbers"),
        ("{{ " + "9" * 5000 + " }}", "too long or too deep"),
        ("{{ " + "(" * 5000 + "name" + ")" * 5000 + " }}", "too long or too deep"),
        ("{% if " + "not " * 300 + "name %}x{% endif %}", "inside each other"),
        ("{% if name in greeting %}x{% endif %}", "Only =="),
        ("{% for x in name %}{{ x }}{% endfor %}", "cannot repeat"),
        ("{% set x = 1 %}", "cannot set"),
        ("{% macro x() %}{% endmacro %}", "cannot define macros"),
        ("{% include '/etc/passwd' %}", "cannot include"),
        ("{% import 'x' as y %}", "cannot import"),
        ("{% extends 'x' %}", "cannot extend"),
        ("{% filter upper %}x{% endfilter %}", "one field only"),
        ("{% raw %}{{ x }}{% endraw %}", "raw block"),
        ("{% iff name %}x{% endif %}", "Did you mean {% if %}?"),
        ("{% do x %}", "Only if, elif, else and endif"),
        ("{%- if name %}x{% endif %}", "without the -"),
        ("{% if name %}x", "never closed"),
        ("x{% endif %}", "has no {% if %} before it"),
        ("{{ name", "cannot be read"),
        ("{{ name }", "cannot be read"),
        ("{{ }}", "cannot be read"),
        ("**a {% if name %}b** c{% endif %}", "another paragraph, list or emphasis"),
        ("a {% if name %}b\n\nc{% endif %}", "another paragraph, list or emphasis"),
        ("```\n{% if name %}\n```\n{% endif %}", "another paragraph, list or emphasis"),
        ("[x](javascript:alert(1))", "https://"),
        ("[x](www.example.org)", "https://"),
        ("[x](/leave)", "https://"),
        ("[x]({{ name }})", "one address field alone"),
        ("[x](https://e.example/{{ name }})", "one address field alone"),
        ("[x]({{ toolkit_url }}{{ leave_url }})", "one address field alone"),
        ("[x]({{ toolkit_url | upper }})", "one address field alone"),
        ("[x](https://e.example/a b)", "without blanks"),
        ("![x](https://e.example/a.png)", "Pictures"),
        ("a <b>c</b>", "HTML cannot be used here (<b>)"),
        ("<!-- note -->", "HTML cannot be used"),
    ],
)
def test_what_a_template_may_not_say_is_refused_with_its_line(tag, sentence):
    error = compile_refused(f"First.\n\n{{# a note\nof two lines #}}\n\n{tag}\n")
    assert sentence in str(error)
    assert str(error).startswith(f"letters/en.md, line {error.line}: ")
    assert error.line == 10 or (error.line > 10 and "\n" in tag)


def test_subject_and_frame_are_held_to_the_same_rules():
    assert compile_refused("x", subject="{{ nmae }}").line == 2
    assert compile_refused("x", preview="{{ name.x }}").line == 3
    assert "subject is missing" in str(compile_refused("x", subject=" "))
    for html in (
        "<p class={{ name }}>",
        "<p {{ name }}>",
        '<a href="x{{ leave_url }}">',
        '<a href="{{ name }}">',
    ):
        with pytest.raises(BrokenTemplate, match="In an HTML element") as caught:
            compile_body("x", frame=Frame(html=f"\n{html}[[body]]", text="[[body]]", css="", words={}))
        assert caught.value.path == "_layout/frame.html"
        assert caught.value.line == 2
    with pytest.raises(BrokenTemplate, match=r"frame.txt, line 2: The word"):
        compile_body("x", frame=Frame(html="[[body]]", text="[[body]]\n[[bye]]", css="", words={}))


def test_braces_that_markdown_makes_are_text_and_never_a_tag():
    body = "{\\{ 7+7 }\\} &#123;&#123; 7+7 }} {&#37; set x %} {{ name }}{ { {{ name }} `{` {# gone #}\n"
    message = render_body(body)
    assert message.text == "{{ 7+7 }} {{ 7+7 }} {% set x %} Ana{ { Ana {\n"
    assert Words(message.html).words.strip() == message.text.strip()


def test_text_that_looks_like_a_hidden_tag_stays_text():
    assert render_body("qhzk0z {{ name }} qhzkk0z\n").text == "qhzk0z Ana qhzkk0z\n"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}%#[]()<>&*_`'\"\\ \n-=+!|.:;/7axyz0123é🕊\u202e", max_size=80))
@example("{&#123; 7*7 }}")
@example("[x][y]\n\n[y]: https://e.example '{% if'")
def test_any_body_is_refused_or_rendered_without_running(body):
    """Any text is refused with a sentence, or rendered in both forms without a tag in them."""
    try:
        compiled = compile_body(body)
    except BrokenTemplate as error:
        assert error.line >= 1
        return
    message = EditionRenderer(compiled, {}).render(VALUES)
    assert "<script" not in message.html
    assert "qhzk" not in message.html + message.text


PIECES = [
    "{% if name %}",
    "{% elif event_note %}",
    "{% else %}",
    "{% endif %}",
    "{{ name }}",
    "[a]({{ toolkit_url }})",
]
PIECES += ["\n", "\n\n", "- ", "  ", "> ", "# ", "**", "_", "`", "```\n", "word", " ", "---\n"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=10), st.lists(st.sampled_from(PIECES[4:]), max_size=6))
@example(["{% else %}", "`", "{% endif %}", "{% if name %}", "`"], [])
@example(["**a ", "{% else %}", "**"], [])
def test_a_condition_never_tears_the_page(inside, after):
    """With any values of the conditions, every element is closed where it was opened."""
    try:
        compiled = compile_body("".join(["{% if name %}", *inside, "{% endif %}", *after]))
    except BrokenTemplate:
        return
    renderer = EditionRenderer(compiled, {})
    for name, note in product(["", "Ana"], ["", "later"]):
        page = Words(renderer.render({**VALUES, "name": name, "event_note": note}).html)
        assert not page.is_torn
        assert not page.open_elements


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
@example("\ud800")
@example("]]>--><!--")
def test_any_value_is_shown_and_never_runs(value):
    message = render_body("Hello **{{ name }}**.\n", subject="{{ name }}", name=value)
    page = Words(message.html)
    assert page.elements == ["html", "head", "body", "p", "strong"]
    assert " ".join(page.words.split()) == " ".join(message.text.split())
    assert not re.search(
        "[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00]", message.html + message.text + message.subject
    )
    assert "\n" not in message.subject


@pytest.mark.parametrize(
    "body",
    [
        "[" * 48_000,
        "*a " * 16_000,
        "> " * 24_000,
        "`" * 48_000,
        "{{ name }} " * 4_000,
        "![](" * 12_000,
        "- " * 24_000,
    ],
    ids=["brackets", "stars", "quotes", "backticks", "fields", "pictures", "dashes"],
)
def test_a_hostile_body_ends_within_seconds(body):
    start = time.process_time()
    with suppress(BrokenTemplate):
        compile_body(body)
    assert time.process_time() - start < 3


def test_a_body_that_is_too_long_is_refused():
    assert "Shorten it" in str(compile_refused("x" * 50_001))


def test_web_pages_escape_everything_and_refuse_unknown_fields(tmp_path):
    (tmp_path / "page.html").write_text("<p>{{ name }}</p>")
    page = rendering.create_page_environment(tmp_path).get_template("page.html")
    assert page.render(name="<b>") == "<p>&lt;b&gt;</p>"
    with pytest.raises(Exception, match="'name' is undefined"):
        page.render()
