"""Fetch captchas from websites, politely, into data/download.

    python getData.py
    python getData.py SOURCE=https://example.org/captcha.png COUNT=500
    python getData.py "SOURCE=https://example.org/login -> img.captcha"
    python getData.py "SOURCE=['practice:simple', 'practice:noise/page', '/my/captchas']"

Without a change it fetches from site.py, which it starts itself. Run it again for more:
what the folder has already does not count. Fetch only from sites that you may test.

Next: label_helper.py
"""

import contextlib
import itertools
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import utils
from crawling import sources
from crawling.folder import Download
from crawling.polite import GiveUp, Manners, NoImage, PoliteSession, Stopped
from practice import forms
from practice import site as practice_site

# ---- edit these -----------------------------------------------------------------------------
# Where the captchas come from, one source or a list of several. "practice:digit", simple, ripple,
# noise or mixed is the practice site, also as "practice:digit/page" or "practice:digit/json". An
# address is an image, or a page or a JSON answer in which the captcha is guessed;
# "https://example.org/login -> img.captcha" names the CSS selector of the image in the page,
# "https://example.org/new -> data.image" the field of the JSON answer. {random} in an address is
# another number each time, against caches. Anything else is a folder of images, to be copied.
SOURCE: str | list = "practice:simple"
COUNT = 1200  # how many new images to fetch from each source
DOWNLOAD_FOLDER = utils.DATA / "download"  # where the images and index.csv go
SEED = 0  # another number makes the practice site draw other captchas
DELAY_SECONDS = 1.0  # between two requests to one host; the practice site needs none
PARALLEL = 4  # how many requests one host gets at once, at most
TIMEOUT_SECONDS = 10.0  # how long a site may say nothing; a whole answer may take three times that
# ---------------------------------------------------------------------------------------------

shapes = {"": ("png", ""), "page": ("html", "img.captcha"), "json": ("json", "image")}
failures_in_a_row = 10  # then it is no use to go on
known_in_a_row = 20
batch_seconds = 0.01  # results are taken in batches: threads change places less often
settle_seconds = 0.05  # waiting for the disk once in a while is faster than for each image


# ---------------------------------------------------------------- crawling


class Errand:
    """What is to be fetched from one source, and how far it has come. Only the crawl changes it."""

    def __init__(
        self, source: str, addresses: Iterator[str | Path], where: str | None, count: int
    ) -> None:
        self.source, self.addresses, self.where, self.count = source, addresses, where, count
        self.tickets: SimpleQueue[str | Path] = SimpleQueue()  # addresses to ask for now
        self.under_way = 0  # answers that are still to come
        self.new = 0
        self.failures: Counter[str] = Counter()
        self.recent: list[str] = []  # the failures since the last image
        self.known: list[str] = []  # the known images since the last new one
        self.all_known = 0
        self.fruitful = False  # whether it has given any image
        self.end = ""  # why it ended early
        self.stop = threading.Event()  # nothing more is to be asked for

    def hand_out(self, at_once: int) -> int:
        """Hand out what may be asked for now; return how much is under way.

        As long as no image has come, only one request is made at a time.
        """
        most = min(at_once if self.fruitful else 1, self.count - self.new)
        while self.under_way < most and not self.stop.is_set():
            address = next(self.addresses, None)
            if address is None:  # the last image of a folder is on its way
                break
            self.under_way += 1
            self.tickets.put(address)
        return self.under_way

    def give_up(self, why: str) -> None:
        """End early."""
        self.end = self.end or why
        self.stop.set()

    def count_failure(self, what: str) -> None:
        """Note an answer that was no image; give up after too many in a row."""
        self.failures[what] += 1
        self.recent.append(what)
        if len(self.recent) == failures_in_a_row and not self.is_folder():
            most = Counter(self.recent).most_common(1)[0][0]
            self.give_up(f"{failures_in_a_row} answers in a row were no image: {most}.")

    def count_known(self, name: str, folder: Path) -> None:
        """Note an image that is there already; give up after too many in a row."""
        self.all_known += 1
        self.known.append(name)
        if len(self.known) < known_in_a_row or self.is_folder():
            return
        if len(set(self.known)) == 1:
            self.give_up(
                f"{known_in_a_row} answers in a row were one and the same image, {name}; if the "
                "address needs a part that changes, write {random} into it."
            )
        else:
            self.give_up(
                f"{known_in_a_row} answers in a row were images that {folder} has already: "
                f"{self.source} seems to serve the same images again."
            )

    def is_folder(self) -> bool:
        """Tell whether the source is a folder, which comes to an end by itself."""
        return not re.match("(practice:|https?://)", self.source, re.IGNORECASE)


def work(errand: Errand, manners: Manners, download: Download, inbox: SimpleQueue) -> None:
    """Fetch what the tickets say, and put what came of it into the inbox; runs in a thread."""
    session = PoliteSession(manners, errand.stop)
    while True:
        address = errand.tickets.get()
        try:
            if errand.stop.is_set():
                raise Stopped
            captcha = sources.fetch(session, address, errand.where)
            name, new = download.save(captcha.data, captcha.extension)
            inbox.put((errand, (captcha, name, new)))
        except Exception as error:  # the main thread decides what it means
            session.close()  # what is left of a broken answer must not be taken for the next one
            inbox.put((errand, error))


def take(errand: Errand, result: tuple | Exception, download: Download) -> None:
    """Keep an image that came, or note what came instead. Raises what is no failure of a site."""
    errand.under_way -= 1
    if isinstance(result, NoImage):
        errand.count_failure(str(result))
    elif isinstance(result, GiveUp):
        errand.give_up(str(result))
    elif isinstance(result, Stopped):
        pass
    elif isinstance(result, Exception):
        raise result
    else:
        captcha, name, new = result
        errand.recent.clear()
        errand.fruitful = True
        if errand.where is None:
            errand.where = captcha.where
            if captcha.where:
                utils.note(f"Taking {captcha.where} of {captcha.url} for the captcha.")
        if not new:
            errand.count_known(name, download.folder)
            return
        errand.known.clear()
        errand.new += 1
        answer = captcha.answer if errand.source.startswith("practice:") else ""
        download.enter(name, errand.source, captcha.url, answer)


def crawl(errands: list[Errand], manners: Manners, download: Download) -> None:
    """Run errands side by side until each is done or has given up.

    The threads fetch and write images; this thread alone decides, and writes the index.
    """
    inbox: SimpleQueue = SimpleQueue()
    for errand in errands:
        # Three times as many threads as may ask at once: most wait for the disk.
        for _ in range(min(3 * manners.parallel, errand.count)):
            arguments = (errand, manners, download, inbox)
            threading.Thread(target=work, args=arguments, daemon=True).start()
    ahead = manners.parallel if manners.delay else 8 * manners.parallel
    settled = time.monotonic()
    bar = utils.progress(range(sum(errand.count for errand in errands)), "fetching")
    try:
        while sum(errand.hand_out(ahead) for errand in errands):
            with contextlib.suppress(Empty):
                take(*inbox.get(timeout=settle_seconds if download.unsettled else 1), download)
                time.sleep(batch_seconds)
                while True:
                    take(*inbox.get_nowait(), download)
            bar.update(sum(errand.new for errand in errands) - bar.n)
            if download.unsettled and time.monotonic() - settled > settle_seconds:
                download.settle()
                settled = time.monotonic()
    except KeyboardInterrupt:
        with contextlib.suppress(Empty):
            while True:  # what came in just now is kept, too
                take(*inbox.get_nowait(), download)
        download.settle()
        raise
    finally:
        bar.close()
        for errand in errands:
            errand.stop.set()
    download.settle()


# ---------------------------------------------------------------- where from


def make_errand(source: str, count: int, site: str, numbers: dict[str, set[int]]) -> Errand:
    """Return the errand for a source; ``site`` is the address of the practice site.

    ``numbers`` are the practice images that are there already, by form. They grow: sources that
    show the same form take turns. Raises ValueError if the source makes no sense.
    """
    form, _, shape = source.removeprefix("practice:").partition("/")
    if source.startswith("practice:") and form in forms.forms and shape in shapes:
        suffix, where = shapes[shape]
        free = itertools.filterfalse(numbers[form].__contains__, itertools.count())
        ways = (f"{site}/{form}.{suffix}?n={n}" for n in free if not numbers[form].add(n))
        return Errand(source, ways, where, count)
    place = None if source.startswith("practice:") else sources.parse(source)
    if place is None:
        practice = ", ".join(f"practice:{form}" for form in forms.forms)
        raise ValueError(
            f"SOURCE is {source!r}; it must be one of {practice} (also with /page or /json), an "
            "address that begins with http:// or https://, or a folder that exists."
        )
    return Errand(source, sources.addresses(place[0]), place[1], count)


def main() -> None:
    """Fetch COUNT new images from each SOURCE into DOWNLOAD_FOLDER."""
    utils.settings(globals(), sys.argv[1:])
    names = list(dict.fromkeys(map(str, SOURCE if isinstance(SOURCE, list) else [SOURCE])))
    for name in names or [""]:
        make_errand(name, COUNT, "", defaultdict(set))  # before anything begins
    utils.at_least("COUNT", COUNT, 1)
    utils.at_least("DELAY_SECONDS", DELAY_SECONDS, 0)
    utils.at_least("PARALLEL", PARALLEL, 1)
    utils.at_least("TIMEOUT_SECONDS", TIMEOUT_SECONDS, 0.1)

    with contextlib.ExitStack() as at_the_end:
        download = Download(DOWNLOAD_FOLDER)
        at_the_end.callback(download.close)
        had, host = download.kept, ""
        if any(name.startswith("practice:") for name in names):
            site = practice_site.start(SEED)
            at_the_end.callback(site.server_close)
            at_the_end.callback(site.shutdown)
            host = f"127.0.0.1:{site.server_port}"
        manners = Manners(DELAY_SECONDS, TIMEOUT_SECONDS, PARALLEL, own=host)
        errands = [make_errand(n, COUNT, f"http://{host}", download.numbers) for n in names]
        try:
            crawl(errands, manners, download)
        finally:
            report(errands, download, had)
    ended = [errand.end for errand in errands if errand.end]
    if ended:
        raise ValueError(ended[0] if len(errands) == 1 else "not every source gave all; see above.")


def report(errands: list[Errand], download: Download, had: int) -> None:
    """Say what went wrong, and how many images are new; ``had`` is how many there were before."""
    for errand in errands:
        of = f" of {errand.source}" if len(errands) > 1 else ""
        for what, times in errand.failures.most_common():
            utils.note(f"Not an image{of}, {times} times: {what}.")
        if errand.all_known:
            utils.note(f"Images{of} that were there already: {errand.all_known}.")
        if of:
            utils.note(f"{errand.source}: {errand.new} new images. {errand.end}".strip())
    new, now = download.kept - had, download.kept
    print(f"New images: {new}. Images now in {download.folder}: {now}.")


if __name__ == "__main__":
    utils.run(main)
