"""What several tests of the crawl need: a crawl in this process or as a program, and its folder."""

import hashlib
import itertools
import os
import subprocess
import sys
from collections import defaultdict

from bad_server import reply
from helpers import project

from crawling import sources
from crawling.crawl import CrawlJob, crawl
from crawling.folder import ImageFolder
from crawling.polite import Policy
from files.images import decode_image, image_extension
from files.tables import INDEX_COLUMNS, read_table


def fetch(server, folder, count=1, delay=0.001, timeout=5.0, parallel=1, source=None):
    """Crawl in this process; return the job, which says what came of it.

    The default delay is too short to matter, but keeps the next request until an answer is judged.
    """
    place, where = sources.parse(source or server.address)
    job = CrawlJob(source or server.address, sources.addresses(place), where, count)
    with ImageFolder(folder) as images:
        crawl([job], Policy(delay, timeout, parallel), images)
    return job


def run(folder, *arguments, cwd="/", **environment):
    """Run getData.py as a program, from another folder; it fetches simple practice captchas."""
    return subprocess.run(
        [sys.executable, project / "getData.py", *settings(folder), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def settings(folder):
    """What the tests set, so that they pass whatever somebody has edited in getData.py."""
    return [
        f"DOWNLOAD_FOLDER={folder}", "SOURCE=practice:simple", "COUNT=1200", "SEED=0",
        "DELAY_SECONDS=1.0", "PARALLEL=4", "TIMEOUT_SECONDS=10.0",
    ]  # fmt: skip


def check_folder(folder):
    """Check that every image is whole, rightly named and in the index once; return the index."""
    rows = read_table(folder / "index.csv", INDEX_COLUMNS)
    names = [row["image"] for row in rows]
    assert sorted([*names, "index.csv"]) == sorted(file.name for file in folder.iterdir())
    assert len(set(names)) == len(names)
    for name in names:
        data = (folder / name).read_bytes()
        decode_image(data, name)
        assert name == f"{hashlib.sha256(data).hexdigest()[:16]}.{image_extension(data, name)}"
    return rows


def numbers(rows):
    """The numbers of the practice images in an index, sorted."""
    return sorted(int(row["url"].rpartition("n=")[2]) for row in rows)


def page(body, **headers):
    """A way to answer: with an HTML page."""
    return reply(f"<!doctype html>\n{body}".encode(), kind="text/html", **headers)


class AnyPage(defaultdict):
    """Pages by path, with the same answer for all others."""

    def __contains__(self, path):
        return True


def gaps(server):
    """The seconds between the requests that a server got."""
    times = [at for at, _, _ in server.asked]
    return [b - a for a, b in itertools.pairwise(times)]


def mean_gap(server):
    """The mean, as on a busy computer one request may be noticed late and the next in time."""
    return sum(gaps(server)) / len(gaps(server))
