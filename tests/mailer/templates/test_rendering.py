"""One Markdown source becomes HTML and text that say the same, and nothing in it or in a value can run."""

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


def written(body: str, *, subject: str = "Hello", preview: str = "", frame: Frame = BARE) -> CompiledTemplate:
    """Compile one letter whose body begins at line 5 of its file."""
    source = TemplateSource(subject=subject, preview=preview, body=body, path="letters/en.md", first_line=5)
    return rendering.compile_template(source, frame=frame, fields=FIELDS)


def read(
    body: str, *, frame: Frame = BARE, subject: str = "Hello", **values: str
) -> rendering.RenderedMessage:
    """Compile one letter and render it for Ana."""
    return EditionRenderer(written(body, frame=frame, subject=subject), {}).render({**VALUES, **values})


def refused(body: str, **parts: str) -> BrokenTemplate:
    """Return the refusal of a letter."""
    with pytest.raises(BrokenTemplate) as caught:
        written(body, **parts)
    return caught.value


class Words(HTMLParser):
    """What a person sees of an HTML page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = ""
        self.links: list[str] = []
        self.elements: list[str] = []
        self.opened: list[str] = []
        self.torn = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in ("br", "hr"):
            self.opened.append(tag)
        self.links += [value or "" for key, value in attrs if key == "href"]

    def handle_endtag(self, tag: str) -> None:
        self.torn = self.torn or not self.opened or self.opened.pop() != tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_one_source_becomes_html_and_a_text_that_reads_well():
    letter = read(
        "# News\n\n{{ greeting }}\n\nThis is *very* **important**\nfor `us` &amp; you.\n\n"
        "- one\n- [two]({{ toolkit_url }})\n"
        "  1. deep\n\n> said\n>\n> twice\n\nSee [the guide](https://example.org/g) soon.\n\n---\n\n"
        "[Open the toolkit]({{ toolkit_url }})\n\nIn peace,\\\nAna\n"
    )
    assert letter.text == (
        "News\n====\n\nHello Ana,\n\nThis is very important for us & you.\n\n"
        "- one\n- two: https://example.org/toolkit\n"
        "  1. deep\n\n> said\n>\n> twice\n\nSee the guide (https://example.org/g) soon.\n\n- - -\n\n"
        "Open the toolkit:\nhttps://example.org/toolkit\n\nIn peace,\nAna\n"
    )
    seen = Words(letter.html)
    tags = "html head body h1 p p em strong code ul li li a ol li blockquote p p p a hr p a p br"
    assert " ".join(seen.elements) == tags
    assert seen.links == [VALUES["toolkit_url"], "https://example.org/g", VALUES["toolkit_url"]]


def test_a_paragraph_that_is_one_link_is_a_button_and_a_real_link():
    letter = read(
        "[Open it{{ toolkit_note }}]({{ toolkit_url }})\n\n[A](https://a.example) and more.\n", frame=FRAME
    )
    assert re.search(
        r'<p class="button"><a href="https://example.org/toolkit" style="padding: 10px;">Open', letter.html
    )
    assert letter.html.count('class="button"') == 1


def test_an_address_in_brackets_shows_itself_once():
    letter = read("Here: <{{ toolkit_url }}>, or <https://b.example/>, or <ana@b.example>.\n")
    assert letter.text == "Here: https://example.org/toolkit, or https://b.example/, or ana@b.example.\n"
    assert Words(letter.html).links == [VALUES["toolkit_url"], "https://b.example/", "mailto:ana@b.example"]


def test_conditions_choose_paragraphs_and_words():
    body = (
        "Hello{% if name %} {{ name }}{% else %} friend{% endif %}.\n\n"
        "{% if event_note %}\nNote: {{ event_note }}\n"
        "{% elif name == 'Ben' %}\nBen, hello.\n{% else %}\nNo note.\n{% endif %}\nEnd.\n"
    )
    assert read(body).text == "Hello Ana.\n\nNo note.\n\nEnd.\n"
    assert read(body, name="", event_note="late").text == "Hello friend.\n\nNote: late\n\nEnd.\n"
    assert read(body, name="Ben").text == "Hello Ben.\n\nBen, hello.\n\nEnd.\n"
    assert "<p>Note: late</p>" in read(body, event_note="late").html
    assert "Note" not in read(body).html


def test_filters_work_and_default_stands_in_for_an_empty_value():
    body = '{{ name | upper }} {{ name | lower }} {{ name | trim }} {{ name | default("friend") }}\n'
    assert read(body).text == "ANA ana Ana Ana\n"
    assert read(body, name="").text == "   friend\n"


def test_the_frame_is_put_around_and_styles_move_to_the_elements_once():
    letter = read("Text.\n", frame=FRAME, subject="Hi {{ name }} & co")
    assert '<td class="foot" style="color: #7a2e12;">' in letter.html
    assert "@media (prefers-color-scheme: dark)" in letter.html
    assert "<title>Hi Ana &amp; co</title>" in letter.html
    assert "Leave Restoring Trust &amp; its list</a>" in letter.html
    assert letter.text == "Text.\n\nLeave Restoring Trust & its list:\nhttps://example.org/leave/1?a=b&c=d\n"
    assert letter.subject == "Hi Ana & co"
    assert "foot" not in read("Text.\n", frame=FRAME, leave_url="").html.split("<body>")[1]
    assert Words(letter.html).links == [VALUES["leave_url"]]


def test_every_field_used_anywhere_is_named():
    compiled = written("{{ greeting }}", subject="{{ name }}", preview="{{ event_note }}", frame=FRAME)
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
    letter = read("Hello {{ name }}!\n", subject="For {{ name }}", name=value)
    assert letter.text == f"Hello {value}!\n"
    assert letter.subject == f"For {value}"
    assert f"<p>Hello {html}!</p>" in letter.html


def test_marks_that_turn_the_writing_and_controls_do_not_leave_a_name():
    letter = read(
        "Hello {{ name }}!\n", subject="For {{ name }}", name="Ana\u202egnp.\u2066x\u2069\r\nBcc: x\x00y"
    )
    assert letter.text == "Hello Anagnp.x Bcc: x y!\n"
    assert letter.subject == "For Anagnp.x Bcc: x y"
    family = "👩‍👩‍👧"
    assert read("{{ name }}\n", name=family).text == f"{family}\n"


def test_a_missing_field_and_a_dangerous_address_stop_the_message():
    renderer = EditionRenderer(written("{{ name }} [x]({{ toolkit_url }})"), {})
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
    error = refused(f"First.\n\n{{# a note\nof two lines #}}\n\n{tag}\n")
    assert sentence in str(error)
    assert str(error).startswith(f"letters/en.md, line {error.line}: ")
    assert error.line == 10 or (error.line > 10 and "\n" in tag)


def test_subject_and_frame_are_held_to_the_same_rules():
    assert refused("x", subject="{{ nmae }}").line == 2
    assert refused("x", preview="{{ name.x }}").line == 3
    assert "subject is missing" in str(refused("x", subject=" "))
    for html in (
        "<p class={{ name }}>",
        "<p {{ name }}>",
        '<a href="x{{ leave_url }}">',
        '<a href="{{ name }}">',
    ):
        with pytest.raises(BrokenTemplate, match="In an HTML element") as caught:
            written("x", frame=Frame(html=f"\n{html}[[body]]", text="[[body]]", css="", words={}))
        assert caught.value.path == "_layout/frame.html"
        assert caught.value.line == 2
    with pytest.raises(BrokenTemplate, match=r"frame.txt, line 2: The word"):
        written("x", frame=Frame(html="[[body]]", text="[[body]]\n[[bye]]", css="", words={}))


def test_braces_that_markdown_makes_are_text_and_never_a_tag():
    body = "{\\{ 7+7 }\\} &#123;&#123; 7+7 }} {&#37; set x %} {{ name }}{ { {{ name }} `{` {# gone #}\n"
    letter = read(body)
    assert letter.text == "{{ 7+7 }} {{ 7+7 }} {% set x %} Ana{ { Ana {\n"
    assert Words(letter.html).words.strip() == letter.text.strip()


def test_text_that_looks_like_a_hidden_tag_stays_text():
    assert read("qhzk0z {{ name }} qhzkk0z\n").text == "qhzk0z Ana qhzkk0z\n"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}%#[]()<>&*_`'\"\\ \n-=+!|.:;/7axyz0123é🕊\u202e", max_size=80))
@example("{&#123; 7*7 }}")
@example("[x][y]\n\n[y]: https://e.example '{% if'")
def test_any_body_is_refused_or_rendered_without_running(body):
    """Whatever is typed, either a sentence says no, or both forms come out with no tag left in them."""
    try:
        compiled = written(body)
    except BrokenTemplate as error:
        assert error.line >= 1
        return
    letter = EditionRenderer(compiled, {}).render(VALUES)
    assert "<script" not in letter.html
    assert "qhzk" not in letter.html + letter.text


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
    """Whatever holds and whatever does not, every element is closed where it was opened."""
    try:
        compiled = written("".join(["{% if name %}", *inside, "{% endif %}", *after]))
    except BrokenTemplate:
        return
    renderer = EditionRenderer(compiled, {})
    for name, note in product(["", "Ana"], ["", "later"]):
        page = Words(renderer.render({**VALUES, "name": name, "event_note": note}).html)
        assert not page.torn
        assert not page.opened


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
@example("\ud800")
@example("]]>--><!--")
def test_any_value_is_shown_and_never_runs(value):
    letter = read("Hello **{{ name }}**.\n", subject="{{ name }}", name=value)
    seen = Words(letter.html)
    assert seen.elements == ["html", "head", "body", "p", "strong"]
    assert " ".join(seen.words.split()) == " ".join(letter.text.split())
    assert not re.search(
        "[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00]", letter.html + letter.text + letter.subject
    )
    assert "\n" not in letter.subject


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
    begun = time.process_time()
    with suppress(BrokenTemplate):
        written(body)
    assert time.process_time() - begun < 3


def test_a_body_that_is_too_long_is_refused():
    assert "Shorten it" in str(refused("x" * 50_001))


def test_web_pages_escape_everything_and_refuse_unknown_fields(tmp_path):
    (tmp_path / "page.html").write_text("<p>{{ name }}</p>")
    page = rendering.create_page_environment(tmp_path).get_template("page.html")
    assert page.render(name="<b>") == "<p>&lt;b&gt;</p>"
    with pytest.raises(Exception, match="'name' is undefined"):
        page.render()
