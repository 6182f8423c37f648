"""How websites are asked: politely, and so that no answer can do harm."""

import contextlib
import email.utils
import http.client
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import timezone
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import requests
from protego import Protego
from urllib3.exceptions import HTTPError

import utils
from crawling.timed import WHOLE_ANSWER, TimedAdapter

ROBOT = "Captcha-Recognizer/1.0"  # the name by which a robots.txt may address this program
USER_AGENT = f"{ROBOT} (+learning project; reads images only)"
LONGEST_WAIT = 120.0  # seconds; when a site asks for more, the crawl of that site ends
MOST_REDIRECTS = 10
ROBOTS_BYTES = 500 * 1024  # of a robots.txt, the least that RFC 9309 allows; the rest is not read


class NoImage(Exception):
    """An answer was not an image; the text says what it was, the same text for the same kind."""


class GiveUp(ValueError):
    """A source must not be asked again, or it would be no use; the text says why."""


class Stopped(Exception):
    """Nothing more is to be asked for."""


# ---------------------------------------------------------------- what all requests share


class Host:
    """When the next request to a host may be sent; shared by all threads."""

    def __init__(self, delay: float, parallel: int) -> None:
        self.delay = delay
        self.options: dict[str, dict[str, Any]] = {}  # what to give to requests, by scheme
        self.slots = threading.BoundedSemaphore(parallel)
        self.free_at = 0.0  # on the clock of time.monotonic()
        self.failures = 0  # in a row
        self.clock = threading.Condition()  # guards these numbers
        self.robots: dict[str, Protego] = {}  # the rules of robots.txt, by scheme
        self.robots_lock = threading.Lock()

    @contextlib.contextmanager
    def slot(self, stop: threading.Event) -> Iterator[None]:
        """Wait until a request may be sent; the host is being asked until the block ends.

        Raises Stopped if there is nothing more to ask for.
        """
        with self.slots:
            with self.clock:
                while (wait := self.free_at - time.monotonic()) > 0 and not stop.is_set():
                    self.clock.wait(min(wait, 0.2))
                if stop.is_set():
                    raise Stopped
                self.free_at = time.monotonic() + self.delay
            yield

    def rest(self, seconds: float) -> None:
        """Note that the host is in trouble: ask nothing for some seconds.

        With each failure in a row the delay doubles, up to tenfold.
        """
        with self.clock:
            seconds = max(seconds, self.delay * min(10, 2**self.failures))
            self.failures = min(self.failures + 1, 10)
            self.free_at = max(self.free_at, time.monotonic() + seconds)

    def slow_down(self, delay: float) -> None:
        """Wait at least ``delay`` seconds between two requests from now on."""
        with self.clock:
            self.delay = max(self.delay, delay)
            self.free_at = max(self.free_at, time.monotonic() + delay)


class Policy:
    """The rules that the sessions of all threads share.

    ``delay`` is the time between two requests to one host and ``timeout`` how long it may stay
    silent, in seconds; ``parallel`` is how many requests one host gets at once. Only ``own_host``,
    a server that this program runs itself, needs no delay.
    """

    def __init__(self, delay: float, timeout: float, parallel: int, own_host: str = "") -> None:
        self.delay, self.timeout, self.parallel = delay, timeout, parallel
        self.own_host = own_host
        self.hosts: dict[str, Host] = {}
        self.lock = threading.Lock()

    def host(self, address: str) -> Host:
        """Return the host of an address."""
        name = urlsplit(address).netloc.lower()
        with self.lock:
            if name not in self.hosts:
                delay = 0 if name == self.own_host else self.delay
                self.hosts[name] = Host(delay, self.parallel)
            return self.hosts[name]

    def connect_options(self, host: Host, address: str) -> dict[str, Any]:
        """Return the timeout for an address, and the proxies and certificates of the environment.

        requests would read the environment again for each request, which is slow.
        """
        scheme = urlsplit(address).scheme
        if scheme not in host.options:
            own = urlsplit(address).netloc.lower() == self.own_host  # on this computer: no proxy
            bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
            host.options[scheme] = {
                "timeout": self.timeout,
                "proxies": {} if own else requests.utils.get_environ_proxies(address),
                "verify": bundle or True,
            }
        return host.options[scheme]


# ---------------------------------------------------------------- asking


class PoliteSession(requests.Session):
    """A session that says who asks, obeys robots.txt, waits its turn, and bounds every answer.

    One thread uses one session, so that a page and its image share their cookies. Once ``stop`` is
    set, it asks for nothing more.
    """

    def __init__(self, policy: Policy, stop: threading.Event) -> None:
        super().__init__()
        self.policy, self.stop = policy, stop
        self.headers["User-Agent"] = USER_AGENT
        self.headers["Accept-Encoding"] = "identity"  # images are compressed already
        self.headers["Cache-Control"] = "no-cache"  # another captcha each time
        # Passwords in .netrc stay here. Proxies and certificates: see connect_options().
        self.trust_env = False
        for scheme in ("http://", "https://"):
            self.mount(scheme, TimedAdapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Leave redirects to ask(): requests would read their bodies, however long."""

    def ask(
        self, address: str, limit: int, page: str = "", obey: bool = True
    ) -> tuple[requests.Response, bytes]:
        """Ask for an address; return the answer after all redirects, and its body.

        A body is cut off soon after ``limit`` bytes. ``page`` is where the address was found, if it
        was found in a page. Raises NoImage for no answer, and GiveUp if the site does not want to
        be asked.
        """
        address = web_address(address)
        for hop in range(MOST_REDIRECTS + 1):
            if obey:
                try:
                    self.obey_robots(address)
                except GiveUp as error:
                    if hop or page:  # another answer may lead elsewhere
                        raise NoImage(str(error).rstrip(".")) from error
                    raise
            answer, body = self.ask_once(address, limit, page)
            target = super().get_redirect_target(answer)
            if target is None:
                return answer, body
            address = web_address(target, address)
        raise NoImage("it redirects in circles")

    def ask_once(self, address: str, limit: int, page: str) -> tuple[requests.Response, bytes]:
        """Send one request as soon as the host may be asked; see ask()."""
        host = self.policy.host(address)
        options = self.policy.connect_options(host, address)
        with host.slot(self.stop):
            start = time.monotonic()
            try:
                headers = {"Referer": page} if page else None
                request = self.prepare_request(requests.Request("GET", address, headers=headers))
                with self.send(request, stream=True, **options) as answer:
                    body = read_body(answer, limit)
            except (requests.RequestException, HTTPError, ValueError) as error:
                host.rest(0)
                if time.monotonic() - start >= WHOLE_ANSWER * self.policy.timeout:
                    raise NoImage("the answer did not come to an end") from error
                raise NoImage(reason(error)) from error
        wait = retry_after(answer)
        if wait or answer.status_code == 429 or answer.status_code >= 500:
            host.rest(wait)
        else:
            host.failures = 0
        if wait > LONGEST_WAIT:
            raise GiveUp(f"the site asks to wait {wait:.0f} seconds; run this again then.")
        if wait:
            utils.note(f"The site asks to wait {wait:.0f} seconds.")
        return answer, body

    def obey_robots(self, address: str) -> None:
        """Raise GiveUp if robots.txt of the site forbids an address, or cannot be read."""
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}"
        host = self.policy.host(address)
        with host.robots_lock:  # one thread reads it, the others wait
            if parts.scheme not in host.robots:
                host.robots[parts.scheme] = self.read_robots(site)
        if not host.robots[parts.scheme].can_fetch(address, ROBOT):
            raise GiveUp(f"{site}/robots.txt asks programs to leave {address} alone.")

    def read_robots(self, site: str) -> Protego:
        """Fetch and parse robots.txt (RFC 9309); where there is none, everything is allowed.

        The statuses 401 and 403 forbid everything: who locks up even the rules wants no robots.
        Raises GiveUp if it cannot be read three times.
        """
        url = f"{site}/robots.txt"
        for _ in range(3):
            try:
                answer, body = self.ask(url, ROBOTS_BYTES, obey=False)
            except NoImage as error:
                trouble = str(error)
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    break
                trouble = status(answer)
        else:
            raise GiveUp(f"{url} cannot be read: {trouble}.")
        if answer.status_code in (401, 403):
            return Protego.parse("User-agent: *\nDisallow: /")
        if answer.status_code != 200:
            return Protego.parse("")
        rules = Protego.parse(body[:ROBOTS_BYTES].decode("utf-8-sig", "replace"))
        host, delay = self.policy.host(url), rules.crawl_delay(ROBOT) or 0.0
        if delay > host.delay:
            utils.note(f"{url} asks for {delay:g} seconds between two requests.")
            host.slow_down(delay)
        return rules


def web_address(address: str, page: str = "") -> str:
    """Return the whole of an address that was found at ``page``, without its #fragment.

    Raises NoImage unless it is an address of the web.
    """
    with contextlib.suppress(ValueError):  # raised for an invalid address
        whole = urljoin(page, address)
        parts = urlsplit(whole)
        if parts.scheme in ("http", "https") and parts.hostname:
            return urldefrag(whole).url
    raise NoImage(f"it leads to {address[:100]!r}, which is no web address")


def read_body(answer: requests.Response, limit: int) -> bytes:
    """Return the body of an answer, cut off soon after ``limit`` bytes."""
    body = bytearray()
    for chunk in answer.iter_content(65_536):
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


# ---------------------------------------------------------------- what an answer says


def retry_after(answer: requests.Response) -> float:
    """Return how many seconds a failing site asks to wait; 0 if it does not ask."""
    text = answer.headers.get("Retry-After", "").strip() if answer.status_code >= 400 else ""
    if re.fullmatch("[0-9]{1,15}", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):  # none, or no date
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, math.ceil(date.timestamp() - time.time()))


def status(answer: requests.Response) -> str:
    """Return the status of an answer as text, such as "status 404 Not Found"."""
    words = http.client.responses.get(answer.status_code, "")  # the site's could be anything
    return f"status {answer.status_code} {words}".rstrip()


def reason(error: Exception) -> str:
    """Say in plain words why a request failed."""
    # The cause lies at the end of a chain of exceptions of requests and urllib3.
    cause = repr(error).rpartition("Caused by")[2]
    words = {
        "Timeout": "no answer in time",
        "NameResolution": "there is no such host",
        "NewConnection": "no connection",
        "SSL": "the certificate or encryption is not valid",
    }
    return next((words[sign] for sign in words if sign in cause), "the connection broke")
