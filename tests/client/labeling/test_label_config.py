"""What is read from a labelling configuration, and what is said about one that cannot be used."""

import pytest

from geminifusion import ClientError
from geminifusion.labeling.label_config import read_label_config

CONFIG = """<View>
  <Image name="photo" value="$picture" zoom="true"/>
  <BrushLabels name="mask" toName="photo">
    <Label value="Floor" background="#123456"/>
    <Label value="Seat" alias="bank" predicted_values="Chair, sofa"/>
  </BrushLabels>
</View>"""


def test_labels_are_found_by_value_alias_and_predicted_values():
    target = read_label_config(CONFIG)
    assert (target.from_name, target.to_name, target.image_field) == ("mask", "photo", "picture")
    names = ["floor", "chair", "SOFA", "bank", "wall"]
    assert [target.label_of(name) for name in names] == ["Floor", "Seat", "Seat", "Seat", None]
    target.check(["wall", "sofa"])


def test_a_project_without_any_class_of_the_model_is_refused():
    with pytest.raises(ClientError, match=r"Floor, Seat is a class of the model, which has wall; .*predicted_values"):
        read_label_config(CONFIG).check(["wall"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<View", "is no XML"),
        ("<View/>", "has no brush labels"),
        (CONFIG.replace('toName="photo"', 'toName="other"'), "in toName the name of an Image"),
        (CONFIG.replace("$picture", "$pictures[0]"), "one field"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + CONFIG, "document type"),
        (CONFIG + " " * 2**20, "characters"),
    ],
)
def test_another_configuration_is_refused_in_words(text, said):
    with pytest.raises(ClientError, match=said) as refusal:
        read_label_config(text)
    assert "BrushLabels" in str(refusal.value)
    assert "\n" not in str(refusal.value)
