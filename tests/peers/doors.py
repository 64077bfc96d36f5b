"""Connections with short timeouts, and a message to send to Ana, Ben or Cleo."""

from mailer.smtp.connection import Relay, SmtpConnection, Timeouts

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
SENDER = "campaign@lists.example"
MESSAGE = b"From: campaign@lists.example\r\nSubject: Hello\r\n\r\nDear neighbor,\r\n.\r\n..two\r\n"
HASTE = Timeouts(connect=2, greeting=0.3, command=0.3, data=0.3, block=0.3, final=0.3, quit=0.2)


def connection(port, *, timeouts=HASTE, tls="none", host="127.0.0.1", **options):
    limits = {name: options.pop(name) for name in ("messages", "seconds", "idle") if name in options}
    relay = Relay(host=host, port=port, tls=tls, **options)
    return SmtpConnection(relay, helo="mailer.example", timeouts=timeouts, **limits)


async def send(client, recipient=BEN, message=MESSAGE, **options):
    return await client.send(sender=SENDER, recipient=recipient, message=message, **options)


async def once(port, recipient=BEN, message=MESSAGE, **options):
    client = connection(port, **options)
    try:
        return await send(client, recipient, message)
    finally:
        await client.close()
