"""`python -m tests.reading`: how long and how easy every email and every page is, in both languages."""

import sys
import tempfile
from pathlib import Path

from lists.contacts import LANGUAGES
from mailer import service
from mailer.settings import keys
from mailer.settings.loading import Settings
from tests import databases, people
from tests.clocks import StoppedClock
from tests.guards import test_texts as letters
from tests.mailer.web.visitor import Visitor
from tests.reading import pages
from tests.reading.readability import MAX_WORDS, Figures


def row(kind: str, name: str, figures: Figures) -> bool:
    """Print one line; tells whether the text is short and easy enough."""
    is_easy = figures.easy and figures.words <= MAX_WORDS
    label = f"{kind} {name}, {figures.language}"
    measures = f"{figures.words:6}{figures.sentence:16.1f}{figures.syllables:16.2f}"
    sys.stdout.write(
        f"{label:40}{measures}{figures.ease:8.1f} {figures.scale}{'' if is_easy else '  TOO HARD OR LONG'}\n"
    )
    return is_easy


def main() -> int:
    """Print the table; 1 when a text is too long or too hard."""
    sys.stdout.write(f"{'text':40}{'words':>6}{'words/sentence':>16}{'syllables/word':>16}{'ease':>8}\n")
    results = [row("mail", name, letters.figures(letters.read(name, of))) for name, of in letters.LETTERS]
    for language in LANGUAGES:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            url = databases.SqliteFiles(home).fresh(home)
            clock = StoppedClock()
            people.PEPPER = keys.load(home / "secrets").pepper
            installation = service.build(Settings(home=home, database_url=url), clock=clock)
            answers = pages.walk(Visitor(installation, clock), language=language)
            installation.close()
        results += [
            row("page", name, pages.figures(page, language=language)) for name, page in answers.items()
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
