"""Outcome: the result of sending one message to a relay; mailer/smtp/connection.py returns it."""

import re
from dataclasses import dataclass
from typing import Literal

from mailer.reasons import Reason
from mailer.smtp import reply
from mailer.smtp.capabilities import RelayLimit
from mailer.smtp.reply import RefusalCause

State = Literal["sent", "deferred", "refused", "unreachable", "unknown", "unsupported"]

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result for one message: a state, the server's code, and its text (at most 500 characters).

    `doubt` is the reason of an unknown outcome, `limit` the limit of an unsupported one.
    """

    state: State
    code: int | None = None
    reply: str = ""
    doubt: Reason | None = None
    limit: RelayLimit | None = None

    @property
    def enhanced_code(self) -> str:
        """The enhanced status code of RFC 3463, such as "5.1.1", or "" when the server gave none."""
        match = _ENHANCED.match(self.reply)
        return match.group() if match else ""

    @property
    def too_large(self) -> bool:
        """Whether the message is larger than a server accepts (RFC 3463, x.2.3 and x.3.4)."""
        return self.state == "refused" and self.enhanced_code in ("5.2.3", "5.3.4")

    @property
    def cause(self) -> RefusalCause | None:
        """The cause of a server's refusal; None where no server refused the message."""
        is_refusal = self.code is not None and self.state in ("deferred", "refused")
        return reply.classify_refusal(self.code, self.enhanced_code, self.reply) if is_refusal else None

    @property
    def blames_sender(self) -> bool:
        """Whether the sender's side is to blame: policy, reputation, protocol, or the relay itself."""
        return self.state == "unreachable" or self.cause == "sender"
