"""robots.txt is obeyed as RFC 9309 says, over HTTP, and so is Crawl-delay."""

import itertools
import re
import threading

import pytest
from bad_server import endless, faults, login, new_images, reply, serving
from crawl_helpers import check_folder, fetch, mean_gap, page

from crawling.polite import ROBOTS_BYTES, GiveUp, Policy, PoliteSession


def obey_robots(address):
    """Fetch robots.txt of the site and apply it to an address. Raises GiveUp if it is forbidden."""
    with PoliteSession(Policy(0, 5, 1), threading.Event()) as session:
        session.obey_robots(address)


def allowed(rules, path):
    """Whether a robots.txt that begins with ``User-agent: *`` and these rules allows a path."""
    text = f"User-agent: *\n{rules}".encode()
    with serving([], reply(text, kind="text/plain")) as server:
        try:
            obey_robots(server.site + path)
        except GiveUp:
            return False
        finally:
            assert [path for _, path, _ in server.asked] == ["/robots.txt"]
    return True


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("rules", "path", "may"),
    [
        ("Disallow: /folder", "/folders/page", False),
        ("Disallow: /Folder", "/folder", True),
        ("Disallow:", "/page", True),
        ("Disallow: /a?b", "/a?b=1", False),
        ("Disallow: /a # but not b", "/a", False),
        # * is any characters, $ the end
        ("Disallow: /*captcha", "/captcha.png", False),
        ("Disallow: /*captcha", "/img/new-captcha?x=1", False),
        ("Disallow: /*captcha", "/image.png", True),
        ("Disallow: /*.png$", "/a/b.png", False),
        ("Disallow: /*.png$", "/a/b.png?x=1", True),
        ("Disallow: /a*b*c", "/a1b2c3", False),
        ("Disallow: /a*b*c", "/a1c2b3", True),
        ("Disallow: /exact$", "/exact", False),
        ("Disallow: /exact$", "/exactly", True),
        # the same address, however it is encoded
        ("Disallow: /%62%61z", "/baz", False),
        ("Disallow: /\u30c4", "/%E3%83%84", False),
        ("Disallow: /%E3%83%84", "/\u30c4", False),
        # the longest rule decides, whatever the order; among equals, Allow
        ("Disallow: /\nAllow: /p", "/page", True),
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Disallow: /a/b.gif\nAllow: /a/", "/a/b.gif", False),
        ("Allow: /a/\nDisallow: /a/b.gif", "/a/b.gif", False),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Disallow: /folder\nAllow: /folder", "/folder/page", True),
        ("Allow: /$\nDisallow: /", "/", True),
        ("Allow: /$\nDisallow: /", "/page", False),
    ],
)
def test_the_rules_of_robots_txt(rules, path, may):
    assert allowed(rules, path) == may


@pytest.mark.parametrize(
    ("rules", "path", "may"),
    [
        # a group that names this program replaces the one for all
        ("Disallow: /\n\nUser-agent: captcha-RECOGNIZER\nDisallow: /b", "/a", True),
        ("Disallow: /\n\nUser-agent: captcha-RECOGNIZER\nDisallow: /b", "/b", False),
        ("Disallow:\n\nUser-agent: Captcha-Recognizer/1.0\nDisallow: /b", "/b", False),
        ("User-agent: captcha-recognizer\nUser-agent: other\nDisallow: /b", "/b", False),
        # groups for others are not ours, even if they name a word of our User-Agent
        ("Disallow: /a\n\nUser-agent: other\nDisallow: /b", "/b", True),
        ("Disallow: /a\n\nUser-agent: learning\nDisallow: /b", "/b", True),
        # groups for the same program are one
        ("Disallow: /a\n\nUser-agent: *\nDisallow: /b", "/a", False),
        ("Disallow: /a\n\nUser-agent: *\nDisallow: /b", "/b", False),
        # other lines end no group
        ("Disallow: /a\r\nNonsense\r\nSitemap: http://x/\r\nDisallow: /b", "/b", False),
    ],
)
def test_the_groups_of_robots_txt(rules, path, may):
    assert allowed(rules, path) == may


def test_a_long_robots_txt_is_obeyed_up_to_its_bound_and_not_read_beyond():
    comment = b"# nothing\n"
    rules = b"User-agent: *\n" + comment * (ROBOTS_BYTES // len(comment) - 10)
    with serving([], reply(rules + b"Disallow: /captcha\n" + comment * 100_000)) as server:
        with pytest.raises(GiveUp, match="leave .*/captcha alone"):
            obey_robots(server.address)
        obey_robots(f"{server.site}/image")
    with serving([], endless) as server:
        obey_robots(server.address)
    assert server.megabytes < 60


@pytest.mark.parametrize(("delay", "seconds"), [("0.4", 0.4), ("1", 1)])
def test_crawl_delay_is_obeyed_also_in_fractions_of_a_second(tmp_path, capsys, delay, seconds):
    robots = reply(f"User-agent: *\nCrawl-delay: {delay}\n".encode(), kind="text/plain")
    with serving(new_images(), robots) as server:
        fetch(server, tmp_path, count=3, parallel=2)
    assert seconds * 0.95 < mean_gap(server) < seconds + 0.5  # of which 0.5 for a busy computer
    assert f"robots.txt asks for {delay} seconds between two requests" in capsys.readouterr().err


def test_crawl_delay_never_shortens_the_delay_of_ours(tmp_path, capsys):
    robots = reply(b"User-agent: *\nCrawl-delay: 0.01\n", kind="text/plain")
    with serving(new_images(), robots) as server:
        fetch(server, tmp_path, count=3, delay=0.2)
    assert mean_gap(server) > 0.19
    assert "asks for" not in capsys.readouterr().err


# ---------------------------------------------------------------- the whole file


@pytest.mark.parametrize(
    "robots",
    [
        reply(b"User-agent: *\nDisallow: /private\nDisallow: /captcha", kind="text/plain"),
        reply(b"\xef\xbb\xbfUser-agent: captcha-recognizer\nDisallow: /", kind="text/plain"),
        reply(status=401),
        reply(status=403),
    ],
)
def test_robots_txt_that_forbids_is_obeyed(tmp_path, robots):
    with serving(new_images(), robots) as server:
        job = fetch(server, tmp_path)
    assert re.search("robots.txt asks programs to leave http.*alone", job.end)
    assert [path for _, path, _ in server.asked] == ["/robots.txt"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "way",
    [reply(status=302, Location="/private/captcha"), page('<img src="/private/captcha">')],
)
def test_neither_a_redirect_nor_a_page_leads_to_where_robots_txt_forbids(tmp_path, way):
    robots = reply(b"User-agent: *\nDisallow: /private", kind="text/plain")
    with serving(itertools.chain([way], new_images()), robots) as server:
        job = fetch(server, tmp_path)
        paths = [path for _, path, _ in server.asked]
    assert paths == ["/robots.txt", "/captcha", "/captcha"]
    assert "alone" in next(iter(job.failures))


def test_robots_txt_that_cannot_be_read_forbids():
    with serving([], reply(status=429, Retry_After=500)) as server:
        for _ in range(2):
            with pytest.raises(GiveUp, match="asks to wait 500 seconds"):
                obey_robots(server.address)
    down = pytest.raises(GiveUp, match="cannot be read: status 503 Service Unavailable")
    with serving([], reply(status=503)) as server, down:
        obey_robots(server.address)
    assert len(server.asked) == 3
    with serving([], faults["resets"][0]) as server, pytest.raises(GiveUp, match="broke"):
        obey_robots(server.address)


def robots_redirected(handler):
    """Lead to another robots.txt, which allows all."""
    handler.server.pages["/robots"] = reply(status=404)
    reply(status=302, Location="/robots")(handler)


@pytest.mark.parametrize(
    "robots",
    [
        *[reply(status=status) for status in (400, 404, 410, 418)],
        reply(b"User-agent: *\nDisallow: /private", kind="text/plain"),
        reply(b"User-agent: other\nDisallow: /", kind="text/plain"),
        reply(b"User-agent: *\nAllow: /captcha\nDisallow: /", kind="text/plain"),
        reply(login, kind="text/html"),
        robots_redirected,
    ],
)
def test_robots_txt_that_is_missing_or_allows_is_no_hindrance(tmp_path, robots):
    with serving(new_images(), robots) as server:
        fetch(server, tmp_path, count=6, parallel=3)
    assert [path for _, path, _ in server.asked].count("/robots.txt") == 1
    assert len(check_folder(tmp_path)) == 6
