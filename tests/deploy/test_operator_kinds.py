"""Manifests of operators' kinds, against the schemas that the operators install; a field they do not know is an error.

The schemas are in no package: `sh kubernetes/fetch_crds.sh FOLDER`, then GEMINIFUSION_TEST_CRDS=FOLDER.
"""

import copy
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2] / "kubernetes"
MANIFESTS = {
    "RayCluster": ROOT / "overlays/ray/ray-cluster.yaml",
    "InferenceService": ROOT / "overlays/kserve/inference-service.yaml",
    "ScaledObject": ROOT / "overlays/keda/scaled-object.yaml",
    "PyTorchJob": ROOT / "training/pytorch-job.yaml",
}
DEFINITION = """
spec:
  group: example.org
  names: { kind: Example }
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: { type: string }
            kind: { type: string }
            metadata: { type: object }
            spec:
              type: object
              required: [port]
              properties:
                port: { anyOf: [{ type: integer }, { type: string }], x-kubernetes-int-or-string: true }
                items: { type: array, items: { type: object, properties: { name: { type: string } } } }
                labels: { type: object, additionalProperties: { type: string } }
                anything: { type: object, x-kubernetes-preserve-unknown-fields: true }
                later: { type: string, nullable: true }
"""
EXAMPLE = """
apiVersion: example.org/v1
kind: Example
metadata: { name: one }
spec: { port: 80, items: [{ name: a }], labels: { app: x }, anything: { goes: 1 }, later: null }
"""


def strict(schema):
    """JSON Schema for a schema of Kubernetes: what would be dropped silently is an error."""
    schema = dict(schema)
    known = {name: strict(inner) for name, inner in schema.get("properties", {}).items()}
    if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        rest = schema.get("additionalProperties", False)
        schema["additionalProperties"] = strict(rest) if isinstance(rest, dict) else rest
    if known:
        schema["properties"] = known
    if "items" in schema:
        schema["items"] = strict(schema["items"])
    if schema.get("nullable"):
        schema["type"] = [schema["type"], "null"]
    return schema


def problems(definition, manifest):
    """What a definition says against a manifest, each with its place."""
    group, _, version = manifest["apiVersion"].partition("/")
    assert (definition["spec"]["group"], definition["spec"]["names"]["kind"]) == (group, manifest["kind"])
    (schema,) = (one["schema"] for one in definition["spec"]["versions"] if one["name"] == version)
    found = strict(schema["openAPIV3Schema"])
    found["properties"]["metadata"] = {"type": "object"}  # Kubernetes's own
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(found).iter_errors(manifest)]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_the_operator_knows_every_field(kind):
    folder = os.environ.get("GEMINIFUSION_TEST_CRDS")
    if folder is None:
        pytest.skip(
            "needs the operators' schemas: sh kubernetes/fetch_crds.sh FOLDER, and GEMINIFUSION_TEST_CRDS=FOLDER"
        )
    definition = yaml.load((Path(folder) / f"{kind}.yaml").read_text(), yaml.CSafeLoader)
    manifest = yaml.safe_load(MANIFESTS[kind].read_text())
    assert problems(definition, manifest) == []
    misspelt = copy.deepcopy(manifest)
    misspelt["spec"]["replcas"] = 2
    assert any("'replcas'" in problem for problem in problems(definition, misspelt))


def test_what_the_definition_allows_is_no_problem():
    assert problems(yaml.safe_load(DEFINITION), yaml.safe_load(EXAMPLE)) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("port: 80,", "port: 80, prot: TCP,", "'prot' was unexpected"),
        ("{ name: a }", "{ name: a, image: b }", "'image' was unexpected"),
        ("{ app: x }", "{ app: 1 }", "1 is not of type 'string'"),
        ("port: 80,", "", "'port' is a required property"),
        ("port: 80,", "port: 8.5,", "8.5 is not valid under any of the given schemas"),
    ],
)
def test_what_the_operator_would_drop_or_refuse_is_a_problem(right, wrong, said):
    (problem,) = problems(yaml.safe_load(DEFINITION), yaml.safe_load(EXAMPLE.replace(right, wrong)))
    assert said in problem


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path):
    (tmp_path / "RayCluster.yaml").write_text("kind: CustomResourceDefinition\n")
    command = ["sh", str(ROOT / "fetch_crds.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}/RayCluster.yaml has SHA-256 ")
    assert "expected 9b5ada939fdf" in done.stderr
