import numpy as np
import pytest
from click.testing import CliRunner

from geminifusion_model.data.nyuv2 import NYUv2
from geminifusion_model.data.sample import DatasetError
from geminifusion_model.data.synthetic_rooms.dataset import Rooms
from geminifusion_model.data.synthetic_rooms.folder import RoomsFolder, write_rooms
from geminifusion_model.data_commands import data


def test_written_rooms_are_read_back_as_they_were_rendered(tmp_path):
    arguments = ["rooms", str(tmp_path / "rooms"), "--train", "2", "--test", "1", "--height", "48", "--width", "64"]
    result = CliRunner().invoke(data, arguments, catch_exceptions=False)
    assert "wrote 2 training and 1 test frames" in result.output
    read = NYUv2(tmp_path / "rooms", "train")
    drawn = Rooms(3, 0, (48, 64))
    assert (len(read), len(NYUv2(tmp_path / "rooms", "test"))) == (2, 1)
    for index in range(2):
        np.testing.assert_array_equal(read[index].labels, drawn[index].labels)
        np.testing.assert_allclose(read[index].others["depth"], drawn[index].others["depth"], atol=6e-4)
        assert np.abs(read[index].rgb.astype(int) - drawn[index].rgb).mean() < 6, "JPEG loses little"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty"):
        write_rooms(tmp_path, RoomsFolder(train=1, test=0))
    with pytest.raises(ValueError, match="at least 1"):
        RoomsFolder(train=0, test=0)
