"""Fetch captchas from websites, politely, into data/download.

    python getData.py
    python getData.py SOURCE=https://example.org/captcha.png COUNT=500
    python getData.py "SOURCE=https://example.org/login -> img.captcha"
    python getData.py "SOURCE=['practice:simple', 'practice:noise/page', '/my/captchas']"

Without changes it fetches from the practice site (practice/site.py), which it starts itself. Run it
again for more: images that the folder has already do not count. Fetch only from sites that you may
test.

Next: label_helper.py
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping

import utils
from crawling import sources
from crawling.crawl import CrawlJob, crawl, report
from crawling.folder import ImageFolder
from crawling.polite import Policy
from practice import site

# ---- edit these -----------------------------------------------------------------------------
# Where the captchas come from, one source or a list of several. "practice:simple" (or digit,
# ripple, noise, mixed) is the practice site, also as "practice:simple/page" or
# "practice:simple/json". An address is an image, or a page or a JSON answer, in which the captcha
# is guessed; "https://example.org/login -> img.captcha" names the CSS selector of the image in the
# page, "https://example.org/new -> data.image" the field of the JSON answer. {random} in an address
# becomes another number each time, against caches. Anything else is a folder of images, to copy.
SOURCE: str | list = "practice:simple"
COUNT = 1200  # how many new images to fetch from each source
DOWNLOAD_FOLDER = utils.DATA / "download"  # where the images and index.csv go
SEED = 0  # another number makes the practice site draw other captchas

DELAY_SECONDS = 1.0  # between two requests to one host; the practice site needs none
PARALLEL = 4  # how many requests one host gets at once, at most
TIMEOUT_SECONDS = 10.0  # how long a site may stay silent; a whole answer may take three times that
# ---------------------------------------------------------------------------------------------


def main() -> None:
    """Fetch COUNT new images from each SOURCE into DOWNLOAD_FOLDER."""
    utils.settings(globals(), sys.argv[1:])
    utils.at_least("COUNT", COUNT, 1)
    utils.at_least("DELAY_SECONDS", DELAY_SECONDS, 0)
    utils.at_least("PARALLEL", PARALLEL, 1)
    utils.at_least("TIMEOUT_SECONDS", TIMEOUT_SECONDS, 0.1)
    wanted = SOURCE if isinstance(SOURCE, list) else [SOURCE]
    names = list(dict.fromkeys(map(str, wanted or [""])))  # each once

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(ImageFolder(DOWNLOAD_FOLDER))
        host = ""
        if any(map(site.parse_source, names)):
            host = stack.enter_context(site.running(SEED))
        free = site.free_numbers(folder.rows)
        jobs = [make_job(name, COUNT, host, free) for name in names]
        count_before = folder.count
        try:
            crawl(jobs, Policy(DELAY_SECONDS, TIMEOUT_SECONDS, PARALLEL, own_host=host), folder)
        finally:
            report(jobs, folder, count_before)
    if len(jobs) == 1 and jobs[0].end:
        raise ValueError(jobs[0].end)
    if any(job.end for job in jobs):
        raise ValueError("not every source gave all images; see above.")


def make_job(source: str, count: int, host: str, free: Mapping[str, Iterator[int]]) -> CrawlJob:
    """Return the crawl job for a source.

    ``host`` is the practice site's and ``free`` the numbers of its captchas that are still to be
    fetched, by form. Raises ValueError if the source is none of those that there are.
    """
    practice = site.parse_source(source)
    if practice:
        addresses = practice.addresses(host, free[practice.form])
        return CrawlJob(source, addresses, practice.where, count, answer_header=site.ANSWER_HEADER)
    found = sources.parse(source)
    if found is None:
        raise ValueError(
            f"SOURCE is {source!r}; it must be one of {', '.join(site.source_names())} (also with "
            "/page or /json), an address that begins with http:// or https://, or a folder that "
            "exists."
        )
    place, where = found
    endless = isinstance(place, str)  # an address, not a folder
    return CrawlJob(source, sources.addresses(place), where, count, endless)


if __name__ == "__main__":
    utils.run(main)
