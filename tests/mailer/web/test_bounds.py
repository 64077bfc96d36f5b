"""How a real server treats clients that send too much, too slowly, or with forged addresses."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mailer.settings.loading import Settings
from mailer.web import app, forms
from mailer.web import server as web_server

FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@contextmanager
def running(application, settings):
    """Yield the address of a real server; it is stopped as a signal would stop it."""
    is_ready = threading.Event()
    server = web_server.build_server(application, settings, port=0)
    server.ready = is_ready.set
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    assert is_ready.wait(10)
    yield server.servers[0].sockets[0].getsockname()
    server.stop()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def address(sqlite_url, tmp_path):
    from mailer import service as composition
    from mailer.processes import bootstrap

    settings = Settings(home=tmp_path, database_url=sqlite_url)
    bootstrap.create(settings)
    instance = composition.build(settings)
    with running(app.build(instance), settings) as server_address:
        yield server_address
    instance.close()


def ask(address, *pieces, pause=0.0):
    """Send these pieces and return the whole response."""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
                if b"</html>" in answer:
                    break
        except ConnectionResetError:
            pass
        return answer


def post(address, body, *, content_type=FORM, pause=0.0, length=None):
    head = b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %d\r\n\r\n"
    pieces = [body] if isinstance(body, bytes) else body
    size = sum(map(len, pieces)) if length is None else length
    return ask(address, head % (content_type, size), *pieces, pause=pause)


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_a_huge_body_is_refused_before_it_is_read(address):
    assert status(post(address, b"", length=10**12)) == 413


def test_a_body_of_unknown_length_is_read_only_so_far(address):
    head = b"POST /join HTTP/1.1\r\nHost: 127.0.0.1\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    answer = ask(address, head, *[chunk] * 6)
    assert status(answer) == 413
    assert b"too much at once" in answer


def test_a_form_just_within_the_limit_is_read(address):
    assert status(post(address, b"email=" + b"a" * (forms.MAX_BODY_OCTETS - 6))) == 422
    assert status(post(address, b"email=" + b"a" * (forms.MAX_BODY_OCTETS - 5))) == 413


def test_ten_thousand_fields_are_refused(address):
    assert status(post(address, b"&".join(b"a%d=1" % n for n in range(6_000)))) == 400


def test_ten_thousand_parts_are_refused(address):
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    content_type = b"Content-Type: multipart/form-data; boundary=b\r\n"
    assert status(post(address, part * 1_000 + b"--b--\r\n", content_type=content_type)) == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"email=%FF%FE"),
        (FORM, b"\xff\xfe"),
        (b"Content-Type: multipart/form-data\r\n", b"--b--"),
        (b"Content-Type: multipart/form-data; boundary=b\r\n", b"nonsense"),
        (
            b"Content-Type: multipart/form-data; boundary=b\r\n",
            b'--b\r\nContent-Disposition: form-data; name="email"; filename="../x"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
def test_what_is_no_form_of_ours_is_refused(address, content_type, body):
    assert status(post(address, body, content_type=content_type)) == 400


def test_a_length_that_is_no_number_is_refused(address):
    head = b"POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"
    assert status(ask(address, head)) == 400


def test_a_slow_body_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr(forms, "BODY_TIMEOUT_SECONDS", 0.3)
    answer = post(address, [b"a"] * 8, pause=0.1, length=1_000)
    assert status(answer) == 408
    assert b"too slow" in answer


def test_a_visitor_who_never_finishes_asking_is_hung_up(address, monkeypatch):
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_SECONDS", 0.3)
    began = time.monotonic()
    assert ask(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
    assert ask(address) == b""
    assert time.monotonic() - began < 5


def test_a_head_without_end_is_hung_up(address):
    lines = [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X-Much: " + b"a" * 8_000 + b"\r\n"] * 20]
    assert ask(address, *lines) == b""
    assert ask(address, b"GET /", *[b"a" * 8_000] * 20) == b""


def test_the_server_still_answers_after_all_that(address):
    assert status(ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == 200
    answer = ask(address, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status(answer) == 404
    assert b"\r\nserver:" not in answer.lower()


def read_client_address(trusted, tmp_path, forwarded_for):
    async def respond(request):
        return PlainTextResponse(f"<{request.client.host}></html>")

    settings = Settings(home=tmp_path, trusted_proxies=trusted)
    with running(Starlette(routes=[Route("/", respond)]), settings) as address:
        answer = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\n\r\n" % forwarded_for)
    return answer.rpartition(b"<")[0].rpartition(b"<")[2].strip(b">").decode()


def test_a_forged_forwarding_is_believed_from_trusted_proxies_only(tmp_path):
    assert read_client_address("", tmp_path, b"203.0.113.9") == "127.0.0.1"
    assert read_client_address("10.0.0.0/8", tmp_path, b"203.0.113.9") == "127.0.0.1"
    assert read_client_address("127.0.0.0/8", tmp_path, b"203.0.113.9") == "203.0.113.9"
    assert read_client_address("127.0.0.1", tmp_path, b"6.6.6.6, 203.0.113.9") == "203.0.113.9"
