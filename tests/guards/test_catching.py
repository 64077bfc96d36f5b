"""Catching: unexpected errors are caught only in loops that must go on."""

import ast

from tests.guards import source

LOOPS = {
    "mailer/delivery/delivery.py": "one message that cannot be composed must not stop the others",
    "mailer/delivery/sending.py": "one message that cannot be sent must not stop the others",
    "mailer/processes/scheduler.py": "one job must not stop the others",
    "mailer/delivery/results.py": "one outcome must not keep the others from being recorded",
    "mailer/web/app.py": "one request must not stop the server",
}


def test_every_exception_is_caught_only_in_loops() -> None:
    handlers = [
        f"{name}, line {node.lineno}"
        for name, tree in source.python("lists", "mailer")
        if name not in LOOPS
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node)
    ]
    assert not handlers


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    exception_types = ast.unparse(handler.type) if handler.type else "Exception"
    raises_again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return not raises_again and any(
        name in exception_types.strip("()").split(", ") for name in ("Exception", "BaseException")
    )
