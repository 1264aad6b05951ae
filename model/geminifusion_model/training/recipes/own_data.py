"""A recipe fitted to data of one's own: classes, modalities, held-out frames and sizes as its contract says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geminifusion_model.data.folder import folder_dataset
from geminifusion_model.training.errors import ConfigError

_RECIPE_SIDE = 480  # shorter side of the frames that recipes with a reduced input are made for
_CROP_SHARE = 0.8  # of a frame as the network sees it, as in those recipes
_CROP_STEP = 32
_HELD_OUT = 8  # one of so many frames, if the recipe's number would be more


def fitted_to(values: dict[str, Any], root: Path, given: Mapping[str, object]) -> tuple[dict[str, Any], str]:
    """The values of a training configuration changed to fit a folder with a `dataset.yaml`.

    The number of classes and the modalities are those of the contract. A recipe that holds more than an eighth of the
    frames out holds that eighth out. Where a recipe reduces frames, things keep the size at which it sees them, and
    crops are no larger than the frames.

    Args:
        values: of a recipe; left as they are.
        root: the folder.
        given: the settings that the user chose, which are not touched.

    Returns:
        The new values, and one line about them.

    Raises:
        DatasetError: the training split cannot be opened, or its first frame not read.
        ConfigError: a chosen setting is no list of modalities.
    """
    fitted: dict[str, Any] = {**values, "network": {**values["network"]}, "augmentation": {**values["augmentation"]}}
    frames = folder_dataset(root, "train", modalities=_chosen_modalities(given))
    task = frames.task
    names = [modality.name for modality in task.modalities]
    _set(fitted["network"], "num_classes", len(task.class_names), "network.num_classes", given)
    _set(fitted["network"], "modalities", names, "network.modalities", given)
    if len(names) == 1:
        _set(fitted["network"], "fusion", "none", "network.fusion", given)
    _set(fitted, "holdout", min(int(values["holdout"]), len(frames) // _HELD_OUT), "holdout", given)
    height, width = frames[0].labels.shape
    if "style" not in fitted["augmentation"]:
        _fit_sizes(fitted, height, width, given)
    return fitted, (
        f"{root / 'dataset.yaml'}: {len(task.class_names)} classes, {'+'.join(names)}, frames of {width}x{height}; "
        f"crops of {_crop(fitted)} at input_scale {fitted['input_scale']:g}, {fitted['holdout']} frames held out "
        "(--set changes any of it)"
    )


def _set(values: dict[str, Any], name: str, value: object, setting: str, given: Mapping[str, object]) -> None:
    if setting not in given:
        values[name] = value


def _chosen_modalities(given: Mapping[str, object]) -> tuple[str, ...] | None:
    if "network.modalities" not in given:
        return None
    chosen = given["network.modalities"]
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        raise ConfigError(f"network.modalities is {chosen!r}; expected a list of names, such as [rgb,depth]")
    return tuple(chosen)


def _fit_sizes(fitted: dict[str, Any], height: int, width: int, given: Mapping[str, object]) -> None:
    augmentation, scale = fitted["augmentation"], float(fitted["input_scale"])
    share = _CROP_SHARE if scale < 1.0 else 1.0
    if scale < 1.0 and not {"input_scale", "augmentation.scale"} & set(given):
        sixteenths = round(16 * scale * _RECIPE_SIDE / min(height, width))
        fitted["input_scale"] = min(max(sixteenths, 4), 16) / 16
        change = fitted["input_scale"] / scale
        augmentation["scale"] = [round(bound * change, 3) for bound in augmentation["scale"]]
        scale = fitted["input_scale"]
    if "augmentation.crop" not in given:
        augmentation["crop"] = [
            min(crop, max(int(share * side * scale) // _CROP_STEP * _CROP_STEP, _CROP_STEP))
            for crop, side in zip(augmentation["crop"], (height, width), strict=True)
        ]


def _crop(fitted: dict[str, Any]) -> str:
    crop = fitted["augmentation"].get("crop")
    return "x".join(map(str, crop)) if isinstance(crop, list | tuple) else str(crop)
