"""Fetch captchas from a website, politely, into data/download.

    python getData.py
    python getData.py SOURCE=https://example.org/captcha.png COUNT=500

Without a change it fetches from practice_site.py, which it starts itself. Run it again for more:
what the folder has already does not count. Fetch only from sites that you may test.

Next: label_helper.py
"""

import contextlib
import html
import http.client
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

import practice_site
import utils

# ---- edit these -----------------------------------------------------------------------------
SOURCE = "practice:simple"  # practice:digit, :simple, :ripple, :noise or :mixed, or an address
COUNT = 1200  # how many new images to fetch
DOWNLOAD_FOLDER = utils.DATA / "download"  # where the images and index.csv go
SEED = 0  # another number makes the practice site draw other captchas
DELAY_SECONDS = 1.0  # between two requests; the practice site needs none
TIMEOUT_SECONDS = 10.0  # how long to wait for a site that says nothing
# ---------------------------------------------------------------------------------------------

user_agent = "Captcha-Recognizer/1.0 (+learning project; reads images only)"
longest_wait = 120.0  # seconds; when a site asks for more, the crawl ends
failures_in_a_row = 10  # then it is no use to go on
known_in_a_row = 20


class NoImage(Exception):
    """An answer was not an image; the text says what it was, the same text for the same kind."""


class Refused(requests.RequestException):
    """robots.txt forbids a request, or cannot be read."""


# ---------------------------------------------------------------- asking politely


class PoliteRetry(Retry):
    """When to try again after a failure: later each time, or when the site says."""

    def get_backoff_time(self) -> float:
        """Return the seconds to wait; urllib3 itself would not wait before the first try."""
        return max(self.backoff_factor, super().get_backoff_time())

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Return the seconds that the site asks to wait. Raises ValueError if they are too many."""
        seconds = super().get_retry_after(response)
        if seconds and seconds > longest_wait:
            raise ValueError(f"the site asks to wait {seconds:.0f} seconds; run this again then.")
        if seconds:
            utils.note(f"The site asks to wait {seconds:.0f} seconds.")
        return seconds


class PoliteSession(requests.Session):
    """A session that says who asks, obeys robots.txt, waits between requests and tries again."""

    def __init__(self, delay: float, timeout: float) -> None:
        super().__init__()
        self.delay = delay
        self.timeout = timeout
        self.headers["User-Agent"] = user_agent
        self.max_redirects = 10
        self.last_request = -delay  # on the clock of time.monotonic()
        self.rules: dict[str, RobotFileParser] = {}  # by scheme and host
        retry = PoliteRetry(
            total=3,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,  # the last answer is looked at like any other
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        """Send a request; requests calls this for every redirect, too.

        Raises Refused if robots.txt forbids it, and what requests raises.
        """
        self.obey_robots(request.url)
        time.sleep(max(0.0, self.last_request + self.delay - time.monotonic()))
        self.last_request = time.monotonic()
        return super().send(request, **options)

    def obey_robots(self, url: str) -> None:
        """Raise Refused if robots.txt of the site forbids an address, or cannot be read."""
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self.rules:
            self.rules[site] = everything = RobotFileParser()
            everything.allow_all = True  # as long as robots.txt itself is fetched
            try:
                rules = self.read_robots(f"{site}/robots.txt")
            except requests.RequestException as error:
                raise Refused(f"{site}/robots.txt cannot be read: {reason(error)}.") from error
            finally:
                del self.rules[site]
            self.rules[site] = rules
        if not self.rules[site].can_fetch(user_agent, url):
            raise Refused(f"{site}/robots.txt asks programs to leave {url} alone.")

    def read_robots(self, url: str) -> RobotFileParser:
        """Fetch and read a robots.txt; where there is none, everything is allowed."""
        with self.get(url, stream=True, timeout=self.timeout) as answer:
            lines = read_body(answer, 500_000).decode("utf-8-sig", "replace").splitlines()
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Refused(status(answer))
        rules = RobotFileParser()
        rules.allow_all = answer.status_code not in (200, 401, 403)
        rules.disallow_all = answer.status_code in (401, 403)
        if answer.status_code == 200:
            rules.parse(lines)
        return rules


def fetch_image(session: PoliteSession, address: str) -> tuple[bytes, str, requests.Response]:
    """Fetch an image; return its bytes, its true extension and the response.

    Raises NoImage for anything that is not a whole image of a captcha's size.
    """
    try:
        with session.get(address, stream=True, timeout=session.timeout) as answer:
            data = read_body(answer, utils.MAX_BYTES)
    except requests.RequestException as error:
        raise NoImage(reason(error)) from error
    if answer.status_code != 200:
        raise NoImage(status(answer))
    if len(data) > utils.MAX_BYTES:
        raise NoImage(f"more than {utils.MAX_BYTES // 1_000_000} MB")
    name = f"content of the type {answer.headers.get('Content-Type', 'unknown')!r}"
    try:
        extension = utils.image_extension(data, name)
        utils.decode_image(data, name)
    except ValueError as error:
        raise NoImage(page_title(data) or str(error).rstrip(".")) from error
    return data, extension, answer


def page_title(data: bytes) -> str:
    """Return what the title of an HTML page is, in words, or "" if it has none."""
    title = re.search(rb"<title[^>]*>(.{,200}?)</title", data[:10_000], re.DOTALL | re.IGNORECASE)
    if title is None:
        return ""
    text = html.unescape(title[1].decode("utf-8", "replace"))
    return f"an HTML page titled {' '.join(text.split())!r}"


def read_body(answer: requests.Response, limit: int) -> bytes:
    """Return the body of an answer, cut off soon after ``limit`` bytes."""
    body = bytearray()
    for chunk in answer.iter_content(65_536):
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def status(answer: requests.Response) -> str:
    """Return the status of an answer as text, such as "status 404 Not Found"."""
    words = http.client.responses.get(answer.status_code, "")  # the site's could be anything
    return f"status {answer.status_code} {words}".rstrip()


def reason(error: requests.RequestException) -> str:
    """Say in plain words why a request failed."""
    if isinstance(error, Refused):
        return str(error).rstrip(".")
    # The cause lies at the end of a chain of exceptions of requests and urllib3.
    cause = repr(error).rpartition("Caused by")[2]
    words = {
        "Timeout": "no answer in time",
        "NameResolution": "there is no such host",
        "NewConnection": "no connection",
        "SSL": "the certificate or encryption is not valid",
        "TooManyRedirects": "it redirects in circles",
    }
    return next((words[sign] for sign in words if sign in cause), "the connection broke")


# ---------------------------------------------------------------- keeping what was fetched


class Download:
    """The folder of fetched images and its index.csv, which says where each came from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "index.csv"
        rows = utils.read_table(self.index, utils.INDEX_COLUMNS) if self.index.exists() else []
        self.names = {row["image"] for row in rows}
        self.from_source = Counter(row["source"] for row in rows)
        self.table = None  # opened with the first image: a crawl that finds nothing writes nothing

    def add(self, data: bytes, extension: str, source: str, url: str, answer: str) -> bool:
        """Keep an image unless it is there already; return whether it is new."""
        name = f"{utils.content_hash(data)[:16]}.{extension}"
        if name in self.names:
            return False
        # First the file, then its row: killed in between, the next run adds the row.
        if not (self.folder / name).exists():
            with utils.replacing(self.folder / name) as temporary:
                temporary.write_bytes(data)
        if self.table is None:
            self.table = utils.open_table(self.index, utils.INDEX_COLUMNS)
        utils.append_row(self.table, [name, source, url, utils.now(), answer])
        self.names.add(name)
        return True


def fetch_images(
    session: PoliteSession, address: str, failures: Counter[str]
) -> Iterator[tuple[bytes, str, requests.Response]]:
    """Give what fetch_image returns, again and again; count in ``failures`` what went wrong.

    Raises ValueError, with what was learnt, after too many failures in a row.
    """
    recent: list[str] = []  # the failures since the last image
    while len(recent) < failures_in_a_row:
        try:
            image = fetch_image(session, address)
        except NoImage as error:
            failures[str(error)] += 1
            recent.append(str(error))
        else:
            recent.clear()
            yield image
    most = Counter(recent).most_common(1)[0][0]
    raise ValueError(f"{len(recent)} answers in a row were no image: {most}.")


def crawl(
    session: PoliteSession,
    source: str,
    address: str,
    count: int,
    download: Download,
    failures: Counter[str],
) -> None:
    """Fetch images from an address until ``count`` new ones of this source are kept.

    Raises Refused if the site does not want it, and ValueError, with what was learnt, when there
    is no use in going on.
    """
    session.obey_robots(address)
    images = fetch_images(session, address, failures)
    for _ in utils.progress(range(count), "fetching"):
        for known, (data, extension, answer) in enumerate(images, start=1):
            solution = answer.headers.get("X-Practice-Answer", "") if is_practice(source) else ""
            if download.add(data, extension, source, answer.url, solution):
                break
            if known == known_in_a_row:
                raise ValueError(
                    f"{known} answers in a row were images that {download.folder} has already: "
                    f"{source} seems to serve the same images again."
                )


# ---------------------------------------------------------------- where from


def is_practice(source: str) -> bool:
    """Tell whether a source is the practice site."""
    return source.startswith("practice:")


def check_source(source: str) -> None:
    """Raise ValueError unless the source is a form of the practice site or a web address."""
    practice = [f"practice:{form}" for form in practice_site.forms]
    with contextlib.suppress(ValueError):  # what an address that makes no sense raises
        if source in practice:
            return
        if urlsplit(source).scheme in ("http", "https"):
            requests.Request("GET", source).prepare()
            return
    raise ValueError(
        f"SOURCE is {source!r}; it must be {', '.join(practice)} "
        "or an image's address that begins with http:// or https://."
    )


@contextlib.contextmanager
def address_of(source: str, seed: int, first: int) -> Iterator[str]:
    """Give the address of a source's images; the practice site runs as long as it is needed."""
    if not is_practice(source):
        yield source
        return
    site = practice_site.start(seed, first)
    try:
        yield f"http://127.0.0.1:{site.server_port}/{source.removeprefix('practice:')}.png"
    finally:
        site.shutdown()
        site.server_close()


def main() -> None:
    """Fetch COUNT new images from SOURCE into DOWNLOAD_FOLDER."""
    utils.settings(globals(), sys.argv[1:])
    check_source(SOURCE)
    utils.at_least("COUNT", COUNT, 1)
    utils.at_least("DELAY_SECONDS", DELAY_SECONDS, 0)
    utils.at_least("TIMEOUT_SECONDS", TIMEOUT_SECONDS, 0.1)

    download = Download(DOWNLOAD_FOLDER)
    had = len(download.names)
    session = PoliteSession(0 if is_practice(SOURCE) else DELAY_SECONDS, TIMEOUT_SECONDS)
    session.trust_env = not is_practice(SOURCE)  # no proxy leads to this computer
    failures: Counter[str] = Counter()
    try:
        with address_of(SOURCE, SEED, download.from_source[SOURCE]) as address:
            crawl(session, SOURCE, address, COUNT, download, failures)
    finally:
        for what, times in failures.most_common():
            utils.note(f"Not an image, {times} times: {what}.")
        new, now = len(download.names) - had, len(download.names)
        print(f"New images: {new}. Images now in {DOWNLOAD_FOLDER}: {now}.")


if __name__ == "__main__":
    utils.run(main)
