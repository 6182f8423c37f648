"""Measure how fast getData.py crawls, and whether its memory grows; not on Windows.

    python benchmarks/crawl.py
    python benchmarks/crawl.py FORM=digit ROUNDS=30
    python benchmarks/crawl.py FORM=digit COUNT=100000

Two programs crawl the same practice site, which is a third: getData.py, and a bare loop of as many
threads, which keeps nothing. They take turns of two seconds, in which the other one is stopped, so
that whatever else the computer does slows down both alike. With COUNT there is one crawl only, and
its memory is printed on the way.
"""

import itertools
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import requests

import utils
from files.tables import INDEX_COLUMNS, read_table

# ---- edit these ----------------------------------------------------------------------------------
FORM = "simple"  # of the practice site
PARALLEL = 4  # how many requests at once
ROUNDS = 15  # turns of each
COUNT: int | None = None  # crawl so many images, and watch the memory, instead of comparing
WORK_FOLDER = utils.DATA / "crawl"  # for the images; emptied first
# --------------------------------------------------------------------------------------------------

TURN_SECONDS = 2.0
SITE_PROGRAM = "from practice import site; site.PORT = 0; site.main()"


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    site = subprocess.Popen(
        [sys.executable, "-c", SITE_PROGRAM], cwd=utils.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert site.stdout
        found = re.search(r"http://\S+?/", site.stdout.readline())
        assert found, "the site prints its address"
        address = f"{found[0]}{FORM}.png"
        if COUNT is None:
            compare(address, PARALLEL, ROUNDS, WORK_FOLDER)
        else:
            watch(address, COUNT, PARALLEL, WORK_FOLDER)
    finally:
        site.terminate()


def compare(address: str, parallel: int, rounds: int, folder: Path) -> None:
    """Let both take turns, and print the rates and the ratio."""
    with tempfile.NamedTemporaryFile() as dots:
        crawl = start_crawl(address, 10_000_000, parallel, folder)
        program = f"from benchmarks import crawl; crawl.bare_loop({address!r}, {parallel})"
        bare = subprocess.Popen([sys.executable, "-c", program], cwd=utils.ROOT, stdout=dots)
        try:
            while count_lines(folder) < 2 or not Path(dots.name).stat().st_size:
                time.sleep(0.01)  # the start of the programs is not measured
            bare.send_signal(signal.SIGSTOP)
            crawl.send_signal(signal.SIGSTOP)
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(rate(crawl, lambda: count_lines(folder)))
                theirs.append(rate(bare, lambda: Path(dots.name).stat().st_size))
        finally:
            crawl.kill()
            bare.kill()
    print(
        f"{rounds} turns of each: bare loop {statistics.mean(theirs):.0f} images per second, "
        f"getData.py {statistics.mean(ours):.0f}: {100 * sum(ours) / sum(theirs):.0f} %"
    )


def rate(process: subprocess.Popen, count: Callable[[], int]) -> float:
    """Let a program run for its turn; return how many images it fetched per second."""
    before, start = count(), time.monotonic()
    process.send_signal(signal.SIGCONT)
    time.sleep(TURN_SECONDS)
    process.send_signal(signal.SIGSTOP)
    return (count() - before) / (time.monotonic() - start)


def bare_loop(address: str, parallel: int) -> None:
    """Ask without end with ``parallel`` threads, and print a dot for each image."""

    def ask() -> None:
        session = requests.Session()
        session.trust_env = False  # looking for proxies would slow it down
        while True:
            session.get(address, timeout=60).content  # noqa: B018 (reads the body)
            os.write(1, b".")

    for _ in range(parallel):
        threading.Thread(target=ask).start()


def count_lines(folder: Path) -> int:
    """Return how many lines the index has."""
    index = folder / "index.csv"
    return index.read_bytes().count(b"\n") if index.exists() else 0


def start_crawl(address: str, count: int, parallel: int, folder: Path) -> subprocess.Popen:
    """Start getData.py on an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = [f"SOURCE={address}", f"COUNT={count}", f"PARALLEL={parallel}", "DELAY_SECONDS=0"]
    command = [
        sys.executable,
        str(utils.ROOT / "getData.py"),
        *settings,
        f"DOWNLOAD_FOLDER={folder}",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def watch(address: str, count: int, parallel: int, folder: Path) -> None:
    """Crawl once; print the memory each time another tenth has come."""
    crawl = start_crawl(address, count, parallel, folder)
    start = time.monotonic()
    for tenth in itertools.count(1):
        while crawl.poll() is None and count_lines(folder) < tenth * count // 10:
            time.sleep(0.5)
        if crawl.poll() is not None:
            break
        print(
            f"{count_lines(folder)} images after {time.monotonic() - start:.0f} s: "
            f"{memory(crawl.pid)} MiB",
            flush=True,
        )
    index = read_table(folder / "index.csv", INDEX_COLUMNS)
    files = {file.name for file in utils.image_files(folder)}
    twice = len(index) - len({row["image"] for row in index})
    missing = len(files.symmetric_difference(row["image"] for row in index))
    print(
        f"{len(files)} images, {len(index)} rows, {twice} of them double, {missing} without the "
        f"other, in {time.monotonic() - start:.0f} s"
    )


def memory(process: int) -> int:
    """Return how many MiB of memory a process holds now; Linux only."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 // 2**20


if __name__ == "__main__":
    utils.run(main)
