"""Address lines: a file with one address per line, perhaps a name, and no header; as Mailman writes.

Sources of the format:
- Mailman 3: `mailman members LIST` prints “Ana Núñez <ana@example.org>”, or the address alone where there is
  no name (docs.mailman3.org, src/mailman/commands/docs/members.html).
- Mailman 3 on the web: Subscribers.csv, an address a row (Postorius, `csv_view` in its views/list.py).
- Mailman 2: `list_members LIST`, an address a line; with -f the name as well (manual page list_members(8)).
"""

import re
from collections.abc import Iterator, Sequence
from email.utils import parseaddr

from lists.errors import BadInput
from lists.tables import refusal_wording
from lists.tables.csv_records import Record

COLUMNS = ("email", "name")
BARE_ADDRESS = re.compile(r'"?[^\s@<>,;|"]+@[^\s@<>,;|"]+"?')
NAMED_ADDRESS = re.compile(r".*<[^\s@<>]+@[^\s@<>]+>\s*")
COMMENT = "#"  # Mailman ignores such lines when it reads a roster itself


def is_roster(lines: Sequence[str]) -> bool:
    """Return whether these first lines of a file are a roster: each of them is an address, even the first."""
    entries = [line.strip() for line in lines if line.strip() and not line.startswith(COMMENT)]
    return bool(entries) and all(
        BARE_ADDRESS.fullmatch(line) or NAMED_ADDRESS.fullmatch(line) for line in entries
    )


def read_records(lines: Iterator[str]) -> Iterator[Record]:
    """Yield the number of each line with its address and name, in the order of COLUMNS."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith(COMMENT):
            if refusal_wording.matches_text(text) or refusal_wording.matches_heading(text):
                raise BadInput(
                    f"Line {number} says “{text[:60]}”, so some of this file may want no mail. Take those"
                    " people out, and this line, and import the others."
                )
            continue
        if BARE_ADDRESS.fullmatch(text):
            yield number, [text.strip('"'), ""]
            continue
        # RFC 5322 3.4: name-addr, with the name quoted where it holds a comma or a dot.
        name, address = parseaddr(text) if NAMED_ADDRESS.fullmatch(text) else ("", "")
        is_parsed = "@" in address
        yield number, [address if is_parsed else text, name if is_parsed else ""]
