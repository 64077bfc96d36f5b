"""Replies: the cause of a refusal, by the texts of real servers."""
# ruff: noqa: E501

import pytest

from mailer.smtp.outcome import Outcome

# Replies of real servers, with invented addresses, hosts and numbers.
REPLIES = [
    # Gmail
    ("550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking", "recipient"),
    ("550 5.2.1 The email account that you tried to reach is inactive", "recipient"),
    ("552 5.2.2 The recipient's inbox is out of storage space and inactive", "recipient"),
    ("550 5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires SPF", "sender"),
    ("550 5.7.26 Unauthenticated email from x.example is not accepted due to domain's DMARC policy", "sender"),
    ("550 5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail", "sender"),
    ("550 5.7.25 The IP address sending this message does not have a PTR record setup", "sender"),
    ("421 4.7.28 Our system has detected an unusual rate of unsolicited mail from your IP address", "sender"),
    ("421 4.7.0 This message is suspicious due to the very low reputation of the sending IP address", "sender"),
    ("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents", "temporary"),
    ("452 4.2.2 The recipient's inbox is out of storage space", "temporary"),
    # Outlook.com, Exchange Online
    ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "recipient"),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ben@x.example not found by SMTP lookup", "recipient"),
    ("550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.example]", "recipient"),
    ("550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block"
     " list (S3140)", "sender"),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal visit", "sender"),
    ("550 5.7.509 Access denied, sending domain x.example does not pass DMARC verification", "sender"),
    ("550 5.7.515 Access denied, sending domain x.example doesn't meet the required authentication level", "sender"),
    ("550 5.7.1 TRANSPORT.RULES.RejectMessage; the message was rejected by organization policy", "sender"),
    ("550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required", "sender"),
    ("451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation", "sender"),
    ("451 4.4.4 Temporary server error. Please try again later", "temporary"),
    ("550 5.2.1 mailbox disabled, not accepting messages", "recipient"),
    # Yahoo, AOL
    ("554 delivery error: dd This user doesn't have a yahoo.example account (ben@x.example) [0]", "recipient"),
    ("552 1 Requested mail action aborted, mailbox not found", "recipient"),
    ("554 30 Sorry, your message to ben@x.example cannot be delivered. This mailbox is disabled (554.30).",
     "recipient"),
    ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints",
     "sender"),
    ("553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
     "sender"),
    ("554 5.7.9 Message not accepted for policy reasons. See the page of codes", "sender"),
    # Proton, iCloud
    ("550 5.1.1 <ben@x.example>: Recipient address rejected: Address does not exist", "recipient"),
    ("554 5.7.1 Blocked - see https://proofpoint.example/ip?192.0.2.1 for your IP", "sender"),
    ("550 5.1.1 <ben@icloud.example>: user does not exist", "recipient"),
    ("552 5.2.2 <ben@icloud.example>: user is over quota", "recipient"),
    ("550 5.7.1 Your email was rejected due to having a domain present in the From header that fails DMARC",
     "sender"),
    ("554 5.7.1 [HM08] Message rejected due to local policy. Please visit", "sender"),
    # Postfix
    ("550 5.1.1 <ben@x.example>: Recipient address rejected: User unknown in local recipient table", "recipient"),
    ("550 5.1.1 <ben@x.example>: Recipient address rejected: User unknown in virtual mailbox table", "recipient"),
    ("554 5.7.1 <ben@x.example>: Relay access denied", "sender"),
    ("554 5.7.1 <ben@x.example>: Recipient address rejected: Access denied", "sender"),  # without a login
    ("550 5.7.1 Recipient rejected: authentication is required", "sender"),
    ("530 Must authenticate before sending to this recipient, unknown user", "sender"),
    ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "sender"),
    ("550 5.1.8 <news@x.example>: Sender address rejected: Domain not found", "sender"),
    ("550 5.1.2 <ben@x.example>: Recipient address rejected: Domain not found", "domain"),
    ("450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]", "sender"),
    ("450 4.2.0 <ben@x.example>: Recipient address rejected: Greylisted, see http://postgrey.example", "temporary"),
    ("451 4.7.1 Greylisting in action, please come back later", "temporary"),
    ("504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname", "sender"),
    ("503 5.5.1 Error: nested MAIL command", "sender"),
    ("452 4.3.1 Insufficient system storage", "temporary"),
    # Exim
    ("550 Unrouteable address", "domain"),
    ("550 No Such User Here", "recipient"),
    ("550 unknown user", "recipient"),
    ("550 Sender verify failed", "sender"),
    ("550-Verification failed for <news@x.example> 550 Sender verify failed", "sender"),
    ("550 This message was classified as SPAM and may not be delivered", "sender"),
    ("550 relay not permitted", "sender"),
    # Barracuda, Mimecast, Proofpoint
    ("550 permanent failure for one or more recipients (ben@x.example:blocked) barracudacentral.org", "sender"),
    ("550 5.7.1 Service unavailable; client [192.0.2.1] blocked using Barracuda Reputation", "sender"),
    ("550 Rejected by header based Anti-Spoofing policy: https://mimecast.example/kb#550", "sender"),
    ("550 Administrative prohibition - envelope blocked - https://mimecast.example/kb", "sender"),
    ("550 Invalid Recipient - https://mimecast.example/kb#550", "recipient"),
    ("550 5.1.1 User Unknown", "recipient"),
    ("554 Email rejected due to security policies - https://mimecast.example", "sender"),
    ("550 5.7.0 Local Policy Violation", "sender"),
    # Without or with a strange code
    ("550 Requested action not taken: mailbox unavailable", "recipient"),
    ("550-Requested action not taken: mailbox unavailable 550 Reject due to policy restrictions.", "sender"),
    ("550 5.7.1 <ben@x.example>... User unknown", "recipient"),
    ("550 5.7.1 no such user here", "recipient"),
    ("550 5.5.1 Invalid mailbox", "recipient"),
    ("550 5.7.1 delivery not authorized, message refused", "sender"),
    ("550 5.7.1 no", "sender"),
    ("550 rejected", "recipient"),
    ("550 you have been blocked by the recipient", "recipient"),
    ("550 El usuario no existe", "recipient"),
    ("556 5.1.10 Recipient address has null MX", "domain"),
    ("554 5.4.4 Host or domain name not found. Name service error", "domain"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "cause"), REPLIES, ids=range(len(REPLIES)))
def test_a_refusal_says_whose_fault_it_is(line: str, cause: str) -> None:
    code, _, reply = line.replace("-", " ", 1).partition(" ") if line[3] == "-" else line.partition(" ")
    state = "deferred" if code.startswith("4") else "refused"
    outcome = Outcome(state=state, code=int(code), reply=reply)
    assert outcome.cause == cause
    assert outcome.blames_sender == (cause == "sender")


def test_there_are_enough_of_each() -> None:
    causes = [cause for _, cause in REPLIES]
    assert len(causes) >= 60 and all(
        causes.count(cause) >= 4 for cause in ("recipient", "sender", "temporary", "domain")
    )


def test_a_relay_that_cannot_be_reached_and_no_answer_are_nobodys_refusal() -> None:
    assert Outcome(state="unreachable").blames_sender
    assert not Outcome(state="deferred", reply="Before the final dot: The connection was lost.").blames_sender
    assert not Outcome(state="sent", code=250, reply="2.0.0 no spam here").blames_sender
