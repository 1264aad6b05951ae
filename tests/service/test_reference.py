"""The generated reference pages: everything is on them, once."""

import pytest

from geminifusion_service import reference
from geminifusion_service.errors import ERRORS
from geminifusion_service.observability.metrics import Metrics
from geminifusion_service.settings import ALL_SETTINGS, GROUPS


def rows_with(page, text):
    return [line for line in page.splitlines() if line.startswith("|") and text in line]


@pytest.mark.parametrize("setting", ALL_SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_a_row_with_its_default_and_meaning(setting):
    (row,) = rows_with(reference.settings_page(), f"`{setting.environment_variable}`")
    assert f"`{setting.option}`" in row
    assert setting.help.replace("|", "\\|") in row
    if setting.default not in ("", ()):
        assert f"`{str(setting.default).lower()}`" in row.lower()


def test_settings_are_in_a_section_for_each_group():
    assert reference.settings_page().count("\n## ") + 1 == len(GROUPS)


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_has_a_row_with_its_statuses(code):
    (row,) = rows_with(reference.errors_page(), f"| `{code}` |")
    assert f"| {int(ERRORS[code].http_status)} | {ERRORS[code].grpc_status} |" in row


def test_every_metric_has_a_row_with_its_type_labels_and_meaning():
    page = reference.metrics_page()
    families = [family for family in Metrics().registry.collect() if family.name.startswith("geminifusion_")]
    assert len(families) > 15
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        (row,) = rows_with(page, f"| `{name}` |")
        assert f"| {family.type} |" in row
        assert family.documentation in row
    (row,) = rows_with(page, "`geminifusion_requests_total`")
    assert "| `transport`, `code` |" in row


def test_pages_are_tables_of_one_width():
    for make in (reference.settings_page, reference.errors_page, reference.metrics_page):
        for table in make().split("\n\n"):
            rows = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
            assert len({row.count("|") for row in rows}) <= 1
