"""Where captchas come from: an image, a page, a JSON answer, or a folder of images."""

import base64
import binascii
import contextlib
import html
import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import requests
import soupsieve
from bs4 import BeautifulSoup, Tag

import utils
from crawling.polite import GiveUp, NoImage, PoliteSession, status, web_address
from files.images import MAX_BYTES, decode_image, image_extension

PAGE_BYTES, PAGE_TAGS = 2_000_000, 20_000  # a larger page is refused: parsing it takes minutes
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")  # how image files begin
ARROW = " -> "  # stands between an address and where the captcha is in the answer

# Words that give a captcha away in a page or a JSON answer, the surest first.
TELLING = ["aptcha", "vcode", "checkcode", "authcode", "seccode", "verif", "securi"]
TAGS = ["img", 'input[type="image"]']
ATTRIBUTES = ["id", "class", "name", "src", "alt", "title"]


class Captcha(NamedTuple):
    """An image that was fetched."""

    data: bytes
    extension: str  # of its true format
    url: str
    answer: str  # the text on the image, if the source tells it
    where: str  # where it was in what the site sent: CSS selector, field path, "" for all of it


# ---------------------------------------------------------------- what SOURCE says


def parse(source: str) -> tuple[str | Path, str | None] | None:
    """Return the address or folder of a source, and where the captcha is in what the site sends.

    The latter is None if the source does not say. Returns None for a source that is neither an
    address nor a folder that exists.
    """
    place, _, where = (part.strip() for part in source.partition(ARROW))
    if re.match("https?://", place, re.IGNORECASE):
        with contextlib.suppress(ValueError):  # raised for an invalid address
            if urlsplit(place).hostname and not re.search(r"\s", place):
                return place, where or None
    elif "://" not in source and source and Path(source).expanduser().is_dir():
        return Path(source).expanduser(), None
    return None


def addresses(place: str | Path) -> Iterator[str | Path]:
    """Give what to ask for: an address again and again, or each image of a folder once.

    ``{random}`` in an address becomes another number each time, which defeats caches. Raises
    ValueError if there are no images in the folder.
    """
    if isinstance(place, Path):
        return iter(utils.image_files(place))
    return (place.replace("{random}", str(random.getrandbits(48))) for _ in itertools.count())


# ---------------------------------------------------------------- one captcha


def fetch(
    session: PoliteSession, address: str | Path, where: str | None, answer_header: str = ""
) -> Captcha:
    """Fetch one captcha from an address, or read it from a file.

    ``where`` is "" if the address gives the image itself; else the CSS selector of the image in a
    page, or the path of the field in a JSON answer; None guesses. ``answer_header`` is the HTTP
    header that tells the text on the image, if one does. Raises NoImage for anything that is not a
    whole image of a captcha's size, and GiveUp if it is no use to ask again.
    """
    if isinstance(address, Path):
        if address.stat().st_size > MAX_BYTES:
            raise NoImage(f"{address.name} has more than {MAX_BYTES // 1_000_000} MB")
        data = address.read_bytes()
        extension = true_extension(data, address.name)
        return Captcha(data, extension, address.resolve().as_uri(), answer="", where="")
    answer, body = ask(session, address)
    kind = content_type(answer)
    found = None if is_image(body) or where == "" else find(body, answer.url, where)
    if found is None:
        if where:
            raise NoImage(f"an image, in which there is no {where}")
        data, where = body, ""
    else:
        reference, where = found
        inside = embedded(reference)
        if inside is None:
            answer, data = ask(session, web_address(reference, answer.url), answer.url)
            kind = content_type(answer)
        else:
            data = inside
    extension = true_extension(data, kind)
    text = answer.headers.get(answer_header, "") if answer_header else ""
    return Captcha(data, extension, answer.url, text, where)


def ask(session: PoliteSession, address: str, page: str = "") -> tuple[requests.Response, bytes]:
    """Ask for an address; return the answer and its body. Raises NoImage for a failure."""
    answer, body = session.ask(address, MAX_BYTES, page)
    if answer.status_code != 200:
        raise NoImage(status(answer))
    if len(body) > MAX_BYTES:
        raise NoImage(f"more than {MAX_BYTES // 1_000_000} MB")
    return answer, body


def content_type(answer: requests.Response) -> str:
    """Return the type that a site gives its answer, in words."""
    return f"content of the type {answer.headers.get('Content-Type', 'unknown')!r}"


def is_image(data: bytes) -> bool:
    """Tell whether data begins like an image file."""
    return data.startswith(SIGNATURES)


def true_extension(data: bytes, name: str) -> str:
    """Return the extension of an image's true format; ``name`` is for the message.

    Raises NoImage if the image is not whole.
    """
    try:
        extension = image_extension(data, name)
        decode_image(data, name)
    except ValueError as error:
        raise NoImage(page_title(data) or str(error).rstrip(".")) from error
    return extension


def page_title(data: bytes) -> str:
    """Return the title of an HTML page, in words, or "" if it has none."""
    title = re.search(rb"<title[^>]*>(.{,200}?)</title", data[:10_000], re.DOTALL | re.IGNORECASE)
    if title is None:
        return ""
    text = html.unescape(title[1].decode("utf-8", "replace"))
    return f"an HTML page titled {' '.join(text.split())!r}"


# ---------------------------------------------------------------- finding it in an answer


def find(body: bytes, url: str, where: str | None) -> tuple[str, str] | None:
    """Find the captcha in a page or a JSON answer; return its reference, and where that was.

    Returns None for an answer of another kind. Raises NoImage if it is not there.
    """
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"{", b"["):
        try:
            return find_in_json(json.loads(body.decode("utf-8-sig", "replace")), where)
        except (ValueError, RecursionError) as error:
            raise NoImage("a JSON answer that cannot be read") from error
    if text[:1] != b"<" or b"<svg" in text[:300].lower():
        return None
    if len(body) > PAGE_BYTES or body.count(b"<") > PAGE_TAGS:
        raise NoImage("a page that is too large to be searched")
    return find_in_page(body, url, where)


def find_in_json(fields: object, where: str | None) -> tuple[str, str]:
    """Return the text of a field, such as ``data.items.0.image``, and its path."""
    texts = dict(walk(fields))
    if where is None:
        likely = [path for path, text in texts.items() if embedded(text)]
        for word in (*TELLING, "image", "img", "pic", "url"):
            likely += [path for path in texts if word in path.lower()]
        if not likely:
            raise NoImage("a JSON answer in which no field looks like a captcha")
        where = likely[0]
    if where not in texts:
        raise NoImage(f"a JSON answer without the text {where}")
    return texts[where], where


def walk(fields: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Give the path and the text of each field of a JSON answer that holds text."""
    if isinstance(fields, str):
        yield path, fields
    elif isinstance(fields, dict | list):
        for name, value in fields.items() if isinstance(fields, dict) else enumerate(fields):
            yield from walk(value, f"{path}.{name}" if path else str(name))


def find_in_page(body: bytes, url: str, where: str | None) -> tuple[str, str]:
    """Return what an element of a page refers to, and the CSS selector of the element."""
    try:
        page = BeautifulSoup(body, "html.parser")
    except Exception as error:  # damaged data makes the parser raise a dozen kinds
        raise NoImage("a page that cannot be read") from error
    title = page_title(body) or "an HTML page"
    where = where or guess(page)
    if where is None:
        raise NoImage(f"{title}, in which no image looks like a captcha")
    try:
        element = page.select_one(where)
    except soupsieve.SelectorSyntaxError as error:
        raise GiveUp(f"{where!r} is no CSS selector: {str(error).splitlines()[0]}.") from error
    target = reference_of(element) if element else ""
    if not target:
        raise NoImage(f"{title}, in which there is no {where}")
    base = page.select_one("base[href]")
    if base and embedded(target) is None:
        target = web_address(target, web_address(str(base["href"]), url))
    return target, where


def guess(page: BeautifulSoup) -> str | None:
    """Return a CSS selector for the image of a page that is probably the captcha, or None.

    It is the first image whose name or description gives it away, or the only image.
    """
    likely = [f'{t}[{a}*="{word}" i]' for word in TELLING for a in ATTRIBUTES for t in TAGS]
    if len(page.select("img[src]")) == 1:
        likely.append("img[src]")
    return next((selector for selector in likely if page.select_one(selector)), None)


def reference_of(element: Tag) -> str:
    """Return the address or data URI that an element of a page refers to, or ""."""
    for attribute in ("src", "data-src", "href"):
        if element.get(attribute):
            return str(element[attribute]).strip()
    style = re.search(r"url\(\s*['\"]?(.*?)['\"]?\s*\)", str(element.get("style", "")))
    return style[1] if style else ""


def embedded(text: str) -> bytes | None:
    """Return the image that a text holds, as a data URI or in base64, or None."""
    if text[:5].lower() == "data:":
        head, _, payload = text.partition(",")
        raw = unquote_to_bytes(payload)
        return from_base64(raw) or b"" if head.lower().endswith(";base64") else raw
    data = from_base64(text.encode("ascii", "replace"))
    return data if data and is_image(data) else None


def from_base64(text: bytes) -> bytes | None:
    """Return what base64 stands for, also in its URL-safe form; None if it is not base64."""
    text = b"".join(text.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
