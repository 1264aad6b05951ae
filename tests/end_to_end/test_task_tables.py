"""Every table that has a row for each task has one for every task, and none of another."""

import pytest

from geminifusion import AsyncClient, Client, descriptions
from geminifusion_export.verification import tasks as verification
from geminifusion_model.tasks import registry as model_tasks
from geminifusion_runtime import task_names
from geminifusion_runtime.artifact import files
from geminifusion_runtime.tasks import registry as runtime_tasks
from geminifusion_service import grpc_server
from geminifusion_service.api.open_inference import task_tensors
from geminifusion_service.api.v1.task_apis import TASK_APIS

NAMES = {value for name, value in vars(task_names).items() if name.isupper()}
TABLES = {
    "of the model": model_tasks.TASKS,
    "of the runtime": runtime_tasks.TASKS,
    "of metadata": files._METADATA,
    "of verification": verification.VERIFICATIONS,
    "of HTTP": {api.task: api for api in TASK_APIS},
    "of Open Inference": task_tensors._TASKS,
    "of descriptions": descriptions._OF_TASK,
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_a_row_for_every_task(table):
    assert set(TABLES[table]) == NAMES
    assert len(NAMES) >= 3


def test_every_report_of_verification_belongs_to_one_task():
    compared = list(verification._OF_REPORTS.values())
    assert len(compared) == len(set(map(id, compared))) == len(NAMES)
    assert set(map(id, compared)) == set(map(id, verification.VERIFICATIONS.values()))


@pytest.mark.parametrize("task", sorted(NAMES))
def test_a_task_is_called_by_its_verb_everywhere(task):
    verb = runtime_tasks.TASKS[task].verb
    assert runtime_tasks.TASKS[task].path in {api.path for api in TASK_APIS}
    assert [path for path in grpc_server._UNARY if path.endswith(f"/{verb.capitalize()}")]
    for caller in (Client, AsyncClient):
        assert callable(getattr(caller, verb, None)), (caller, verb)
