"""What all tests of the crawl share."""

import pytest


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """The servers of the tests are asked directly, also where there is a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
