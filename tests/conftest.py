"""Fixtures that tests of several folders share."""

import os
import shutil

import pytest

# One thread per process, before anything imports torch: on a busy computer two would wait for each
# other at every step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Files whose tests train, kill or install; pytest -m "not slow" leaves them out.
SLOW = {
    "test_broken_images.py", "test_checkup.py", "test_cluster_window.py", "test_course.py",
    "test_course_basics.py", "test_export.py", "test_fire.py", "test_folds.py", "test_getData.py",
    "test_learning_curve.py", "test_parallel.py", "test_practice_model.py", "test_reader.py",
    "test_run.py", "test_self_taught.py", "test_train_script.py",
}  # fmt: skip


def pytest_collection_modifyitems(items):
    """Mark the tests of slow files."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def _virtual_screen():
    """Start an X server without a screen, on which tests may type and click; give its name."""
    if not shutil.which("Xvfb"):
        message = "Xvfb is missing: apt install xvfb"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from pyvirtualdisplay import Display

    with Display(size=(1280, 800), manage_global_env=False) as screen:
        yield screen.new_display_var


@pytest.fixture
def display(_virtual_screen, monkeypatch):
    """Open the windows of one test on a virtual screen; it is empty, so they get the keys.

    Even where there is a real screen: a test must not type into somebody's work.
    """
    monkeypatch.setenv("DISPLAY", _virtual_screen)
