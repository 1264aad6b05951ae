"""Podman in namespaces of its own: networks, mounts and processes of a test end with it.

What a machine without systemd, a registry or all of root's capabilities needs is here: a base image made of the
distribution's packages, images of the tools of others under the names that the compose file gives them, cgroups left
alone (so that limits on memory and processes are accepted and not enforced), and `crun_clamp`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAIR = ROOT / "runtime/geminifusion_runtime/pairs"
NEEDED = ("podman", "crun", "conmon", "netavark", "aardvark-dns", "catatonit", "iptables", "mmdebstrap", "unshare")
_HELPERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/sbin", "/usr/bin")
BASE = "docker.io/library/debian:bookworm-slim"
_EXCLUDED = ("man", "doc", "locale", "info")  # as Debian's slim image
_DOCKERFILE = r"""FROM {base}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends {package} >/dev/null \
    && rm -rf /var/lib/apt/lists/*
{rest}
"""
# Lines of a process's status, with what they say of one that may do nothing.
PRIVILEGES = {"Uid": "10001", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
# Of other people's images: Debian's package under the tag of docker-compose.yml.
TOOLS = {
    "docker.io/prom/prometheus:v3.5.0": (
        "prometheus",
        "RUN install -d -o nobody /prometheus\nUSER nobody\nVOLUME /prometheus\n"
        'ENTRYPOINT ["/usr/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml", '
        '"--storage.tsdb.path=/prometheus"]',
    ),
    "docker.io/prom/alertmanager:v0.28.1": (
        "prometheus-alertmanager",
        "RUN install -d -o nobody /alertmanager\nUSER nobody\nVOLUME /alertmanager\n"
        'ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]',
    ),
    "docker.io/library/haproxy:3.2-alpine": ("haproxy", "USER haproxy"),
}


def missing() -> list[str]:
    """The programs that are not installed, of those that a run needs."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_HELPERS])
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


class Engine:
    """Images, containers and networks in one folder, all of them gone with `stop` and `remove`.

    Args:
        folder: for storage and configuration; the base image's archive stays there for the next run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.storage}/graph"\nrunroot = "{self.storage}/run"\n'
        )
        (folder / "containers.conf").write_text(
            '[containers]\ncgroups = "disabled"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n'
            f'[network]\nnetwork_config_dir = "{self.storage}/networks"\n'
            f'[engine.runtimes]\ncrun = ["{HERE / "crun_clamp.py"}"]\n'
        )
        self._pip_conf = folder / "pip.conf"
        self._pip_conf.write_text("[global]\ncert = /machine/certificates.crt\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GEMINIFUSION_")},
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }
        self._holder: subprocess.Popen[bytes] | None = None
        self._first = 0

    def stop(self) -> None:
        """End every process."""
        if self._holder is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._holder.pid, signal.SIGKILL)
            self._holder.wait()
        for mount in sorted(Path("/proc/self/mounts").read_text().splitlines(), reverse=True):
            if str(self.storage) in (place := mount.split()[1]):
                subprocess.run(["umount", "-l", place], check=False)
        _remove_empty_cgroups()

    def remove(self) -> None:
        """Remove every image; the archive of the base image stays."""
        for _ in range(20):
            shutil.rmtree(self.storage, ignore_errors=True)
            if not self.storage.exists():
                break
            time.sleep(0.2)

    # Images: with the machine's own network, which has the package indexes.

    def make_base(self) -> None:
        """Make the base image out of Debian's packages."""
        archive = self.folder / "base.tar"
        if not archive.exists() or not archive.stat().st_size:
            options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
            # As Debian's images are made: without the program that merges /bin into /usr, and its Perl.
            options += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=usr-is-merged"]
            unfinished = archive.with_suffix(".unfinished.tar")
            command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options]
            _run([*command, "bookworm", str(unfinished), *_sources()])
            unfinished.rename(archive)
        self._in_mounts(["podman", "import", "--quiet", str(archive), BASE])

    def make_tool(self, tag: str) -> None:
        """Make an image of a tool that the compose file takes from a registry."""
        package, rest = TOOLS[tag]
        context = self.folder / "tools"
        context.mkdir(exist_ok=True)
        file = context / package
        file.write_text(_DOCKERFILE.format(base=BASE, package=package, rest=rest))
        self._build([f"--file={file}", f"--tag={tag}", str(context)])

    def build(self, target: str, tag: str) -> None:
        """Build a target of the project's Dockerfile."""
        self._build([f"--file={ROOT / 'docker/Dockerfile'}", f"--target={target}", f"--tag={tag}", str(ROOT)])

    def _build(self, arguments: list[str]) -> None:
        mounts = [
            "--volume=/etc/ssl/certs/ca-certificates.crt:/machine/certificates.crt:ro",
            f"--volume={self._pip_conf}:/etc/pip.conf:ro",
        ]
        self._in_mounts(
            ["podman", "build", "--quiet", "--pull=never", "--network=host", "--format=docker", *mounts, *arguments]
        )

    def _in_mounts(self, command: list[str]) -> str:
        # crun does not start where cgroups of both versions are mounted.
        script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
        return _run(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *command], env=self.environment
        )

    # Containers: in one namespace for all of them, with no network but the one that podman makes there.

    def start(self) -> None:
        """Make the namespaces; a first process that reaps holds them."""
        # Addresses and names of networks are kept in /run: those of a run that was killed would be given to this one.
        script = (
            "umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs tmpfs /run; ip link set lo up; exec catatonit -P"
        )
        flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
        holder = self._holder = subprocess.Popen(["unshare", *flags, "sh", "-c", script], start_new_session=True)
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        for _ in range(100):
            if children.read_text().split():
                break
            time.sleep(0.05)
        self._first = int(children.read_text().split()[0])
        time.sleep(0.3)  # until catatonit is what the first process is

    def run(self, *command: str, check: bool = True, timeout: float = 300, **environment: str) -> str:
        """The output of a command inside the namespaces, in the project's folder."""
        enter = ["nsenter", f"--target={self._first}", "--mount", "--net", "--pid", f"--wdns={ROOT}"]
        return _run([*enter, *command], check=check, timeout=timeout, env={**self.environment, **environment})

    def podman(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        """The output of podman inside the namespaces."""
        return self.run("podman", "--log-level=error", *arguments, check=check, timeout=timeout)

    def privileges(self, container: str) -> set[tuple[str, ...]]:
        """What the processes of a container may do: the different values of `PRIVILEGES` among them."""
        # A process can end before it is read.
        said = self.podman("exec", container, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null || true")
        values = {name: re.findall(rf"^{name}:\t(\S+)", said, re.MULTILINE) for name in PRIVILEGES}
        return set(zip(*values.values(), strict=True))

    def compose(
        self,
        *arguments: str,
        profile: str | None = None,
        files: tuple[str, ...] = ("docker-compose.yml",),
        within: tuple[str, ...] = (),
        **environment: str,
    ) -> str:
        """The output of podman-compose for the project's compose files; `within` comes before its command."""
        chosen = [f"--file={file}" for file in files] + (["--profile", profile] if profile else [])
        program = str(Path(sys.executable).with_name("podman-compose"))
        command = [program, "--podman-args=--log-level=error", "--project-name=gftest", *chosen, *arguments]
        return self.run(*within, *command, **environment)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread, and those it starts, connect to what listens inside the namespaces."""
        library = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as outside, Path(f"/proc/{self._first}/ns/net").open() as inside:
            _set_namespace(library, inside.fileno())
            try:
                yield
            finally:
                _set_namespace(library, outside.fileno())


def _set_namespace(library: ctypes.CDLL, descriptor: int) -> None:
    if library.setns(descriptor, 0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def _sources() -> list[str]:
    found = Path("/etc/apt/sources.list.d/debian.sources")
    return [str(found)] if found.exists() else []


def _remove_empty_cgroups() -> None:
    for folder in Path("/sys/fs/cgroup").glob("**/libpod_parent"):
        for inner in sorted(folder.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _run(command: list[str], *, check: bool = True, timeout: float = 900, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout + done.stderr


def answers(url, *, timeout=2.0, verify=True):
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=timeout, verify=verify, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_until(true, seconds, what):
    """Poll `true` until it returns something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.5)
    raise AssertionError(f"no {what} within {seconds} s")
