"""getData.py against the practice site and against servers that misbehave."""

import hashlib
import io
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from practice import hear_ctrl_c

import getData
import practice_site
import utils

script = Path(getData.__file__)


# ---------------------------------------------------------------- a server that does as told


def encoded(seed, kind="PNG"):
    """A small image that is different for each seed."""
    file = io.BytesIO()
    pixels = random.Random(seed).randbytes(30 * 10 * 3)
    Image.frombytes("RGB", (30, 10), pixels).save(file, kind)
    return file.getvalue()


def reply(body=b"", status=200, kind="image/png", **headers):
    """A way to answer, for the server below; a header's name has _ for -."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": len(body), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hang_up(handler):
    """Break the connection in the middle of the body."""
    reply(encoded(0)[:50], Content_Length=5000)(handler)
    handler.close_connection = True


def endless(handler):
    """Send a body that would never end; note how much of it was taken."""
    handler.send_response(200)
    handler.send_header("Content-Type", "image/png")
    handler.end_headers()
    handler.close_connection = True
    for handler.server.megabytes in range(200):
        handler.wfile.write(bytes(1_000_000))


def silence(seconds):
    def answer(handler):
        time.sleep(seconds)
        handler.close_connection = True

    return answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.server.asked.append((time.monotonic(), self.path, self.headers["User-Agent"]))
        try:
            if self.path == "/robots.txt":
                self.server.robots(self)
            else:
                next(self.server.answers)(self)
        except ConnectionError:  # the client had enough
            self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(answers, robots=None):
    """Run a server that gives these answers one after the other; yield it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers = iter(answers)
    server.robots = robots or reply(status=404)
    server.megabytes = 0
    server.asked = []  # (time, path, user agent)
    server.address = f"http://127.0.0.1:{server.server_port}/captcha"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def new_images():
    """Answers with ever new images."""
    return (reply(encoded(seed)) for seed in itertools.count(1000))


def fetch(server, folder, count=1, delay=0.0, timeout=5.0, failures=None):
    """Crawl a server of ours in this process; return the Download and the failures by kind."""
    failures = Counter() if failures is None else failures
    download = getData.Download(folder)
    session = getData.PoliteSession(delay, timeout)
    session.trust_env = False
    with session:
        getData.crawl(session, server.address, server.address, count, download, failures)
    return download, failures


def run(folder, *arguments, cwd="/", **environment):
    """Run getData.py as a program, from another folder."""
    return subprocess.run(
        [sys.executable, script, f"DOWNLOAD_FOLDER={folder}", *arguments],
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check_folder(folder):
    """Check that every image is whole, rightly named and in the index once; return the index."""
    rows = utils.read_table(folder / "index.csv", utils.INDEX_COLUMNS)
    names = [row["image"] for row in rows]
    assert sorted(names) == sorted(file.name for file in utils.image_files(folder))
    assert len(set(names)) == len(names)
    for name in names:
        data = (folder / name).read_bytes()
        utils.decode_image(data, name)
        assert (
            name == f"{hashlib.sha256(data).hexdigest()[:16]}.{utils.image_extension(data, name)}"
        )
    return rows


# ---------------------------------------------------------------- the practice site


def test_a_second_run_brings_other_images_and_keeps_all_answers(tmp_path):
    folder = tmp_path / "a folder"
    first = run(folder, "COUNT=12", cwd=tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in utils.image_files(folder)}
    second = run(folder, "COUNT=12", cwd=tmp_path)

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == f"New images: 12. Images now in {folder}: 12.\n"
    assert second.stdout == f"New images: 12. Images now in {folder}: 24.\n"
    rows = check_folder(folder)
    assert len(rows) == 24
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    drawn = [practice_site.draw("simple", number) for number in range(24)]
    assert [row["answer"] for row in rows] == [answer for _, answer in drawn]
    for row, (image, _) in zip(rows, drawn, strict=True):
        assert (utils.read_image(folder / row["image"]).tobytes()) == image.tobytes()
        assert row["source"] == "practice:simple"
        assert row["url"].endswith("/simple.png")


def test_forms_and_seeds_mix_in_one_folder(tmp_path):
    for arguments in (["SOURCE=practice:noise"], ["SOURCE=practice:digit"], ["SEED=1"]):
        # A proxy, as many offices have, must not be asked for this computer itself.
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
        assert run(tmp_path, "COUNT=3", *arguments, **proxy).returncode == 0
    rows = check_folder(tmp_path)
    expected = [
        *[("practice:noise", practice_site.draw("noise", n)[1]) for n in range(3)],
        *[("practice:digit", practice_site.draw("digit", n)[1]) for n in range(3)],
        *[("practice:simple", practice_site.draw("simple", n, seed=1)[1]) for n in range(3)],
    ]
    assert [(row["source"], row["answer"]) for row in rows] == expected


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_what_was_fetched_before_a_kill_is_kept_and_the_next_run_goes_on(tmp_path, how):
    process = subprocess.Popen(
        [sys.executable, script, f"DOWNLOAD_FOLDER={tmp_path}", "COUNT=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    while len(list(tmp_path.glob("*.png"))) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, how))
    output, errors = process.communicate(timeout=20)
    kept = len(list(tmp_path.glob("*.png")))
    if how == "SIGINT":
        assert process.returncode == 130
        # The image that was being kept at that moment may not be counted yet.
        assert output in [
            f"New images: {n}. Images now in {tmp_path}: {n}.\n" for n in (kept, kept - 1)
        ]
        assert errors.strip() == "Stopped. What was finished is kept."

    assert run(tmp_path, "COUNT=5").returncode == 0
    rows = check_folder(tmp_path)
    assert [row["answer"] for row in rows] == [
        practice_site.draw("simple", number)[1] for number in range(len(rows))
    ]
    assert kept + 4 <= len(rows) <= kept + 5  # the last one before the kill may have had no row


def test_an_image_that_lost_its_row_in_a_kill_gets_it_and_counts(tmp_path):
    run(tmp_path, "COUNT=3")
    index = tmp_path / "index.csv"
    whole = index.read_bytes()
    index.write_bytes(whole[: whole.rstrip().rfind(b"\n") + 4])  # a torn row, too
    before = {file: file.stat().st_mtime_ns for file in utils.image_files(tmp_path)}
    assert run(tmp_path, "COUNT=1").stdout.startswith("New images: 1. ")
    assert {file: file.stat().st_mtime_ns for file in utils.image_files(tmp_path)} == before
    assert len(check_folder(tmp_path)) == 3


# ---------------------------------------------------------------- answers that are no image


login = b"<!doctype html><html><head>\n<title> Sign\n in &amp; on </title></head>"
huge = io.BytesIO()
Image.new("1", (8000, 5000)).save(huge, "PNG")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (reply(login, kind="text/html"), "an HTML page titled 'Sign in & on'"),
        (reply(login), "an HTML page titled 'Sign in & on'"),
        (reply(encoded(1)[:-40]), "content of the type 'image/png' is damaged or cut off"),
        (reply(b"Hello"), "content of the type 'image/png' is not an image that can be read"),
        (reply(b""), "content of the type 'image/png' is not an image that can be read"),
        (reply(b"<svg/>", kind="a\x1b[31m"), r"content of the type 'a\x1b[31m' is not an image"),
        (reply(huge.getvalue()), "8000 x 5000 pixels"),
        (reply(encoded(1) + bytes(utils.MAX_BYTES)), "more than 16 MB"),
        (endless, "more than 16 MB"),
        (reply(encoded(1), status=404), "status 404 Not Found"),
        (reply(encoded(1), status=403), "status 403 Forbidden"),
        (hang_up, "the connection broke"),
        (reply(encoded(1), Content_Length=10_000), "no answer in time"),
        (reply(encoded(1), Content_Encoding="gzip"), "the connection broke"),
        (reply(status=302, Location="/again"), "it redirects in circles"),
        (reply(status=302, Location="file:///etc/hostname"), "file:///robots.txt cannot be read"),
    ],
)
def test_what_is_no_image_is_not_saved_but_named_and_the_crawl_goes_on(tmp_path, answer, what):
    def until_told(handler):
        """Keep up a redirect until the client gives up; then another image is asked for."""
        answer(handler)
        if "circles" in what and len(server.asked) < 12:
            server.answers = itertools.chain([until_told], server.answers)

    with serving(itertools.chain([until_told], new_images())) as server:
        download, failures = fetch(server, tmp_path, count=2, timeout=0.5)
    assert len(check_folder(tmp_path)) == len(download.names) == 2
    assert list(failures.values()) == [1]
    assert what in next(iter(failures))
    assert server.megabytes < 60


def test_an_image_gets_its_true_extension_and_no_answer_from_a_stranger(tmp_path):
    kinds = ["JPEG", "GIF", "WEBP", "BMP", "PNG"]
    answers = [reply(encoded(1, kind), X_Practice_Answer="abc") for kind in kinds]
    with serving(answers) as server:
        fetch(server, tmp_path, count=5)
        rows = check_folder(tmp_path)
        assert [row["image"][17:] for row in rows] == ["jpg", "gif", "webp", "bmp", "png"]
        assert {row["answer"] for row in rows} == {""}
        assert {row["url"] for row in rows} == {server.address}


mixes = st.lists(
    st.tuples(st.sampled_from(["new", "same", "html", "404", "cut"]), st.integers(1, 21)),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mixes)
def test_any_mix_of_answers_ends_as_a_slow_account_of_it_says(tmp_path_factory, mix):
    """The account: 5 new images are wanted; 10 failures or 20 known images in a row end it."""
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
    kept, bad, bad_in_row, known_in_row, end = 0, 0, 0, 0, "done"
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
            end = "no image" if bad_in_row == 10 else "the same images again"
            break

    failures = Counter()
    with serving([make[kind]() for kind in kinds]) as server:
        if end == "done":
            fetch(server, folder, count=5, failures=failures)
        else:
            with pytest.raises(ValueError, match=end):
                fetch(server, folder, count=5, failures=failures)
    assert failures.total() == bad
    assert len(check_folder(folder) if kept else []) == kept


def test_ten_pages_in_a_row_end_the_crawl_with_what_was_learnt(tmp_path):
    folder = tmp_path / "download"
    with serving(itertools.repeat(reply(login))) as server:
        result = run(folder, f"SOURCE={server.address}", "DELAY_SECONDS=0")
    assert result.returncode == 1
    assert result.stdout == f"New images: 0. Images now in {folder}: 0.\n"
    assert result.stderr.splitlines() == [
        "Not an image, 10 times: an HTML page titled 'Sign in & on'.",
        "getData.py: 10 answers in a row were no image: an HTML page titled 'Sign in & on'.",
    ]
    assert not folder.exists()


def test_one_image_for_ever_is_noticed_and_kept_once(tmp_path):
    with serving(itertools.repeat(reply(encoded(1)))) as server:
        with pytest.raises(ValueError, match="20 answers in a row .* the same images again"):
            fetch(server, tmp_path, count=5)
        assert len(server.asked) == 1 + 1 + 20  # robots.txt, the new one, the known ones
    assert len(check_folder(tmp_path)) == 1


# ---------------------------------------------------------------- manners


def test_it_says_who_asks_and_waits_between_all_requests(tmp_path):
    there = reply(status=302, Location="/elsewhere")
    with serving(itertools.chain([there], new_images())) as server:
        fetch(server, tmp_path, count=3, delay=0.15)
    times, paths, agents = zip(*server.asked, strict=True)
    assert list(paths) == ["/robots.txt", "/captcha", "/elsewhere", "/captcha", "/captcha"]
    assert all(agent.startswith("Captcha-Recognizer/") for agent in agents)
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.14


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
        with pytest.raises(getData.Refused, match="robots.txt asks programs to leave http.*alone"):
            fetch(server, tmp_path)
        assert [path for _, path, _ in server.asked] == ["/robots.txt"]
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_does_not_lead_to_where_robots_txt_forbids(tmp_path):
    robots = reply(b"User-agent: *\nDisallow: /private", kind="text/plain")
    there = reply(status=302, Location="/private/captcha")
    with serving(itertools.chain([there], new_images()), robots) as server:
        _, failures = fetch(server, tmp_path)
        paths = [path for _, path, _ in server.asked]
    assert paths == ["/robots.txt", "/captcha", "/captcha"]
    assert "alone" in next(iter(failures))


def test_robots_txt_that_cannot_be_read_forbids_every_time(tmp_path):
    session = getData.PoliteSession(0, 1)
    session.trust_env = False
    with serving([], reply(status=429, Retry_After=500)) as server:
        for _ in range(2):
            with pytest.raises(ValueError, match="asks to wait 500 seconds"):
                session.obey_robots(server.address)
    down = pytest.raises(getData.Refused, match="cannot be read: status 503 Service Unavailable")
    with serving([], reply(status=503)) as server, down:
        session.obey_robots(server.address)
    for _ in range(2):
        with pytest.raises(getData.Refused, match="file:///robots.txt cannot be read"):
            session.obey_robots("file:///etc/hostname")


@pytest.mark.parametrize(
    "robots",
    [
        reply(status=404),
        reply(b"User-agent: *\nDisallow: /private", kind="text/plain"),
        reply(b"User-agent: other\nDisallow: /", kind="text/plain"),
        reply(b"User-agent: *\nAllow: /captcha\nDisallow: /", kind="text/plain"),
        reply(login, kind="text/html"),
        reply(status=302, Location="/robots"),
    ],
)
def test_robots_txt_that_is_missing_or_allows_is_no_hindrance(tmp_path, robots):
    answers = new_images()
    if robots.__closure__[-1].cell_contents == 302:  # then /robots is asked for first
        answers = itertools.chain([reply(status=404)], answers)
    with serving(answers, robots) as server:
        fetch(server, tmp_path, count=2)
    assert [path for _, path, _ in server.asked].count("/robots.txt") == 1
    assert len(check_folder(tmp_path)) == 2


def test_a_site_that_is_down_is_named_and_nothing_is_written(tmp_path):
    folder = tmp_path / "download"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    result = run(folder, f"SOURCE={address}/captcha.png")
    assert result.returncode == 1
    assert result.stderr == f"getData.py: {address}/robots.txt cannot be read: no connection.\n"
    assert not folder.exists()


def test_a_passing_failure_is_tried_again_after_a_while(tmp_path):
    answers = [reply(status=500), reply(encoded(1)), silence(0.6), reply(encoded(2))]
    with serving(answers) as server:
        _, failures = fetch(server, tmp_path, count=2, timeout=0.3)
    times = [at for at, _, _ in server.asked]
    assert not failures
    assert len(check_folder(tmp_path)) == 2
    assert times[2] - times[1] > 0.45
    assert times[4] - times[3] > 0.75  # the timeout and the pause


def test_retry_after_is_waited_for(tmp_path):
    with serving([reply(status=429, Retry_After=1), reply(encoded(1))]) as server:
        fetch(server, tmp_path)
    times = [at for at, _, _ in server.asked]
    assert times[2] - times[1] > 0.95


def test_a_site_that_asks_for_a_long_wait_is_left_alone(tmp_path):
    with serving([reply(status=503, Retry_After=3600)]) as server:
        with pytest.raises(ValueError, match="asks to wait 3600 seconds; run this again then"):
            fetch(server, tmp_path)
        assert len(server.asked) == 2


# ---------------------------------------------------------------- the user's mistakes


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("SOURCE=ftp://example.org/a.png", "SOURCE is 'ftp://example.org/a.png'; it must be "),
        ("SOURCE=practice:nothing", "SOURCE is 'practice:nothing'; it must be practice:digit, "),
        ("SOURCE=http://", "SOURCE is 'http://'; it must be "),
        ("SOURCE=http://[", "SOURCE is 'http://['; it must be "),
        ("SOURCE=", "SOURCE is ''; it must be "),
        ("COUNT=-5", "COUNT is -5; it must be 1 or more."),
        ("COUNT=many", "COUNT=many: the value must be of the kind int."),
        ("DELAY_SECONDS=-1", "DELAY_SECONDS is -1.0; it must be 0 or more."),
        ("TIMEOUT_SECONDS=0", "TIMEOUT_SECONDS is 0.0; it must be 0.1 or more."),
        ("COUNTS=5", "there is no constant COUNTS; there are SOURCE, COUNT, "),
    ],
)
def test_a_wrong_constant_ends_in_one_sentence_and_writes_nothing(tmp_path, argument, sentence):
    folder = tmp_path / "download"
    result = run(folder, argument)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"getData.py: {sentence}")
    assert result.stderr.count("\n") == 1
    assert not folder.exists()


def test_an_index_of_another_kind_is_left_as_it_is(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text("my,own,table\n1,2,3\n")
    result = run(tmp_path, "COUNT=2")
    assert result.returncode == 1
    assert "index.csv should begin with the columns image,source,url,time,answer" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["index.csv"]
    assert index.read_text() == "my,own,table\n1,2,3\n"
