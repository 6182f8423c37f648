import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest
from helpers import project, run_script

import run
import utils
from files.tables import INDEX_COLUMNS, read_table
from model import MODEL_NAME
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
    run_script("train_script.py", *folders, "BATCH_SIZE=16", "EPOCHS=4", "START_FROM=None", cwd="/")
    source = ["SOURCE=practice:digit", "SEED=1", "COUNT=10"]
    run_script("getData.py", *source, f"DOWNLOAD_FOLDER={new}", cwd="/")
    done = run_script(
        "predict.py", f"MODEL_FILE={trained / MODEL_NAME}", f"OUTPUT={tmp_path / 'p.csv'}", new,
        cwd="/",
    )  # fmt: skip
    read = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
    rows = read_table(new / "index.csv", INDEX_COLUMNS)
    assert len(rows) == 10
    assert sum(read[str(new / row["image"])] == row["answer"] for row in rows) >= 7


def test_every_step_of_run_py_names_constants_that_exist():
    for step in run.STEPS:
        script, *arguments = step.split()
        names = utils.setting_comments(project / script)
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


# What a person may well have edited, in each script.
EDITED = {
    "getData.py": {"SOURCE": '"practice:noise"', "COUNT": "7", "SEED": "3", "PARALLEL": "1"},
    "label_helper.py": {"LABELLER": '"nobody"', "ORDER": '"least-sure"', "CASE": '"upper"'},
    "split_data.py": {"LABEL_PATTERN": '"^x(.+)"', "TEST_FRACTION": "0.5", "SEED": "9"},
    "train_script.py": {"EPOCHS": "3", "HEAD": '"flatten"', "SEED": "5", "BATCH_SIZE": "48"},
    "predict.py": {"MIN_CONFIDENCE": "0.99", "OUTPUT": 'utils.DATA / "mine.csv"'},
}
CORE = ["tests/test_utils.py", "tests/test_split_data.py", "tests/test_run.py"]
CORE += ["-k", "not edited and not site"]


def test_the_tests_pass_for_a_person_who_has_edited_the_constants(tmp_path):
    house = tmp_path / "house"
    skip = shutil.ignore_patterns(".*", "__pycache__", "data", "docs")
    shutil.copytree(project, house, ignore=skip)
    for script, edits in EDITED.items():
        text = (house / script).read_text(encoding="utf-8")
        for name, value in edits.items():
            line = rf"(?m)^({name}(?:: [^=]+)?) = .*?(  # .*)?$"
            text, count = re.subn(line, rf"\1 = {value}\2", text)
            assert count == 1, (script, name)
        (house / script).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE],
        cwd=house, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
