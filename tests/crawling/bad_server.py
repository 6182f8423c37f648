"""A website that answers as it is told to: properly, or badly in every way that we know of."""

import gzip
import io
import itertools
import os
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

login = b"<!doctype html><html><head>\n<title> Sign\n in &amp; on </title></head>"


@cache
def encoded(seed, kind="PNG"):
    """A small image that is different for each seed."""
    file = io.BytesIO()
    pixels = random.Random(seed).randbytes(30 * 10 * 3)
    Image.frombytes("RGB", (30, 10), pixels).save(file, kind)
    return file.getvalue()


@cache
def black_square(side):
    """An image that is small as a file and large in memory."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


@cache
def zipped_zeros():
    """200 MB of zeros, compressed."""
    return gzip.compress(bytes(200_000_000), 1)


# ---------------------------------------------------------------- ways to answer


def reply(body=b"", status=200, kind="image/png", **headers):
    """A way to answer; a header's name has _ for -. A list of values sends it several times."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": len(body), **headers}.items():
            for each in value if isinstance(value, list) else [value]:
                handler.send_header(name.replace("_", "-"), str(each))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def last(answer):
    """The same answer, after which the connection ends: where the next begins cannot be known."""

    def closing(handler):
        answer(handler)
        handler.close_connection = True

    return closing


def raw(*parts, pause=0.0):
    """Send bytes as they are, with a pause after each part, and hang up."""

    def answer(handler):
        for part in parts:
            handler.wfile.write(part)
            time.sleep(pause)
        handler.close_connection = True

    return answer


def reset(handler):
    """Break the connection in the middle of the body, by a reset."""
    reply(encoded(0)[:50], Content_Length=5000)(handler)
    handler.wfile.flush()
    linger = struct.pack("ii", 1, 0)  # closing then sends RST
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(handler.connection.detach())
    handler.close_connection = True


def endless(handler):
    """Send a body of a gigabyte."""
    send_a_gigabyte(handler, 200, "Content-Type", "image/png")


def endless_redirect(handler):
    """Redirect, with a body of a gigabyte."""
    send_a_gigabyte(handler, 302, "Location", "/elsewhere")


def send_a_gigabyte(handler, status, header, value):
    """Send an answer that takes very long; note how much of it was read."""
    handler.send_response(status)
    handler.send_header(header, value)
    handler.end_headers()
    handler.close_connection = True
    for handler.server.megabytes in range(1000):
        handler.wfile.write(bytes(1_000_000))


def silence(seconds):
    """Stay silent for a while, and hang up."""

    def answer(handler):
        time.sleep(seconds)
        handler.close_connection = True

    return answer


def trickle(handler):
    """Send a whole image, but slowly: each byte comes in time, the answer does not."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(encoded(0))
    raw(head, *(bytes([byte]) for byte in encoded(0)), pause=0.05)(handler)


def trickling_header(handler):
    """Send header after header, slowly, without end."""
    lines = (b"X-Number: %d\r\n" % number for number in range(10_000))
    raw(b"HTTP/1.1 200 OK\r\n", *lines, pause=0.05)(handler)


def in_circles(handler):
    """Redirect to an address that redirects to itself."""
    reply(status=302, Location="/circle")(handler)


faults = {  # name: (way to answer, how getData.py reports it)
    "hangs up": (raw(), "the connection broke"),
    "resets": (reset, "the connection broke"),
    "stalls": (silence(2), "no answer in time"),
    "trickles": (trickle, "the answer did not come to an end"),
    "trickles header": (trickling_header, "the answer did not come to an end"),
    "500": (reply(status=500), "status 500 Internal Server Error"),
    "502": (reply(status=502), "status 502 Bad Gateway"),
    "503": (reply(status=503), "status 503 Service Unavailable"),
    "429": (reply(status=429, Retry_After=0), "status 429 Too Many Requests"),
    "404": (reply(status=404), "status 404 Not Found"),
    "too long": (last(reply(encoded(0), Content_Length=5000)), "the connection broke"),
    "too short": (last(reply(encoded(0), Content_Length=90)), "is damaged or cut off"),
    "cut": (reply(encoded(0)[:-40]), "is damaged or cut off"),
    "text": (reply(b"Hello"), "is not an image that can be read"),
    "empty": (reply(b""), "is not an image that can be read"),
    "page": (reply(login, kind="text/html"), "an HTML page titled 'Sign in & on'"),
    "circle": (in_circles, "it redirects in circles"),
    "elsewhere": (reply(status=302, Location="file:///etc/hostname"), "which is no web address"),
    "gigabyte": (endless, "more than 4 MB"),
    "zip bomb": (reply(zipped_zeros(), Content_Encoding="gzip"), "more than 4 MB"),
    "pixel bomb": (reply(black_square(8000)), "8000 x 8000 pixels"),
    "no zip": (reply(encoded(0), Content_Encoding="gzip"), "the connection broke"),
    "no http": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01" * 20), "the connection broke"),
}


# ---------------------------------------------------------------- the server


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 5

    def do_GET(self):
        server = self.server
        server.asked.append((time.monotonic(), self.path, self.headers["User-Agent"]))
        server.headers.append(self.headers)
        try:
            if self.path == "/robots.txt":
                server.robots(self)
            elif self.path == "/circle":
                reply(status=301, Location="/circle")(self)
            elif self.path.partition("?")[0] in server.pages:
                server.pages[self.path.partition("?")[0]](self)
            else:
                with server.counting:
                    answer = next(server.answers)
                answer(self)
        except (ConnectionError, TimeoutError, ssl.SSLError):  # the client had enough
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        pass


@contextmanager
def serving(answers=(), robots=None, pages=None, certificate=None):
    """Run a server that gives these answers one after the other; yield it.

    ``pages`` are answers by path. ``certificate`` is a trustme certificate, for https.
    """
    server = Server(("127.0.0.1", 0), Handler)
    server.answers = iter(answers)
    server.pages = pages or {}
    server.robots = robots or reply(status=404)
    server.counting = threading.Lock()
    server.megabytes = 0
    server.asked = []  # (time, path, user agent)
    server.headers = []
    scheme = "https" if certificate else "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.site = f"{scheme}://127.0.0.1:{server.server_port}"
    server.address = f"{server.site}/captcha"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def new_images(first=1000):
    """Answers with a new image each time."""
    return (reply(encoded(seed)) for seed in itertools.count(first))


def unreliable(share, seed, counted=None):
    """Answers with a new image each time, or with a fault, of any kind, for a share of them.

    What was given is counted in ``counted``, by the name of the fault, "image" for none.
    """
    rng = random.Random(seed)
    counted = Counter() if counted is None else counted
    for number in itertools.count():
        fault = rng.choice(list(faults)) if rng.random() < share else "image"
        counted[fault] += 1
        yield reply(encoded(number)) if fault == "image" else faults[fault][0]
