"""What an unloaded model gives back, with the model that comes with the package."""

import subprocess
import sys
import textwrap

import pytest

from geminifusion_runtime.bundled import artifact_path

SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from geminifusion_service.models.loading import ModelLoader, unload_model
    from geminifusion_service.models.memory import resident_bytes
    from geminifusion_service.settings import BatchingSettings, ModelSettings, RuntimeSettings

    directory = Path(sys.argv[1])
    loader = ModelLoader(
        models=ModelSettings(),
        runtime=RuntimeSettings(backend=sys.argv[2], threads=1),
        batching=BatchingSettings(max_batch=1),
    )
    after = []
    for _ in range(4):
        loaded = loader.load(directory)
        unload_model(loaded.model)
        del loaded
        after.append(resident_bytes())
        print(after[-1] // 2**20, "MB", file=sys.stderr)
    print((after[-1] - after[0]) / 2**20)
""")


@pytest.mark.slow
def test_loading_and_unloading_again_and_again_keeps_no_memory():
    # The first time a runtime sets itself up for good; after that, what comes has to go.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(artifact_path()), "onnxruntime"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 10, f"MB kept after three more rounds of a model of about 100:\n{done.stderr}"
