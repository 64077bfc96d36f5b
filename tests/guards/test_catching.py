"""Errors nobody expected are caught only where a loop must go on."""

import ast

from tests.guards import source

LOOPS = {
    "mailer/delivery/delivery.py": "one message that cannot be composed must not stop the others",
    "mailer/delivery/sending.py": "one message that cannot be handed over must not stop the others",
    "mailer/processes/scheduler.py": "one job must not stop the others",
    "mailer/delivery/results.py": "one outcome must not keep the others from being recorded",
    "mailer/web/app.py": "one request must not stop the server",
}


def test_everything_is_caught_only_at_the_loops() -> None:
    wide = [
        f"{name}, line {node.lineno}"
        for name, tree in source.python("lists", "mailer")
        if name not in LOOPS
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node)
    ]
    assert not wide


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    goes_on = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return not goes_on and any(
        name in caught.strip("()").split(", ") for name in ("Exception", "BaseException")
    )
