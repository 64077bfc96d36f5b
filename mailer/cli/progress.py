"""How far a long command has come: a bar on the error output, and only where a person looks at it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def show_bar(title: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for as long as the block lasts; what it gives is called with how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal or not total:
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
