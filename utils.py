"""What the five scripts share: their settings, folders of images and labels, plain messages.

Nothing in here needs torch, so the scripts that only move files start fast.
"""

import ast
import io
import math
import os
import re
import sys
import tokenize
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin

from tqdm import tqdm

from files.tables import INDEX_COLUMNS, LABEL_COLUMNS, read_table

ROOT = Path(__file__).resolve().parent
DATA = ROOT / "data"  # everything that the scripts produce
PRACTICE_MODEL = ROOT / "practice" / "practice.safetensors"  # made by practice/recipe.py
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")


class Prediction(NamedTuple):
    """What the network reads in an image, and how sure it is of the whole and of each character."""

    text: str
    confidence: float  # probability of the whole text: the product over all positions
    character_confidences: list[float]  # probability of each character of the text


# ---------------------------------------------------------------- settings and errors


def settings(
    script: dict[str, Any], arguments: Sequence[str], plain: str | None = None
) -> list[str]:
    """Set a script's constants from ``NAME=value`` arguments, for this run only.

    ``script`` is the script's ``globals()``. A value is read as a Python literal, else taken as
    text, and must be of the constant's kind (its annotation, or the type of its default).
    ``plain`` says what arguments without ``NAME=`` are, where the script takes any; they are
    returned. ``--help`` prints the docstring and the constants, and ends the program.

    Raises ValueError for an unknown name, a wrong kind, or a plain argument that is not taken.
    """
    comments = setting_comments(Path(script["__file__"]))
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


def check_early(script_file: str, plain: str | None = None) -> None:
    """Answer ``--help``, or refuse a wrong setting, before a script imports what takes seconds.

    Runs the constants of the script by themselves; they may use utils and Path. settings() sets
    them later.
    """
    if os.environ.get("RANK", "0") != "0":  # the first of several processes answers for all
        return
    file = Path(script_file)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = setting_comments(file).keys()
    constants = [node for node in tree.body if target_of(node) in names]
    script: dict[str, Any] = {"__file__": script_file, "__doc__": ast.get_docstring(tree)}
    script |= {"utils": sys.modules[__name__], "Path": Path}
    exec(compile(ast.Module(constants, []), script_file, "exec"), script)
    run(lambda: settings(script, sys.argv[1:], plain))


def parse_value(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 (any literal)
    """Return ``text`` as a value of ``kind``, a type or a union such as ``int | None``."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    members = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    kinds = [get_origin(member) or member for member in members]  # list, of list[str]
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


def plain_settings(script: dict[str, Any]) -> dict[str, Any]:
    """Return a script's settings as values that JSON knows, to be kept with a result."""
    values = {name: script[name] for name in setting_comments(Path(script["__file__"]))}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def setting_comments(script: Path) -> dict[str, str]:
    """Return the comment of each setting of a script, in order.

    Settings are the UPPER_CASE constants between the rule ``# ---- edit these ----`` and the next
    one. A comment stands behind the constant, on the lines right above it, or both.
    """
    source = script.read_text(encoding="utf-8")
    lines = source.splitlines()
    rules = [number for number, line in enumerate(lines, start=1) if line.startswith("# ----")]
    first = next((number for number in rules if "edit these" in lines[number - 1]), len(lines))
    last = next((number for number in rules if number > first), len(lines))
    comment_on = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    comments = {}
    for node in ast.parse(source).body:
        name = target_of(node)
        if not name.isupper() or not first < node.lineno < last:
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line > first and lines[line - 1].startswith("# "):
            above.insert(0, comment_on[line])
            line -= 1
        behind = comment_on.get(node.end_lineno or 0, "")
        comments[name] = " ".join([*above, behind]).strip()
    return comments


def target_of(node: ast.stmt) -> str:
    """Return the name that an assignment gives a value to; "" for any other statement."""
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def at_least(name: str, value: float | None, smallest: float) -> None:
    """Raise ValueError if a setting is below the smallest value it may have; None may be."""
    if value is not None and not value >= smallest:
        raise ValueError(f"{name} is {value}; it must be {smallest} or more.")


def run(main: Callable[[], object]) -> None:
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


def in_parallel(function: Callable[[Any], Any], items: Sequence[Any], what: str) -> Iterator[Any]:
    """Give the function's result for each of the items, in order, behind a progress bar.

    Each processor has a thread: decoding and scaling images let others run. Few results wait at a
    time, so that a million items need no more memory than a thousand.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(items, what) as bar:
        for start in range(0, len(items), 1024):
            for result in pool.map(function, items[start : start + 1024]):
                yield result
                bar.update()


# ---------------------------------------------------------------- files, images and labels


def model_file(wanted: Path | str) -> Path:
    """Return a model's file; the word ``practice`` stands for the model that ships."""
    return PRACTICE_MODEL if str(wanted) == "practice" else Path(wanted)


def image_files(folder: Path) -> list[Path]:
    """Return the image files in ``folder``, by name. Raises ValueError if there are none."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    with os.scandir(folder) as entries:  # which knows, without a look at each file, what is one
        found = sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(IMAGE_SUFFIXES)
            and entry.name[0] != "."
            and entry.is_file()
        )
    if not found:
        raise ValueError(f"there are no images in {folder}.")
    return [folder / name for name in found]


def only_source(files: list[Path], source: str | None) -> list[Path]:
    """Return the image files that getData.py fetched from one source; all, if it is None.

    The index.csv beside the files says where each came from. Raises ValueError if none did.
    """
    if source is None or not files:
        return files
    index = files[0].parent / "index.csv"
    rows = read_table(index, INDEX_COLUMNS) if index.is_file() else []
    names = {row["image"] for row in rows if row["source"] == source}
    found = [file for file in files if file.name in names]
    if not found:
        there = ", ".join(sorted({row["source"] for row in rows})) or "no sources at all"
        raise ValueError(f"no image comes from {source!r}; {index} names {there}.")
    return found


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


def label_rows(path: Path) -> dict[str, dict[str, str]]:
    """Return the last row of each image in labels.csv: the one that counts.

    Raises ValueError if there is no such file, or another kind of file.
    """
    if not path.is_file():
        raise ValueError(f"there is no labels file {path}; run label_helper.py first.")
    return {row["image"]: row for row in read_table(path, LABEL_COLUMNS)}


def confirmed_labels(files: Sequence[Path], labels_file: Path) -> dict[Path, str]:
    """Return the label of each image file that has a confirmed one in labels.csv."""
    rows = label_rows(labels_file)
    return {
        file: rows[file.name]["label"]
        for file in files
        if file.name in rows and rows[file.name]["state"] == "confirmed"
    }


def wilson_interval(share: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``total`` trials (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    half = z * spread / (1 + z * z / total)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
