"""A small captcha website on this computer, so that everything can be learnt offline.

    python practice_site.py

Then open the address that it prints in a browser; Ctrl+C ends it. getData.py starts the site by
itself when its SOURCE is practice:<form>. The answers travel in the header X-Practice-Answer.

Next: getData.py
"""

import base64
import io
import itertools
import json
import os
import re
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from practice import forms

# ---- edit these -----------------------------------------------------------------------------
PORT = 8000  # the site's address is http://127.0.0.1:PORT/
SEED = 0  # another number draws other captchas
# ---------------------------------------------------------------------------------------------


def start(seed: int = 0, first: int = 0, port: int = 0) -> ThreadingHTTPServer:
    """Start the site on 127.0.0.1 in a thread of its own and return the server.

    ``first`` is the number of the image that the first request without a number gets; each form
    counts on from there. Port 0 takes any free one: ``server_address`` of the result tells which.
    ``shutdown()`` and then ``server_close()`` end it. Raises OSError if the port is taken.
    """
    site = Site(seed, first, port)
    threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
    return site


class Site(ThreadingHTTPServer):
    """The server: what all requests share."""

    request_queue_size = 128  # of clients that may wait; the default of 5 turns parallel ones away
    allow_reuse_port = False  # else a second server could quietly take the same port, ...
    allow_reuse_address = os.name != "nt"  # ... which is what this would mean on Windows

    def __init__(self, seed: int, first: int, port: int) -> None:
        super().__init__(("127.0.0.1", port), Page)
        self.seed = seed
        self.numbers = {form: itertools.count(first) for form in forms.forms}
        self.counting = threading.Lock()

    def server_bind(self) -> None:
        """Bind without asking the network for this computer's name: that can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about browsers that hang up early."""
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
        form, _, shape = path[1:].partition(".")
        number = parse_qs(query).get("n", ["next"])[-1]
        if path == "/":
            self.reply("text/html; charset=utf-8", start_page())
        elif path == "/robots.txt":
            self.reply("text/plain", b"User-agent: *\nDisallow: /private/\n")
        elif (
            form not in forms.forms
            or shape not in ("png", "html", "json")
            or not re.fullmatch("next|[0-9]{1,15}", number)
        ):
            self.reply("text/plain", b"There is no such page.\n", status=404)
        else:
            if number == "next":
                with self.server.counting:
                    number = next(self.server.numbers[form])
            self.reply_captcha(form, shape, int(number))

    do_HEAD = do_GET  # noqa: N815 (reply() leaves the body out)

    def reply_captcha(self, form: str, shape: str, number: int) -> None:
        """Send one captcha as an image, in JSON, or in a page that points at it."""
        if shape == "html":
            image = f'<p><img class="captcha" src="{form}.png?n={number}" alt="captcha"></p>'
            text = '<p>Which characters do you see? <a href="./">All forms</a></p>'
            self.reply("text/html; charset=utf-8", html_page("Are you a person?", image + text))
            return
        picture, answer = forms.draw(form, number, self.server.seed)
        file = io.BytesIO()
        picture.save(file, "PNG")
        if shape == "png":
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
            self.send_header("X-Practice-Answer", answer)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet: a line for each request would bury everything else."""


def start_page() -> bytes:
    """Return the start page: what the site is, samples of each form, and the addresses."""
    body = (
        "<p>This website runs on your own computer and draws captchas without end, for "
        "Captcha-Recognizer to learn on. Each image comes with its answer in the header "
        "<code>X-Practice-Answer</code>.</p>"
    )
    for form in forms.forms:
        samples = [f'<img src="{form}.png?n={n}" alt="{form} {n}"> ' for n in range(8)]
        ways = [f"{form}.png", f"{form}.png?n=17", f"{form}.html", f"{form}.json"]
        links = ", ".join(f'<a href="{way}">/{way}</a>' for way in ways)
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
        sys.exit(f"site.py: cannot use port {PORT} ({reason}); edit PORT in this file.")
    print(f"The site is at http://127.0.0.1:{site.server_port}/ (Ctrl+C ends it).", flush=True)
    try:
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        site.shutdown()
        site.server_close()


if __name__ == "__main__":
    main()
