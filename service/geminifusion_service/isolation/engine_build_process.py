"""The process that finds or builds one engine, which `EngineBuilds` starts and talks to.

    python -m geminifusion_service.isolation.engine_build_process CONNECTION MEMORY

The message is an `EngineRequest`, the response says where the engine is or why there is none. A builder may take all of
a processor and crash; here it can neither delay nor end what serves.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from geminifusion_service.isolation.engine_cache import EngineRequest, prepare_engine
from geminifusion_service.isolation.worker_main import run_worker

_NICENESS = 10  # requests come first


def _handle(message: dict[str, Any]) -> dict[str, Any]:
    try:
        prepared = prepare_engine(EngineRequest.from_message(message["request"]))
    except Exception as error:  # builders raise anything
        logging.getLogger(__name__).debug("no engine", exc_info=True)
        return {"failed": str(error) or type(error).__name__}
    return {"directory": str(prepared.directory), "outcome": prepared.outcome}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s engine build: %(message)s")
    os.nice(_NICENESS)
    run_worker(int(sys.argv[1]), _handle)
