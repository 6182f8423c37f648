"""What a captcha is found in: images, pages, JSON answers; and what is refused."""

import itertools
import json
import re
import threading
from base64 import b64encode, urlsafe_b64encode

import pytest
from bad_server import encoded, login, raw, reply, serving
from crawl_helpers import AnyPage, check_folder, fetch, page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawling import sources
from crawling.polite import NoImage, Policy, PoliteSession


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
        session = PoliteSession(Policy(0, 0.5, 1), threading.Event())
        with session, pytest.raises(NoImage):
            sources.fetch(session, server.address, None)


def test_an_image_gets_its_true_extension_and_no_answer_from_a_stranger(tmp_path):
    kinds = ["JPEG", "GIF", "WEBP", "BMP", "PNG"]
    answers = [reply(encoded(1, k), kind="text/html", X_Practice_Answer="abc") for k in kinds]
    with serving(answers) as server:
        fetch(server, tmp_path, count=5)
        rows = check_folder(tmp_path)
        assert [row["image"][17:] for row in rows] == ["jpg", "gif", "webp", "bmp", "png"]
        assert {row["answer"] for row in rows} == {""}
        assert {row["url"] for row in rows} == {server.address}


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
        job = fetch(server, tmp_path, source=source)
        image_headers = server.headers[-1]
    (row,) = check_folder(tmp_path)
    assert (tmp_path / row["image"]).read_bytes() == encoded(7)
    assert row["source"] == source
    assert job.where == (where or found)
    said = capsys.readouterr().err
    assert (f"Using {found} of " in said) == (found is not None)
    if "data:" not in body:
        assert image_headers["Referer"] == f"{server.site}/login"


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
        job = fetch(
            server, tmp_path, source=f"{server.site}/new" + (f" -> {where}" if where else "")
        )
    (row,) = check_folder(tmp_path)
    assert (tmp_path / row["image"]).read_bytes() == encoded(7)
    assert job.where == (where or found)


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
        (b"<p>" * 2_000, "img", "an HTML page, in which there is no img"),
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
        job = fetch(server, tmp_path / "download", source=source)
    assert what in job.end, job.end
    assert job.failures.total() == 10
    assert not (tmp_path / "download").exists()


def test_an_invalid_css_selector_ends_the_crawl_at_once(tmp_path):
    with serving(itertools.repeat(page("<img src=a>"))) as server:
        job = fetch(server, tmp_path, source=f"{server.address} -> img[")
    assert re.match(r"'img\[' is no CSS selector: ", job.end)
    assert len(server.asked) == 2


def test_a_changing_part_of_the_address_defeats_a_cache(tmp_path):
    shown = {}

    def cached(handler):
        reply(shown.setdefault(handler.path, encoded(len(shown))))(handler)

    with serving(itertools.repeat(cached)) as server:
        job = fetch(server, tmp_path, count=5, source=server.address + "?t={random}")
    assert not job.end
    assert len(check_folder(tmp_path)) == 5
    assert {headers["Cache-Control"] for headers in server.headers} == {"no-cache"}
