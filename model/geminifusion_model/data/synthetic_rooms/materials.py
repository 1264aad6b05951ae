"""Materials: colors from one palette per scene, shared by all classes, and a pattern that mixes them.

Because the bed, the wall and the vase draw their colors from the same few, color alone does not tell a class.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geminifusion_model.data.synthetic_rooms.textures import PatternBank

Array = NDArray[np.float32]

# Pattern groups by material, with their weights.
_STUFF: dict[str, dict[str, float]] = {
    "wall": {
        "plain": 10, "stripes": 0.8, "flowers": 0.7, "swirls": 0.6, "bricks": 1, "tiles": 1, "grain": 0.5, "weave": 0.7,
    },
    "floor": {"planks": 5, "carpet": 4, "tiles": 3, "parquet": 2, "speckle": 1, "marble": 1, "plain": 1},
    "wood": {"grain": 6, "plain": 3, "speckle": 0.4},
    "worktop": {"speckle": 3, "marble": 2, "plain": 2, "grain": 2, "tiles": 1},
    "fabric": {"weave": 4, "plain": 4, "carpet": 3, "stripes": 2, "plaid": 2, "flowers": 2, "swirls": 1},
    "hard": {"plain": 8, "marble": 0.5, "speckle": 0.5, "stripes": 0.5},
    "small": {"plain": 5, "stripes": 1, "print": 1.5, "flowers": 0.7, "swirls": 0.7, "abstract": 1},
    "rug": {"rug": 5, "carpet": 1, "stripes": 1, "plaid": 1},
    "art": {"landscape": 3, "abstract": 3, "portrait": 2, "print": 2, "flowers": 0.5},
    "curtain": {"folds": 1},
    "blind": {"slats": 1},
    "spines": {"spines": 1},
    "paper": {"print": 1},
    "outdoors": {"outdoors": 3, "landscape": 1},
    "screen": {"screen": 1},
}  # fmt: skip
_SHOWN_WHOLE = {"art", "outdoors", "screen", "paper"}


@dataclass(frozen=True)
class Material:
    """The appearance of a surface to both cameras.

    Args:
        tile: number of the pattern in the bank.
        colors: `4 3` linear reflectance 0…1, mixed by the pattern's weights.
        repeats_per_m: pattern repetitions per metre; 0 = stretched once over the face.
        offset: `2`, shift of the pattern in repetitions.
        gloss: 0 matt … 1 mirror-like highlight.
        emission: light given off, in units of a white surface well lit.
        infrared: probability 0…1 that the depth sensor gets nothing back, for glass and black screens.
    """

    tile: int
    colors: Array
    repeats_per_m: float
    offset: tuple[float, float]
    gloss: float = 0.0
    emission: float = 0.0
    infrared: float = 0.0


class Painter:
    """Hands out the materials of one scene.

    Args:
        rng: the scene's random generator.
        bank: the available patterns.
    """

    def __init__(self, rng: np.random.Generator, bank: PatternBank) -> None:
        self._rng = rng
        self._bank = bank
        self.palette = _scene_palette(rng)

    def material(
        self,
        stuff: str,
        *,
        gloss: float = 0.0,
        emission: float = 0.0,
        infrared: float = 0.0,
        dark: bool = False,
    ) -> Material:
        """A new surface of wood, fabric, … (the keys of the table above)."""
        rng = self._rng
        choices = _STUFF[stuff]
        weights = np.array(list(choices.values()))
        group = str(rng.choice(list(choices), p=weights / weights.sum()))
        tile = int(rng.choice(self._bank.groups[group]))
        base, second, third = (self.palette[i] for i in rng.integers(0, len(self.palette), 3))
        if group in {
            "plain",
            "grain",
            "planks",
            "parquet",
            "weave",
            "carpet",
            "slats",
            "speckle",
            "marble",
            "bricks",
        }:
            # Natural materials vary around one color.
            second = base * rng.uniform(0.55, 1.25) + 0.1 * (second - base)
            third = base * rng.uniform(0.6, 1.4) + 0.15 * (third - base)
        if stuff == "wall":
            # Wallpapers keep to one color more than cushions do.
            calm = rng.uniform(0.2, 0.8)
            second, third = base + calm * (second - base), base + calm * (third - base)
        shade = base * rng.uniform(0.2, 0.55)
        if group in {"spines", "abstract", "landscape", "portrait"}:
            shade = self.palette[rng.integers(len(self.palette))] * rng.uniform(0.3, 1.0)
        if group == "outdoors":
            base, second, third, shade = _daylight(rng)
        colors = np.stack([base, second, third, shade]) * rng.uniform(0.85, 1.15, (4, 1))
        if emission > 0 and stuff in {"hard", "fabric"}:
            colors = 0.45 + 0.5 * colors  # light comes through paler than it is reflected
        if dark:
            colors *= 0.08
        scale = 0.0 if stuff in _SHOWN_WHOLE else float(np.exp(rng.uniform(np.log(0.4), np.log(1.6))))
        if stuff in {"fabric", "small", "rug"}:
            scale *= 1.7
        if stuff in {"spines", "blind"}:
            scale = rng.uniform(1.3, 2.2)
        return Material(
            tile=tile,
            colors=np.clip(colors, 0.005, 0.95).astype(np.float32),
            repeats_per_m=scale,
            offset=(float(rng.random()), float(rng.random())),
            gloss=gloss,
            emission=emission,
            infrared=infrared,
        )

    def shifted(self, material: Material) -> Material:
        """The same material cut from another place, as the next board or cushion would be."""
        return replace(material, offset=(float(self._rng.random()), float(self._rng.random())))


def _linear(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1, 0.82 * saturation, value), np.float32) ** np.float32(2.2)


def _scene_palette(rng: np.random.Generator) -> list[Array]:
    """Ten colors that go together well enough: pale ones, woods, darks and a few accents of one or two hues."""
    accent = rng.random()
    colors = [
        *(_linear(rng.uniform(0.05, 0.16), rng.uniform(0.0, 0.3), rng.uniform(0.72, 0.98)) for _ in range(3)),
        *(_linear(rng.uniform(0.03, 0.11), rng.uniform(0.35, 0.75), rng.uniform(0.3, 0.8)) for _ in range(2)),
        _linear(rng.random(), rng.uniform(0.0, 0.12), rng.uniform(0.3, 0.75)),
        _linear(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.08, 0.3)),
        _linear(accent + rng.normal(0, 0.04), rng.uniform(0.08, 0.35), rng.uniform(0.45, 0.95)),
        _linear(accent + 0.5 + rng.normal(0, 0.1), rng.uniform(0.2, 0.55), rng.uniform(0.3, 0.8)),
        _linear(rng.random(), rng.uniform(0.3, 0.85) * rng.uniform(0.6, 1), rng.uniform(0.35, 0.85)),
    ]
    return [color for color in colors if rng.random() < 0.85] or colors


def _daylight(rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Sky, leaves, walls and shade outside."""
    return (
        _linear(0.56 + rng.normal(0, 0.03), rng.uniform(0.0, 0.4), 1.0),
        _linear(rng.uniform(0.2, 0.38), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)),
        _linear(rng.uniform(0.02, 0.15), rng.uniform(0.05, 0.5), rng.uniform(0.5, 0.9)),
        _linear(rng.random(), 0.2, rng.uniform(0.1, 0.3)),
    )
