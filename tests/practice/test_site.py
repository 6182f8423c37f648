"""The practice site: the same captchas whoever asks, and as a source of getData.py."""

import base64
import http.client
import io
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from helpers import hear_ctrl_c, project
from PIL import Image

from practice import forms
from practice import site as practice_site

NAMES = list(forms.FORMS)


def pixels(form, number, seed=0):
    return forms.draw(form, number, seed)[0].tobytes()


@pytest.fixture
def site():
    server = practice_site.start(seed=3, first=40)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def address(site):
    return f"http://127.0.0.1:{site.server_port}"


# ---------------------------------------------------------------- the website


def test_every_kind_of_page_shows_the_image_of_that_number(address):
    for form in NAMES:
        image, answer = forms.draw(form, 17, seed=3)
        png = requests.get(f"{address}/{form}.png?n=17", timeout=5)
        data = requests.get(f"{address}/{form}.json?n=17", timeout=5)
        page = requests.get(f"{address}/{form}.html?n=17", timeout=5)
        source = re.search('<img [^>]*src="([^"]+)"', page.text)[1]
        assert "://" not in source
        assert not source.startswith("/")
        pointed_at = requests.get(f"{address}/{source}", timeout=5)

        assert Image.open(io.BytesIO(png.content)).tobytes() == image.tobytes()
        assert png.headers["Content-Type"] == "image/png"
        assert png.headers["X-Practice-Answer"] == data.headers["X-Practice-Answer"] == answer
        assert base64.b64decode(data.json().pop("image")) == png.content
        assert {**data.json(), "image": ""} == {"form": form, "number": 17, "image": ""}
        assert pointed_at.content == png.content


def test_images_without_a_number_count_on_from_the_first_whoever_asks(address):
    suffixes = ["png", "json"] * 20
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda suffix: requests.get(f"{address}/digit.{suffix}", timeout=5), suffixes
        )
        pngs = [
            base64.b64decode(json.loads(answer.content)["image"])
            if answer.headers["Content-Type"] == "application/json"
            else answer.content
            for answer in answers
        ]
    drawn = [Image.open(io.BytesIO(png)).tobytes() for png in pngs]
    assert sorted(drawn) == sorted(pixels("digit", number, 3) for number in range(40, 80))
    other = requests.get(f"{address}/ripple.png", timeout=5)  # has a count of its own
    assert Image.open(io.BytesIO(other.content)).tobytes() == pixels("ripple", 40, 3)


def test_the_same_number_asked_for_in_parallel_gives_the_same_bytes(address):
    with ThreadPoolExecutor(16) as pool:
        for form in NAMES:
            urls = [f"{address}/{form}.png?n=9"] * 16
            assert len(set(pool.map(lambda url: requests.get(url, timeout=5).content, urls))) == 1


def test_the_start_page_shows_eight_samples_of_each_form_and_its_links_work(address):
    page = requests.get(f"{address}/", timeout=5)
    samples = re.findall('<img src="([^"]+)"', page.text)
    links = re.findall('<a href="([^"]+)"', page.text)
    assert len(samples) == len(set(samples)) == 8 * len(NAMES)
    assert len(links) == 4 * len(NAMES)
    for link in samples + links:
        assert requests.get(f"{address}/{link}", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/simple",
        "/simple.gif",
        "/.png",
        "/simple.png/",
        "/../simple.png",
    ]
    + [f"/simple.png?n={n}" for n in ("-1", "x", "1.5", "9" * 5000, "%C2%B2")],
)
def test_anything_else_is_not_found_and_the_connection_goes_on(site, path):
    connection = http.client.HTTPConnection("127.0.0.1", site.server_port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 404
    socket_before = connection.sock
    connection.request("GET", "/simple.png?n=1&t=123")
    assert connection.getresponse().status == 200
    assert connection.sock is socket_before


def test_robots_txt_allows_all_but_one_path(address):
    lines = requests.get(f"{address}/robots.txt", timeout=5).text.splitlines()
    assert lines == ["User-agent: *", "Disallow: /private/"]


@pytest.mark.parametrize(
    "path", ["/", "/robots.txt", "/nothing", "http://[", "/noise.png?n=2", "/noise.json?n=2"]
)
def test_head_answers_like_get_but_without_a_body(site, path):
    def ask(method):
        with socket.create_connection(site.server_address, timeout=5) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
        return [line for line in head.splitlines() if not line.startswith(b"Date")], body

    head, body = ask("GET")
    assert ask("HEAD") == (head, b"")
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_site_that_was_ended_frees_its_port():
    server = practice_site.start()
    port = server.server_port
    server.shutdown()
    server.server_close()
    again = practice_site.start(port=port)
    assert requests.get(f"http://127.0.0.1:{port}/robots.txt", timeout=5).ok
    with pytest.raises(OSError, match="in use|10048"):
        practice_site.start(port=port)
    again.shutdown()
    again.server_close()


# ---------------------------------------------------------------- as a source


def row(source, url):
    return {"source": source, "url": url}


def test_a_source_names_a_form_and_how_the_site_gives_it():
    assert practice_site.parse_source("practice:simple") == ("simple", "png", "")
    assert practice_site.parse_source("practice:noise/page") == ("noise", "html", "img.captcha")
    assert practice_site.parse_source("practice:digit/json") == ("digit", "json", "image")
    for other in ("simple", "practice:", "practice:none", "practice:simple/xml", "http://x/", ""):
        assert practice_site.parse_source(other) is None
    assert all(map(practice_site.parse_source, practice_site.source_names()))


def test_numbers_that_the_index_has_are_passed_over_and_sources_of_a_form_share_the_rest():
    free = practice_site.free_numbers(
        [
            row("practice:simple", "http://127.0.0.1:1/simple.png?n=1"),
            row("practice:simple/page", "http://127.0.0.1:2/simple.png?n=3"),
            row("https://example.org/?n=0", "https://example.org/?n=0"),
        ]
    )
    picture, page = (
        practice_site.parse_source(f"practice:simple{kind}").addresses("host", free["simple"])
        for kind in ("", "/page")
    )
    assert [next(picture), next(page), next(picture)] == [
        "http://host/simple.png?n=0", "http://host/simple.html?n=2", "http://host/simple.png?n=4",
    ]  # fmt: skip
    assert next(free["digit"]) == 0


def test_an_index_without_numbers_counts_on():
    """Earlier versions did not write which practice image it was."""
    free = practice_site.free_numbers([row("practice:digit", "http://x/digit.png")] * 5)
    assert list(itertools.islice(free["digit"], 2)) == [5, 6]


# ---------------------------------------------------------------- run alone


def alone(port):
    """Run the site as a program of its own, with PORT edited."""
    edited = f"from practice import site\nsite.PORT = {port}\nsite.main()"
    return subprocess.Popen(
        [sys.executable, "-c", edited],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def test_alone_it_prints_its_address_serves_quietly_and_ends_on_ctrl_c():
    process = alone(0)
    address = re.search(r"http://\S+", process.stdout.readline())[0]
    assert requests.get(address, timeout=5).ok
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("port", ["taken", 99999])
def test_a_port_that_cannot_be_used_ends_in_one_sentence(port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1] if port == "taken" else port
        process = alone(number)
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert output == ""
    assert re.fullmatch(
        rf"site.py: cannot use port {number} .*; edit PORT in practice/site.py.\n", errors
    )
