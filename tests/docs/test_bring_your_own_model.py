"""The commands of the page "Bring your own model"."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/guides/bring-your-own-model.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_kind_of_file_is_served_in_three_commands():
    served = [block.strip().splitlines() for block in BLOCKS if "geminifusion serve" in block]
    assert len(served) == 4
    for commands in served:
        assert [command.split()[1] for command in commands] == ["export", "serve", "predict"]
