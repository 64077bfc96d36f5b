"""Limits under uvloop: many messages through a relay and to a domain with rates, and no exception."""

from importlib.util import find_spec
from pathlib import Path

from tests.crash import proof, report, scenes
from tests.crash.campaign import open_campaign, populate_readers
from tests.crash.freezes import Tell
from tests.crash.report import Note, ProofReport

RELAY_RATE, DOMAIN_RATE = "24000/minute", "20000/minute"
MAX_SECONDS = 3_600.0  # a slot that a busy machine misses is lost
SIGNS = ("Traceback", "delivery ended", "exception")  # in the log of the processes


def prove(folder: Path, *, url: str, people: int, tell: Tell = print) -> ProofReport:
    """Send so many messages as fast as the limits allow; raises LookupError without uvloop."""
    if find_spec("uvloop") is None:
        raise LookupError("uvloop is missing; install it with:  pip install -e .[speed]")
    with open_campaign(folder, url=url, wait_seconds=0.0) as campaign:
        campaign.limit(RELAY_RATE, DOMAIN_RATE)
        scenes.make_tables(campaign)
        populate_readers(campaign, people)
        scenes.announce(campaign)
        with scenes.serving(campaign):
            proof.until_settled(campaign, seconds=MAX_SECONDS)
        log = campaign.log_file.read_text("utf-8", "replace")
        faults = sum(log.count(sign) for sign in SIGNS)
        tell(f"{len(campaign.tape.read()):,} messages by {RELAY_RATE}, {DOMAIN_RATE} to the domain")
        proof.finish(campaign)
        return report.reach(
            campaign, Note(what="signs of a fault in the log", measured=faults, most=0, unit="")
        )
