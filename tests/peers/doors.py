"""Ana, Ben and Cleo's messages, handed to one relay or another by a connection in a hurry."""

from mailer.smtp.connection import Relay, SmtpConnection, Timeouts

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
SENDER = "campaign@lists.example"
LETTER = b"From: campaign@lists.example\r\nSubject: Hello\r\n\r\nDear neighbor,\r\n.\r\n..two\r\n"
HASTE = Timeouts(connect=2, greeting=0.3, command=0.3, data=0.3, block=0.3, final=0.3, quit=0.2)


def connection(port, *, patience=HASTE, tls="none", host="127.0.0.1", **more):
    limits = {name: more.pop(name) for name in ("messages", "seconds", "idle") if name in more}
    relay = Relay(host=host, port=port, tls=tls, **more)
    return SmtpConnection(relay, helo="mailer.example", timeouts=patience, **limits)


async def send(door, recipient=BEN, message=LETTER, **more):
    return await door.send(sender=SENDER, recipient=recipient, message=message, **more)


async def once(port, recipient=BEN, message=LETTER, **more):
    door = connection(port, **more)
    try:
        return await send(door, recipient, message)
    finally:
        await door.close()
