"""Limits under uvloop: many messages through a relay and to a domain with rates, and no exception."""

from importlib.util import find_spec
from pathlib import Path

from tests.crash import proof, scenes, verdict
from tests.crash.campaign import campaign, populate_readers
from tests.crash.freezes import Tell
from tests.crash.verdict import Note, Verdict

RELAY_RATE, DOMAIN_RATE = "24000/minute", "20000/minute"
MOST_SECONDS = 3_600.0  # a slot that a busy machine misses is void
SIGNS = ("Traceback", "delivery ended", "exception")  # in the log of the processes


def prove(folder: Path, *, url: str, people: int, tell: Tell = print) -> Verdict:
    """Send so many messages as fast as the limits allow; raises LookupError without uvloop."""
    if find_spec("uvloop") is None:
        raise LookupError("uvloop is missing; install it with:  pip install -e .[speed]")
    with campaign(folder, url=url, wait_seconds=0.0) as made:
        made.limit(RELAY_RATE, DOMAIN_RATE)
        scenes.make_tables(made)
        populate_readers(made, people)
        scenes.announce(made)
        with scenes.serving(made):
            proof.until_settled(made, seconds=MOST_SECONDS)
        log = made.log_file.read_text("utf-8", "replace")
        faults = sum(log.count(sign) for sign in SIGNS)
        tell(f"{len(made.tape.read()):,} messages by {RELAY_RATE}, {DOMAIN_RATE} to the domain")
        proof.finish(made)
        return verdict.reach(made, Note(what="signs of a fault in the log", measured=faults, most=0, unit=""))
