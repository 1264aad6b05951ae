"""The names of the data sets' layouts, which commands offer before anything that reads them is imported."""

from __future__ import annotations

DATASETS = ("nyuv2", "nyuv2-lists", "sunrgbd", "deliver", "folder")
