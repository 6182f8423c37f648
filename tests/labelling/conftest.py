"""A keyboard for the tests of the windows."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def keyboard(display):
    """Type on the virtual screen with xdotool, as a person would."""
    if not shutil.which("xdotool"):
        message = "xdotool is missing: apt install xdotool"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    def xdotool(*arguments):
        command = ["xdotool", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    return xdotool
