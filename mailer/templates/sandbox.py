"""Sandbox: allows fields, a few filters and conditions in a template, and refuses all else with a remedy.

It walks the parsed template by the names of its nodes and does not depend on the library that parsed it; a
kind of node that is not listed here is refused.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from lists.errors import BrokenTemplate
from mailer.templates import characters
from mailer.templates.placeholders import Placeholder

FILTERS = ("capitalize", "default", "lower", "title", "trim", "upper")
STATEMENTS = ("if", "elif", "else", "endif")

_PLAIN = frozenset(
    {"Template", "Output", "TemplateData", "If", "And", "Or", "Not", "Compare", "Operand", "Name"}
)
_PLAIN_INSTEAD = "Write a plain field, such as {{ name }}"
_ORDERED = frozenset({"lt", "lteq", "gt", "gteq"})
_COMPARISONS = frozenset({"eq", "ne", "lt", "lteq", "gt", "gteq"})
_NOT_IN_ORDER = (
    'Fields are texts, so <, <=, > and >= compare them with a text in quotes, as in {% if name < "B" %}.'
)
_DEEPEST = 40
_TOO_DEEP = "Too many conditions stand inside each other. Take some apart."
_MAX_NUMBER = 10**9
_REFUSED_STATEMENTS = {
    "for": "A template cannot repeat a part. Write the part out, or ask for a field that holds it all.",
    "set": "A template cannot set values. Use the fields as they are given.",
    "macro": "A template cannot define macros. Write the text out where it is needed.",
    "call": "A template cannot call anything. Use the fields as they are given.",
    "include": "A template cannot include other files. Write the text here.",
    "import": "A template cannot import other files. Write the text here.",
    "from": "A template cannot import other files. Write the text here.",
    "extends": "A template cannot extend another. The frame is put around every mail by itself.",
    "block": "A template cannot define blocks. The frame is put around every mail by itself.",
    "filter": "A filter works on one field only, as in {{ name | upper }}.",
}
_REFUSED_NODES = {
    "Getattr": f"A field has no parts to ask for with a dot. {_PLAIN_INSTEAD}.",
    "Getitem": f"A field has no parts to ask for with brackets. {_PLAIN_INSTEAD}.",
    "Call": f"A template cannot call anything. {_PLAIN_INSTEAD}.",
    "CondExpr": "Write the choice as {% if name %} … {% else %} … {% endif %}.",
    "Concat": "Write the fields one after the other, as in {{ campaign }} {{ motto }}.",
    "Test": "A template can only ask whether a field has a value. Write {% if name %}.",
}
_CALCULATION = frozenset({"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "Neg", "Pos"})


def check_opening(kind: str, value: str, *, path: str, line: int) -> None:
    """Refuse raw blocks and tags that strip the blanks around them; `kind` and `value` begin a tag."""
    if kind == "raw_begin":
        raise BrokenTemplate(
            'A raw block cannot be used. Write {{ "{{" }} to show braces.', path=path, line=line
        )
    if value.endswith(("-", "+")):
        raise BrokenTemplate(f"Write {value[:2]} without the {value[-1]} after it.", path=path, line=line)


def check_statement(word: str, *, path: str, line: int) -> None:
    """Refuse every statement but conditions; `word` is its first word."""
    if word in STATEMENTS:
        return
    if word in _REFUSED_STATEMENTS:
        raise BrokenTemplate(_REFUSED_STATEMENTS[word], path=path, line=line)
    matches = get_close_matches(word, STATEMENTS, n=1)
    hint = (
        f"Did you mean {{% {matches[0]} %}}?"
        if matches
        else "Only if, elif, else and endif can stand in {% … %}."
    )
    raise BrokenTemplate(f"“{word}” is not known here. {hint}", path=path, line=line)


def check_balance(placeholders: Iterable[Placeholder], *, path: str) -> None:
    """Refuse a condition that is never closed, or closed without being opened."""
    open_conditions: list[Placeholder] = []
    for tag in placeholders:
        if tag.word == "if":
            open_conditions.append(tag)
        elif tag.word and not open_conditions:
            raise BrokenTemplate(
                f"This {{% {tag.word} %}} has no {{% if %}} before it.", path=path, line=tag.line
            )
        elif tag.word == "endif":
            open_conditions.pop()
    if open_conditions:
        raise BrokenTemplate(
            "This {% if %} is never closed. Put {% endif %} where it ends.",
            path=path,
            line=open_conditions[-1].line,
        )


def check(tree: Any, *, fields: frozenset[str], path: str, line: int) -> frozenset[str]:
    """Refuse everything but fields, allowed filters and conditions; return the fields used.

    `tree` is a parsed template and `line` the line in its file where its text begins.
    """
    names: set[str] = set()
    pending = [(tree, 0, line)]
    while pending:
        node, depth, node_line = pending.pop()
        node_line = line + node.lineno - 1 if node.lineno else node_line  # some nodes have no line
        sentence = _explain_node(node, fields) if depth <= _DEEPEST else _TOO_DEEP
        if sentence:
            raise BrokenTemplate(sentence, path=path, line=node_line)
        if type(node).__name__ == "Name":
            names.add(node.name)
        pending += [(child, depth + 1, node_line) for child in reversed(list(node.iter_child_nodes()))]
    return frozenset(names)


def _explain_node(node: Any, fields: frozenset[str]) -> str:
    """Return the sentence that refuses a node, "" when it is allowed."""
    kind = type(node).__name__
    if kind == "Name":
        return _explain_field(node.name, fields)
    if kind == "Const":
        return _explain_constant(node.value)
    if kind == "Filter":
        return _explain_filter(node)
    if kind == "Compare" and any(operand.op in _ORDERED for operand in node.ops):
        operands = (node.expr, *(operand.expr for operand in node.ops))
        return "" if all(map(_is_text, operands)) else _NOT_IN_ORDER
    if kind == "Operand" and node.op not in _COMPARISONS:
        return "Only ==, !=, <, <=, > and >= compare here."
    if kind == "Test" and node.name == "none" and not node.args and not node.kwargs:
        return ""
    if kind in _PLAIN:
        return ""
    if kind in _CALCULATION:
        return "A template cannot calculate. Ask for a field that holds the finished value."
    return _REFUSED_NODES.get(kind, f"This is not possible in a template. {_PLAIN_INSTEAD}.")


def _explain_field(name: str, fields: frozenset[str]) -> str:
    """Return the sentence that refuses a field's name, "" when it is allowed."""
    if name in fields:
        return ""
    matches = get_close_matches(name, sorted(fields), n=1)
    hint = (
        f"Did you mean {{{{ {matches[0]} }}}}?"
        if matches
        else f"The fields are: {_join_names(sorted(fields))}."
    )
    return f"There is no field “{name}”. {hint}"


def _explain_constant(value: object) -> str:
    """Return the sentence that refuses a constant, "" when it is allowed."""
    if isinstance(value, str):
        return characters.describe_unsendable(value.replace("\n", " "), "The text in quotes")
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int) and abs(value) < _MAX_NUMBER:
        return ""
    return "Only words in quotes and small whole numbers can be written in a tag."


def _explain_filter(node: Any) -> str:
    """Return the sentence that refuses a filter, "" when it is allowed."""
    if node.name not in FILTERS:
        matches = get_close_matches(node.name, FILTERS, n=1)
        hint = f"Did you mean {matches[0]}?" if matches else f"The filters are: {_join_names(FILTERS)}."
        return f"There is no filter “{node.name}”. {hint}"
    if node.node is None:
        return _REFUSED_STATEMENTS["filter"]
    are_constants = all(type(argument).__name__ == "Const" for argument in node.args)
    allowed_counts = (1, 2) if node.name == "default" else (0,)
    if (
        node.kwargs
        or node.dyn_args
        or node.dyn_kwargs
        or not are_constants
        or len(node.args) not in allowed_counts
    ):
        return 'Filters take nothing in parentheses, except default("words in quotes").'
    return ""


def _is_text(node: Any) -> bool:
    """Return whether a part of a comparison is always a text, never a number or a truth value."""
    kind = type(node).__name__
    if kind == "Filter":
        return _is_text(node.node) and all(map(_is_text, node.args[:1]))
    return kind == "Name" or (kind == "Const" and isinstance(node.value, str))


def _join_names(names: Sequence[str]) -> str:
    """Return names separated by commas."""
    return ", ".join(names)
