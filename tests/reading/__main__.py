"""`python -m tests.reading`: how long and how easy every letter and every page is, in both languages."""

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
from tests.reading.readability import MOST_WORDS, Figures


def row(kind: str, name: str, of: Figures) -> bool:
    """Print one line; tells whether the text is short and easy enough."""
    good = of.easy and of.words <= MOST_WORDS
    label = f"{kind} {name}, {of.language}"
    measures = f"{of.words:6}{of.sentence:16.1f}{of.syllables:16.2f}"
    sys.stdout.write(f"{label:40}{measures}{of.ease:8.1f} {of.scale}{'' if good else '  TOO HARD OR LONG'}\n")
    return good


def main() -> int:
    """Print the table; 1 when a text is too long or too hard."""
    sys.stdout.write(f"{'text':40}{'words':>6}{'words/sentence':>16}{'syllables/word':>16}{'ease':>8}\n")
    good = [row("mail", name, letters.figures(letters.read(name, of))) for name, of in letters.LETTERS]
    for language in LANGUAGES:
        with tempfile.TemporaryDirectory() as made:
            home = Path(made)
            url = databases.SqliteFiles(home).fresh(home)
            clock = StoppedClock()
            people.PEPPER = keys.load(home / "secrets").pepper
            built = service.build(Settings(home=home, database_url=url), clock=clock)
            answers = pages.walk(Visitor(built, clock), language=language)
            built.close()
        good += [row("page", name, pages.figures(page, language=language)) for name, page in answers.items()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
