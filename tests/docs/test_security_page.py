"""SECURITY.md names the tests of every attack, and the tests name the attacks."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (\w*) \| (.+) \| (`.+`) \|$", re.MULTILINE)
_NUMBER = re.compile(r"\b(?:V\d\d|O1|P8)\b")


def rows():
    """Number, attack and files of each row of the table."""
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Where it is tested")[2]
    return [(number, attack, re.findall(r"`([^`]+)`", files)) for number, attack, files in _ROW.findall(table)]


def test_every_row_names_an_attack_and_files_that_exist():
    found = rows()
    numbers = [number for number, _, _ in found if number]
    assert len(numbers) == len(set(numbers)) >= 29
    assert all(_NUMBER.fullmatch(number) for number in numbers)
    assert [path for _, _, files in found for path in files if not (ROOT / path).is_file()] == []


def test_the_table_and_the_first_lines_of_the_tests_name_each_other():
    in_table = {(number, path) for number, _, files in rows() for path in files if number}
    in_tests = {
        (number, str(path.relative_to(ROOT)))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__)
        for number in _NUMBER.findall(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    }
    assert in_table == in_tests


def test_every_attack_of_the_benchmark_is_in_the_table():
    attacks = (ROOT / "benchmarks/service/attacks.py").read_text(encoding="utf-8")
    assert set(re.findall(rf'"""({_NUMBER.pattern}):', attacks)) - {number for number, _, _ in rows()} == set()


def test_every_fuzzer_is_in_the_table():
    named = {path for _, _, files in rows() for path in files}
    fuzzers = {str(path.relative_to(ROOT)) for path in (ROOT / "tests/service/fuzz").glob("test_*.py")}
    assert len(fuzzers) >= 3
    assert fuzzers - named == set()
