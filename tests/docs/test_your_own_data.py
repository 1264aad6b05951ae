"""The page "Your own data": what it tells people to write is what the readers take."""

import re
from pathlib import Path

import pytest

from geminifusion_model.data.folder import folder_splits
from geminifusion_model.data.label_scheme import LabelScheme
from geminifusion_model.yaml_files import parse_yaml

PAGE = (Path(__file__).parents[2] / "docs/guides/your-own-data.md").read_text(encoding="utf-8")
SCHEMES = re.findall(r"`(labels: \{.*?\})`", PAGE)


def test_the_example_is_a_contract(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "dataset.yaml").write_text(example)
    assert folder_splits(tmp_path) == ("train", "test")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_of_labels_is_one(scheme):
    fields = parse_yaml(scheme)["labels"]
    found = LabelScheme.model_validate(fields)
    tables = [table for table in (found.map, found.colors) if isinstance(table, dict)]
    names = sorted({name for table in tables for name in table.values() if name != "void"}) or ["a", "b"]
    found.code(names, [(index, 0, 0) for index in range(len(names))])


def test_all_kinds_of_labels_are_shown():
    assert len(SCHEMES) == 7
