"""Reading images for other programs on the same machine, over HTTP.

POST an image to any path and get JSON. Whatever is sent, the service goes on: a body must say its
length, which is bounded, and all of a request must come within seconds.
"""

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from files.images import MAX_BYTES
from reading.reader import Reader, as_plain
from utils import Prediction

HOST = "127.0.0.1"  # nobody else's machine reaches it
SECONDS = 10.0  # for a whole request to come
MAX_CONNECTIONS = 32  # at a time; more are closed at once


class Server(ThreadingHTTPServer):
    """Answers each connection in a thread, no more than MAX_CONNECTIONS at a time."""

    daemon_threads = True
    request_queue_size = 128  # connections that the system keeps until they are looked at

    def __init__(
        self, port: int, read: Callable[[bytes], Prediction], min_confidence: float
    ) -> None:
        self.places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((HOST, port), partial(Handler, read, min_confidence))

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer a connection if there is a place for it."""
        if self.places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer a connection, then give its place to another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Show an error of this program; that a client went away is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Reads the image of one request; a connection has one."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # an answer has headers even if the request is garbage
    server_version, sys_version = "Captcha-Recognizer", ""

    def __init__(
        self,
        read: Callable[[bytes], Prediction],
        min_confidence: float,
        *connection: Any,  # noqa: ANN401
    ) -> None:
        self.read, self.min_confidence = read, min_confidence
        super().__init__(*connection)

    def setup(self) -> None:
        """Give the client its seconds: a byte now and then does not hold the connection open."""
        super().setup()
        self.clock = threading.Timer(SECONDS, self.hang_up)
        self.clock.daemon = True
        self.clock.start()

    def finish(self) -> None:
        """Stop the clock."""
        self.clock.cancel()
        super().finish()

    def hang_up(self) -> None:
        """Wake the thread that waits for the client: nothing more will come."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_POST(self) -> None:  # noqa: N802 (the name that http.server looks for)
        """Answer with what is read in the body."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length:
            self.send_error(411, "the request must have a Content-Length.")
        elif not (length.isascii() and length.isdigit()):
            self.send_error(400, "the Content-Length is no number.")
        elif len(length) > 12 or int(length) > MAX_BYTES:
            self.send_error(413, f"the image is larger than {MAX_BYTES // 1_000_000} MB.")
        else:
            data = self.rfile.read(int(length))
            if len(data) < int(length):
                self.send_error(400, "the body is shorter than its Content-Length.")
                return
            self.clock.cancel()
            name = unquote(self.path).lstrip("/")
            try:
                self.answer(200, as_plain(name, self.read(data), self.min_confidence))
            except ValueError as error:
                self.answer(422, as_plain(name, str(error), self.min_confidence))

    def answer(self, status: int, content: dict[str, Any]) -> None:
        """Send JSON, the last of this connection."""
        body = json.dumps(content).encode() + b"\n"
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request in JSON; also what http.server itself finds wrong with one."""
        if code == 501:  # what it says for every method that has no do_...()
            code, message = 405, "POST an image."
        with contextlib.suppress(OSError):
            self.answer(code, {"error": message or self.responses[code][0]})
            self.connection.shutdown(socket.SHUT_WR)
            # Closed with something unread, the connection would be reset, and the answer lost.
            while self.rfile.read1(65536):
                pass

    def log_message(self, *arguments: object) -> None:
        """Keep quiet: a program that asks knows what it got."""


def open_server(reader: Reader, port: int, min_confidence: float) -> Server:
    """Return a server on 127.0.0.1 that is yet to be run. Raises ValueError if it cannot listen."""
    turn = threading.Lock()  # one image after the other is fastest, and bounds the memory

    def read(data: bytes) -> Prediction:
        """Read an image when it is its turn."""
        with turn:
            return reader.read(data)

    try:
        return Server(port, read, min_confidence)
    except OSError as error:
        raise ValueError(f"SERVE={port}: this port cannot be used ({error.strerror}).") from error
