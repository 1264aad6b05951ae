#!/bin/sh
# Writes docker/locks: every package of every image with its version and hashes; needs uv. Arguments go to uv, as --upgrade.
set -eu
cd "$(dirname "$0")/.."

# Debian's Python in the images is 3.11, Ubuntu's, below NVIDIA's images, 3.12. A Jetson is aarch64.
while read -r name python platform extras; do
  options=""
  for extra in $extras; do options="$options --extra $extra"; done
  # shellcheck disable=SC2086 # options are words
  uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
    --python-version "$python" --python-platform "$platform" $options "$@" \
    --output-file "docker/locks/$name.txt" pyproject.toml
done <<'LOCKS'
service 3.11 x86_64-manylinux_2_28 service signatures
service-gpu 3.11 x86_64-manylinux_2_28 service-gpu signatures
ray 3.11 x86_64-manylinux_2_28 service ray signatures
train 3.11 x86_64-manylinux_2_28 model export signatures
tensorrt 3.12 x86_64-manylinux_2_28 service-gpu tensorrt onnx signatures
jetson 3.12 aarch64-manylinux_2_39 service system-tensorrt onnx signatures
LOCKS
