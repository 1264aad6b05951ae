"""The names of the layouts that views are read from, which commands offer before any reader is imported."""

from __future__ import annotations

from geminifusion_model.data.dataset_names import DATASETS

ALIGNED, TASKONOMY = "aligned", "taskonomy"
LAYOUTS = (ALIGNED, TASKONOMY, *DATASETS)
