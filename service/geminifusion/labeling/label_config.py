"""What the labelling configuration of a Label Studio project says: where masks go, and which class is which label."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import InvalidInputError

_MAX_CHARACTERS = 2**20
_EXAMPLE = '<BrushLabels name="mask" toName="image"> with a <Label value="…"/> for each class'


@dataclass(frozen=True, kw_only=True)
class BrushTarget:
    """Where the masks of a project go.

    Attributes:
        from_name: name of its brush labels.
        to_name: name of the image they are painted on.
        image_field: field of a task's data with that image's address.
        labels: brush label by the words that name it, in lower case.
    """

    from_name: str
    to_name: str
    image_field: str
    labels: Mapping[str, str]

    def label_of(self, class_name: str) -> str | None:
        """The brush label of a class; None where the project has none."""
        return self.labels.get(class_name.strip().lower())

    def check(self, class_names: Iterable[str]) -> None:
        """Check that there is a label for at least one class.

        Raises:
            InvalidInputError: there is none.
        """
        names = list(class_names)
        if not any(self.label_of(name) for name in names):
            raise InvalidInputError(
                f"none of the brush labels {', '.join(sorted(set(self.labels.values())))} is a class of the model, "
                f'which has {", ".join(names)}; rename labels, or name their classes: <Label value="…" '
                'predicted_values="class,class"/>'
            )


def read_label_config(text: str) -> BrushTarget:
    """Read the XML of a labelling configuration.

    The first `BrushLabels` counts. A label is known by its `value`, its `alias`, and the classes that its
    `predicted_values` lists.

    Raises:
        InvalidInputError: it is no XML, or has no brush labels for an image.
    """
    if len(text) > _MAX_CHARACTERS or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InvalidInputError(
            f"the labelling configuration has a document type or more than {_MAX_CHARACTERS} characters; "
            f"give plain XML such as {_EXAMPLE}"
        )
    try:
        root = ET.fromstring(text)  # noqa: S314  # without a document type there are no entities to expand
    except ET.ParseError as error:
        raise InvalidInputError(f"the labelling configuration is no XML ({error}); give {_EXAMPLE}") from None
    brush = next(root.iter("BrushLabels"), None)
    if brush is None:
        raise InvalidInputError(f"the labelling configuration has no brush labels to put masks on; add {_EXAMPLE}")
    from_name, to_name = brush.get("name", ""), brush.get("toName", "")
    image = next((tag for tag in root.iter("Image") if tag.get("name") == to_name), None)
    field = re.fullmatch(r"\$(\w+)", image.get("value", "") if image is not None else "")
    labels = dict(word for tag in brush.iter("Label") for word in _words(tag))
    if not from_name or field is None or not labels:
        raise InvalidInputError(
            f"BrushLabels {from_name!r} needs a name, labels, and in toName the name of an Image whose value is one "
            f'field, such as <Image name="image" value="$image"/>; it has toName {to_name!r} and {len(labels)} labels'
        )
    return BrushTarget(from_name=from_name, to_name=to_name, image_field=field[1], labels=labels)


def _words(tag: ET.Element) -> list[tuple[str, str]]:
    value = tag.get("value", "")
    words = [value, tag.get("alias", ""), *tag.get("predicted_values", "").split(",")]
    return [(word.strip().lower(), value) for word in words if value and word.strip()]
