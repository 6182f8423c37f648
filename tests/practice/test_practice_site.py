"""The practice site: the same captchas every time, whoever asks and however many at once."""

import base64
import hashlib
import http.client
import io
import json
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import captcha.image
import numpy as np
import pytest
import requests
from helpers import hear_ctrl_c
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from practice import forms
from practice import site as practice_site

house = Path(practice_site.__file__).parent.parent
names = list(forms.forms)


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


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("form", names)
def test_a_number_always_gives_its_own_image(form):
    again = (
        "import hashlib; from practice import forms\n"
        f"image, answer = forms.draw({form!r}, 5, 1)\n"
        "print(hashlib.sha256(image.tobytes()).hexdigest(), answer)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", again], cwd=house, capture_output=True, text=True, check=True
    ).stdout.split()
    image, answer = forms.draw(form, 5, 1)
    assert elsewhere == [hashlib.sha256(image.tobytes()).hexdigest(), answer]
    assert len({pixels(form, 5, seed=1), pixels(form, 6, seed=1), pixels(form, 5, seed=2)}) == 3


@pytest.mark.parametrize("form", names)
def test_hundreds_of_images_are_all_different(form):
    count = 2000 if form == "digit" else 300
    assert len({pixels(form, number) for number in range(count)}) == count


@pytest.mark.parametrize(
    ("form", "size", "letters", "lengths"),
    [
        ("digit", (28, 28), "0123456789", {1}),
        ("simple", (200, 50), "2345678abcdefghkmnprwxy", {5}),
        ("ripple", (200, 50), "2345678bcdefgmnpwxy", {5}),
        ("noise", (160, 60), forms.noise_letters, {4, 5, 6}),
        ("mixed", (200, 50), forms.mixed_letters, {4, 5, 6, 7}),
    ],
)
def test_each_form_has_its_size_and_uses_all_of_its_letters(form, size, letters, lengths):
    drawn = [forms.draw(form, number) for number in range(200)]
    assert {image.size for image, _ in drawn} == {size}
    assert {image.mode for image, _ in drawn} == {"RGB"}
    assert set("".join(answer for _, answer in drawn)) == set(letters)
    assert {len(answer) for _, answer in drawn} == lengths


@pytest.mark.parametrize("form", ["digit", "simple", "ripple", "mixed"])
def test_no_letter_is_cut_off_at_the_edge(form, monkeypatch):
    outside = []
    paste = Image.Image.paste

    def watched_paste(image, colour, box, mask):
        left, top, right, bottom = mask.getbbox()
        x, y = box
        if min(x + left, y + top) < 0 or x + right > image.width or y + bottom > image.height:
            outside.append((x, y, mask.getbbox()))
        paste(image, colour, box, mask)

    monkeypatch.setattr(Image.Image, "paste", watched_paste)
    for number in range(300):
        forms.draw(form, number)
    assert outside == []


def test_simple_letters_and_line_are_darker_than_any_ground():
    rng = random.Random(0)
    letters = np.array([forms.dark_colour(rng) for _ in range(1000)])
    grounds = [np.asarray(forms.light_ground(rng).convert("L")) for _ in range(100)]
    assert (letters @ [0.299, 0.587, 0.114]).max() < 110
    assert np.min(grounds) > 210


@given(st.integers(), st.lists(st.integers(0, 255), min_size=6, max_size=6), st.floats(1, 100))
def test_a_contrasting_colour_exists_and_differs_from_all_of_the_ground(seed, ends, least):
    ground = np.linspace(ends[:3], ends[3:], 200)[None]  # (1, 200, 3)
    colour = forms.contrasting(random.Random(seed), ground, least)
    for column in ground[0]:
        assert max(abs(c - g) for c, g in zip(colour, column, strict=True)) > least


def test_drawing_in_many_threads_changes_nothing():
    tasks = [(form, number) for number in range(40) for form in names]
    expected = [pixels(*task) for task in tasks]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda task: pixels(*task), tasks)) == expected
    assert captcha.image.secrets is secrets  # what was lent for the noise form is given back


# ---------------------------------------------------------------- the website


def test_every_shape_of_a_form_shows_the_image_of_that_number(address):
    for form in names:
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
    shapes = ["png", "json"] * 20
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda shape: requests.get(f"{address}/digit.{shape}", timeout=5), shapes
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
        for form in names:
            urls = [f"{address}/{form}.png?n=9"] * 16
            assert len(set(pool.map(lambda url: requests.get(url, timeout=5).content, urls))) == 1


def test_the_start_page_shows_eight_samples_of_each_form_and_its_links_work(address):
    page = requests.get(f"{address}/", timeout=5)
    samples = re.findall('<img src="([^"]+)"', page.text)
    links = re.findall('<a href="([^"]+)"', page.text)
    assert len(samples) == len(set(samples)) == 8 * len(names)
    assert len(links) == 4 * len(names)
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


# ---------------------------------------------------------------- run alone


def alone(port):
    """Run the script as its own program, with PORT edited."""
    edited = f"from practice import site\nsite.PORT = {port}\nsite.main()"
    return subprocess.Popen(
        [sys.executable, "-c", edited],
        cwd=house,
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
    assert re.fullmatch(rf"site.py: cannot use port {number} .*; edit PORT .*\n", errors)
