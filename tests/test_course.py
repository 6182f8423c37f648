"""The course does what it shows: its commands and code run, and print what stands on the page.

What a page is made of, beside its text:

    <!-- before: python getData.py COUNT=200 -->    run first: what earlier chapters left there
    ```sh       commands, run in the project's folder
    ```python   run there too, all blocks of a page in one namespace
    ```text     what the block before it prints; "..." stands for any lines, or for any part of one
    <!-- within 20 % or 0.5 -->    above ```text: how far its numbers may be off, one or the other
    <!-- made by: python benchmarks/course.py PART=look -->    above a picture, or a block that
                                                               takes too long to be run here
"""

import importlib
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from helpers import PINNED, project

COURSE = project / "docs" / "course"
CHAPTERS = ["look", "labels", "preprocess", "smallest", "loop", "curves", "seeing", "few", "trust"]
PAGES = sorted(COURSE.glob("*.md"))
BLOCK = re.compile(r"((?:<!-- [^\n]* -->\n+)*)```(sh|python|text)\n(.*?)```", re.DOTALL)
NUMBER = r"\d+(?:\.\d+)?"

# Runs the blocks of a page in one process, which spares it importing torch for each of them.
RUNNER = """
import json, subprocess, sys
space = {"__name__": "course"}
for block in json.loads(sys.argv[1]):
    print("\\f", end="", flush=True)
    if type(block) is str:
        exec(compile(block, "block", "exec"), space)
        sys.stdout.flush()
    else:
        for command in block:
            subprocess.run(command, check=True, stderr=subprocess.STDOUT)
"""


def text_of(page):
    return page.read_text(encoding="utf-8")


def commands_in(text):
    """Return the command lines of a sh block, run with this Python and what the tests rely on."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        python, script, *arguments = shlex.split(line)
        assert python == "python", line
        commands.append([sys.executable, script, *PINNED.get(script, []), *arguments])
    return commands


def blocks_of(text):
    """Return what is to run, and for each of it what it prints: None, or (text, tolerances)."""
    first = commands_in("\n".join(re.findall(r"<!-- before: (.*) -->", text)))
    run, shown = [first], [None]
    skipped = False
    for comments, kind, content in BLOCK.findall(text):
        if kind != "text":
            skipped = "made by:" in comments
            if not skipped:
                run.append(commands_in(content) if kind == "sh" else content)
                shown.append(None)
        elif not skipped and "made by:" not in comments:
            assert shown[-1] is None, f"two outputs of one block: {content}"
            near = re.search(r"within ([\d.]+) %(?: or ([\d.]+))?", comments)
            relative, absolute = (float(n or 0) for n in near.groups()) if near else (0.0, 0.0)
            shown[-1] = content, {"rel_tol": relative / 100, "abs_tol": absolute}
    return run, shown


def same_line(shown, printed, near):
    parts = re.split(rf"(\.\.\.|{NUMBER})", " ".join(shown.split()))
    pattern = "".join(
        ".*?" if part == "..." else f"({NUMBER})" if re.fullmatch(NUMBER, part) else re.escape(part)
        for part in parts
    )
    found = re.fullmatch(pattern, " ".join(printed.split()))
    numbers = [part for part in parts if re.fullmatch(NUMBER, part)]
    return found is not None and all(
        math.isclose(float(a), float(b), **near)
        for a, b in zip(numbers, found.groups(), strict=True)
    )


def same(shown, printed, near):
    """Tell whether lines were printed as shown."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(same(shown[1:], printed[n:], near) for n in range(len(printed) + 1))
    return (
        bool(printed)
        and same_line(shown[0], printed[0], near)
        and same(shown[1:], printed[1:], near)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_prints_what_the_page_shows(page, tmp_path):
    run, shown = blocks_of(text_of(page))
    if len(run) == 1:
        return  # nothing but text
    house = tmp_path / "house"
    skip = shutil.ignore_patterns(".*", "__pycache__", "data", "shared", "tests", "*.png")
    shutil.copytree(project, house, ignore=skip)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(run)],
        cwd=house, capture_output=True, text=True, timeout=280,
        env={**os.environ, "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.replace(f"{house}{os.sep}", "").split("\f")[1:]
    for output, expected in zip(outputs, shown, strict=True):
        if expected:
            text, near = expected
            assert same(text.splitlines(), output.splitlines(), near), f"{text}\nnow:\n{output}"


def test_lines_are_compared_with_numbers_as_near_as_the_page_says():
    near = {"rel_tol": 0.1, "abs_tol": 0}
    assert same(["loss 2.00, ... s", "...", "end"], ["loss  2.15, 3 s", "a", "b", "end"], near)
    assert not same(["loss 2.00"], ["loss 2.30"], near)
    assert not same(["loss 2.00"], ["loss 2.00", "more"], near)
    assert not same(["...", "end"], ["ends"], near)
    assert not same(["a 1 b"], ["a 1 c"], near)
    assert same(["0.02"], ["0.00"], {"rel_tol": 0, "abs_tol": 0.05})
    assert not same(["1"], ["1.1"], {"rel_tol": 0, "abs_tol": 0})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_rests_on_is_there(page):
    """The parts of the benchmarks that made its pictures and figures, and the words it uses."""
    text = text_of(page)
    made = re.findall(r"<!-- made by: python benchmarks/(\w+)\.py PART=(\w+) -->", text)
    assert len(made) == text.count("made by:")
    for benchmark, part in made:
        assert part in importlib.import_module(f"benchmarks.{benchmark}").PARTS, part
    for picture in re.findall(r"(.*\n)\n?!\[.*\]\(([\w-]+\.png)\)", text):
        assert "made by:" in picture[0], picture[1]
        assert (COURSE / picture[1]).stat().st_size < 150_000, picture[1]
    headings = re.findall(r"(?m)^### (.+)$", text_of(COURSE / "glossary.md"))
    terms = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"glossary\.md#([^)]+)\)", text)) <= terms


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem in CHAPTERS], ids=lambda p: p.stem)
def test_a_chapter_has_two_exercises_with_their_figures_a_question_and_the_way_on(page):
    text = text_of(page)
    _, exercises = text.split("\n## Exercises\n")
    exercises, question = exercises.split("\n## A question\n")
    numbered = re.split(r"(?m)^\d\. ", exercises)[1:]
    assert len(numbered) == 2
    for exercise in numbered:
        assert re.search(r"Expect[^.]* \d", exercise), exercise
    assert question.count("<details>") == question.count("</details>") == 1
    following = [*CHAPTERS, "README"][CHAPTERS.index(page.stem) + 1]
    assert f"]({following}.md)" in question
