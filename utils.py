"""What two or more of the scripts share: settings, folders of images, labels.

Nothing in here knows the network or needs torch, so the scripts that only move files start fast.
"""

import ast
import hashlib
import io
import re
import shutil
import sys
import tokenize
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from tqdm import tqdm

from files import tables

DATA = Path(__file__).resolve().parent / "data"  # everything that the scripts produce
PRACTICE_MODEL = DATA.parent / "practice" / "practice.pt"  # made by practice/recipe.py

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave in folders, beside dot files

INDEX_COLUMNS = ["image", "source", "url", "time", "answer"]  # data/download/index.csv
LABEL_COLUMNS = ["image", "label", "state", "how", "seconds", "time"]  # data/labels.csv
SUSPECT_COLUMNS = ["image", "label", "reading", "confidence", "suspicion"]  # suspects.csv
MAX_LABEL = 100  # bytes of a label in a file's name, which may have some 250 in all


# ---------------------------------------------------------------- settings and errors


def settings(
    script: dict[str, Any], arguments: Sequence[str], plain: str | None = None
) -> list[str]:
    """Set a script's UPPER_CASE constants from ``NAME=value`` arguments, for this run only.

    ``script`` is the script's ``globals()``. A value is read as a Python literal, else taken as
    text, and must be of the constant's kind (its annotation, or the type of its default).
    ``plain`` says what arguments without ``NAME=`` are, where the script takes any; they are
    returned. ``--help`` prints the docstring and the constants, and ends the program.

    Raises ValueError for an unknown name, a wrong kind, or a plain argument that is not taken.
    """
    comments = constant_comments(Path(script["__file__"]))
    if "--help" in arguments or "-h" in arguments:
        print(script["__doc__"].strip() + "\n\nConstants, each also settable as NAME=value:")
        for name, comment in comments.items():
            value = script[name]
            shown = str(value) if isinstance(value, Path) else repr(value)
            print(f"  {name} = {shown}\n      {comment}")
        sys.exit()

    others = []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            if plain is None:
                raise ValueError(f"{argument!r} is not of the form NAME=value; --help lists them.")
            others.append(argument)
        elif name not in comments:
            raise ValueError(f"there is no constant {name}; there are {', '.join(comments)}.")
        else:
            default = script[name]
            kind = Path if isinstance(default, Path) else type(default)
            kind = script.get("__annotations__", {}).get(name, kind)
            script[name] = parse_value(name, text, kind)
    return others


def parse_value(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 (any literal)
    """Return ``text`` as a value of ``kind``, a type or a union such as ``int | None``."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    kinds = getattr(kind, "__args__", (kind,))  # the members of a union
    if type(value) in kinds:  # type(), not isinstance(): True must not pass for a number
        return value
    if float in kinds and type(value) is int:
        return float(value)
    if list in kinds and type(value) is tuple:
        return list(value)
    if Path in kinds and text:
        return Path(text).expanduser()
    if str in kinds:
        return text
    words = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
    raise ValueError(f"{name}={text}: the value must be of the kind {words}.")


def plain_constants(script: dict[str, Any]) -> dict[str, Any]:
    """Return a script's constants as values that JSON knows, to be kept with a result."""
    values = {name: script[name] for name in constant_comments(Path(script["__file__"]))}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def at_least(name: str, value: float | None, smallest: float) -> None:
    """Raise ValueError if a constant is below the smallest value it may have; None may be."""
    if value is not None and not value >= smallest:
        raise ValueError(f"{name} is {value}; it must be {smallest} or more.")


def constant_comments(script: Path) -> dict[str, str]:
    """Return the comment of each UPPER_CASE constant at the top level of a script, in order.

    A comment stands behind the constant, on the lines right above it, or both.
    """
    source = script.read_text(encoding="utf-8")
    comment_on = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    code_lines = source.splitlines()
    comments = {}
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name) or not target.id.isupper():
            continue
        above, line = [], node.lineno - 1
        while code_lines[line - 1].startswith("# ") and "----" not in code_lines[line - 1]:
            above.insert(0, comment_on[line])
            line -= 1
        behind = comment_on.get(node.end_lineno, "")
        comments[target.id] = " ".join([*above, behind]).strip()
    return comments


def run(main: Callable[[], None]) -> None:
    """Call ``main``; a user's mistake ends in one plain sentence and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows its code
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept.", file=sys.stderr)
        sys.exit(130)  # what a shell reports for Ctrl+C
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            message = f"{error.filename}: {error.strerror}"
        else:
            message = " ".join(str(error).split())
        sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def note(text: str) -> None:
    """Print a remark; remarks go to standard error so that results can be piped."""
    print(text, file=sys.stderr, flush=True)


def progress(items: Collection[Any], what: str) -> tqdm:
    """Go through ``items`` behind a progress bar, which is drawn only on a terminal."""
    return tqdm(items, what, leave=False, disable=None)


# ---------------------------------------------------------------- folders of images


def image_files(folder: Path) -> list[Path]:
    """Return the image files in ``folder``, by name. Raises ValueError if there are none."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    found = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "." and file.is_file()
    )
    if not found:
        raise ValueError(f"there are no images in {folder}.")
    return found


def only_source(files: list[Path], source: str | None) -> list[Path]:
    """Return the image files that getData.py fetched from one source; all, if it is None.

    The index.csv beside the files says where each came from. Raises ValueError if none did.
    """
    if source is None or not files:
        return files
    index = files[0].parent / "index.csv"
    rows = tables.read_table(index, INDEX_COLUMNS) if index.is_file() else []
    names = {row["image"] for row in rows if row["source"] == source}
    found = [file for file in files if file.name in names]
    if not found:
        there = ", ".join(sorted({row["source"] for row in rows})) or "no sources at all"
        raise ValueError(f"no image comes from {source!r}; {index} names {there}.")
    return found


# ---------------------------------------------------------------- labels as numbers


def make_charset(labels: Sequence[str]) -> str:
    """Return every character that occurs in the labels, sorted."""
    return "".join(sorted(set("".join(labels))))


def encode_labels(labels: Sequence[str], charset: str, length: int) -> np.ndarray:
    """Return labels as class numbers, (len(labels), length) int64.

    Class 0 is the blank, which fills the positions past a label's end; character i of the charset
    is class i + 1. Raises ValueError for a label that is too long or has an unknown character.
    """
    number = {character: i for i, character in enumerate(charset, start=1)}
    encoded = np.zeros((len(labels), length), np.int64)
    for row, label in zip(encoded, labels, strict=True):
        if len(label) > length:
            raise ValueError(f"the label {label!r} is longer than {length} characters.")
        unknown = [character for character in label if character not in number]
        if unknown:
            raise ValueError(f"the label {label!r} has {unknown[0]!r}, not one of {charset!r}.")
        row[: len(label)] = [number[character] for character in label]
    return encoded


class Reading(NamedTuple):
    """What the network read: the text, and how sure it is of the whole and of each character."""

    text: str
    confidence: float  # probability of the whole text: the product over all positions
    characters: list[float]  # probability of each character of the text


def decode_labels(classes: np.ndarray, charset: str) -> list[str]:
    """Return the texts of class numbers, (N, length); blanks (class 0) are left out."""
    return ["".join(charset[c - 1] for c in row if c > 0) for row in classes.tolist()]


# ---------------------------------------------------------------- labels in file names


def content_hash(data: bytes) -> str:
    """Return the SHA-256 of a file's content in hex; images are named and split by it."""
    return hashlib.sha256(data).hexdigest()


def split_name(label: str, digest: str, extension: str) -> str:
    """Return ``<label>_<hash8>.<ext>``, the label percent-encoded where a file system could balk.

    Only ASCII letters, digits, ``_``, ``-`` and ``~`` stand as they are: dots, slashes, control
    characters and letters that file systems normalise are encoded, so that any label works. In
    place of a very long one stands ``=``, and copy_labelled writes it beside the image.
    """
    encoded = encode_name(label)
    return f"{encoded if len(encoded) <= MAX_LABEL else '='}_{digest[:8]}.{extension}"


def encode_name(label: str) -> str:
    """Return a label percent-encoded, ASCII that every file system takes."""
    return quote(label, safe="", errors="surrogateescape").replace(".", "%2E")


def copy_labelled(image: Path, label: str, target: Path) -> None:
    """Copy an image to a name that split_name made, with a text file beside it if it needs one."""
    shutil.copyfile(image, target)
    if target.name.startswith("=_"):
        target.with_suffix(".txt").write_text(encode_name(label), encoding="ascii")


def parse_split_name(name: str) -> tuple[str, str] | None:
    """Return label and hash8 of a file name made by split_name, or None for any other name.

    The label ``=`` of a name that begins with it is not the image's, see split_label.
    """
    match = re.fullmatch(r"(.+)_([0-9a-f]{8})\.[a-z]+", name, re.DOTALL)
    return (unquote(match[1], errors="surrogateescape"), match[2]) if match else None


def split_label(file: Path) -> tuple[str, str] | None:
    """Return label and hash8 of an image that split_data.py copied, or None for any other file.

    Raises ValueError if its label is so long that it stands beside it, and is missing there.
    """
    parsed = parse_split_name(file.name)
    if parsed and file.name.startswith("=_"):
        beside = file.with_suffix(".txt")
        if not beside.is_file():
            raise ValueError(f"{beside}, which holds the label of the image, is missing.")
        text = beside.read_text(encoding="ascii", errors="replace")
        return unquote(text, errors="surrogateescape"), parsed[1]
    return parsed


def holds_long_label(name: str) -> bool:
    """Tell whether a file is the text file that copy_labelled writes beside an image."""
    return re.fullmatch("=_[0-9a-f]{8}[.]txt", name) is not None


def labels_from_names(files: list[Path], pattern: str) -> dict[Path, str]:
    """Return the label that each image's file name holds: group 1 of ``pattern``."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"LABEL_PATTERN {pattern!r} is no regular expression: {error}.") from error
    if expression.groups < 1:
        raise ValueError(f"LABEL_PATTERN {pattern!r} has no group ( ) to take the label from.")
    matches = {file: expression.search(file.stem) for file in files}
    labels = {file: match[1] for file, match in matches.items() if match and match[1]}
    if not labels:
        raise ValueError(
            f"LABEL_PATTERN {pattern!r} fits no file name in {files[0].parent}, such as "
            f"{files[0].name}."
        )
    if len(labels) < len(files):
        note(f"{len(files) - len(labels)} file names do not fit LABEL_PATTERN; left out.")
    return labels


def labelled_images(folder: Path) -> list[tuple[Path, str]]:
    """Return (file, label) for each image in a folder that split_data.py made, by name.

    Raises ValueError for a file that split_data.py did not name; litter is passed over.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; run split_data.py first.")
    found = []
    for file in sorted(folder.iterdir()):
        if is_litter(file.name) or holds_long_label(file.name):
            continue
        parsed = split_label(file)
        if parsed is None:
            raise ValueError(f"{file} was not made by split_data.py; move it elsewhere.")
        found.append((file, parsed[0]))
    return found


def is_litter(name: str) -> bool:
    """Tell whether a file is one that file managers leave behind, such as ``.DS_Store``."""
    return name.startswith(".") or name.lower() in LITTER


# ---------------------------------------------------------------- labels in labels.csv


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """Return the last row of each image in labels.csv: the one that counts.

    Raises ValueError if there is no such file, or another kind of file.
    """
    if not path.is_file():
        raise ValueError(f"there is no labels file {path}; run label_helper.py first.")
    return {row["image"]: row for row in tables.read_table(path, LABEL_COLUMNS)}


def now() -> str:
    """Return the time in UTC, to the second, as it stands in the tables."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
