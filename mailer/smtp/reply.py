"""Reply: the cause of a server's refusal, classified by its code, its enhanced code and its text.

```
plain words of blame ("listed by Spamhaus", "DMARC")              → sender
an enhanced code that names the mailbox or its host (5.1.x, 5.2.x) → recipient, domain
words of policy                                                   → sender
words about a mailbox or a host                                   → recipient, domain
5.7.x, 5.5.x and codes of the conversation itself                 → sender
all else                                                          → recipient
```
A wrong "sender" costs a few more tries, a wrong "recipient" costs a recipient the mail; so the first plain
sign of blame decides, whatever the code. A 4xx reply is only "sender" or "temporary".

The words were observed in the replies of servers, gathered from: RFC 3463, RFC 5248, RFC 7372 (codes); the
SMTP replies documented by Google, Microsoft (non-delivery reports in Exchange Online), Yahoo, Apple, Mimecast
and Proofpoint (each one's list of SMTP errors); Postfix and Exim (their sources); and the reasons of sisimai
(github.com/sisimai/rb-sisimai, lib/sisimai/reason). Only facts were taken.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

RefusalCause = Literal["recipient", "domain", "sender", "temporary"]

# Never about a recipient: our address, name or mail has a bad reputation, or fails authentication.
BLAME_WORDS = (
    "spamhaus", "spamcop", "barracudacentral", "sorbs", "uceprotect", "surbl", "uribl", "abusix",
    "invaluement", "blocklist", "block list", "blacklist", "black list", "denylist", "dnsbl", "rbl",
    "blocked using", "listed at", "listed in", "on our block",
    "reputation", "unsolicited", "spam", "bulk mail", "bulk email", "junk mail", "phish", "virus", "malware",
    "spf", "dkim", "dmarc", "arc validation", "sender policy framework", "unauthenticated",
    "not authenticated", "authentication checks", "sender id",
    "ptr record", "reverse dns", "rdns", "forward dns", "helo", "dynamic ip", "client host rejected",
    "rate limit", "unusual rate", "user complaints", "too many complaints",
    "banned sending ip", "your ip", "sending ip", "sender ip", "ip address has been",
    "relay access denied", "relaying denied", "unable to relay", "relay not permitted",
    "not permitted to relay",
    "authentication required", "authentication is required", "requires authentication", "must authenticate",
    "authenticate first", "log in first", "login required",
    "sender address rejected", "sender rejected", "sender denied", "sender verify failed", "sender domain",
    "invalid sender", "bad sender", "envelope blocked", "tss0",
)  # fmt: skip
POLICY_WORDS = (
    "policy", "policies", "security reasons", "content rejected", "content restrictions", "message content",
    "prohibited", "not authorized to send", "access denied by", "administrative",
    "rejected by an organization", "service refused",
)  # fmt: skip
# Google limits recipients who get too much mail, which is about them; greylisting is about no one.
ACCESS_DENIED = "access denied"  # with 5.7.x about a client without a login, with 5.4.1 about a mailbox
NOT_BLAME_WORDS = (
    "receiving mail at a rate", "receiving mail too quickly", "greylist", "graylist", "grey list", "postgrey",
)  # fmt: skip
RECIPIENT_WORDS = (
    "user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address",
    "no such person", "unknown recipient", "recipient unknown", "unknown address", "address unknown",
    "unknown local part", "unknown mailbox", "mailbox unavailable", "mailbox not found", "mailbox unknown",
    "mailbox is disabled", "mailbox disabled", "mailbox is inactive", "mailbox does not exist",
    "mailbox full", "mailbox is full", "over quota", "quota exceeded", "exceeded storage", "out of storage",
    "invalid recipient", "invalid mailbox", "invalid address", "recipient not found", "recipientnotfound",
    "recipient address rejected", "recipient rejected", "recipient does not exist", "does not exist",
    "doesn't exist", "doesn't have a", "not a valid mailbox", "not a known user", "user not found",
    "no mailbox", "account is disabled", "account has been disabled", "account that you tried to reach",
    "account is inactive", "inactive user", "user is inactive", "no longer valid", "no longer accepts",
    "no longer available", "address no longer", "not listed in", "usuario desconocido", "no existe",
    "blocked by the recipient", "recipient has blocked", "recipient preferences", "not our customer",
)  # fmt: skip
DOMAIN_WORDS = (
    "domain not found", "domain does not exist", "host not found", "host or domain name not found", "null mx",
    "nullmx", "unrouteable address", "unroutable address", "no mx record", "bad destination system",
    "mail for this domain", "domain is not hosted", "domain isn't in my list",
)  # fmt: skip

# Enhanced codes without their class. Other codes are classified by the words.
CODES: Mapping[str, RefusalCause] = {
    "1.0": "recipient", "1.1": "recipient", "1.3": "recipient", "1.6": "recipient",
    "1.2": "domain", "4.4": "domain",
    "1.7": "sender", "1.8": "sender",
    "2.0": "recipient", "2.1": "recipient", "2.2": "recipient", "2.3": "recipient",
    "7.13": "recipient", "7.17": "recipient", "7.18": "domain",
}  # fmt: skip
PROTOCOL_CODES = frozenset(
    {500, 502, 503, 504}
)  # the server did not understand the command, for any recipient


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b{re.escape(each)}" for each in words), re.IGNORECASE)


_BLAME, _POLICY, _NOT_BLAME, _RECIPIENT, _DOMAIN = map(
    _pattern, (BLAME_WORDS, POLICY_WORDS, NOT_BLAME_WORDS, RECIPIENT_WORDS, DOMAIN_WORDS)
)


def classify_refusal(code: int | None, enhanced: str, words: str) -> RefusalCause:
    """Return the cause of a refusal (4xx or 5xx); `enhanced` is its code of RFC 3463, or ""."""
    is_blame = _BLAME.search(words) and not _NOT_BLAME.search(words)
    subject = enhanced.partition(".")[2]
    if code is not None and code // 100 == 4:
        blames_sender = is_blame or (
            subject.startswith("7.") and _POLICY.search(words) and not _NOT_BLAME.search(words)
        )
        return "sender" if blames_sender else "temporary"
    if is_blame:
        return "sender"
    if subject in CODES:
        return CODES[subject]
    if _POLICY.search(words) or (subject.startswith("7.") and ACCESS_DENIED in words.lower()):
        return "sender"
    if _RECIPIENT.search(words):
        return "recipient"
    if _DOMAIN.search(words):
        return "domain"
    return "sender" if subject.startswith(("7.", "5.")) or code in PROTOCOL_CODES else "recipient"
