"""One engine for all tests of containers, with the images built; skipped where it cannot run."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.requirements import skip_or_fail

# importlib mode gives test folders no package, so what several files share is loaded by path once
for _name in ("container_engine", "memory_group"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).parent / f"{_name}.py")
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])

from container_engine import PRIVILEGES, TOOLS, Engine, missing  # noqa: E402 - loaded above


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    if lacking := missing():
        skip_or_fail(f"needs {', '.join(lacking)}; on Debian: apt-get install the packages of these names")
    if os.geteuid() != 0:
        skip_or_fail("needs root, for namespaces and storage of its own")
    default = Path.home() / ".cache/geminifusion-containers"
    engine = Engine(Path(os.environ.get("GEMINIFUSION_TEST_CONTAINERS", default)))
    try:
        engine.make_base()
        for tag in TOOLS:
            engine.make_tool(tag)
        engine.build("service", "geminifusion:cpu")
        engine.build("ray", "geminifusion:ray")
        engine.start()
        yield engine
    finally:
        engine.stop()
        engine.remove()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(engine.storage) not in running
    assert not engine.storage.exists()


@pytest.fixture(scope="session")
def secrets(tmp_path_factory):
    """A certificate for the proxy with its key, and a token for Ray; with the authority's certificate."""
    import trustme

    folder = tmp_path_factory.mktemp("secrets")
    folder.chmod(0o755)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "proxy.pem")
    (folder / "ray-token").write_text("3f" * 32)
    for file in folder.iterdir():
        file.chmod(0o644)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    return folder


@pytest.fixture
def confined(engine):
    """Assert that no process of a container has a privilege, and that its root cannot be written."""

    def check(container):
        assert engine.privileges(container) == {tuple(PRIVILEGES.values())}
        assert "Read-only file system" in engine.podman("exec", container, "touch", "/x", check=False)

    return check


class Load:
    """Clients that repeat one call until they are told to stop, each in a thread of its own.

    Args:
        calls: what the threads repeat; its result or its exception's name is counted.
    """

    def __init__(self, *calls):
        self._over = threading.Event()
        self.outcomes = [[] for _ in calls]
        self._threads = [
            threading.Thread(target=self._repeat, args=(call, said))
            for call, said in zip(calls, self.outcomes, strict=True)
        ]

    @property
    def all(self):
        """What all of them got so far."""
        return [outcome for outcomes in self.outcomes for outcome in outcomes]

    def _repeat(self, call, said):
        while not self._over.is_set():
            try:
                said.append(call())
            except Exception as error:
                said.append(f"{type(error).__name__}: {str(error)[:200]}")
                time.sleep(0.1)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def load():
    return Load
