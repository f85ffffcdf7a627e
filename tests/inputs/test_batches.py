import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.inputs.batches import (
    LARGE,
    MOST_BYTES,
    MOST_SLIDES,
    assign_batches,
    image_sizes,
    large_batches,
)

MIB = 1024**2
ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,9}\Z")
cohorts = st.dictionaries(ids, st.integers(0, 2 * LARGE), min_size=1, max_size=200)


@settings(deadline=None, max_examples=50)
@given(cohorts)
def test_every_slide_is_in_one_batch_within_the_limits(sizes):
    batches = assign_batches(sizes)
    assert sorted(slide for slides in batches.values() for slide in slides) == sorted(sizes)
    for batch, slides in batches.items():
        assert batch.startswith("large-") == (sizes[slides[0]] >= LARGE)
        assert len(slides) == 1 or (
            len(slides) <= MOST_SLIDES and sum(sizes[slide] for slide in slides) <= MOST_BYTES
        )


@settings(deadline=None, max_examples=50)
@given(cohorts, ids, st.integers(0, 2 * LARGE))
def test_a_new_slide_changes_one_batch_only(sizes, slide, size):
    sizes.pop(slide, None)
    before, after = assign_batches(sizes), assign_batches(sizes | {slide: size})
    changed = {name for name in before if before[name] != after.get(name)}
    assert len(changed) <= 1
    # What became of the changed batch lies in batches whose names begin with its own.
    new = {member for name in after.keys() - before.keys() | changed for member in after.get(name, ())}
    assert new == {slide}.union(*(before[name] for name in changed))


@given(cohorts)
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_sheet_does_not_matter(sizes):
    assert list(assign_batches(dict(reversed(sizes.items()))).items()) == list(assign_batches(sizes).items())


def test_batches_are_neither_many_nor_few():
    batches = assign_batches({f"S{i:03}": MIB for i in range(621)})
    assert 621 / MOST_SLIDES <= len(batches) <= 4 * 621 / MOST_SLIDES
    sizes = {"a": 1, "b": LARGE, "large-c": 2}
    assert assign_batches(sizes) == {"large-b": ("b",), "small-all": ("a", "large-c")}
    assert large_batches(sizes) == {"large-b": ("b",)}


def test_sizes_of_files_and_folders(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    (tmp_path / "b.zarr" / "c").mkdir(parents=True)
    (tmp_path / "b.zarr" / "c" / "0").write_bytes(b"123")
    (tmp_path / "b.zarr" / "zarr.json").write_bytes(b"12")
    images = ["a.png", "b.zarr", "missing.png"]
    sheet = pd.DataFrame({"slide": list("abm"), "image": [str(tmp_path / name) for name in images]})
    assert image_sizes(sheet) == {"a": 5, "b": 5, "m": 0}
