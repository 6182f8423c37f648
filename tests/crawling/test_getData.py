"""getData.py against the practice site and against servers that misbehave."""

import hashlib
import itertools
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections import Counter, defaultdict
from datetime import datetime, timezone
from pathlib import Path

import pytest
import trustme
from bad_server import (
    black_square,
    encoded,
    endless_redirect,
    faults,
    login,
    new_images,
    raw,
    reply,
    serving,
    unreliable,
)
from helpers import assert_one_sentence, hear_ctrl_c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import getData
import utils
from crawling import sources
from crawling.folder import Download
from crawling.polite import GiveUp, Manners, NoImage, PoliteSession
from files import tables
from files.images import MAX_BYTES, decode_image, image_extension, read_image
from practice import forms

script = Path(getData.__file__)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """Servers of ours are asked directly, also where there is a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetch(server, folder, count=1, delay=0.001, timeout=5.0, parallel=1, source=None):
    """Crawl in this process; return the errand, which says what came of it.

    The delay is so small that it is none, but keeps the next request until an answer is judged.
    """
    download = Download(folder)
    errand = getData.make_errand(source or server.address, count, "", defaultdict(set))
    try:
        getData.crawl([errand], Manners(delay, timeout, parallel), download)
    finally:
        download.close()
    return errand


def run(folder, *arguments, cwd="/", **environment):
    """Run getData.py as a program, from another folder."""
    return subprocess.run(
        [sys.executable, script, f"DOWNLOAD_FOLDER={folder}", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check_folder(folder):
    """Check that every image is whole, rightly named and in the index once; return the index."""
    rows = tables.read_table(folder / "index.csv", utils.INDEX_COLUMNS)
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
    assert numbers(rows) == list(range(24))
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    for row in rows:
        image, answer = forms.draw("simple", numbers([row])[0])
        assert read_image(folder / row["image"]).tobytes() == image.tobytes()
        assert row["answer"] == answer
        assert row["source"] == "practice:simple"


def test_forms_shapes_and_seeds_mix_in_one_folder(tmp_path):
    mixed = "SOURCE=['practice:simple/page', 'practice:noise', 'practice:simple/json']"
    for arguments in ([mixed], ["SOURCE=practice:digit"], ["SEED=1"]):
        # A proxy, as many offices have, must not be asked for this computer itself.
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
        done = run(tmp_path, "COUNT=3", *arguments, **proxy)
        assert done.returncode == 0, done.stderr
    rows = check_folder(tmp_path)
    assert Counter(row["source"] for row in rows) == {
        **{"practice:simple/page": 3, "practice:noise": 3, "practice:simple/json": 3},
        **{"practice:digit": 3, "practice:simple": 3},
    }
    for row in rows:
        form = row["source"].split(":")[1].split("/")[0]
        seed = 1 if row["source"] == "practice:simple" else 0
        image, answer = forms.draw(form, numbers([row])[0], seed)
        assert read_image(tmp_path / row["image"]).tobytes() == image.tobytes()
        assert row["answer"] == answer
    assert numbers(row for row in rows if "simple" in row["source"]) == list(range(9))


def test_an_index_without_numbers_counts_on(tmp_path):
    """Earlier versions did not write which practice image it was."""
    run(tmp_path, "COUNT=5")
    index = tmp_path / "index.csv"
    index.write_bytes(re.sub(rb"\?n=\d+", b"", index.read_bytes()))
    run(tmp_path, "COUNT=5")
    assert numbers(check_folder(tmp_path)[5:]) == [5, 6, 7, 8, 9]


# ---------------------------------------------------------------- killed, and the disk


def start(folder, *arguments):
    """Start a long crawl and return the process once it has begun to keep images."""
    process = subprocess.Popen(
        [sys.executable, script, f"DOWNLOAD_FOLDER={folder}", "COUNT=100000", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    before = len(list(folder.glob("*.png")))
    while len(list(folder.glob("*.png"))) == before:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def test_ctrl_c_keeps_what_was_fetched_and_says_so(tmp_path):
    process = start(tmp_path)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == "Stopped. What was finished is kept."
    kept = len(list(tmp_path.glob("*.png")))
    assert output == f"New images: {kept}. Images now in {tmp_path}: {kept}.\n"
    run(tmp_path, "COUNT=5")
    assert len(check_folder(tmp_path)) == kept + 5


def test_killed_at_random_moments_it_ends_as_if_it_had_never_been_killed(tmp_path):
    rng = random.Random(0)
    seen = 0
    for _ in range(6):
        process = start(tmp_path, "SOURCE=practice:digit")
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=20)
        # Every image that can be seen is whole and has its row already, at this very moment.
        names = [file.name for file in tmp_path.glob("[0-9a-f]*.png")]
        rows = tables.read_table(tmp_path / "index.csv", utils.INDEX_COLUMNS)
        assert set(names) <= {row["image"] for row in rows}
        assert all(
            utils.content_hash((tmp_path / name).read_bytes())[:16] + ".png" == name
            for name in names
        )
        assert len(rows) >= seen
        seen = len(rows)
    assert seen
    count = seen + 20
    assert run(tmp_path, "SOURCE=practice:digit", f"COUNT={count - seen}").returncode == 0
    rows = check_folder(tmp_path)
    assert numbers(rows) == list(range(count))
    for row in rows[::20]:
        assert row["answer"] == forms.draw("digit", numbers([row])[0])[1]


def test_every_state_that_a_kill_can_leave_is_mended(tmp_path):
    """The states between the steps: temporary file, torn row, row, name."""
    run(tmp_path, "COUNT=4")
    index = tmp_path / "index.csv"
    lines = index.read_bytes().splitlines(keepends=True)
    by_row = [line.decode("utf-8-sig").split(",")[0] for line in lines]
    waiting, torn, half = by_row[2], by_row[4], "0123456789abcdef.png"
    for name in (waiting, torn):
        (tmp_path / name).rename(tmp_path / f".{name}.partial")
    (tmp_path / f".{half}.partial").write_bytes(encoded(1)[:100])
    index.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    mine = tmp_path / ".my.partial"
    mine.write_text("not ours")

    assert run(tmp_path, "COUNT=1").stdout.startswith("New images: 1. ")
    mine.unlink()
    rows = check_folder(tmp_path)
    assert numbers(rows) == [0, 1, 2, 3]
    assert rows[1]["image"] == waiting


def test_an_image_that_has_lost_its_row_gets_one_and_stays_as_it_is(tmp_path):
    run(tmp_path, "COUNT=3")
    (tmp_path / "index.csv").unlink()
    before = {file: file.stat().st_mtime_ns for file in utils.image_files(tmp_path)}
    assert run(tmp_path, "COUNT=3").stdout.startswith("New images: 3. ")
    assert {file: file.stat().st_mtime_ns for file in utils.image_files(tmp_path)} == before
    assert len(check_folder(tmp_path)) == 3


def test_two_crawls_do_not_share_a_folder(tmp_path):
    process = start(tmp_path)
    try:
        done = run(tmp_path, "COUNT=1")
        assert_one_sentence(done, "another getData.py is filling", str(tmp_path))
    finally:
        process.kill()
        process.communicate(timeout=20)
    assert run(tmp_path, "COUNT=1").returncode == 0


def small_files():
    """For preexec_fn: what a full disk does to a program, no file can grow beyond 2000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.parametrize("form", ["digit", "noise"])
def test_a_disk_that_takes_no_more_ends_in_one_sentence_and_keeps_the_rest(tmp_path, form):
    """The small digits fit until the index does not; of the larger images none does."""
    source = f"SOURCE=practice:{form}"
    run(tmp_path, "SOURCE=practice:simple", "COUNT=3")
    done = subprocess.run(
        [sys.executable, script, f"DOWNLOAD_FOLDER={tmp_path}", source, "COUNT=500"],
        capture_output=True, text=True, timeout=60, preexec_fn=small_files,
    )  # fmt: skip
    assert_one_sentence(done, str(tmp_path), "File too large", "kept before is safe")
    assert run(tmp_path, source, "COUNT=20").returncode == 0
    rows = check_folder(tmp_path)
    assert numbers(row for row in rows if row["source"] == source[7:]) == list(range(len(rows) - 3))


def test_a_folder_that_cannot_be_written_ends_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = run(tmp_path / "file" / "download", "COUNT=2")
    assert_one_sentence(done, "Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder_ends_in_one_sentence_and_stays_as_it_is(tmp_path):
    folder, mine = tmp_path / "download", tmp_path / "mine"
    run(folder, "COUNT=2")
    mine.mkdir()
    (mine / "new.png").write_bytes(encoded(1))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    folder.chmod(0o555)
    (folder / "index.csv").chmod(0o444)
    if os.geteuid() == 0:  # to whom nothing is read-only
        for parent in tmp_path.parents:
            if "pytest" in parent.name:
                parent.chmod(0o755)
        tmp_path.chmod(0o755)
    program = (
        "import os, sys, getData, utils\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        f"sys.argv = ['getData.py', 'DOWNLOAD_FOLDER={folder}', 'SOURCE={mine}']\n"
        "utils.run(getData.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=script.parent, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    folder.chmod(0o755)
    assert_one_sentence(done, str(folder), "Permission denied")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_folder_that_vanishes_ends_in_one_sentence(tmp_path):
    folder = tmp_path / "download"
    process = start(folder)
    folder.rename(tmp_path / "elsewhere")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert re.match(rf"getData.py: {folder}.*: (No such file|another).*run this", errors), errors
    run(tmp_path / "elsewhere", "COUNT=1")
    check_folder(tmp_path / "elsewhere")


# ---------------------------------------------------------------- answers that are no image


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
    first = reply(encoded(1))  # after it, a page is no longer taken for one with a captcha in it
    with serving(itertools.chain([first, answer], new_images())) as server:
        errand = fetch(server, tmp_path, count=3, timeout=0.3)
    assert not errand.end
    assert len(check_folder(tmp_path)) == errand.new == 3
    assert list(errand.failures.values()) == [1]
    assert what in next(iter(errand.failures))
    assert server.megabytes < 60


def test_a_gigabyte_behind_a_redirect_is_not_read(tmp_path):
    pages = {"/elsewhere": reply(encoded(1))}
    with serving([endless_redirect], pages=pages) as server:
        fetch(server, tmp_path)
    assert server.megabytes < 60
    assert check_folder(tmp_path)[0]["url"] == f"{server.site}/elsewhere"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.sampled_from(
            [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 302 Found\r\n", b"Location: http://\xff[/\r\n",
             b"Location: //\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
             b"Content-Encoding: gzip, gzip\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n",
             b"Set-Cookie: \xff=;;\r\n", b"Retry-After: x\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n",
             b"{", b'{"captcha": "data:,"}', b'<img src="captcha">', b"<![", b"\x89PNG", b"\0"]
        ) | st.binary(max_size=30),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_bytes_a_server_sends_are_an_image_or_a_failure(parts):
    with serving(itertools.repeat(raw(b"".join(parts)))) as server:
        session = PoliteSession(Manners(0, 0.5, 1), threading.Event())
        with session, pytest.raises(NoImage):
            sources.fetch(session, server.address, None)


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
            errand = fetch(server, tmp_path / name)
        assert "robots.txt cannot be read: the certificate" in errand.end, name
        assert server.asked == []
    with serving(new_images(), certificate=ours.issue_cert("127.0.0.1")) as server:
        fetch(server, tmp_path / "good")
    assert len(check_folder(tmp_path / "good")) == 1


def test_a_thousand_images_come_through_though_every_third_answer_is_faulty(tmp_path):
    """1000 whole, distinct images, and each fault counted once, under what it was."""
    given_out = Counter()
    with serving(unreliable(0.3, seed=1, counted=given_out)) as server:
        errand = fetch(server, tmp_path, count=1000, timeout=1, parallel=16, delay=0)
    assert not errand.end
    assert len(check_folder(tmp_path)) == 1000
    assert given_out.pop("image") == 1000
    assert given_out.keys() == faults.keys()
    expected, counted = Counter(), Counter()
    for fault, times in given_out.items():
        expected[faults[fault][1]] += times
    for what, times in errand.failures.items():
        counted[next(text for text in expected if text in what)] += times
    assert counted == expected


def test_an_image_gets_its_true_extension_and_no_answer_from_a_stranger(tmp_path):
    kinds = ["JPEG", "GIF", "WEBP", "BMP", "PNG"]
    answers = [reply(encoded(1, k), kind="text/html", X_Practice_Answer="abc") for k in kinds]
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
        errand = fetch(server, folder, count=5)
    assert end in errand.end
    assert bool(end) == bool(errand.end)
    assert errand.failures.total() == bad
    assert errand.new == len(check_folder(folder) if kept else []) == kept


def test_ten_pages_in_a_row_end_the_crawl_with_what_was_learnt(tmp_path):
    folder = tmp_path / "download"
    with serving(itertools.repeat(reply(login))) as server:
        result = run(folder, f"SOURCE={server.address}", "DELAY_SECONDS=0")
    what = "an HTML page titled 'Sign in & on', in which no image looks like a captcha."
    assert result.returncode == 1
    assert result.stdout == f"New images: 0. Images now in {folder}: 0.\n"
    assert result.stderr.splitlines() == [
        f"Not an image, 10 times: {what}",
        f"getData.py: 10 answers in a row were no image: {what}",
    ]
    assert len(server.asked) == 11
    assert not folder.exists()


def test_one_image_for_ever_is_noticed_and_kept_once(tmp_path):
    with serving(itertools.repeat(reply(encoded(1)))) as server:
        errand = fetch(server, tmp_path, count=5)
    assert re.match("20 answers in a row were one and the same image.*{random}", errand.end)
    assert len(server.asked) == 1 + 1 + 20  # robots.txt, the new one, the known ones
    assert len(check_folder(tmp_path)) == 1


def test_a_few_images_for_ever_are_noticed(tmp_path):
    answers = itertools.cycle([reply(encoded(1)), reply(encoded(2))])
    with serving(answers) as server:
        errand = fetch(server, tmp_path, count=5, parallel=4, delay=0)
    assert "seems to serve the same images again" in errand.end
    assert len(check_folder(tmp_path)) == 2


# ---------------------------------------------------------------- kinds of sources


def page(body, **headers):
    return reply(f"<!doctype html>\n{body}".encode(), kind="text/html", **headers)


def data_uri(image):
    return "data:image/png;base64," + b64encode(image).decode()


@pytest.mark.parametrize(
    ("body", "where", "found"),
    [
        ('<img src="logo.png"><img class="big captcha" src="c.png">', "img.captcha", None),
        ('<img src=logo.png><img src="/d/captcha.php?x=1&amp;y=2">', None, 'img[src*="aptcha" i]'),
        ('<img src=logo.png><img id=Kaptcha-1 src="c.png">', None, 'img[id*="aptcha" i]'),
        ('<img src=l.png><input type="image" alt="captcha" src="c.png">', None,
         'input[type="image"][alt*="aptcha" i]'),
        ('<p><img src="c.png">', None, "img[src]"),
        ('<base href="/deep/er/"><img src="../c.png">', "img", None),
        ('<img src="c.png"><h1 style="background: url(\'/e.png\')">', "h1[style]", None),
        (f'<img src="{data_uri(encoded(7))}">', "img", None),
        ('<div id=x><a href="c.png#part">image</a></div>', "#x > a", None),
        ('<img src="//127.0.0.1:PORT/c.png">', "img", None),
    ],
)  # fmt: skip
def test_a_captcha_is_found_in_a_page(tmp_path, capsys, body, where, found):
    with serving() as server:
        server.pages = AnyPage(lambda: reply(encoded(7)))
        server.pages["/login"] = page(body.replace("PORT", str(server.server_port)))
        server.pages["/logo.png"] = server.pages["/l.png"] = reply(encoded(99))
        source = f"{server.site}/login" + (f" -> {where}" if where else "")
        errand = fetch(server, tmp_path, source=source)
        image_headers = server.headers[-1]
    (row,) = check_folder(tmp_path)
    assert (tmp_path / row["image"]).read_bytes() == encoded(7)
    assert row["source"] == source
    assert errand.where == (where or found)
    said = capsys.readouterr().err
    assert (f"Taking {found} of " in said) == (found is not None)
    if "data:" not in body:
        assert image_headers["Referer"] == f"{server.site}/login"


class AnyPage(defaultdict):
    """Pages by path, with the same answer for all others."""

    def __contains__(self, path):
        return True


@pytest.mark.parametrize(
    ("fields", "where", "found"),
    [
        ({"a": [{"b": b64encode(encoded(7)).decode()}]}, "a.0.b", None),
        ({"image": data_uri(encoded(7))}, None, "image"),
        ({"x": {"y": urlsafe_b64encode(encoded(7)).decode().rstrip("=")}}, None, "x.y"),
        ({"id": "abcd", "url": "/u", "captcha_image": "/image/7"}, None, "captcha_image"),
        ({"id": "abcd", "src": "http://127.0.0.1:PORT/c.png"}, "src", None),
        (["\n".join(re.findall(".{1,60}", b64encode(encoded(7)).decode()))], "0", None),
        ({"image": "data:image/png," + "".join(f"%{byte:02x}" for byte in encoded(7))}, "image",
         None),
    ],
)  # fmt: skip
def test_a_captcha_is_found_in_a_json_answer(tmp_path, fields, where, found):
    with serving() as server:
        body = json.dumps(fields).replace("PORT", str(server.server_port)).encode()
        server.pages = AnyPage(lambda: reply(encoded(7)))
        server.pages["/new"] = reply(b"\xef\xbb\xbf" + body, kind="application/json")
        errand = fetch(
            server, tmp_path, source=f"{server.site}/new" + (f" -> {where}" if where else "")
        )
    (row,) = check_folder(tmp_path)
    assert (tmp_path / row["image"]).read_bytes() == encoded(7)
    assert errand.where == (where or found)


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        (login, "img.captcha", "titled 'Sign in & on', in which there is no img.captcha"),
        (b"<p>" + b"<img src=a>" * 2, None, "an HTML page, in which no image looks like"),
        (b"<img alt=captcha>", None, "in which there is no img[alt"),
        (b'{"a": 1}', "a.b", "a JSON answer without the text a.b"),
        (b'{"a": 1}', "a", "a JSON answer without the text a"),
        (b'{"a": "b"}', None, "in which no field looks like a captcha"),
        (b"{" * 9, None, "a JSON answer that cannot be read"),
        (b"[" * 200_000, None, "a JSON answer that cannot be read"),
        (encoded(7), "img", "an image, in which there is no img"),
        (b"<p>" + bytes(2_000_000), "img", "a page that is too large to be searched"),
        (b"<p>" * 50_000, "img", "a page that is too large to be searched"),
        (b"<p>" * 5_000, "img", "an HTML page, in which there is no img"),
        (b'{"a": "' + b64encode(encoded(7)[:-40]) + b'"}', "a", "damaged or cut off"),
        (b'<img src="data:image/png;base64,....">', "img", "not an image that can be read"),
        (b'<img src="file:///etc/hostname">', "img", "which is no web address"),
        (b'<img src="javascript:alert(1)">', "img", "which is no web address"),
        (b'<img src="http://[">', "img", "which is no web address"),
    ],
)
def test_a_page_or_json_answer_without_the_captcha_is_named(tmp_path, body, where, what):
    with serving(itertools.repeat(reply(body, kind="text/html"))) as server:
        source = server.address + (f" -> {where}" if where else "")
        errand = fetch(server, tmp_path / "download", source=source)
    assert what in errand.end, errand.end
    assert errand.failures.total() == 10
    assert not (tmp_path / "download").exists()


def test_what_is_no_css_selector_ends_the_crawl_at_once(tmp_path):
    with serving(itertools.repeat(page("<img src=a>"))) as server:
        errand = fetch(server, tmp_path, source=f"{server.address} -> img[")
    assert re.match(r"'img\[' is no CSS selector: ", errand.end)
    assert len(server.asked) == 2


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
        errand = fetch(
            server, tmp_path, count=40, parallel=8, delay=0, source=f"{server.site}/form"
        )
    assert not errand.failures
    assert len(check_folder(tmp_path)) == 40


def test_a_changing_part_of_the_address_defeats_a_cache(tmp_path):
    shown = {}

    def cached(handler):
        reply(shown.setdefault(handler.path, encoded(len(shown))))(handler)

    with serving(itertools.repeat(cached)) as server:
        errand = fetch(server, tmp_path, count=5, source=server.address + "?t={random}")
    assert not errand.end
    assert len(check_folder(tmp_path)) == 5
    assert {headers["Cache-Control"] for headers in server.headers} == {"no-cache"}


def test_a_folder_is_copied_and_stays_as_it_is(tmp_path):
    mine = tmp_path / "my images"
    mine.mkdir()
    for number in range(30):
        (mine / f"label {number}.jpg").write_bytes(encoded(number % 25, "JPEG"))
    for number in range(12):  # more than may fail in a row elsewhere
        (mine / f"broken {number}.png").write_bytes(encoded(number)[:70])
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in mine.iterdir()}
    folder = tmp_path / "download"
    first = run(folder, f"SOURCE={mine}", "COUNT=10")
    second = run(folder, f"SOURCE={mine}", "COUNT=100")
    assert first.stdout.startswith("New images: 10. ")
    assert second.stdout.startswith("New images: 15. ")
    assert first.returncode == second.returncode == 0
    assert "broken 3.png is damaged or cut off" in second.stderr
    assert "Images that were there already: 15." in second.stderr
    rows = check_folder(folder)
    assert {row["source"] for row in rows} == {str(mine)}
    assert len({row["url"] for row in rows}) == 25
    assert all(row["url"].startswith("file:///") for row in rows)
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in mine.iterdir()} == before


def test_several_sources_are_crawled_side_by_side_and_one_that_fails_stops_no_other(tmp_path):
    with serving(new_images()) as good, serving(itertools.repeat(reply(login))) as bad:
        sources = [good.address, bad.address, "practice:digit"]
        done = run(tmp_path, f"SOURCE={sources}", "COUNT=4", "DELAY_SECONDS=0.01")
    assert done.returncode == 1
    assert f"{bad.address}: 0 new images. 10 answers in a row were no image" in done.stderr
    assert done.stderr.endswith("getData.py: not every source gave all; see above.\n")
    rows = check_folder(tmp_path)
    assert Counter(row["source"] for row in rows) == {good.address: 4, "practice:digit": 4}


# ---------------------------------------------------------------- manners


def gaps(server):
    times = [at for at, _, _ in server.asked]
    return [b - a for a, b in itertools.pairwise(times)]


def mean_gap(server):
    """The mean, as on a busy computer one request may be noticed late and the next in time."""
    return sum(gaps(server)) / len(gaps(server))


def test_it_says_who_asks_and_waits_between_all_requests_however_many_threads(tmp_path):
    there = reply(status=302, Location="/elsewhere")
    with serving([there, *itertools.islice(new_images(), 9)]) as server:
        fetch(server, tmp_path, count=6, delay=0.1, parallel=4)
    paths, agents = [path for _, path, _ in server.asked], [agent for *_, agent in server.asked]
    assert paths[:3] == ["/robots.txt", "/captcha", "/elsewhere"]
    assert len(paths) == 8  # and nothing that was not needed
    assert all(agent.startswith("Captcha-Recognizer/") for agent in agents)
    assert mean_gap(server) > 0.09


def test_two_sources_on_one_host_share_its_delay_and_two_hosts_do_not(tmp_path):
    with serving(new_images()) as one, serving(new_images(2000)) as other:
        pages = [f"{one.site}/a", f"{one.site}/b", f"{other.site}/a"]
        run(tmp_path, f"SOURCE={pages}", "COUNT=5", "DELAY_SECONDS=0.2")
    assert len(check_folder(tmp_path)) == 15
    assert min(mean_gap(one), mean_gap(other)) > 0.18
    assert one.asked[0] < other.asked[-1]
    assert other.asked[0] < one.asked[-1]


def test_no_host_gets_more_requests_at_once_than_it_should(tmp_path):
    under_way, counting, images = [], threading.Lock(), new_images()

    def slow(handler):
        with counting:
            under_way.append(under_way[-1] + 1 if under_way else 1)
        time.sleep(0.05)
        with counting:
            under_way.append(under_way[-1] - 1)
            answer = next(images)
        answer(handler)

    with serving(itertools.repeat(slow)) as server:
        pages = [f"{server.site}/{name}" for name in "abcd"]
        run(tmp_path, f"SOURCE={pages}", "COUNT=10", "DELAY_SECONDS=0", "PARALLEL=3")
    assert len(check_folder(tmp_path)) == 40
    assert max(under_way) == 3


def test_crawl_delay_is_obeyed(tmp_path, capsys):
    robots = reply(b"User-agent: *\nCrawl-delay: 0.7\n", kind="text/plain")
    with serving(new_images(), robots) as server:
        fetch(server, tmp_path, count=2, parallel=2)
    assert mean_gap(server) > 0.95
    assert "robots.txt asks for 1 seconds between two requests" in capsys.readouterr().err


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
        errand = fetch(server, tmp_path)
    assert re.search("robots.txt asks programs to leave http.*alone", errand.end)
    assert [path for _, path, _ in server.asked] == ["/robots.txt"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "way",
    [reply(status=302, Location="/private/captcha"), page('<img src="/private/captcha">')],
)
def test_neither_a_redirect_nor_a_page_leads_to_where_robots_txt_forbids(tmp_path, way):
    robots = reply(b"User-agent: *\nDisallow: /private", kind="text/plain")
    with serving(itertools.chain([way], new_images()), robots) as server:
        errand = fetch(server, tmp_path)
        paths = [path for _, path, _ in server.asked]
    assert paths == ["/robots.txt", "/captcha", "/captcha"]
    assert "alone" in next(iter(errand.failures))


def test_robots_txt_that_cannot_be_read_forbids(tmp_path):
    def robots(server):
        session = PoliteSession(Manners(0, 1, 1), threading.Event())
        session.obey_robots(server.address)

    with serving([], reply(status=429, Retry_After=500)) as server:
        for _ in range(2):
            with pytest.raises(GiveUp, match="asks to wait 500 seconds"):
                robots(server)
    down = pytest.raises(GiveUp, match="cannot be read: status 503 Service Unavailable")
    with serving([], reply(status=503)) as server, down:
        robots(server)
    assert len(server.asked) == 3
    with serving([], faults["resets"][0]) as server, pytest.raises(GiveUp, match="broke"):
        robots(server)


def robots_redirected(handler):
    """Lead to another robots.txt, which allows all."""
    handler.server.pages["/robots"] = reply(status=404)
    reply(status=302, Location="/robots")(handler)


@pytest.mark.parametrize(
    "robots",
    [
        reply(status=404),
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


def test_a_site_that_is_down_is_named_and_nothing_is_written(tmp_path):
    folder = tmp_path / "download"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    result = run(folder, f"SOURCE={address}/captcha.png", "DELAY_SECONDS=0.1")
    assert result.returncode == 1
    assert result.stderr == f"getData.py: {address}/robots.txt cannot be read: no connection.\n"
    assert not folder.exists()


def test_a_site_in_trouble_is_asked_less_and_less_often(tmp_path):
    answers = [reply(encoded(0)), *[reply(status=500)] * 4, reply(encoded(1)), reply(encoded(2))]
    with serving(answers) as server:
        errand = fetch(server, tmp_path, count=3, delay=0.1)
    assert errand.failures == {"status 500 Internal Server Error": 4}
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
        errand = fetch(server, tmp_path, count=8, parallel=4)
    times = [at for at, _, _ in server.asked]
    # Up to three others may have been on their way when the site said it.
    assert max(gaps(server)) > 0.9
    assert sum(at < times[5] + 0.9 for at in times[6:]) <= 3
    assert errand.failures.total() == 1


@pytest.mark.parametrize("wait", ["3600", "99999999999", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_site_that_asks_for_a_long_wait_is_left_alone(tmp_path, wait):
    with serving([reply(status=503, Retry_After=wait)]) as server:
        errand = fetch(server, tmp_path)
    assert re.match(r"the site asks to wait \d{4,} seconds; run this again then", errand.end)
    assert len(server.asked) == 2


def test_after_giving_up_nothing_more_is_asked(tmp_path):
    answers = itertools.chain([reply(encoded(1))], itertools.repeat(reply(status=404)))
    with serving(answers) as server:
        fetch(server, tmp_path, count=50, parallel=8, delay=0.02)
    assert 12 <= len(server.asked) <= 12 + 2


def test_passwords_of_the_users_own_stay_here(tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    with serving(new_images()) as server:
        run(tmp_path / "d", f"SOURCE={server.address}", "COUNT=1", HOME=str(tmp_path))
    assert len(server.headers) == 2
    assert not any(headers["Authorization"] for headers in server.headers)


def test_a_proxy_of_the_environment_is_used_for_other_hosts(tmp_path):
    with serving(new_images()) as proxy:
        done = run(
            tmp_path, "SOURCE=http://example.invalid/c.png", "COUNT=1", "DELAY_SECONDS=0",
            http_proxy=proxy.site,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path for _, path, _ in proxy.asked][1] == "http://example.invalid/c.png"


# ---------------------------------------------------------------- the user's mistakes


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("SOURCE=ftp://example.org/a.png", "SOURCE is 'ftp://example.org/a.png'; it must be "),
        ("SOURCE=practice:nothing", "SOURCE is 'practice:nothing'; it must be one of practice:d"),
        ("SOURCE=practice:simple/xml", "SOURCE is 'practice:simple/xml'; it must be "),
        ("SOURCE=http://", "SOURCE is 'http://'; it must be "),
        ("SOURCE=http://[", "SOURCE is 'http://['; it must be "),
        ("SOURCE=", "SOURCE is ''; it must be "),
        ("SOURCE=[]", "SOURCE is ''; it must be "),
        ("SOURCE=example.org/captcha.png", "SOURCE is 'example.org/captcha.png'; it must be "),
        ("SOURCE=['practice:simple', 7]", "SOURCE is '7'; it must be "),
        ("COUNT=-5", "COUNT is -5; it must be 1 or more."),
        ("COUNT=many", "COUNT=many: the value must be of the kind int."),
        ("DELAY_SECONDS=-1", "DELAY_SECONDS is -1.0; it must be 0 or more."),
        ("PARALLEL=0", "PARALLEL is 0; it must be 1 or more."),
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


def test_an_empty_folder_as_a_source_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "download", f"SOURCE={tmp_path / 'empty'}")
    assert_one_sentence(done, "there are no images in", "empty")


def test_an_index_of_another_kind_is_left_as_it_is(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text("my,own,table\n1,2,3\n")
    result = run(tmp_path, "COUNT=2")
    assert result.returncode == 1
    assert "index.csv should begin with the columns image,source,url,time,answer" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["index.csv"]
    assert index.read_text() == "my,own,table\n1,2,3\n"
