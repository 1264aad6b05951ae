#!/bin/sh
# Puts the folder include/ of a commit of NVIDIA/TensorRT into DESTINATION, for building the plugin in an image that has no
# TensorRT. The full id of a commit is a checksum of all its files, which git verifies: no other is needed.
#
#   fetch_tensorrt_headers.sh COMMIT DESTINATION [REPOSITORY]
set -eu

if [ $# -ne 2 ] && [ $# -ne 3 ]; then
  echo "usage: $0 COMMIT DESTINATION [REPOSITORY]" >&2
  exit 2
fi
commit=$1 destination=$2 repository=${3:-https://github.com/NVIDIA/TensorRT.git}
case $commit in
  *[!0-9a-f]*) digits=0 ;;
  *) digits=${#commit} ;;
esac
if [ "$digits" -ne 40 ]; then
  echo "COMMIT is '$commit'; expected the full id of a commit, 40 lower-case hexadecimal digits, and no tag or branch" >&2
  exit 2
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export GIT_TERMINAL_PROMPT=0
git init --quiet "$scratch"
git -C "$scratch" remote add origin "$repository"
# One commit, without the files: those of include/ follow when they are written.
if ! said=$(git -C "$scratch" fetch --quiet --depth=1 --filter=blob:none origin "$commit" 2>&1); then
  echo "no commit $commit came from $repository ($(echo "$said" | tail -n 1)); give one that is there. Nothing was written." >&2
  exit 1
fi
if ! git -C "$scratch" ls-tree --name-only "$commit" include/ | grep -qx include/NvInferRuntime.h; then
  echo "commit $commit of $repository has no include/NvInferRuntime.h; give one of a release of TensorRT. Nothing was written." >&2
  exit 1
fi
mkdir -p "$destination"
git -C "$scratch" --work-tree="$(cd "$destination" && pwd)" checkout --quiet "$commit" -- include
