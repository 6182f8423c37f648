"""segmentation.py: characters are cut out whole, and as many as there are."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labelling.clusters import segmentation
from labelling.clusters.segmentation import Part


def test_touching_letters_of_two_colours_are_separated_and_a_line_across_is_removed():
    image = np.full((50, 200, 3), 235, np.uint8)
    cv2.putText(image, "B", (30, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (200, 30, 30), 4)
    cv2.putText(image, "R", (54, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (30, 30, 200), 4)
    cv2.putText(image, "K", (120, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (20, 130, 40), 4)
    alone = [(part.left, part.right) for part in segmentation.cut(image)]
    assert len(alone) == 3
    cv2.line(image, (0, 20), (199, 34), (40, 40, 40), 2, cv2.LINE_AA)
    crossed = [(part.left, part.right) for part in segmentation.cut(image)]
    crossed = [(left, right) for left, right in crossed if right - left > 2]  # no slivers
    assert len(crossed) == 3
    assert np.abs(np.array(alone) - crossed).max() <= 8  # pixels


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 90), st.just(3)),
        elements=st.sampled_from([0, 10, 128, 255]),
        fill=st.just(255),
    )
)
def test_parts_of_any_image_lie_inside_it_and_hold_ink_from_edge_to_edge(image):
    parts = segmentation.cut(image)
    for part in segmentation.fix_counts([parts, parts])[0]:
        assert 0 <= part.left < part.right <= image.shape[1]
        assert 0 <= part.top < part.bottom <= image.shape[0]
        assert part.mask.any(axis=0)[[0, -1]].all()
        assert part.mask.any(axis=1)[[0, -1]].all()
    assert [p.left + p.right for p in parts] == sorted(p.left + p.right for p in parts)


def test_an_empty_image_has_no_parts():
    assert segmentation.cut(np.full((50, 200, 3), 200, np.uint8)) == []
    assert segmentation.fix_counts([[], []]) == [[], []]


boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2)


def part_at(box):
    left, top, width, height = box
    return Part(left, top, np.ones((height, width), bool), np.zeros(3))


@settings(deadline=None)
@given(boxes, boxes)
def test_joined_parts_cover_what_both_covered(one, other):
    def paint(*parts):
        canvas = np.zeros((12, 12), bool)
        for part in parts:
            for y, x in np.argwhere(part.mask):
                canvas[part.top + y, part.left + x] = True
        return canvas

    one, other = part_at(one), part_at(other)
    assert (paint(segmentation.join(one, other)) == paint(one, other)).all()


def test_the_usual_count_is_restored_by_halving_the_widest_and_joining_pieces():
    def row(*widths, colour=0.0):
        lefts = np.cumsum([0, *[width + 6 for width in widths[:-1]]])
        return [
            Part(int(x), 0, np.ones((20, w), bool), np.full(3, colour))
            for x, w in zip(lefts, widths, strict=True)
        ]

    whole, merged, broken = row(10, 10, 10), row(10, 24), row(10, 3, 3, 10)
    fixed = segmentation.fix_counts([whole] * 5 + [merged, broken])
    widths = [[part.mask.shape[1] for part in parts] for parts in fixed]
    assert widths == [[10, 10, 10]] * 5 + [[10, 12, 12], [10, 12, 10]]
    no_usual_count = segmentation.fix_counts([whole, merged, broken])
    assert [len(parts) for parts in no_usual_count] == [3, 2, 4]
    assert segmentation.fix_counts([[], [], whole]) == [[], [], whole]  # in most there is nothing
