#!/bin/sh
# Puts the CustomResourceDefinitions of the operators that our manifests are written for into FOLDER, where
# tests/deploy/test_operator_kinds.py reads them. A file that is there already is only checked.
#
#   fetch_crds.sh FOLDER
set -eu

if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
mkdir -p "$1"
# KubeRay 1.5.1, the oldest that can run the overlay; KServe 0.20.0; KEDA 2.20.2; Kubeflow's training operator 1.9.4.
while read -r kind repository commit path sha256; do
  file=$1/$kind.yaml
  if [ ! -e "$file" ]; then
    curl --fail --silent --show-error --proto '=https' --max-time 120 \
      "https://raw.githubusercontent.com/$repository/$commit/$path" --output "$file"
  fi
  found=$(sha256sum "$file" | cut -d ' ' -f 1)
  if [ "$found" != "$sha256" ]; then
    echo "$file has SHA-256 $found; expected $sha256, that of $path in commit $commit of $repository: remove it and run again" >&2
    exit 1
  fi
done <<'CRDS'
RayCluster ray-project/kuberay 9e8a2c085b7b7c96cf7cc5d857787bc2d78406c6 ray-operator/config/crd/bases/ray.io_rayclusters.yaml 9b5ada939fdfd0edb5a6cf48f24a63bd792254c264967dd0930155a3941c2557
InferenceService kserve/kserve 1fb781055dd1567164358233e1125142ca6ef1fe config/crd/full/serving.kserve.io_inferenceservices.yaml 57c3bf13f77de94678bf2ae3748056ec071ad2b9e88d6a28f44fb4710758fcff
ScaledObject kedacore/keda 68a5b5028f35b22d50597c69819ab32c4e92f21a config/crd/bases/keda.sh_scaledobjects.yaml af35555862a83933b074af14ad439c4b4ceabaf4daa3e9338e9b23e36d308d80
PyTorchJob kubeflow/trainer 4445c12aa62e4345b0c2c6ac9b215a70eca46ed7 manifests/base/crds/kubeflow.org_pytorchjobs.yaml 8b8a8a719cc94173169290251e817f7ac2bb425c20b6c2fa813397bcf4e932ed
CRDS
