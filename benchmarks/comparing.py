"""What the comparisons of networks have in common: settings that stay the same, and a process for each run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def settle_plan(path: Path, plan: Mapping[str, object], stored: Callable[[], Mapping[str, object]]) -> None:
    """Write the settings, or check that those that are there are the same; exits with a message if they are not.

    Args:
        path: of the file.
        plan: the settings as JSON has them.
        stored: reads the file.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        return
    before = stored()
    changed = ", ".join(f"{name} {before[name]} (now {plan[name]})" for name in plan if before[name] != plan[name])
    if changed:
        sys.exit(f"{path.parent} holds a comparison with {changed}; give the same settings or another folder")


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of a comparison in the folder `out`.

    Args:
        program: finishes one run, called with the folder, the network's name and the seed.
        finished: the file that a finished run has, of a network and a seed.
        report: the tables of all that is finished.
    """

    out: Path
    program: Path
    finished: Callable[[str, int], Path]
    report: Callable[[], str]

    def complete(self, networks: Sequence[str], seeds: int) -> None:
        """Finish what is missing and print the tables after each run; exits with a message if one stops."""
        for seed in range(seeds):
            for network in networks:
                if self.finished(network, seed).is_file():
                    continue
                print(f"{network}, seed {seed}", flush=True)
                if code := self._run(network, seed):
                    sys.exit(
                        f"{network}, seed {seed} stopped with exit code {code}; the same command goes on from here"
                    )
                print(self.report(), flush=True)
        print(self.report())

    def _run(self, network: str, seed: int) -> int:
        """Run the program in a separate process; its exit code."""
        child = subprocess.Popen([sys.executable, self.program, self.out, network, str(seed)])
        try:
            return child.wait()
        except KeyboardInterrupt:
            return child.wait()  # the terminal interrupts the child too, which first saves its state
