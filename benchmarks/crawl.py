"""Measure how fast getData.py crawls, and whether its memory grows.

    python benchmarks/crawl.py
    python benchmarks/crawl.py FORM=digit COUNT=3000 REPEATS=5
    python benchmarks/crawl.py FORM=digit COUNT=100000 REPEATS=0

Both crawl the same practice site, which runs as a program of its own: getData.py, and a bare loop
of as many threads that asks and forgets what it gets. They take turns; each turn gives one ratio.
REPEATS=0 only crawls once, and prints the memory and the rate on the way.
"""

import itertools
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

project = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(project))

import requests  # noqa: E402

import utils  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
FORM = "simple"  # of the practice site
COUNT = 2000  # how many images a turn fetches
PARALLEL = 4  # how many requests at once
REPEATS = 5  # turns of each; 0: no bare loop, one long crawl, whose memory is watched
WORK_FOLDER = utils.DATA / "crawl"  # for the images; emptied before each turn
# --------------------------------------------------------------------------------------------------

site_program = "import practice_site; practice_site.PORT = 0; practice_site.main()"


def main() -> None:
    """Measure as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    site = subprocess.Popen(
        [sys.executable, "-c", site_program], cwd=project, stdout=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http://\S+?/", site.stdout.readline())[0] + f"{FORM}.png"
        if REPEATS:
            compare(address, COUNT, PARALLEL, REPEATS, WORK_FOLDER)
        else:
            watch(address, COUNT, PARALLEL, WORK_FOLDER)
    finally:
        site.terminate()


def compare(address: str, count: int, parallel: int, repeats: int, folder: Path) -> None:
    """Let both take turns, and print the rates and the ratio of each turn."""
    ratios = []
    for turn in range(repeats):
        bare = bare_loop(address, count, parallel)
        crawl = start_crawl(address, count, parallel, folder)
        first = time.monotonic()
        while not (folder / "index.csv").exists():  # the start of the program is not measured
            first = time.monotonic()
            time.sleep(0.001)
        if crawl.wait():
            raise ValueError("getData.py failed; see above.")
        ours = count / (time.monotonic() - first)
        ratios.append(ours / bare)
        print(
            f"turn {turn + 1}: bare loop {bare:.0f} images a second, getData.py {ours:.0f}: "
            f"{100 * ratios[-1]:.0f} %",
            flush=True,
        )
    print(f"median {100 * statistics.median(ratios):.0f} %, worst {100 * min(ratios):.0f} %")


def bare_loop(address: str, count: int, parallel: int) -> float:
    """Ask ``count`` times with ``parallel`` threads, and return the images a second."""
    numbers = iter(range(count))
    guard = threading.Lock()

    def ask() -> None:
        session = requests.Session()
        session.trust_env = False  # looking for proxies would slow it down
        while True:
            with guard:
                if next(numbers, None) is None:
                    return
            session.get(address, timeout=10).content  # noqa: B018 (reads the body)

    threads = [threading.Thread(target=ask) for _ in range(parallel)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.monotonic() - start)


def start_crawl(address: str, count: int, parallel: int, folder: Path) -> subprocess.Popen:
    """Start getData.py on an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = [f"SOURCE={address}", f"COUNT={count}", f"PARALLEL={parallel}", "DELAY_SECONDS=0"]
    command = [sys.executable, project / "getData.py", *settings, f"DOWNLOAD_FOLDER={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def watch(address: str, count: int, parallel: int, folder: Path) -> None:
    """Crawl once; print memory and rate each time another tenth has come."""
    crawl = start_crawl(address, count, parallel, folder)
    start = time.monotonic()
    for tenth in itertools.count(1):
        while crawl.poll() is None and rows(folder) < tenth * count // 10:
            time.sleep(0.2)
        if crawl.poll() is not None:
            break
        print(
            f"{rows(folder)} images after {time.monotonic() - start:.0f} s: "
            f"{memory(crawl.pid)} MiB",
            flush=True,
        )
    index = utils.read_table(folder / "index.csv", utils.INDEX_COLUMNS)
    files = {file.name for file in utils.image_files(folder)}
    twice = len(index) - len({row["image"] for row in index})
    missing = len(files.symmetric_difference(row["image"] for row in index))
    print(
        f"{len(files)} images, {len(index)} rows, {twice} of them twice, {missing} without the "
        f"other, in {time.monotonic() - start:.0f} s"
    )


def rows(folder: Path) -> int:
    """Return how many rows the index has so far, roughly: from its size."""
    index = folder / "index.csv"
    if not index.exists():
        return 0
    with index.open("rb") as file:
        head = file.read(20_000)
    return index.stat().st_size * head.count(b"\n") // max(1, len(head))


def memory(process: int) -> int:
    """Return how many MiB of memory a process holds now; Linux only."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 // 2**20


if __name__ == "__main__":
    utils.run(main)
