"""How websites are asked: delays, redirects, certificates and bounds."""

import itertools
import re
import time
from datetime import datetime, timezone

import pytest
import trustme
from bad_server import encoded, endless_redirect, new_images, reply, serving
from crawl_helpers import check_folder, fetch, gaps, mean_gap


def test_a_gigabyte_behind_a_redirect_is_not_read(tmp_path):
    pages = {"/elsewhere": reply(encoded(1))}
    with serving([endless_redirect], pages=pages) as server:
        fetch(server, tmp_path)
    assert server.megabytes < 60
    assert check_folder(tmp_path)[0]["url"] == f"{server.site}/elsewhere"


def test_certificates_that_are_not_valid_are_refused(tmp_path, monkeypatch):
    ours, strange = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ours.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ours.pem"))
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    certificates = {
        "another's": strange.issue_cert("127.0.0.1"),
        "another host's": ours.issue_cert("example.org"),
        "expired": ours.issue_cert("127.0.0.1", not_after=past),
    }
    for name, certificate in certificates.items():
        with serving(new_images(), certificate=certificate) as server:
            job = fetch(server, tmp_path / name)
        assert "robots.txt cannot be read: the certificate" in job.end, name
        assert server.asked == []
    with serving(new_images(), certificate=ours.issue_cert("127.0.0.1")) as server:
        fetch(server, tmp_path / "good")
    assert len(check_folder(tmp_path / "good")) == 1


def test_it_says_who_asks_and_waits_between_all_requests_however_many_threads(tmp_path):
    there = reply(status=302, Location="/elsewhere")
    with serving([there, *itertools.islice(new_images(), 9)]) as server:
        fetch(server, tmp_path, count=6, delay=0.1, parallel=4)
    paths, agents = [path for _, path, _ in server.asked], [agent for *_, agent in server.asked]
    assert paths[:3] == ["/robots.txt", "/captcha", "/elsewhere"]
    assert len(paths) == 8  # and nothing that was not needed
    assert all(agent.startswith("Captcha-Recognizer/") for agent in agents)
    assert mean_gap(server) > 0.09


def test_a_site_in_trouble_is_asked_less_and_less_often(tmp_path):
    answers = [reply(encoded(0)), *[reply(status=500)] * 4, reply(encoded(1)), reply(encoded(2))]
    with serving(answers) as server:
        job = fetch(server, tmp_path, count=3, delay=0.1)
    assert job.failures == {"status 500 Internal Server Error": 4}
    for gap, least in zip(gaps(server)[1:], [0.1, 0.1, 0.2, 0.4, 0.8, 0.1], strict=True):
        assert gap > least * 0.7


def http_date(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))


@pytest.mark.parametrize("wait", [lambda: 1, lambda: http_date(2)])
def test_retry_after_is_waited_for_by_all_threads(tmp_path, wait):
    def told(handler):
        reply(status=429, Retry_After=wait())(handler)

    answers = [*[reply(encoded(n)) for n in range(4)], told]
    with serving(itertools.chain(answers, new_images())) as server:
        job = fetch(server, tmp_path, count=8, parallel=4)
    times = [at for at, _, _ in server.asked]
    # Up to three others may have been on their way when the site said it.
    assert max(gaps(server)) > 0.9
    assert sum(at < times[5] + 0.9 for at in times[6:]) <= 3
    assert job.failures.total() == 1


@pytest.mark.parametrize("wait", ["3600", "99999999999", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_site_that_asks_for_a_long_wait_is_left_alone(tmp_path, wait):
    with serving([reply(status=503, Retry_After=wait)]) as server:
        job = fetch(server, tmp_path)
    assert re.match(r"the site asks to wait \d{4,} seconds; run this again then", job.end)
    assert len(server.asked) == 2
