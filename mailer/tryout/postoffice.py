"""Post office: the try-out's SMTP server on this machine, which stores every message for display.

It runs only while no mail server is configured, and listens on 127.0.0.1 alone. A message is answered with
250 after the transaction that holds it has committed; messages that arrive together share one. It stores the
octets as they came; `mailer/tryout/message_reader.py` parses them.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import ColumnElement, LargeBinary, Text, delete, func, insert, or_, orm, select
from sqlalchemy.orm import Mapped, mapped_column, undefer

from lists.clock import Clock
from lists.db import Base, Database, PrimaryKey, Timestamp
from lists.errors import Conflict, NotFound, StorageError
from mailer.tryout.message_reader import ParsedMessage, parse_message, read_subject

__all__ = [
    "CapturedMessage",
    "ParsedMessage",
    "PostOffice",
    "count_messages",
    "find_port",
    "get_message",
    "list_messages",
    "parse_message",
]

HOST = "127.0.0.1"
PORT_FILE = "postoffice.json"
LARGEST_MESSAGE = 25 * 1024 * 1024  # octets
MESSAGES_PER_COMMIT = 500
MAX_MESSAGES = 100_000  # the oldest beyond these are deleted
SWEEP_EVERY = 1_000  # messages between two checks of the number of stored messages
STOP_SECONDS = 5.0  # how long stop() waits for incoming messages
REPLY_SECONDS = 0.05  # for the last replies to be sent, so that no sender is in doubt
GREETING_SECONDS = 2.0

_log = logging.getLogger(__name__)
logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd would write every address into the log


class CapturedMessage(Base):
    """A message as it arrived. `raw` is loaded only by `message`; `date` is the service's time."""

    __tablename__ = "postoffice_messages"

    id: Mapped[PrimaryKey]
    to: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    date: Mapped[Timestamp]
    raw: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


def list_messages(session: orm.Session, *, limit: int, before: int | None = None) -> list[CapturedMessage]:
    """Return the newest `limit` messages (older than id `before`), ascending by id, without their octets."""
    query = select(CapturedMessage).order_by(CapturedMessage.id.desc()).limit(limit)
    if before is not None:
        query = query.where(CapturedMessage.id < before)
    return list(session.scalars(query))[::-1]


def get_message(session: orm.Session, message_id: int) -> CapturedMessage:
    """Return one message with its octets; raises NotFound."""
    message = session.get(CapturedMessage, message_id, options=[undefer(CapturedMessage.raw)])
    if message is None:
        raise NotFound(f"The post office has no message {message_id}.")
    return message


def count_messages(session: orm.Session) -> int:
    """Return the number of stored messages."""
    return session.scalar(select(func.count(CapturedMessage.id))) or 0


def is_sent_to(spellings: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a message went to one of these spellings of an address, in any case."""
    return or_(
        CapturedMessage.to.in_(spellings),
        func.lower(CapturedMessage.to).in_({text.lower() for text in spellings}),
    )


def delete_messages_to(session: orm.Session, spellings: Collection[str]) -> None:
    """Delete every message to this address, in any of these spellings."""
    session.execute(delete(CapturedMessage).where(is_sent_to(spellings)))


def find_port(home: Path) -> int | None:
    """Return the port of the post office that runs on this data folder, or None.

    A port file of a process that was killed names a port where no process, or another one, answers: the
    greeting must contain the name in the port file.
    """
    try:
        port_file = json.loads((home / PORT_FILE).read_text())
        port, name = int(port_file["port"]), str(port_file["name"])
        with socket.create_connection((HOST, port), timeout=GREETING_SECONDS) as connection:
            connection.settimeout(GREETING_SECONDS)
            greeting = connection.recv(512)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return port if name.encode() in greeting else None


@dataclass(frozen=True)
class _IncomingMessage:
    """One message that waits to be stored, and the future of the reply to its sender."""

    recipients: tuple[str, ...]
    raw: bytes
    answer: asyncio.Future[str]


class PostOffice:
    """Receives messages by SMTP into the database; start() and stop() may be called from any thread."""

    def __init__(self, database: Database, clock: Clock, *, home: Path) -> None:
        self._database = database
        self._clock = clock
        self._home = home
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._since_sweep = SWEEP_EVERY
        self._port = 0

    def start(self, port: int = 0) -> int:
        """Listen on this port of 127.0.0.1 (0: any free one) and return it; raises Conflict when it is taken.

        When it returns, `postoffice.json` in the data folder names the port.
        """
        with self._lock:
            if self._thread is not None:
                return self._port
            ready: Future[int] = Future()
            thread = threading.Thread(
                target=lambda: asyncio.run(self._serve(port, ready)), name="post office", daemon=True
            )
            thread.start()
            self._port = ready.result()
            self._thread = thread
            return self._port

    def stop(self) -> None:
        """Accept no more messages, store incoming ones, and remove the port file; safe to call twice."""
        with self._lock:
            if self._thread is None:
                return
            assert self._loop is not None and self._closing is not None
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, port: int, ready: Future[int]) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        name = f"post-office-{secrets.token_hex(8)}"
        handler = _SmtpHandler(name)
        try:
            server = await self._loop.create_server(handler.connection, HOST, port)
            port = int(server.sockets[0].getsockname()[1])
            self._write_port_file(port, name)
        except OSError as error:
            ready.set_exception(Conflict(f"The post office cannot listen on port {port}: {error.strerror}."))
            return
        store_task = asyncio.create_task(self._store_incoming(handler.queue))
        ready.set_result(port)
        await self._closing.wait()
        server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(handler.queue.join(), STOP_SECONDS)
        await asyncio.sleep(REPLY_SECONDS)
        store_task.cancel()
        (self._home / PORT_FILE).unlink(missing_ok=True)

    def _write_port_file(self, port: int, name: str) -> None:
        draft = self._home / f"{PORT_FILE}.{name}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"port": port, "name": name}, file)
        draft.replace(self._home / PORT_FILE)

    async def _store_incoming(self, queue: asyncio.Queue[_IncomingMessage]) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="post office") as executor:
            while True:
                batch = [await queue.get()]
                while len(batch) < MESSAGES_PER_COMMIT and not queue.empty():
                    batch.append(queue.get_nowait())
                answer = await loop.run_in_executor(executor, self._store, batch)
                for message in batch:
                    queue.task_done()
                    if not message.answer.done():  # its sender may have disconnected
                        message.answer.set_result(answer)

    def _store(self, batch: Sequence[_IncomingMessage]) -> str:
        """Store these messages in one transaction; returns the SMTP reply to all their senders."""
        try:
            now = self._clock.now()
            rows = [row for message in batch for row in _build_rows(message, now)]
            with self._database.write() as session:
                session.execute(insert(CapturedMessage), rows)
                self._sweep(session, len(rows))
        except StorageError as error:
            _log.warning("post office: %s", error)
            return "452 4.3.1 The message could not be stored; nothing was lost, try again later"
        return "250 2.0.0 Kept in the post office"

    def _sweep(self, session: orm.Session, added: int) -> None:
        self._since_sweep += added
        if self._since_sweep < SWEEP_EVERY:
            return
        self._since_sweep = 0
        newest = session.scalar(select(func.max(CapturedMessage.id))) or 0
        session.execute(delete(CapturedMessage).where(CapturedMessage.id <= newest - MAX_MESSAGES))


def _build_rows(message: _IncomingMessage, now: datetime) -> list[dict[str, object]]:
    subject = read_subject(message.raw)
    return [
        {"to": recipient, "subject": subject, "date": now, "raw": message.raw}
        for recipient in message.recipients
    ]


class _SmtpHandler:
    """The SMTP handler: answers each SMTP command, and DATA when the message is stored."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: asyncio.Queue[_IncomingMessage] = asyncio.Queue()

    def connection(self) -> SMTP:
        return SMTP(
            self,
            hostname="localhost",
            ident=self.name,
            data_size_limit=LARGEST_MESSAGE,
            enable_SMTPUTF8=True,
            loop=asyncio.get_running_loop(),
        )

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.original_content
        assert isinstance(raw, bytes)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait(_IncomingMessage(tuple(envelope.rcpt_tos), raw, answer))
        return await answer
