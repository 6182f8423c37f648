"""How a crawl goes on and ends, against servers that misbehave."""

import itertools
import os
import re
import signal
from collections import Counter

import pytest
from bad_server import (
    black_square,
    encoded,
    faults,
    login,
    new_images,
    raw,
    reply,
    serving,
    unreliable,
)
from crawl_helpers import check_folder, fetch, page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawling.crawl import interrupt_noted
from files.images import MAX_BYTES


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        *[pytest.param(*faults[name], id=name) for name in faults],
        (reply(login), "an HTML page titled 'Sign in & on'"),
        (reply(b"<svg/>", kind="a\x1b[31m"), r"content of the type 'a\x1b[31m' is not an image"),
        (reply(encoded(1) + bytes(MAX_BYTES)), "more than 4 MB"),
        (reply(encoded(1), status=403), "status 403 Forbidden"),
        (reply(encoded(1), status=206), "status 206 Partial Content"),
        (reply(black_square(40_000)), "is not an image that can be read"),
        (reply(status=302, Location="http://[::1"), "which is no web address"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000), "the connection broke"),
        (raw(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000), "the connection broke"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz"), "the connection broke"),
    ],
)
def test_what_is_no_image_is_not_saved_but_named_and_the_crawl_goes_on(tmp_path, answer, what):
    first = reply(encoded(1))  # after it, a page is no longer searched for a captcha
    with serving(itertools.chain([first, answer], new_images())) as server:
        job = fetch(server, tmp_path, count=3, timeout=0.3)
    assert not job.end
    assert len(check_folder(tmp_path)) == job.new == 3
    assert list(job.failures.values()) == [1]
    assert what in next(iter(job.failures))
    assert server.megabytes < 60


def test_a_thousand_images_come_through_though_every_third_answer_is_faulty(tmp_path):
    """1000 whole, distinct images, and each fault counted once, under what it was."""
    given_out = Counter()
    with serving(unreliable(0.3, seed=1, counted=given_out)) as server:
        job = fetch(server, tmp_path, count=1000, timeout=1, parallel=16, delay=0)
    assert not job.end
    assert len(check_folder(tmp_path)) == 1000
    assert given_out.pop("image") == 1000
    assert given_out.keys() == faults.keys()
    expected, counted = Counter(), Counter()
    for fault, times in given_out.items():
        expected[faults[fault][1]] += times
    for what, times in job.failures.items():
        counted[next(text for text in expected if text in what)] += times
    assert counted == expected


mixes = st.lists(
    st.tuples(st.sampled_from(["new", "same", "html", "404", "cut"]), st.integers(1, 21)),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mixes)
def test_any_mix_of_answers_ends_as_a_separate_count_says(tmp_path_factory, mix):
    """5 new images are wanted; 10 failures or 20 known images in a row end the crawl."""
    folder = tmp_path_factory.mktemp("mix")
    seeds = itertools.count()
    make = {
        "new": lambda: reply(encoded(next(seeds))),
        "same": lambda: reply(encoded("same")),
        "html": lambda: reply(login),
        "404": lambda: reply(status=404),
        "cut": lambda: reply(encoded(1)[:-40]),
    }
    kinds = [kind for kind, times in mix for _ in range(times)] + ["new"] * 5
    kept, bad, bad_in_row, known_in_row, end = 0, 0, 0, 0, ""
    same_seen = False
    for kind in kinds:
        if kind in ("html", "404", "cut"):
            bad, bad_in_row = bad + 1, bad_in_row + 1
        else:
            bad_in_row = 0
            known_in_row = known_in_row + 1 if kind == "same" and same_seen else 0
            kept += known_in_row == 0
            same_seen = same_seen or kind == "same"
        if kept == 5:
            break
        if bad_in_row == 10 or known_in_row == 20:
            end = "no image" if bad_in_row == 10 else "the same image"
            break

    with serving([make[kind]() for kind in kinds]) as server:
        job = fetch(server, folder, count=5)
    assert end in job.end
    assert bool(end) == bool(job.end)
    assert job.failures.total() == bad
    assert job.new == len(check_folder(folder) if kept else []) == kept


def test_one_image_again_and_again_is_noticed_and_kept_once(tmp_path):
    with serving(itertools.repeat(reply(encoded(1)))) as server:
        job = fetch(server, tmp_path, count=5)
    assert re.match("20 answers in a row were one and the same image.*{random}", job.end)
    assert len(server.asked) == 1 + 1 + 20  # robots.txt, the new one, the known ones
    assert len(check_folder(tmp_path)) == 1


def test_a_few_images_again_and_again_are_noticed(tmp_path):
    answers = itertools.cycle([reply(encoded(1)), reply(encoded(2))])
    with serving(answers) as server:
        job = fetch(server, tmp_path, count=5, parallel=4, delay=0)
    assert "seems to serve the same images again" in job.end
    assert len(check_folder(tmp_path)) == 2


def test_cookies_tie_a_page_to_its_image_and_threads_do_not_mix_them_up(tmp_path):
    visits = itertools.count()
    images = {}

    def form(handler):
        number = next(visits)
        images[number] = encoded(number)
        page('<img id="captcha" src="image">', Set_Cookie=f"visit={number}")(handler)

    def image(handler):
        number = int(handler.headers["Cookie"].removeprefix("visit="))
        reply(images.pop(number))(handler)  # each can be had once

    with serving(pages={"/form": form, "/image": image}) as server:
        job = fetch(server, tmp_path, count=40, parallel=8, delay=0, source=f"{server.site}/form")
    assert not job.failures
    assert len(check_folder(tmp_path)) == 40


def test_after_giving_up_nothing_more_is_asked(tmp_path):
    answers = itertools.chain([reply(encoded(1))], itertools.repeat(reply(status=404)))
    with serving(answers) as server:
        fetch(server, tmp_path, count=50, parallel=8, delay=0.02)
    assert 12 <= len(server.asked) <= 12 + 2


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_DFL])
def test_ctrl_c_is_noted_and_interrupts_nothing(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupt_noted() as interrupted:
            assert not interrupted.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted.wait(5)
        assert signal.getsignal(signal.SIGINT) is handler
    except KeyboardInterrupt:  # which would end the test run
        pytest.fail("Ctrl+C was not noted but raised")
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_stays_ignored_in_a_program_that_was_started_in_the_background():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt_noted() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupted.wait(0.05)
    finally:
        signal.signal(signal.SIGINT, before)
