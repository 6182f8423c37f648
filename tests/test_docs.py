"""The pages lead somewhere, and the first one stays short."""

import re

import pytest
from helpers import project

PAGES = sorted([*project.glob("*.md"), *project.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(project)))
def test_every_link_and_picture_of_a_page_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).is_file(), target


def test_the_readme_is_two_screens():
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_every_page_and_picture_is_reached_from_the_readme():
    reached, new = set(), {project / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+\.(?:md|png))[^)]*\)", text)
        found = {(page.parent / link).resolve() for link in links}
        reached |= {file for file in found if file.suffix == ".png"}
        new |= {file for file in found if file.suffix == ".md"} - reached
    assert reached >= {*PAGES, *project.glob("docs/**/*.png")}
