"""How a crawl runs: threads fetch and write images; the main thread decides, and keeps the index.

Each source is a crawl job. It first asks for one image; once that has come, several threads fetch
side by side. A job ends early when its site keeps failing, or keeps serving the same images.
"""

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import utils
from crawling.folder import ImageFolder
from crawling.polite import GiveUp, NoImage, Policy, PoliteSession, Stopped
from crawling.sources import Captcha, fetch
from files.tables import now

FAILURES_IN_A_ROW = 10  # then it is no use to go on
KNOWN_IN_A_ROW = 20


class CrawlJob:
    """What is to be fetched from one source, and how far it has come. Only the main thread uses it.

    ``addresses`` gives what to ask for, one after the other, and ``where`` says where the captcha
    is in an answer, see sources.fetch(); ``count`` new images are wanted. ``endless`` tells whether
    the addresses never end, as those of a website: only then failures in a row end the job. The
    answer to a captcha is taken from the HTTP header ``answer_header``, if the source has one.
    """

    def __init__(
        self,
        source: str,
        addresses: Iterator[str | Path],
        where: str | None,
        count: int,
        endless: bool = True,
        answer_header: str = "",
    ) -> None:
        self.source, self.addresses, self.where, self.count = source, addresses, where, count
        self.endless, self.answer_header = endless, answer_header
        self.tickets: SimpleQueue[str | Path] = SimpleQueue()  # addresses to ask for now
        self.under_way = 0  # answers that are still to come
        self.new = 0  # images
        self.fruitful = False  # whether it has given any image
        self.failures: Counter[str] = Counter()
        self.failures_in_a_row: list[str] = []  # since the last image
        self.known = 0  # images that were there already
        self.known_in_a_row: list[str] = []  # since the last new one
        self.end = ""  # why it ended early
        self.stop = threading.Event()  # nothing more is to be asked for

    def hand_out(self, most: int) -> int:
        """Hand out addresses until ``most`` answers are under way; return how many are.

        As long as no image has come, only one request is made at a time.
        """
        most = min(most if self.fruitful else 1, self.count - self.new)
        while self.under_way < most and not self.stop.is_set():
            address = next(self.addresses, None)
            if address is None:  # the last image of a folder is under way
                break
            self.under_way += 1
            self.tickets.put(address)
        return self.under_way

    def note_image(self, captcha: Captcha, name: str, new: bool, folder: Path) -> None:
        """Note an image that came; give up after too many in a row that were there already."""
        self.fruitful = True
        self.failures_in_a_row.clear()
        if self.where is None:
            self.where = captcha.where
            if captcha.where:
                utils.note(f"Using {captcha.where} of {captcha.url} as the captcha.")
        if new:
            self.new += 1
            self.known_in_a_row.clear()
            return
        self.known += 1
        self.known_in_a_row.append(name)
        if len(self.known_in_a_row) < KNOWN_IN_A_ROW or not self.endless:
            return
        if len(set(self.known_in_a_row)) == 1:
            self.give_up(
                f"{KNOWN_IN_A_ROW} answers in a row were one and the same image, {name}; if the "
                "address needs a part that changes, write {random} into it."
            )
        else:
            self.give_up(
                f"{KNOWN_IN_A_ROW} answers in a row were images that {folder} has already: "
                f"{self.source} seems to serve the same images again."
            )

    def note_error(self, error: Exception) -> None:
        """Note what came instead of an image. Raises the error if it is no failure of a site."""
        if isinstance(error, NoImage):
            self.failures[str(error)] += 1
            self.failures_in_a_row.append(str(error))
            if len(self.failures_in_a_row) == FAILURES_IN_A_ROW and self.endless:
                most = Counter(self.failures_in_a_row).most_common(1)[0][0]
                self.give_up(f"{FAILURES_IN_A_ROW} answers in a row were no image: {most}.")
        elif isinstance(error, GiveUp):
            self.give_up(str(error))
        elif not isinstance(error, Stopped):
            raise error

    def give_up(self, why: str) -> None:
        """End early."""
        self.end = self.end or why
        self.stop.set()


Result = tuple[CrawlJob, tuple[Captcha, str, bool] | Exception]  # image, name, whether it is new


def crawl(jobs: Sequence[CrawlJob], policy: Policy, folder: ImageFolder) -> None:
    """Run jobs side by side until each is done or has given up; in the main thread only.

    Raises OSError if the disk fails, and KeyboardInterrupt after Ctrl+C.
    """
    results: SimpleQueue[Result] = SimpleQueue()
    for job in jobs:
        for _ in range(min(policy.parallel, job.count)):
            arguments = (job, policy, folder, results)
            threading.Thread(target=work, args=arguments, daemon=True).start()
    bar = utils.progress(range(sum(job.count for job in jobs)), "fetching")
    with bar, interrupt_noted() as interrupted:
        try:
            while sum(job.hand_out(policy.parallel) for job in jobs):
                keep(arrived(results), folder)
                bar.update(sum(job.new for job in jobs) - bar.n)
                if interrupted.is_set():
                    raise KeyboardInterrupt
        finally:
            for job in jobs:
                job.stop.set()


def work(job: CrawlJob, policy: Policy, folder: ImageFolder, results: SimpleQueue[Result]) -> None:
    """Fetch each address that the job hands out, and write the image; runs in a thread."""
    session = PoliteSession(policy, job.stop)
    while True:
        address = job.tickets.get()
        try:
            if job.stop.is_set():
                raise Stopped
            captcha = fetch(session, address, job.where, job.answer_header)
            results.put((job, (captcha, *folder.write(captcha.data, captcha.extension))))
        except Exception as error:  # the main thread decides what it means
            session.close()  # the rest of a broken answer must not be read as the next one
            results.put((job, error))


def arrived(results: SimpleQueue[Result]) -> list[Result]:
    """Return all results that are there; wait a moment for the first one."""
    found = []
    with contextlib.suppress(Empty):
        found.append(results.get(timeout=0.2))  # not longer, so that Ctrl+C is noticed soon
        while True:
            found.append(results.get_nowait())
    return found


def keep(results: Sequence[Result], folder: ImageFolder) -> None:
    """Note what came of each address, then enter the new images in the index, all at once."""
    rows = []
    for job, result in results:
        job.under_way -= 1
        if isinstance(result, Exception):
            job.note_error(result)
            continue
        captcha, name, new = result
        job.note_image(captcha, name, new, folder.folder)
        if new:
            rows.append([name, job.source, captcha.url, now(), captcha.answer])
    if rows:
        folder.enter(rows)


@contextlib.contextmanager
def interrupt_noted() -> Iterator[threading.Event]:
    """Let Ctrl+C set an event, so that it never comes between an image's row and its name."""
    event = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # in the background, where Ctrl+C is ignored, it stays so
        signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def report(jobs: Sequence[CrawlJob], folder: ImageFolder, count_before: int) -> None:
    """Say what went wrong, and how many images are new."""
    for job in jobs:
        of = f" of {job.source}" if len(jobs) > 1 else ""
        for what, times in job.failures.most_common():
            utils.note(f"Not an image{of}, {times} times: {what}.")
        if job.known:
            utils.note(f"Images{of} that were there already: {job.known}.")
        if of:
            utils.note(f"{job.source}: {job.new} new images. {job.end}".strip())
    new = folder.count - count_before
    print(f"New images: {new}. Images now in {folder.folder}: {folder.count}.")
