import ast
import contextlib
import os
import socket
import subprocess
import sys

import pytest
from helpers import project, run_script

import run
import utils
from files import tables
from practice import site


def test_the_five_scripts_work_one_after_another(tmp_path):
    """What run.py does, on few images and in folders of its own."""
    download, labels = tmp_path / "download", tmp_path / "labels.csv"
    split, trained, new = tmp_path / "split", tmp_path / "model", tmp_path / "new"
    images = f"DOWNLOAD_FOLDER={download}"
    run_script("getData.py", "SOURCE=practice:digit", "COUNT=150", images, cwd="/")
    folders = [f"IMAGE_FOLDER={download}", f"LABELS_FILE={labels}"]
    run_script("label_helper.py", "LABELLER=answers", *folders, cwd="/")
    run_script("split_data.py", *folders, f"SPLIT_FOLDER={split}", cwd="/")
    folders = [f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={trained}"]
    run_script("train_script.py", *folders, "EPOCHS=8", "SHOW_PLOTS=False", cwd="/")
    source = ["SOURCE=practice:digit", "SEED=1", "COUNT=10"]
    run_script("getData.py", *source, f"DOWNLOAD_FOLDER={new}", cwd="/")
    done = run_script(
        "predict.py", f"MODEL_FILE={trained / 'captcha.pt'}", f"OUTPUT={tmp_path / 'p.csv'}",
        "SHOW_PLOTS=False", new, cwd="/",
    )  # fmt: skip
    read = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
    rows = tables.read_table(new / "index.csv", utils.INDEX_COLUMNS)
    assert len(rows) == 10
    assert sum(read[str(new / row["image"])] == row["answer"] for row in rows) >= 7


def test_every_step_of_run_py_names_constants_that_exist():
    for step in run.STEPS:
        script, *arguments = step.split()
        names = utils.constant_comments(project / script)
        assert all(a.partition("=")[0] in names for a in arguments if "=" in a), step


@pytest.mark.parametrize(
    ("system", "platform", "words"),
    [("posix", "linux", "apt install python3-"), ("posix", "darwin", "brew install python"),
     ("nt", "win32", "installer")],
)  # fmt: skip
@pytest.mark.parametrize("part", ["venv", "tkinter"])
def test_a_missing_part_of_python_is_named_with_its_remedy(
    monkeypatch, system, platform, words, part
):
    monkeypatch.setattr(run.os, "name", system)
    monkeypatch.setattr(run.sys, "platform", platform)
    assert words in run.remedy(part)


@pytest.mark.parametrize("task", ["run", "test"])
def test_what_run_py_starts_lets_threads_sleep_while_they_wait(monkeypatch, task):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is as before after the test
    monkeypatch.delenv("OMP_WAIT_POLICY")
    policies = []

    def call(command, cwd, env=os.environ):
        policies.append(env.get("OMP_WAIT_POLICY"))
        return 0

    monkeypatch.setattr(run, "set_up", lambda requirements: None)
    monkeypatch.setattr(run.subprocess, "call", call)
    monkeypatch.setattr(sys, "argv", ["run.py", task])
    with contextlib.suppress(SystemExit):  # with which the tests hand on their status
        run.main()
    assert policies
    assert set(policies) == {"passive"}


def test_run_py_serves_the_practice_site_and_hands_on_how_it_ended():
    """A taken port ends the site, in one sentence; so nothing is left running."""
    program = (
        "import sys, run; from pathlib import Path\n"
        "run.set_up, run.PYTHON = lambda requirements: None, Path(sys.executable)\n"
        "sys.argv = ['run.py', 'site']\n"
        "run.main()"
    )
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # taken already
            stack.enter_context(socket.create_server(("127.0.0.1", site.PORT)))
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"site.py: cannot use port {site.PORT} ")
    assert done.stderr.count("\n") == 1


def test_python_without_venv_ends_in_one_sentence(monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: name != "venv" or None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    with pytest.raises(SystemExit, match=r"virtual environment.*venv"):
        run.main()


def test_an_unknown_task_shows_the_usage():
    done = run_script("run.py", "tests", cwd="/", check=False)
    assert done.returncode == 1
    assert "python3 run.py test" in done.stderr


@pytest.mark.parametrize(
    "file", [f.name for f in sorted(project.glob("*.py")) if f.name != "run.py"]
)
def test_importing_runs_nothing_and_no_module_imports_a_script(file):
    tree = ast.parse((project / file).read_text())
    for node in tree.body:
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Try), file
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{file}:{node.lineno} runs at import"
    scripts = {"getData", "label_helper", "split_data", "train_script", "predict", "run"}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module)] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert not imported & scripts


def test_the_code_passes_the_linter_and_is_formatted():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, project], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
