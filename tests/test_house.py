"""The folder shows what the project is, and who may import whom."""

import ast

import pytest
from helpers import project

SCRIPTS = ("getData", "label_helper", "split_data", "train_script", "predict")
ROOMS = ("crawling", "labelling", "training", "reading", "practice", "files")
MAY_IMPORT = {
    "files": set(),
    "utils": {"files"},
    "model": {"utils", "files"},
    "crawling": {"utils", "files"},
    "labelling": {"model", "utils", "files", "reading"},
    "reading": {"model", "utils", "files"},
    "training": {"model", "utils", "files", "reading"},
    "practice": set(),
    "benchmarks": {*ROOMS, "model", "utils"},
    "run": set(),
    **{script: {*ROOMS, "model", "utils"} for script in SCRIPTS},
}
# The recipe of the practice model trains as train_script.py does, on images from a file of parts.
EXCEPTIONS = {
    "practice/recipe.py": {"practice", "training", "model", "utils", "files"},
    "practice/parts.py": {"practice", "training", "files"},
}
# The label window answers at once: torch would stop it for seconds.
WITHOUT_TORCH = [
    "getData.py", "label_helper.py", "split_data.py", "utils.py", "crawling", "files",
    "labelling/exchange.py", "labelling/gui.py", "labelling/keys.py", "labelling/labels.py",
    "labelling/proposals.py", "labelling/review.py", "labelling/window.py",
]  # fmt: skip
SOURCES = sorted(
    file
    for pattern in ("*.py", *(f"{room}/**/*.py" for room in ROOMS), "benchmarks/*.py")
    for file in project.glob(pattern)
)


def part_of(file):
    """Return the script, module or room that a file belongs to."""
    return file.relative_to(project).parts[0].removesuffix(".py")


def imports_of(file, everywhere=True):
    """Return the first names of what a file imports; else only what importing it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(project)))
def test_imports_follow_the_arrows(file):
    name, part = file.relative_to(project).as_posix(), part_of(file)
    allowed = EXCEPTIONS.get(name, MAY_IMPORT[part] | {part})
    for imported in imports_of(file) & MAY_IMPORT.keys():
        assert imported in allowed, f"{name} may not import {imported}"
        assert imported not in SCRIPTS, f"{name} imports the script {imported}.py"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(project)))
def test_importing_runs_nothing(file):
    if part_of(file) == "benchmarks" or file.name == "recipe.py":
        return  # a program: it begins by finding the project
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Try), file
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{file}:{node.lineno} runs at import"


def test_what_moves_files_or_shows_the_window_starts_without_torch():
    files = {file for name in WITHOUT_TORCH for file in SOURCES if file == project / name}
    files |= {file for file in SOURCES if part_of(file) in WITHOUT_TORCH}
    files.remove(project / "files" / "tensors.py")  # the model's own
    assert len(files) > 15
    for file in files:
        heavy = imports_of(file, everywhere=False) & {"torch", "model", "training", "matplotlib"}
        assert not heavy, f"{file.name} imports {heavy} before it does anything"


def test_the_top_level_is_the_five_scripts_what_they_share_and_the_rooms():
    listed = {"model", "utils", "run", *SCRIPTS}
    assert {file.stem for file in project.glob("*.py")} == listed
    folders = {f.name for f in project.iterdir() if f.is_dir() and f.name[0] not in "._"}
    assert folders - {"shared"} == {*ROOMS, "data", "tests", "benchmarks", "docs"}


@pytest.mark.parametrize("name", [*SCRIPTS, "model", "utils"])
def test_what_a_beginner_opens_stays_short(name):
    longest = 400 if name == "model" else 300
    assert len((project / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= longest
