"""Logs: lines name events and places, never people and secrets; libraries log in the same form."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.monitoring import logs

ANA, BEN, CLEO = "ana@stmark.example.org", "ben.o'hara+x@vecinos.example.org", '"Cleo left"@left.example.org'
PROGRAM = """
import logging, threading, warnings
from mailer.monitoring import logs
logs.configure()
import structlog
log = structlog.get_logger()
{}
"""


def read_log(program: str) -> list[dict[str, Any]]:
    """Return the lines that a program logs to standard error after `logs.configure()`."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM.format(program)], capture_output=True, text=True)
    assert not ran.stdout
    return [json.loads(line) for line in ran.stderr.splitlines()]


@pytest.mark.parametrize("address", [ANA, BEN, CLEO, "ana%40stmark.example.org", "ana@пошта.example"])
@pytest.mark.parametrize("frame", ["{}", "<{}>", "to=<{}>,", "550 5.1.1 <{}>: no", "'{}'", "mailto:{}?x=1"])
def test_an_address_is_taken_out_wherever_it_stands(address: str, frame: str) -> None:
    text = logs.scrub(frame.format(address))
    assert "…@…" in text
    for part in ("ana", "ben", "Cleo", "hara", "stmark", "vecinos", "left"):
        assert part not in text


@given(
    local=st.from_regex(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,30}", fullmatch=True),
    before=st.sampled_from(["", "to ", "<", "RCPT TO:<", '"', "(", "x="]),
)
def test_no_local_part_survives(local: str, before: str) -> None:
    text = logs.scrub(f"{before}{local}@secret.example and more")
    assert "secret" not in text
    assert f"{local}@" not in text


def test_links_lose_their_tokens_and_urls_their_passwords() -> None:
    text = logs.scrub(
        "GET /confirm/12.3.c2VjcmV0 /rsvp/4.5.c2VjcmV0 https://x/unsubscribe/7.c2VjcmV0?lang=es"
        " smtp://mailer:hunter2@relay:587 postgresql+psycopg://u:hunter2@host/name Bearer c2VjcmV0c2VjcmV0"
    )
    assert "c2VjcmV0" not in text and "hunter2" not in text
    assert ("/confirm/…" in text and "relay:587" in text) or "…@…" in text


def test_a_long_text_of_many_lines_is_one_short_line() -> None:
    assert logs.scrub("a\nb\r\n" + "c" * 5000).startswith("a b c")
    assert len(logs.scrub("c" * 5000)) == logs.MAX_VALUE_LENGTH


def test_an_error_is_told_by_its_kind_and_places_and_not_by_its_words() -> None:
    (event,) = read_log(
        "try:\n    try:\n        int('Ana lives here')\n    except ValueError as cause:\n"
        "        raise KeyError('Ben') from cause\nexcept KeyError:\n    log.exception('it broke', row=7)"
    )
    assert (event["event"], event["row"], event["level"]) == ("it broke", 7, "error")
    assert [each["kind"] for each in event["fault"]] == ["KeyError", "ValueError"]
    assert "<module>" in event["fault"][0]["at"][0]
    assert "Ana" not in str(event) and "Ben" not in str(event)


def test_our_own_sentences_are_told_without_addresses() -> None:
    event = logs.clean(None, "error", {"event": "x", "exc_info": BadInput(f"Write {ANA} anew.")})
    assert event["fault"] == [{"kind": "BadInput", "at": [], "said": "Write …@… anew."}]


def test_numbers_stay_numbers_and_objects_become_clean_text() -> None:
    event = logs.clean(None, "info", {"event": "x", "rows": 3, "ok": True, "who": {"to": ANA}, "none": None})
    assert (event["rows"], event["ok"], event["none"]) == (3, True, None)
    assert "ana" not in event["who"]


@pytest.mark.parametrize(
    "library", ["uvicorn.error", "apscheduler.executors.default", "mail.log", "asyncio", "x"]
)
def test_libraries_speak_the_same_way_and_only_of_trouble(library: str) -> None:
    text = f"log = logging.getLogger({library!r})\nlog.info('chatter')\nlog.debug('more')\n"
    (event,) = read_log(text + f"log.warning('Trouble with %s\\n%r', {ANA!r}, object())")
    assert (event["library"], event["level"], event["event"]) == (library, "warning", "Trouble with …@…")


def test_a_librarys_error_hides_its_words_too() -> None:
    (event,) = read_log(
        f"try:\n    raise ValueError({ANA!r} + ' Ana')\nexcept ValueError:\n"
        "    logging.getLogger('uvicorn.error').exception('Exception in ASGI application')"
    )
    assert (event["event"], event["fault"][0]["kind"]) == ("Exception in ASGI application", "ValueError")
    assert "Ana" not in str(event) and "ana@" not in str(event)


def test_pythons_warnings_and_what_nobody_caught_go_the_same_way() -> None:
    warning, thread_event, process_event = read_log(
        f"warnings.warn('old: ' + {CLEO!r})\n"
        f"thread = threading.Thread(target=lambda: int({ANA!r}))\nthread.start(); thread.join()\n"
        f"raise RuntimeError({BEN!r})"
    )
    assert warning["library"] == "py.warnings" and "Cleo" not in str(warning)
    assert (thread_event["fault"][0]["kind"], process_event["fault"][0]["kind"]) == (
        "ValueError",
        "RuntimeError",
    )
    assert thread_event["event"] == process_event["event"] == "a fault nobody caught ended this"
    assert "ana" not in str(thread_event) and "hara" not in str(process_event)


def test_configuring_twice_writes_each_line_once() -> None:
    assert len(read_log("logs.configure()\nlogging.getLogger('x').warning('once')\nlog.info('too')")) == 2
