"""getData.py as a person runs it: the practice site, kills, full disks and mistakes."""

import itertools
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
from collections import Counter

import pytest
from bad_server import encoded, login, new_images, reply, serving
from crawl_helpers import check_folder, mean_gap, numbers, run, settings
from helpers import assert_one_sentence, hear_ctrl_c, project, run_here

import utils
from files.images import content_hash, read_image
from files.tables import INDEX_COLUMNS, read_table
from practice import forms


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


def test_forms_kinds_and_seeds_mix_in_one_folder(tmp_path):
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


def test_several_sources_are_crawled_side_by_side_and_one_that_fails_stops_no_other(tmp_path):
    images = (reply(encoded(seed), X_Practice_Answer="abc") for seed in itertools.count())
    with serving(images) as good, serving(itertools.repeat(reply(login))) as bad:
        sources = [good.address, bad.address, "practice:digit"]
        done = run(tmp_path, f"SOURCE={sources}", "COUNT=4", "DELAY_SECONDS=0.01")
    assert done.returncode == 1
    assert f"{bad.address}: 0 new images. 10 answers in a row were no image" in done.stderr
    assert done.stderr.endswith("getData.py: not every source gave all images; see above.\n")
    rows = check_folder(tmp_path)
    assert Counter(row["source"] for row in rows) == {good.address: 4, "practice:digit": 4}
    answers = {row["answer"] for row in rows if row["source"] == good.address}
    assert answers == {""}  # only the practice site is asked for answers


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


def test_ten_pages_in_a_row_end_the_crawl_and_are_named(tmp_path):
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


def test_a_site_that_is_down_is_named_and_nothing_is_written(tmp_path):
    folder = tmp_path / "download"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    result = run(folder, f"SOURCE={address}/captcha.png", "DELAY_SECONDS=0.1")
    assert result.returncode == 1
    assert result.stderr == f"getData.py: {address}/robots.txt cannot be read: no connection.\n"
    assert not folder.exists()


def test_the_users_passwords_are_not_sent(tmp_path):
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


def start(folder, *arguments):
    """Start a long crawl and return the process once it has begun to keep images."""
    process = subprocess.Popen(
        [sys.executable, project / "getData.py", *settings(folder), "COUNT=100000", *arguments],
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
    assert len(read_table(tmp_path / "index.csv", INDEX_COLUMNS)) == kept
    assert output == f"New images: {kept}. Images now in {tmp_path}: {kept}.\n"
    run(tmp_path, "COUNT=5")
    assert len(check_folder(tmp_path)) == kept + 5


def test_killed_at_random_moments_it_ends_as_if_never_killed(tmp_path):
    rng = random.Random(0)
    seen = 0
    for _ in range(6):
        process = start(tmp_path, "SOURCE=practice:digit")
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=20)
        # Right after the kill every image with a name is whole and has its row.
        names = [file.name for file in tmp_path.glob("[0-9a-f]*.png")]
        rows = read_table(tmp_path / "index.csv", INDEX_COLUMNS)
        assert set(names) <= {row["image"] for row in rows}
        assert all(
            content_hash((tmp_path / name).read_bytes())[:16] + ".png" == name for name in names
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
    """For preexec_fn: no file can grow beyond 2000 bytes, which acts like a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.parametrize("form", ["digit", "noise"])
def test_a_disk_that_takes_no_more_ends_in_one_sentence_and_keeps_the_rest(tmp_path, form):
    """The small digits fit until the index does not; of the larger images none does."""
    source = f"SOURCE=practice:{form}"
    run(tmp_path, "SOURCE=practice:simple", "COUNT=3")
    done = subprocess.run(
        [sys.executable, project / "getData.py", *settings(tmp_path), source, "COUNT=500"],
        capture_output=True, text=True, timeout=60, preexec_fn=small_files,
    )  # fmt: skip
    assert_one_sentence(done, str(tmp_path), "File too large", "before it is safe")
    assert run(tmp_path, source, "COUNT=20").returncode == 0
    rows = check_folder(tmp_path)
    assert numbers(row for row in rows if row["source"] == source[7:]) == list(range(len(rows) - 3))


def test_a_folder_that_cannot_be_written_ends_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = run_here("getData.py", *settings(tmp_path / "file" / "download"), "COUNT=2")
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
        f"sys.argv = ['getData.py', *{settings(folder)!r}, 'SOURCE={mine}']\n"
        "utils.run(getData.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project, capture_output=True, text=True, timeout=60,
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
    assert re.match(rf"getData.py: {folder}.*: (No such file|another).*start again", errors), errors
    run(tmp_path / "elsewhere", "COUNT=1")
    check_folder(tmp_path / "elsewhere")


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
    result = run_here("getData.py", *settings(folder), argument)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"getData.py: {sentence}")
    assert result.stderr.count("\n") == 1
    assert not folder.exists()


def test_an_empty_folder_as_a_source_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    empty = f"SOURCE={tmp_path / 'empty'}"
    done = run_here("getData.py", *settings(tmp_path / "download"), empty)
    assert_one_sentence(done, "there are no images in", "empty")
