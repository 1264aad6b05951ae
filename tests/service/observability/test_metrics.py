"""Metrics: what is said of a request, and that every place that names one means one that exists."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
import yaml

from geminifusion_service.observability.metrics import Metrics

ROOT = Path(__file__).parents[3]
# Of other collectors: those of Ray's front, of the process, and Prometheus's own.
OTHERS = {"geminifusion_replicas"}


def described():
    """Every metric by the name that is queried, with its kind and its text."""
    found = {}
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, family.documentation)
    return found


def sample(text, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


def test_an_answered_request_is_timed_whole_and_by_stage(serving, pair):
    with serving() as live:
        for _ in range(3):
            assert live.post(pair.files()).is_success
        text = live.get("/metrics").text
    assert sample(text, "geminifusion_request_seconds_count") == 3
    stages = [sample(text, f'geminifusion_stage_seconds_count{{stage="{stage}"}}') for stage in _STAGES]
    assert stages == [3] * len(_STAGES)
    assert sample(text, "geminifusion_request_seconds_sum") >= sample(
        text, 'geminifusion_stage_seconds_sum{stage="compute"}'
    )
    assert sample(text, "geminifusion_engine_busy_seconds_total") > 0
    assert sample(text, "process_resident_memory_bytes") > 10e6


_STAGES = ("receive", "decode", "queue", "compute", "encode")


def test_a_deadline_that_passed_is_a_dropped_request(serving, pair):
    with serving() as live:
        assert live.post(pair.files(), deadline_ms=0.01).status_code == 504
        text = live.get("/metrics").text
    assert sample(text, 'geminifusion_requests_total{code="deadline_exceeded",transport="http"}') == 1


async def test_a_loop_that_is_held_up_shows_in_its_lag():
    metrics = Metrics()
    watch = asyncio.create_task(metrics.watch_event_loop())
    await asyncio.sleep(0.2)
    time.sleep(0.3)  # noqa: ASYNC251 - holding up the loop is the point
    await asyncio.sleep(0.01)
    watch.cancel()
    assert sample(metrics.text().decode(), "geminifusion_event_loop_lag_seconds_sum") > 0.15


def _names_in(text):
    return set(re.findall(r"\b(?:geminifusion|process)_[a-z_]+", text))


def test_dashboard_and_alerts_name_only_metrics_that_exist():
    known = set(OTHERS)
    for name, (kind, _) in described().items():
        known |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    dashboard = (ROOT / "docker/grafana/dashboards/geminifusion.json").read_text()
    expressions = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel.get("targets", ())]
    rules = yaml.safe_load((ROOT / "docker/prometheus/rules.yml").read_text())
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    named = set().union(*map(_names_in, expressions))
    assert len(named) > 10
    assert named - known == set()


def test_compose_mounts_files_that_are_there():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["geminifusion"]
    mounted = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert len(mounted) >= 3
    for path in mounted:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", ["docker/prometheus/prometheus.yml", "docker/grafana/provisioning/datasource.yml"])
def test_addresses_are_those_of_services_in_compose(path):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    hosts = re.findall(r"\b([a-z]+):(\d{4})\b", (ROOT / path).read_text())
    assert hosts
    assert {host for host, _ in hosts} <= set(services)
