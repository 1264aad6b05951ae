"""The manifests: rendered by kustomize, valid by the schemas of Kubernetes, and what every pod has to have."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.requirements import skip_or_fail

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "kubernetes"
LAYERS = ["base", *sorted(f"overlays/{path.name}" for path in (FOLDER / "overlays").iterdir())]
BUDGET = "PodDisruptionBudget"
# Kinds of operators: their schemas are not Kubernetes's.
OPERATORS = {"RayCluster", "InferenceService", "ScaledObject", "PyTorchJob"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    program = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        skip_or_fail("needs kubectl, which has kustomize in it; the extra dev brings it")
    folder = tmp_path_factory.mktemp("kustomize")
    found = {}
    for layer in LAYERS:
        done = subprocess.run([program, "kustomize", FOLDER / layer], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[layer] = folder / f"{Path(layer).name}.yaml"
        found[layer].write_text(done.stdout)
    return found


def test_every_manifest_is_valid_and_no_kind_unknown(rendered):
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", *map(str, rendered.values())],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert sum(" passed for resource " in line for line in lines) > 20
    others = [line for line in lines if line.strip() and " passed for resource " not in line]
    unexpected = [line for line in others if not any(f"for kind {kind} with api version" in line for kind in OPERATORS)]
    assert unexpected == []


def pods(document):
    """The pod specifications of a manifest, with the names of their containers."""
    spec = document.get("spec", {})
    match document["kind"]:
        case "Deployment":
            yield spec["template"]["spec"]
        case "RayCluster":
            yield from (group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))
        case "InferenceService":
            yield spec["predictor"]
        case "PyTorchJob":
            yield from (replicas["template"]["spec"] for replicas in spec["pytorchReplicaSpecs"].values())


def replicas(document):
    """The labels and the specification of pods that serve, of which there are several alike."""
    name, spec = document["metadata"]["name"], document.get("spec", {})
    match document["kind"]:
        case "Deployment":
            yield spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        case "InferenceService":  # KServe's own label
            yield {"serving.kserve.io/inferenceservice": name}, spec["predictor"]
        case "RayCluster":  # KubeRay's own labels
            for group in spec["workerGroupSpecs"]:
                yield {"ray.io/cluster": name, "ray.io/group": group["groupName"]}, group["template"]["spec"]


def selects(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("layer", [*LAYERS, "training"])
def test_pods_meet_the_restricted_standard(rendered, layer):
    path = FOLDER / "training/pytorch-job.yaml" if layer == "training" else rendered[layer]
    found = [pod for document in yaml.safe_load_all(path.read_text()) for pod in pods(document)]
    assert found
    for pod in found:
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            volumes = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert volumes["/tmp"] in {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_server_has_time_to_drain_and_three_probes(rendered, layer):
    for document in yaml.safe_load_all(rendered[layer].read_text()):
        if document["kind"] not in ("Deployment", "InferenceService"):
            continue
        (pod,) = pods(document)
        (container,) = pod["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        values = {variable["name"]: variable.get("value") for variable in container["env"]}
        drain = int(values["GEMINIFUSION_DRAIN_DELAY_S"]) + int(values["GEMINIFUSION_DRAIN_S"])
        assert drain < pod["terminationGracePeriodSeconds"]


def test_base_and_compose_file_give_the_server_the_same_memory(rendered):
    (deployment,) = (one for one in yaml.safe_load_all(rendered["base"].read_text()) if one["kind"] == "Deployment")
    limit = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["geminifusion"]["mem_limit"]
    assert limit == compose.replace("m", "Mi").replace("g", "Gi")


@pytest.mark.parametrize("layer", LAYERS)
def test_pods_that_serve_are_protected_and_spread(rendered, layer):
    documents = list(yaml.safe_load_all(rendered[layer].read_text()))
    of_kind = {kind: [one["spec"] for one in documents if one["kind"] == kind] for kind in ("NetworkPolicy", BUDGET)}
    found = [pod for document in documents for pod in replicas(document)]
    assert found
    for labels, pod in found:
        assert any(selects(policy["podSelector"], labels) for policy in of_kind["NetworkPolicy"]), labels
        # A budget in percent or of those that may be missing needs a controller that can be scaled; KubeRay's cannot.
        if "ray.io/cluster" not in labels:
            assert any(selects(budget["selector"], labels) for budget in of_kind[BUDGET]), labels
        assert pod["topologySpreadConstraints"]
        for constraint in pod["topologySpreadConstraints"]:
            assert selects(constraint["labelSelector"], labels)


def test_replicas_are_scaled(rendered):
    kinds = {layer: [one["kind"] for one in yaml.safe_load_all(path.read_text())] for layer, path in rendered.items()}
    assert "HorizontalPodAutoscaler" in kinds["base"]
    assert "ScaledObject" in kinds["overlays/keda"]
    assert "HorizontalPodAutoscaler" not in kinds["overlays/keda"]
