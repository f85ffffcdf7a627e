import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.errors import InputError
from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly
from slideunet.inputs.row_problems import RESERVED, row_messages
from slideunet.inputs.sheet import (
    SHEET_COLUMNS,
    check_purpose,
    lines_of,
    load_sheet,
    missing_files,
    read_sheet,
)

SCHEMA = read_yaml_strictly(Path(__file__).resolve().parents[2] / "workflow/schemas/slides.schema.yaml")


def write(folder, text, name="slides.csv", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def read_faultless(path):
    sheet = read_sheet(path, SCHEMA)
    assert sheet.problems == ()
    return sheet.slides


def read(folder, text, **options):
    return read_faultless(write(folder, text, **options))


def problems(folder, text):
    """All messages, whether rows could be read or not."""
    path = write(folder, text)
    try:
        return row_messages(path, read_sheet(path, SCHEMA).problems)
    except InputError as error:
        return error.problems


def test_text_stays_text(tmp_path):
    sheet = read(tmp_path, "slide,image,score\n001,a.png,NA\nNA,b.png,1e-4\nnull,c.png,\n")
    assert list(sheet["slide"]) == ["001", "NA", "null"]
    assert list(sheet["score"]) == ["NA", "1e-4", ""]


def test_contract_columns_are_always_there(tmp_path):
    sheet = read(tmp_path, "scanner\tslide\timage\tgroup\n x \tS1\ta.png\tP1\n\tS2\tb.png\n", name="s.tsv")
    assert list(sheet.columns) == [*SHEET_COLUMNS, "scanner"]
    assert list(SCHEMA["properties"]) == list(SHEET_COLUMNS)
    assert sheet.loc[0, ["labels", "split", "stratum", "mpp"]].tolist() == [""] * 4
    assert sheet["group"].tolist() == ["P1", "S2"]
    assert sheet["scanner"].tolist() == ["x", ""]


def test_paths_are_relative_to_the_sheet(tmp_path):
    (tmp_path / "sheets").mkdir()
    path = write(tmp_path / "sheets", f"slide,image,labels\nS1,../a.png,{tmp_path}/m.png\n")
    sheet = read_faultless(path)
    assert sheet.loc[0, "image"] == str(tmp_path / "a.png")
    assert sheet.loc[0, "labels"] == str(tmp_path / "m.png")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends(tmp_path, encoding, newline):
    sheet = read(tmp_path, f"slide,image{newline}S1,ä b.png{newline}{newline}", encoding=encoding)
    assert sheet["image"].tolist() == [str(tmp_path / "ä b.png")]


def test_line_numbers_after_a_quoted_line_break(tmp_path):
    found = problems(tmp_path, 'slide,image,note\nS1,a.png,"one\ntwo"\n../x,b.png,\n')
    assert len(found) == 2
    assert found[0].startswith("slides.csv line 2, slide S1: the column 'note' has a control character")
    assert "line 4: '../x'" in found[1]


HOSTILE = [
    "../x",
    "a;b",
    "$(x)",
    "<x>",
    "<script>",
    "-rf",
    ".hidden",
    "a b",
    "ä",
    "a/b",
    "a\\b",
    "a" * 65,
    "CON",
    "nul.txt",
    "",
]


@pytest.mark.parametrize("slide", HOSTILE)
def test_hostile_ids_are_refused(tmp_path, slide):
    found = problems(tmp_path, f"slide,image\n{slide},a.png\n")
    assert len(found) == 1
    assert "line 2: " in found[0]
    assert "not a valid slide id" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slide,image,lables\nS1,a,b\n", ["column 'lables'", "did you mean 'labels'"]),
        ("slide,imge\nS1,a\n", ["column 'imge'", "'image'"]),
        ("slide,labels\nS1,a\n", ["'image' is missing"]),
        ("slide,image,image\nS1,a,b\n", ["'image'", "2 columns"]),
        ("slide,image,\nS1,a,b\n", ["column 3 has no name"]),
        ("slide,image,,\nS1,a,b,\n", ["column 3 has no name"]),
        ("slide;image\nS1;a\n", ["';'", "commas"]),
        ("slide,image\nS1,a,extra\n", ["line 2", "3 fields", "header has 2"]),
        ("slide,image\n", ["no slide"]),
        ("", ["empty"]),
        ("slide,image\nS1,a\ns1,b\n", ["lines 2 and 3", "'S1' and 's1'"]),
        ("slide,image\nS1,\n", ["line 2", "'image' is empty"]),
        ("slide,image,mpp\nS1,a,-1\n", ["line 2", "mpp", "'-1'", "above 0"]),
        ("slide,image,mpp\nS1,a,nan\n", ["line 2", "mpp", "'nan'"]),
        ("slide,image,mpp\nS1,a,half\n", ["line 2", "mpp", "'half'"]),
        (
            "slide,image,split\nS1,a,tset\n",
            ["line 2", "'tset'", "train, val, test, predict or empty", "'test'"],
        ),
        ("slide,image,split\nS1,a,test\n", ["line 2", "S1", "no labels"]),
        ("slide,image,note\nS1,a,b\x00c\n", ["line 2", "control character"]),
        ('slide,image\nS1,"a\n', ["quotation marks"]),
    ],
)
def test_a_wrong_sheet_is_explained(tmp_path, text, expected):
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert [part for part in expected if part not in found[0]] == []


def test_all_problems_come_together(tmp_path):
    assert len(problems(tmp_path, "slide,image,mpp,split\na;b,x,0,no\nS1,,1,predict\nS1,y,1,\n")) == 5


def test_problems_have_the_order_of_the_sheet(tmp_path):
    found = problems(tmp_path, "slide,image,mpp\nS1,a,\nS2,b,x\na;b,c,\ns1,d,\nS4,,0\n")
    places = ["lines 2 and 5", "line 3, slide S2", "line 4", "line 6, slide S4", "line 6, slide S4"]
    assert [text.split(":")[0] for text in found] == [f"slides.csv {place}" for place in places]


def test_one_image_in_two_rows_is_left_to_the_comparison_of_pixels(tmp_path):
    assert problems(tmp_path, "slide,image\nS1,a\nS2,a\n") == []


def test_not_utf8_and_not_there(tmp_path):
    with pytest.raises(InputError, match="UTF-8"):
        read(tmp_path, "slide,image\nS1,ä\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"nowhere\.tsv"):
        read_sheet(tmp_path / "nowhere.tsv", SCHEMA)


@pytest.mark.parametrize(
    "text", ["slide,image,,,\nS1,a,,,\n,,,,\n", "slide,image\nS1,a,,\n", "slide\timage\t\t\nS1\ta\t\t\n"]
)
def test_empty_columns_at_the_end_are_dropped(tmp_path, text):
    sheet = read(tmp_path, text)
    assert sheet.loc[0, ["slide", "image"]].tolist() == ["S1", str(tmp_path / "a")]
    assert "" not in sheet.columns


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04abc", "xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1", "xls"),
        ("\ufeffslide\n".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_a_workbook_is_refused_by_name(tmp_path, start, kind):
    (tmp_path / "slides.csv").write_bytes(start)
    with pytest.raises(InputError, match=rf"slides\.csv: is .*{kind}.*'CSV UTF-8"):
        read_sheet(tmp_path / "slides.csv", SCHEMA)


def test_a_column_like_one_that_is_there_is_metadata(tmp_path):
    assert {"side", "m"} < set(read(tmp_path, "slide,image,side,m\nS1,a,left,1\n").columns)


def test_missing_files_are_named(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "gone.png").symlink_to("target.png")
    path = write(tmp_path, "slide,image,labels\n\nS1,a.png,m.png\nS2,gone.png,\n")
    found = row_messages(path, missing_files(read_sheet(path, SCHEMA)))
    assert len(found) == 2
    assert "slides.csv line 3, slide S1: the label file" in found[0]
    assert "m.png" in found[0]
    assert "link to target.png" in found[1]


def test_without_labels_and_weights_there_is_no_purpose(tmp_path):
    sheet = read(tmp_path, "slide,image,masks\nS1,a,m\n")
    with pytest.raises(InputError, match=r"model\.weights"):
        check_purpose(sheet, None)
    check_purpose(sheet, "model")
    check_purpose(read(tmp_path, "slide,image,labels\nS1,a,m\n"), None)


ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z").filter(
    lambda text: text.split(".")[0].upper() not in RESERVED
)
notes = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8).map(str.strip)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(ids, notes), min_size=1, unique_by=lambda row: row[0].lower()), tab=st.booleans()
)
def test_what_is_written_is_read(tmp_path_factory, rows, tab):
    path = tmp_path_factory.mktemp("sheet") / "s.txt"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if tab else ",")
        writer.writerows(
            [("slide", "image", "note"), *((slide, f"{slide}.png", note) for slide, note in rows)]
        )
    sheet = read_faultless(path)
    assert list(lines_of(path)) == list(sheet["slide"])
    assert list(zip(sheet["slide"], sheet["note"], strict=True)) == rows
    pd.testing.assert_frame_equal(load_sheet(path), sheet)
    # Jobs read it as it was written by another one, elsewhere.
    copy = tmp_path_factory.mktemp("copy") / "s.tsv"
    sheet.to_csv(copy, sep="\t", index=False)
    pd.testing.assert_frame_equal(load_sheet(copy), sheet)
