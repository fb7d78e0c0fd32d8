"""Class lists in the forms of detectors and label tools: read, or refused with the forms that are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import dataset_cfg, write_class_tree, write_image

from datasets.folder import Folder
from datasets.unlabeled import Unlabeled
from promptkd.data.class_lists import read_class_list

NAMES = ["apple", "banana", "no"]
FORMS = [
    ("data.yaml", "names:\n  0: apple\n  1: banana\n  2: no\n"),
    ("data.yml", "train: ../a\nval: ../b\nnc: 3\nnames: ['apple', 'banana', 'no']\nroboflow:\n  license: x\n"),
    ("data.yaml", "# detector\npath: ../d\nnames:\n- apple\n- banana  # yellow\n- no\n"),
    ("data.yaml", "- apple\n- banana\n- no\n"),
    ("data.yaml", "0: apple\n1: banana\n2: no\n"),
    ("data.yaml", "1: apple\n10: no\n2: banana\n"),
    ("data.yaml", "classes: {apple: 0, banana: 1, no: 2}\n"),
    ("data.txt", "names:\n  0: apple\n  1: banana\n  2: no\n"),
    ("classes.txt", "---\n- apple\n- banana\n- no\n"),
    ("map.json", '{"0": "apple", "1": "banana", "2": "no"}'),
    ("map.json", '{"banana": 1, "apple": 0, "no": 2}'),
    ("list.json", '["apple", "banana", "no"]'),
    ("list.json", '{"names": ["apple", "banana", "no"]}'),
    ("config.json", '{"model": "x", "id2label": {"0": "apple", "1": "banana", "2": "no"}}'),
    ("list.txt", '["apple", "banana", "no"]'),
    (
        "coco.json",
        '{"images": [{"id": 1}], "categories": [{"id": 90, "name": "no", "supercategory": "a"}, '
        '{"id": 1, "name": "apple"}, {"id": 7, "name": "banana"}]}',
    ),
    ("labels.csv", "name\napple\nbanana\nno\n"),
    ("labels.csv", "class_name\r\napple\r\nbanana\r\nno\r\n"),
    ("labels.csv", "id,name\n2,no\n0,apple\n1,banana\n"),
    ("labels.csv", "index;display_name;mid\n0;apple;/m/1\n1;banana;/m/2\n2;no;/m/3\n"),
    ("labels.csv", "apple\nbanana\nno\n"),
    ("labels.tsv", "class\tcount\napple\t3\nbanana\t4\nno\t5\n"),
    ("labels.txt", "id,name\n0,apple\n1,banana\n2,no\n"),
    ("labels.txt", "class_name\napple\nbanana\nno\n"),
    ("classes.txt", "- apple\n- banana\n- no\n"),
    ("classes.txt", "* apple\n* banana\n* no\n"),
    ("classes.txt", "apple,\nbanana,\nno\n"),
    ("classes.txt", "apple,\nbanana,\nno,\n"),
    ("classes.txt", '- "apple",\n- "banana",\n- "no"\n'),
    ("classes.txt", "# my classes\napple\nbanana  # yellow\n#\nno\n"),
    ("classes.txt", "apple;\nbanana;\nno\n"),
    ("classes.txt", "// mine\napple\nbanana // yellow\nno\n"),
    ("classes.txt", "n07739125: apple\nn07753592: banana\nn00000000: no\n"),
    ("classes.txt", "apple\t0\nbanana\t1\nno\t2\n"),
    ("classes.txt", "apple = 1\nbanana = 2\nno = 3\n"),
    ("classes.txt", "apple 0\nbanana 1\nno 2\n"),
    ("classes.txt", "no 3\napple 1\nbanana 2\n"),
    ("classes.txt", "2 no\n0 apple\n1 banana\n"),
    ("classes.csv", "apple: 0\nbanana: 1\nno: 2\n"),
    ("obj.names", "apple\r\nbanana\r\nno\r\n"),
    ("classes", "apple\nbanana\nno"),
]


@pytest.mark.parametrize(("file", "content"), FORMS)
def test_forms(file: str, content: str, tmp_path: Path):
    (tmp_path / file).write_text(content, newline="")
    assert read_class_list(tmp_path / file) == NAMES


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("label_map.pbtxt", "item {\n id: 1\n name: 'cat'\n}"),
        ("classes.txt", "item {\n id: 1\n name: 'cat'\n}"),
        ("labels.xml", "<label>cat</label>"),
        ("classes.txt", "<label>cat</label>\n<label>dog</label>"),
        ("classes.txt", "animals:\ncat\ndog"),
        ("data.yaml", "train: a\nval: b\nnc: 2\n"),
        ("data.yaml", "names: cat, dog\n"),
        ("data.yaml", "names:\n  cat: 0.5\n  dog: x\n"),
        ("map.json", '{"cat": "felis", "dog": "canis"}'),
        ("list.json", "[1, 2, 3]"),
        ("list.json", '"cat"'),
        ("coco.json", '{"categories": [{"id": 1}, {"id": 2}]}'),
        ("table.csv", "width,height\n3,4\n5,6\n"),
    ],
)
def test_others_are_refused_by_form(file: str, content: str, tmp_path: Path):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match="taken are a text file with a name a line; a CSV") as error:
        read_class_list(tmp_path / file)
    assert file in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data.yaml", "names: [cat, dog\n", "is not YAML"),
        ("data.yaml", "names: {0: cat, 0: dog}\n", "given twice"),
        ("data.yaml", "names: !!python/object/apply:os.system {touch: x}\n", "not a list of class names"),
        ("map.json", '{"0": "cat", "00": "dog"}', "two classes of one number"),
        ("coco.json", '{"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}', "two classes of one id"),
        ("list.json", '["cat", "dog",]', "is not JSON"),
        ("list.json", "[" * 100_000, "nested"),
        ("data.yaml", "[" * 100_000, "nest"),
        (
            "data.yaml",
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{'abcdefghij'[n]}: &{'abcdefghij'[n]} [{','.join(['*' + 'abcdefghij'[n - 1]] * 9)}]\n"
                for n in range(1, 10)
            ),
            "values",
        ),
    ],
)
def test_damaged_lists(file: str, content: str, message: str, tmp_path: Path):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_class_list(tmp_path / file)
    assert len(str(error.value)) < 1000


def test_usual_names_stay(tmp_path: Path):
    names = [
        "C# code",
        "x-ray",
        "- 5 degrees",
        "no: 5",
        "a, b",
        "1st place",
        "#hashtag",
        "rock 'n' roll",
        "2012 Audi TTS",
    ]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    assert read_class_list(tmp_path / "classes.txt") == names


def test_in_a_data_set(tmp_path: Path):
    write_image(tmp_path / "1.png")
    (tmp_path / "data.yaml").write_text(FORMS[0][1])
    assert Unlabeled(dataset_cfg(tmp_path, CLASSNAMES="data.yaml")).classnames == NAMES


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classnames.yaml", "TUM: tumour epithelium\nSTR: stroma\n"),
        ("classnames.csv", "folder,name\nTUM,tumour epithelium\nSTR,stroma\n"),
        ("classnames.csv", "id;class\nTUM;tumour epithelium\nSTR;stroma\n"),
        ("classnames.json", '{"TUM": "tumour epithelium", "STR": "stroma"}'),
    ],
)
def test_names_of_folders(file: str, content: str, tmp_path: Path):
    write_class_tree(tmp_path, {"TUM": 10, "STR": 10})
    (tmp_path / file).write_text(content)
    assert Folder(dataset_cfg(tmp_path)).classnames == ["stroma", "tumour epithelium"]
