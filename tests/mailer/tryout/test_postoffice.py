import asyncio
import contextlib
import json
import smtplib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from lists.clock import Clock
from lists.db import Base, Database
from lists.errors import Conflict, NotFound, StorageError
from mailer.smtp.connection import Relay, SmtpConnection
from mailer.tryout import postoffice
from mailer.tryout.postoffice import PostOffice, count_messages, find_port, get_message, list_messages

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
SENDER = "campaign@lists.example"
MESSAGE = b"From: campaign@lists.example\r\nSubject: =?utf-8?q?Se=C3=B1ora?=\r\n\r\nDear neighbor,\r\n.\r\n"


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'lists.db'}")
    Base.metadata.create_all(database.engine, tables=[postoffice.CapturedMessage.__table__])
    yield database
    database.dispose()


@pytest.fixture
def office(database, tmp_path):
    office = PostOffice(database, Clock(lambda: timedelta(days=25)), home=tmp_path)
    yield office
    office.stop()


def list_stored(database):
    with database.read() as session:
        return list_messages(session, limit=1000)


def post(port, *, recipients=(BEN,), message=MESSAGE):
    with smtplib.SMTP("127.0.0.1", port) as client:
        assert client.sendmail(SENDER, list(recipients), message) == {}


async def test_what_the_door_hands_over_is_kept_to_the_octet_with_the_service_s_date(office, database):
    relay = Relay.parse(f"smtp://127.0.0.1:{office.start()}")
    connection = SmtpConnection(relay, helo="mailer.example")
    for recipient in (ANA, BEN, "señora@neighbor.example"):
        outcome = await connection.send(sender=SENDER, recipient=recipient, message=MESSAGE)
        assert outcome.state == "sent"
    await connection.close()
    messages = list_stored(database)
    assert [(message.id, message.to, message.subject) for message in messages] == [
        (1, ANA, "Señora"),
        (2, BEN, "Señora"),
        (3, "señora@neighbor.example", "Señora"),
    ]
    assert abs(messages[0].date - datetime.now(UTC) - timedelta(days=25)) < timedelta(minutes=1)
    with database.read() as session:
        assert get_message(session, 2).raw == MESSAGE
        assert count_messages(session) == 3
        assert [message.id for message in list_messages(session, limit=2)] == [2, 3]
        assert [message.id for message in list_messages(session, limit=1, before=2)] == [1]
        with pytest.raises(NotFound):
            get_message(session, 4)
    assert CLEO not in [message.to for message in messages]


def test_a_message_to_two_people_is_two_messages(office, database):
    post(office.start(), recipients=(ANA, BEN))
    assert [message.to for message in list_stored(database)] == [ANA, BEN]


def test_many_at_once_are_all_kept_and_each_once(office, database):
    port = office.start()
    with ThreadPoolExecutor(10) as senders:
        list(senders.map(lambda n: post(port, recipients=[f"n{n}@neighbor.example"]), range(100)))
    assert sorted(message.to for message in list_stored(database)) == sorted(
        f"n{n}@neighbor.example" for n in range(100)
    )


def test_it_listens_on_this_machine_alone(office):
    port = office.start()
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        pass
    host_address = socket.gethostbyname(socket.gethostname())
    if not host_address.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((host_address, port), timeout=1)


def test_too_large_a_message_is_refused(office, database, monkeypatch):
    monkeypatch.setattr(postoffice, "LARGEST_MESSAGE", 1000)
    port = office.start()
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        post(port, message=MESSAGE * 100)
    assert caught.value.smtp_code == 552
    with pytest.raises(smtplib.SMTPResponseException):
        post(port, message=b"Subject: x\r\n\r\n" + b"x" * 2_000 + b"\r\n")
    assert list_stored(database) == []


def test_when_the_database_is_full_the_sender_is_told_to_come_back(office, database, monkeypatch):
    port = office.start()
    write = database.write

    def full():
        raise StorageError("The disk is full.")

    monkeypatch.setattr(database, "write", full)
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        post(port)
    assert caught.value.smtp_code == 452
    monkeypatch.setattr(database, "write", write)
    post(port)
    assert len(list_stored(database)) == 1


def test_the_oldest_beyond_what_is_kept_are_thrown_away(office, database, monkeypatch):
    monkeypatch.setattr(postoffice, "MAX_MESSAGES", 3)
    monkeypatch.setattr(postoffice, "SWEEP_EVERY", 1)
    port = office.start()
    for _ in range(5):
        post(port)
    assert [message.id for message in list_stored(database)] == [3, 4, 5]


def test_a_note_names_the_port_while_it_runs(office, tmp_path):
    assert find_port(tmp_path) is None
    port = office.start()
    port_file = tmp_path / "postoffice.json"
    assert json.loads(port_file.read_text())["port"] == port
    assert port_file.stat().st_mode & 0o777 == 0o600
    assert find_port(tmp_path) == port
    office.stop()
    assert not port_file.exists()
    assert find_port(tmp_path) is None


def test_a_note_left_behind_is_recognised(office, tmp_path):
    port = office.start()
    port_file = tmp_path / "postoffice.json"
    content = port_file.read_text()
    for stale in (
        json.dumps({"port": 1, "name": "post-office-dead"}),
        json.dumps({"port": port, "name": "post-office-dead"}),
        json.dumps({"port": 99999999, "name": "x"}),
        '{"port": 1}',
        "[]",
        "not json",
    ):
        port_file.write_text(stale)
        assert find_port(tmp_path) is None
    port_file.write_text(content)
    assert find_port(tmp_path) == port


def test_starting_and_stopping_twice_is_allowed_and_a_taken_port_is_named(office, database, tmp_path):
    port = office.start()
    assert office.start() == port
    other = PostOffice(database, Clock(), home=tmp_path / "elsewhere")
    with pytest.raises(Conflict, match=str(port)):
        other.start(port)
    other.stop()
    office.stop()
    office.stop()
    assert office.start(port) == port
    post(port)


def test_stopping_with_a_sender_on_the_line_hangs_up(office, database):
    port = office.start()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        assert line.recv(512).startswith(b"220 ")
        office.stop()
        assert line.recv(512) == b""
    with pytest.raises(OSError):
        post(port)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("post office")]


def test_a_message_on_its_way_when_it_stops_is_kept(office, database, monkeypatch):
    port = office.start()
    has_begun, may_continue = threading.Event(), threading.Event()
    store = office._store

    def slow(batch):
        has_begun.set()
        may_continue.wait(5)
        return store(batch)

    monkeypatch.setattr(office, "_store", slow)
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(post, port)
        has_begun.wait(5)
        threading.Timer(0.2, may_continue.set).start()
        office.stop()
        with contextlib.suppress(smtplib.SMTPServerDisconnected):  # at its QUIT, after the reply
            answer.result()
    assert len(list_stored(database)) == 1


async def test_a_sender_that_hangs_up_after_the_dot_harms_nobody(office, database):
    port = office.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for line in (b"HELO x", b"MAIL FROM:<a@x.example>", b"RCPT TO:<b@x.example>", b"DATA"):
        writer.write(line + b"\r\n")
        await reader.readline()
    await reader.readline()
    writer.write(b"Subject: x\r\n\r\nx\r\n.\r\n")
    writer.transport.abort()
    await asyncio.to_thread(post, port)
    assert len(list_stored(database)) in (1, 2)
