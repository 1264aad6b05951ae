# `make demo` needs a Python from 3.11 on and nothing else: the newest on the PATH that these names find.
# `make PYTHON=/path/to/python3.12 demo` takes another.
PYTHON_NAMES := python3.14 python3.13 python3.12 python3.11 python3
IS_NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in $(PYTHON_NAMES); do $$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done)
VENV := .venv
DIST := dist
CLIENTS := .venv-clients
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow container-test gpu-acceptance sbom lint protos docs docs-reference clean

demo: $(VENV)/with-service
	$(BIN)/geminifusion demo $(ARGS)

# Two processes of one thread each, because a test mostly keeps one core busy, and threads that wait for their turn spin;
# by file, because tests of a file share what they make.
test: $(VENV)/with-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

# Servers under load are judged by their times, so they have both cores to themselves. Exit code 5: no test was chosen.
test-slow: $(VENV)/with-nvidia $(VENV)/with-ray $(CLIENTS)/created
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --numprocesses 2 --dist loadfile $(ARGS) --ignore tests/client --ignore tests/service || [ $$? -eq 5 ]
	$(BIN)/pytest -m slow $(ARGS) --ignore tests/docs --ignore tests/end_to_end --ignore tests/export --ignore tests/model --ignore tests/runtime || [ $$? -eq 5 ]

# Offline once the environment is there. In an environment of your own: geminifusion doctor --gpu
gpu-acceptance: $(VENV)/with-dev
	$(BIN)/geminifusion doctor --gpu --json gpu-acceptance.json $(ARGS)

# Builds the images on Debian's packages and runs the profiles of docker-compose.yml with podman, as root; a machine that
# lacks something for it fails.
container-test: $(VENV)/with-dev
	GEMINIFUSION_TEST_REQUIRE=1 $(BIN)/pytest -m container tests/containers $(ARGS)

# What is in an environment with the service, as CycloneDX, and its licences.
sbom: $(VENV)/created
	rm -rf $(VENV)-sbom && $(PYTHON) -m venv --without-pip $(VENV)-sbom
	$(BIN)/pip --python $(VENV)-sbom/bin/python install --quiet --no-deps --require-hashes -r docker/locks/service.txt
	$(BIN)/pip --python $(VENV)-sbom/bin/python install --quiet --no-deps .
	$(BIN)/pip install --quiet "cyclonedx-bom>=7.5,<8" "pip-licenses>=5.5,<6"
	mkdir -p $(DIST)
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file $(DIST)/sbom.cdx.json $(VENV)-sbom
	$(BIN)/pip-licenses --python $(VENV)-sbom/bin/python --format markdown --output-file $(DIST)/licences.md
	rm -rf $(VENV)-sbom

lint: $(VENV)/with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for folder in . service detection translation; do \
		MYPYPATH=benchmarks:benchmarks/$$folder $(BIN)/mypy benchmarks/$$folder/*.py || exit 1; \
	done
	$(BIN)/lint-imports

# The mapped path makes the stubs import each other as members of their package.
protos: $(VENV)/with-dev
	$(BIN)/python -m grpc_tools.protoc --proto_path=geminifusion_service/pb=protos/geminifusion/v1 \
		--proto_path=geminifusion_service/pb=protos/inference \
		--python_out=service --pyi_out=service --grpc_python_out=service \
		geminifusion_service/pb/segmentation.proto geminifusion_service/pb/detection.proto \
		geminifusion_service/pb/translation.proto geminifusion_service/pb/open_inference.proto

# The pages as a site in site/, built without network; a warning is an error.
docs: $(VENV)/with-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -d site/.doctrees -c docs . site

# Replaces what follows the marker in each page.
docs-reference: $(VENV)/with-dev
	for page in cli settings errors metrics http grpc; do \
		sed -i.old '/^<!-- generated/q' docs/reference/$$page.md && rm docs/reference/$$page.md.old && \
		{ echo; $(BIN)/python docs/reference_pages $$page; } >> docs/reference/$$page.md || exit 1; \
	done

clean:
	rm -rf $(VENV) $(CLIENTS) demo-output dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find docs runtime model export service tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps below make a second call install nothing; a change of pyproject.toml installs again.
$(VENV)/created:
	@$(if $(PYTHON),$(PYTHON),false) -c '$(IS_NEW_ENOUGH)' 2>/dev/null || { \
		echo "$(if $(PYTHON),$(PYTHON) is no,there is no) Python from 3.11 on with venv; install one or run make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/with-service: $(VENV)/created pyproject.toml
	$(BIN)/pip install --quiet --editable ".[service]"
	@touch $@

# torch is pinned: the golden numbers of the tests were checked with this release. Label Studio's encoder of masks, which
# ours is compared with, needs none of what its package asks for.
$(VENV)/with-dev: $(VENV)/created pyproject.toml
	$(BIN)/pip install --quiet "torch==2.13.0"
	$(BIN)/pip install --quiet --editable ".[dev]"
	$(BIN)/pip install --quiet --no-deps label-studio-converter==0.0.59
	@touch $@ $(VENV)/with-service

# NVIDIA's compiler, plugin registry and parser check GPU code without a GPU. The last two come without what they ask for:
# TensorRT's headers lie in a package that wants torch's CUDA build, its bindings want libraries that are not on PyPI.
$(VENV)/with-nvidia: $(VENV)/with-dev
	$(BIN)/pip install --quiet --editable ".[nvidia,triton]"
	$(BIN)/pip install --quiet --no-deps kernel-lens==2.0.1 tensorrt-cu13-bindings==11.4.0.106
	@touch $@

# About 105 MB: Ray Serve, whose tests are skipped without it.
$(VENV)/with-ray: $(VENV)/with-dev
	$(BIN)/pip install --quiet --editable ".[ray]"
	@touch $@

# Clients of the Open Inference Protocol that others wrote, for the slow tests: one process cannot hold both their protobuf
# messages and the server's, which have the standard's names.
$(CLIENTS)/created: Makefile
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet "tritonclient[grpc,http]==2.73.0" "kserve==0.21.0"
	@touch $@
