"""Doubt: the reasons why it is unknown whether a message arrived (RFC 1047), each with its sentence.

A row in state `unknown` has one of these reasons as its `why`. With one of CORRECTABLE it keeps the name of
its worker, and a later result of that worker or its journal corrects it.
"""

from collections.abc import Mapping

BROKEN = "the connection broke after the last byte"
LATE = "the server did not answer in time"
FAULT = "a fault of the program while it was handed over"
DIED = "its worker died at the last byte"
STOPPED = "the machine stopped while it was claimed"
LOST = "its worker was lost"
MAY_HAVE_LEFT = "it may have left before the backup was restored"

CORRECTABLE = (LOST,)  # the worker may still run: it was unreachable, on another machine

SENTENCES: Mapping[str, str] = {
    BROKEN: "The connection broke after the last byte: it may or may not have arrived.",
    LATE: "The server did not answer after the last byte: it may or may not have arrived.",
    FAULT: "A fault of the program interrupted the hand-over: it may or may not have arrived.",
    DIED: "The delivery process died between the last byte and the answer: it may or may not have arrived.",
    STOPPED: "The machine stopped while a delivery process held it: it may or may not have left.",
    LOST: "The delivery process that held it was lost, with its machine or its way to the database:"
    " it may or may not have left.",
    MAY_HAVE_LEFT: "It may have left before the backup was restored.",
}
