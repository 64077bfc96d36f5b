"""Staff search for people among many: the time of an answer, and of the indexing of all words."""

import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence

from sqlalchemy import text

from lists import search
from mailer.service import Service
from tests.bench.installation import installation
from tests.bench.table import Line, at, at_most

SECONDS = 0.2
QUESTIONS = 500
SHOWN = 50
FIRST = ("Ana", "Ben", "Cleo", "Dora", "Eva", "Fátima", "Gloria", "Héctor", "Inés", "José", "Karim", "Lucía")
LAST = ("Núñez", "Ali", "Brown", "Castillo", "Diaz", "Evans", "Flores", "Garcia", "Haddad", "Ibarra", "Jones")
KINDS = ("Church", "Mosque", "Synagogue", "Temple", "Parish", "Friends", "Congregation")
NAMES = """
UPDATE contacts SET
  name = json_extract(:first, '$[' || (id % :firsts) || ']') || ' '
      || json_extract(:last, '$[' || (id / 7 % :lasts) || ']'),
  organization = CASE id % 3 WHEN 0
      THEN json_extract(:kinds, '$[' || (id / 3 % :many) || ']') || ' of Street ' || (id % 5000) ELSE '' END
"""


def searched(people: int) -> Iterator[Line]:
    """Index the words of so many people; then run five hundred queries of all sorts, one after the other."""
    with installation(people=people) as service:
        _name(service)
        began = time.perf_counter()
        if service.jobs.get("make-searchable").run() != people:
            raise SystemExit("not everybody can be found")
        seconds = time.perf_counter() - began
        rate = f"{seconds:.0f} s, {people / seconds:,.0f} a second"
        yield Line(what=f"the words of {people:,} people noted", found=rate)
        durations, match_count = [], 0
        for question in _questions(people):
            began = time.perf_counter()
            with service.database.read() as session:
                match_count += len(search.find(session, question, limit=SHOWN).people)
            durations.append(time.perf_counter() - began)
        about = f"p99 of {QUESTIONS}, median {statistics.median(durations) * 1000:.1f} ms"
        about += f", longest {max(durations) * 1000:.0f} ms, {match_count / QUESTIONS:.0f} found on average"
        yield at_most(f"a search among {people:,} people", at(durations, 0.99), SECONDS, about=about)


def _name(service: Service) -> None:
    lists = {"first": FIRST, "last": LAST, "kinds": KINDS}
    values = {name: json.dumps(words) for name, words in lists.items()}
    numbers = {"firsts": len(FIRST), "lasts": len(LAST), "many": len(KINDS)}
    with service.database.write() as session:
        session.execute(text(NAMES), {**values, **numbers})


def _questions(people: int) -> Sequence[str]:
    """Return queries of all sorts: rare and common words, several, prefixes, addresses, and no matches."""
    chance = random.Random(7)
    questions = []
    for number in range(QUESTIONS):
        first, last, kind = chance.choice(FIRST), chance.choice(LAST), chance.choice(KINDS)
        person = chance.randrange(1, people + 1)
        variants = (
            f"neighbor{person}@example.org",
            f"neighbor{person // 100}",
            first,
            f"{first} {last}",
            f"{first[:1]} {last[:1]}",
            f"{first} {kind} {person % 5000}",
            f"{last} {first} zebedee",
            f"{kind[:4]} street",
            "example.org",
            f"{last} example.org {first}",
        )
        questions.append(variants[number % len(variants)])
    return questions
