"""The compose file: its schema, and what every service has to have."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker/compose.api-keys.yml", "docker/compose.small.yml")
COMPOSE = yaml.safe_load((ROOT / FILES[0]).read_text())
SERVICES = COMPOSE["services"]
# Rules that do not apply: of digests, which .env sets; of the variable that Ray reads the token's path from; of secrets
# below a home directory; of the cores, which a file for every machine cannot know.
NOT_APPLIED = {"CL-0019", "CL-0020", "CL-0013", "CL-0026"}


def lint(*command):
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES)
def test_the_schema_of_compose_accepts_it(path):
    code, said = lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    assert code == 0, said


def test_rules_of_compose_security_hold():
    _, said = lint("compose-lint", FILES[0])
    assert "docker-compose.yml:" in said
    assert set(re.findall(r"(?:HIGH|MEDIUM|LOW|CRITICAL)\s+(CL-\d+)", said)) <= NOT_APPLIED, said


def test_hadolint_finds_nothing():
    code, said = lint("hadolint", "docker/Dockerfile")
    assert code == 0, said


def test_one_service_starts_by_default():
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["geminifusion"]
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert profiles == {"gpu", "tensorrt", "proxy", "monitoring", "ray"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_limits_no_rights_and_logs_that_end(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"mem_limit", "cpus", "pids_limit", "restart"} <= set(service)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {})
    assert ("devices" in reserved) == (name in ("geminifusion-gpu", "geminifusion-tensorrt"))
    for port in service.get("ports", ()):
        assert port.startswith(("127.0.0.1:", "${PROXY_ADDRESS:-127.0.0.1}:"))


def test_files_that_are_mounted_and_networks_that_are_named_exist():
    for service in SERVICES.values():
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"])
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_targets_are_stages_of_the_dockerfile():
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets == {"service", "service-gpu", "service-tensorrt", "ray"}
    assert targets <= set(stages)
    assert stages[-1] == "service"


def test_the_headers_of_tensorrt_are_those_of_one_commit():
    head, *stages = re.split(r"^FROM ", (ROOT / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    assert re.search(r"^ARG TENSORRT_COMMIT=[0-9a-f]{40}$", head, re.MULTILINE)
    (stage,) = (stage for stage in stages if "fetch_tensorrt_headers.sh" in stage)
    assert "\nARG TENSORRT_COMMIT\n" in stage


def test_the_example_names_the_variables_that_the_files_read_with_their_defaults():
    text = "".join((ROOT / path).read_text() for path in FILES)
    read = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    example = dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(example) == set(read)
    optional = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name in set(read) - optional:
        assert example[name] == read[name], name


def test_the_packages_of_the_images_are_locked_with_hashes():
    locks = sorted((ROOT / "docker/locks").glob("*.txt"))
    assert {lock.stem for lock in locks} == set(
        re.findall(r"RUN sh docker/install\.sh (\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    )
    for lock in locks:
        text = lock.read_text()
        names = re.findall(r"^[a-z0-9][\w.-]*==", text, re.MULTILINE)
        assert len(names) > 20
        assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z0-9])", text))
