"""Staff look for people among many: how long an answer takes, and how long it takes to note all the words."""

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
    """Note the words of so many people; then ask five hundred questions of all sorts, one after the other."""
    with installation(people=people) as service:
        _name(service)
        begun = time.perf_counter()
        if service.jobs.get("make-searchable").run() != people:
            raise SystemExit("not everybody can be found")
        seconds = time.perf_counter() - begun
        rate = f"{seconds:.0f} s, {people / seconds:,.0f} a second"
        yield Line(what=f"the words of {people:,} people noted", found=rate)
        took, found = [], 0
        for question in _questions(people):
            begun = time.perf_counter()
            with service.database.read() as session:
                found += len(search.find(session, question, limit=SHOWN).people)
            took.append(time.perf_counter() - begun)
        about = f"p99 of {QUESTIONS}, median {statistics.median(took) * 1000:.1f} ms"
        about += f", longest {max(took) * 1000:.0f} ms, {found / QUESTIONS:.0f} found on average"
        yield at_most(f"a search among {people:,} people", at(took, 0.99), SECONDS, about=about)


def _name(service: Service) -> None:
    lists = {"first": FIRST, "last": LAST, "kinds": KINDS}
    values = {name: json.dumps(words) for name, words in lists.items()}
    numbers = {"firsts": len(FIRST), "lasts": len(LAST), "many": len(KINDS)}
    with service.database.write() as session:
        session.execute(text(NAMES), {**values, **numbers})


def _questions(people: int) -> Sequence[str]:
    """Questions of all sorts: rare and common words, several, beginnings, addresses, and what nobody has."""
    chance = random.Random(7)
    asked = []
    for number in range(QUESTIONS):
        first, last, kind = chance.choice(FIRST), chance.choice(LAST), chance.choice(KINDS)
        who = chance.randrange(1, people + 1)
        sorts = (
            f"neighbor{who}@example.org",
            f"neighbor{who // 100}",
            first,
            f"{first} {last}",
            f"{first[:1]} {last[:1]}",
            f"{first} {kind} {who % 5000}",
            f"{last} {first} zebedee",
            f"{kind[:4]} street",
            "example.org",
            f"{last} example.org {first}",
        )
        asked.append(sorts[number % len(sorts)])
    return asked
