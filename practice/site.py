"""A small captcha website on this computer, so that everything can be learnt offline.

    python run.py site

Then open the address that it prints in a browser; Ctrl+C ends it. getData.py starts the site by
itself when its SOURCE is practice:<form>. The answers are in the header X-Practice-Answer.

Next: getData.py
"""

import base64
import contextlib
import io
import itertools
import json
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs

from practice import forms

# ---- edit these -----------------------------------------------------------------------------
PORT = 8000  # the site's address is http://127.0.0.1:PORT/
SEED = 0  # another number draws other captchas
# ---------------------------------------------------------------------------------------------

ANSWER_HEADER = "X-Practice-Answer"
# What can stand behind "practice:<form>/" in a SOURCE: how the site then gives the captcha, and
# where it is in that: a CSS selector, the field of a JSON answer, or "" for all of it.
KINDS = {"": ("png", ""), "page": ("html", "img.captcha"), "json": ("json", "image")}


# ---------------------------------------------------------------- as a source of getData.py


class Source(NamedTuple):
    """What a source such as ``practice:simple/page`` asks for."""

    form: str
    suffix: str  # of the addresses
    where: str  # the captcha is in the answer: CSS selector, JSON field, or "" for all of it

    def addresses(self, host: str, numbers: Iterator[int]) -> Iterator[str]:
        """Give the addresses of the captchas with these numbers, see free_numbers()."""
        return (f"http://{host}/{self.form}.{self.suffix}?n={number}" for number in numbers)


def parse_source(source: str) -> Source | None:
    """Return what a source asks of the practice site, or None for a source of another kind."""
    form, _, kind = source.removeprefix("practice:").partition("/")
    if not source.startswith("practice:") or form not in forms.FORMS or kind not in KINDS:
        return None
    return Source(form, *KINDS[kind])


def source_names() -> list[str]:
    """Return the sources that there are, such as ``practice:simple``, without page and JSON."""
    return [f"practice:{form}" for form in forms.FORMS]


def free_numbers(rows: Iterable[Mapping[str, str]]) -> dict[str, Iterator[int]]:
    """Return the numbers of the captchas that are not in an index.csv yet, by form.

    ``rows`` are the rows of the index. Sources that show the same form share an iterator.
    """
    used: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if source := parse_source(row["source"]):
            number = re.search(r"[?&]n=(\d{1,15})$", row["url"])
            numbers = used[source.form]
            numbers.add(int(number[1]) if number else len(numbers))
    return {
        form: itertools.filterfalse(used[form].__contains__, itertools.count())
        for form in forms.FORMS
    }


# ---------------------------------------------------------------- the website


@contextlib.contextmanager
def running(seed: int) -> Iterator[str]:
    """Run the site until the block ends; give its host, such as ``127.0.0.1:8000``."""
    site = start(seed)
    try:
        yield f"127.0.0.1:{site.server_port}"
    finally:
        site.shutdown()
        site.server_close()


def start(seed: int = 0, first: int = 0, port: int = 0) -> ThreadingHTTPServer:
    """Start the site on 127.0.0.1 in a thread of its own and return the server.

    ``first`` is the number of the image for the first request without a number; each form counts
    on from there. Port 0 means any free one: ``server_port`` of the result tells which.
    ``shutdown()`` and then ``server_close()`` end it. Raises OSError if the port is taken.
    """
    site = Site(seed, first, port)
    threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
    return site


class Site(ThreadingHTTPServer):
    """The server, with what all requests share."""

    request_queue_size = 128  # of clients that may wait; the default of 5 turns parallel ones away
    allow_reuse_port = False  # else a second server could quietly use the same port, ...
    allow_reuse_address = os.name != "nt"  # ... which is what this would mean on Windows

    def __init__(self, seed: int, first: int, port: int) -> None:
        super().__init__(("127.0.0.1", port), Page)
        self.seed = seed
        self.numbers = {form: itertools.count(first) for form in forms.FORMS}
        self.counting = threading.Lock()

    def server_bind(self) -> None:
        """Bind without asking the network for this computer's name: that can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Print nothing about browsers that hang up early."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Page(BaseHTTPRequestHandler):
    """The answers to one client's requests."""

    server: Site
    protocol_version = "HTTP/1.1"  # keeps the connection for the next request
    disable_nagle_algorithm = True  # an answer goes out at once, ...
    wbufsize = -1  # ... header and body together

    def do_GET(self) -> None:  # noqa: N802 (http.server wants this name)
        """Answer a request; the start page lists the addresses."""
        path, _, query = self.path.partition("?")
        form, _, suffix = path[1:].partition(".")
        number = parse_qs(query).get("n", ["next"])[-1]
        if path == "/":
            self.reply("text/html; charset=utf-8", start_page())
        elif path == "/robots.txt":
            self.reply("text/plain", b"User-agent: *\nDisallow: /private/\n")
        elif (
            form not in forms.FORMS
            or suffix not in ("png", "html", "json")
            or not re.fullmatch("next|[0-9]{1,15}", number)
        ):
            self.reply("text/plain", b"There is no such page.\n", status=404)
        else:
            with self.server.counting:
                n = next(self.server.numbers[form]) if number == "next" else int(number)
            self.reply_captcha(form, suffix, n)

    do_HEAD = do_GET  # noqa: N815 (reply() leaves the body out)

    def reply_captcha(self, form: str, suffix: str, number: int) -> None:
        """Send one captcha as an image, in JSON, or in a page that points at it."""
        if suffix == "html":
            image = f'<p><img class="captcha" src="{form}.png?n={number}" alt="captcha"></p>'
            text = '<p>Which characters do you see? <a href="./">All forms</a></p>'
            self.reply("text/html; charset=utf-8", html_page("Are you a person?", image + text))
            return
        picture, answer = forms.draw(form, number, self.server.seed)
        file = io.BytesIO()
        picture.save(file, "PNG")
        if suffix == "png":
            self.reply("image/png", file.getvalue(), answer=answer)
        else:
            image = base64.b64encode(file.getvalue()).decode()
            fields = {"form": form, "number": number, "image": image}
            self.reply("application/json", json.dumps(fields).encode(), answer=answer)

    def reply(self, kind: str, body: bytes, status: int = 200, answer: str = "") -> None:
        """Send an answer; ``kind`` is the type of its content."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")  # the next visit gets another captcha
        if answer:
            self.send_header(ANSWER_HEADER, answer)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: a line per request would bury everything else."""


def start_page() -> bytes:
    """Return the start page: what the site is, samples of each form, and the addresses."""
    body = (
        "<p>This website runs on your own computer and draws captchas without end, for "
        "Captcha-Recognizer to learn on. Each image comes with its answer in the header "
        f"<code>{ANSWER_HEADER}</code>.</p>"
    )
    for form in forms.FORMS:
        samples = [f'<img src="{form}.png?n={n}" alt="{form} {n}"> ' for n in range(8)]
        pages = [f"{form}.png", f"{form}.png?n=17", f"{form}.html", f"{form}.json"]
        links = ", ".join(f'<a href="{page}">/{page}</a>' for page in pages)
        body += f"<h2>{form}</h2><p>{''.join(samples)}</p><p>{links}</p>"
    return html_page("Practice captchas", body)


def html_page(title: str, body: str) -> bytes:
    """Return a whole HTML page."""
    style = "max-width: 54em; margin: 2em auto; padding: 0 1em; font: 1em/1.5 sans-serif"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f'<body style="{style}"><h1>{title}</h1>\n{body}</body></html>\n'
    ).encode()


def main() -> None:
    """Serve until Ctrl+C."""
    try:
        site = start(SEED, port=PORT)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"site.py: cannot use port {PORT} ({reason}); edit PORT in practice/site.py.")
    try:
        print(f"The site is at http://127.0.0.1:{site.server_port}/ (Ctrl+C ends it).", flush=True)
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        site.shutdown()
        site.server_close()


if __name__ == "__main__":
    main()
