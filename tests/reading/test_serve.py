import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from reading import serve
from utils import Prediction


class FakeReader:
    """Reads the text of a body as if it were an image."""

    def read(self, data):
        if not data.isalnum():
            raise ValueError("the image is not an image that can be read.")
        return Prediction(data.decode(), 0.5, [0.5] + [1.0] * (len(data) - 1))


@pytest.fixture
def port(monkeypatch):
    """A server that waits a second for a request; each test ends with an ordinary one."""
    monkeypatch.setattr(serve, "SECONDS", 1.0)
    server = serve.open_server(FakeReader(), 0, 0.4)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield server.server_port
    status, answer = post(server.server_port, b"last")
    server.shutdown()
    thread.join()
    server.server_close()
    assert (status, answer["text"]) == (200, "last")


def post(port, body, method="POST", path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def send(port, data):
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_an_image_is_answered_in_json(port):
    assert post(port, b"abc", path="/a%20b.png") == (200, {
        "image": "a b.png", "answer": "abc", "text": "abc", "confidence": 0.5,
        "character_confidences": [0.5, 1.0, 1.0],
    })  # fmt: skip
    status, answer = post(port, b"\x89 no image")
    assert status == 422
    assert "not an image" in answer["error"]
    assert post(port, b"")[0] == 422


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "BREW"])
def test_other_methods_are_refused(port, method):
    status, answer = post(port, None, method)
    assert status == 405
    assert answer is None if method == "HEAD" else answer["error"] == "POST an image."


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: abc\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: \u00b2\r\n\r\n".encode("latin-1"), 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", None),  # it hangs up
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"POST / HTTP/9.9\r\n\r\n", 505),
        (b"A" * 70_000 + b"\r\n\r\n", 414),
        (b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_a_hostile_request_is_refused_and_the_service_goes_on(port, request_, status):
    started = time.monotonic()
    answer = send(port, request_)
    assert time.monotonic() - started < 10
    assert not answer if status is None else f" {status} ".encode() in answer.split(b"\r\n")[0]
    if status:
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


def test_a_byte_now_and_then_does_not_hold_a_connection(port):
    """Nor do many such clients keep others from being answered."""
    started, slow = time.monotonic(), []
    for _ in range(5):
        slow.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        slow[-1].sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    assert post(port, b"abc")[0] == 200
    ended = False
    while not ended and time.monotonic() - started < 20:
        time.sleep(0.2)
        try:
            for one in slow:
                one.sendall(b"x")
        except OSError:
            ended = True
    assert ended
    for one in slow:
        one.close()


def test_more_connections_than_there_are_places_are_closed(port, monkeypatch):
    monkeypatch.setattr(serve, "SECONDS", 30.0)
    idle = [
        socket.create_connection(("127.0.0.1", port), timeout=20)
        for _ in range(serve.MAX_CONNECTIONS)
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as extra:
        assert extra.recv(1) == b""  # at once, not when its seconds are over
    for one in idle:
        one.close()
    started, status = time.monotonic(), 0
    while status != 200 and time.monotonic() - started < 20:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = post(port, b"abc")
    assert status == 200


def test_many_at_once_each_get_their_own(port):
    answers = {}

    def ask(number):
        answers[number] = post(port, str(number).encode())[1]["text"]

    threads = [threading.Thread(target=ask, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: str(number) for number in range(20)}


def test_a_port_that_is_taken_is_named(port):
    with pytest.raises(ValueError, match=f"SERVE={port}: this port cannot be used"):
        serve.open_server(FakeReader(), port, 0.0)


def test_no_other_machine_is_answered():
    with serve.open_server(FakeReader(), 0, 0.0) as server:
        assert server.socket.getsockname() == ("127.0.0.1", server.server_port)
