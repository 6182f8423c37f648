"""names.py: no name is lost, undo is complete, and clusters find their names again."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelling.clusters.names import Naming, Sheet

SHEETS = [Sheet((f"{i}.png", 1), [(f"{i}.png", place) for place in range(4)]) for i in range(4)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("name"), st.sampled_from(["x", "y", ""])),
        st.tuples(st.just("mark"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["skip", "undo", "undo", "reopen"])),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_course_of_names_marks_undos_and_restarts_agrees_with_a_slow_model(course):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "names.csv"
        naming = Naming(SHEETS, file)
        history, outliers, at, marked = [], {}, 0, set()  # the slow model

        def standing():
            return {place: decision for place, *decision in history}

        def following(start):
            around = [*range(start, 4), *range(start)]
            return next((place for place in around if place not in standing()), None)

        for action, *what in course:
            if action == "mark":
                naming.mark(SHEETS[at].members[what[0]])
                marked ^= {what[0]}
            elif action == "reopen":
                naming.close()
                naming = Naming(SHEETS, file)
                at = following(0) or 0
                marked = set(outliers.get(at, ()))
            elif action == "undo":
                assert naming.undo() == bool(history)
                if history:
                    at, name, state = history.pop()
                    marked = set(outliers.get(at, ()))
                    assert naming.draft == (name if state == "named" else None)
            else:
                decision = ["", "skipped"] if action == "skip" else [what[0], "named"]
                if action == "name":
                    naming.draft = what[0]
                    naming.name()
                    outliers[at] = set(marked)
                else:
                    naming.skip()
                if standing().get(at) != decision:
                    history = [entry for entry in history if entry[0] != at] + [(at, *decision)]
                after = following((at + 1) % 4)
                at = at if after is None else after
                marked = set(outliers.get(at, ()))
            assert naming.position == at
            assert naming.marked == {SHEETS[at].members[place] for place in marked}
            names = {SHEETS[p].exemplar: n for p, (n, s) in standing().items() if s == "named"}
            assert naming.names() == names
            assert naming.counts()[2] == 4 - len(standing())
        naming.close()


def test_names_survive_other_clusters_a_torn_row_and_a_row_damaged_by_hand(tmp_path):
    file = tmp_path / "names.csv"
    with contextlib.closing(Naming(SHEETS, file)) as naming:
        naming.draft = "x"
        naming.name()
    with file.open("ab") as torn:
        torn.write(b"1.png,one,y,named,\r\n1.png,1,y")
    bigger = [Sheet(("new.png", 0), [("new.png", 0)]), *SHEETS[::-1]]
    with contextlib.closing(Naming(bigger, file)) as naming:
        assert naming.names() == {SHEETS[0].exemplar: "x"}
        assert naming.counts() == (1, 0, 4)
        with pytest.raises(ValueError, match="open in another"):
            Naming(SHEETS, file)
        with pytest.raises(ValueError, match="no name"):
            naming.name()


def test_a_full_disk_stops_before_the_next_sheet(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "names.csv"
    naming = Naming(SHEETS, file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 9, hard))
    try:
        with pytest.raises(OSError, match=r"names.csv.* could not be written"):
            naming.skip()
        assert naming.counts() == (0, 0, 4)
        assert naming.position == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    naming.close()
    assert Naming(SHEETS, file).counts() == (0, 0, 4)
