"""The Ray Serve application of our replicas: deploy it, get its handle, count its replicas."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geminifusion_service.ray_serve.plan import ReplicaPlan
from geminifusion_service.ray_serve.replica import SegmenterReplica
from geminifusion_service.settings import Settings

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

APPLICATION = "geminifusion"
DEPLOYMENT = "segmenter"
_log = logging.getLogger(__name__)
_RESPONSE_TIMEOUT_S = 10.0
_LOGGING = {"log_level": "ERROR", "enable_access_log": False}
_START_ATTEMPTS = 2  # of a replica
# Ray reports the load every 10 s, so the mean of 20 s is of two reports.
_LOOK_BACK_S, _UPSCALE_DELAY_S, _DOWNSCALE_DELAY_S = 20.0, 5.0, 120.0


def deploy(settings: Settings, plan: ReplicaPlan) -> DeploymentHandle:
    """Start the replicas, or bring running ones to these settings. They are not ready yet: ask `progress`.

    Args:
        settings: of a replica.
        plan: number of replicas, and what each may use.
    """
    from ray import serve

    fingerprint = _fingerprint(settings, plan)
    if (running := _running_with(fingerprint)) is not None:
        return running
    options: dict[str, Any] = {
        "name": DEPLOYMENT,
        "max_ongoing_requests": plan.capacity,
        # The ingress admits no more; this only keeps several ingresses of one cluster within bounds.
        "max_queued_requests": plan.capacity * plan.most,
        "ray_actor_options": {"num_cpus": plan.cpus, "num_gpus": plan.gpus},
        "health_check_period_s": 1.0,
        "health_check_timeout_s": 30.0,
        "graceful_shutdown_timeout_s": settings.network.drain_s,
        "graceful_shutdown_wait_loop_s": 0.2,
        "max_constructor_retry_count": _START_ATTEMPTS,
    }
    if plan.autoscaled:
        options["autoscaling_config"] = {
            "min_replicas": plan.least,
            "max_replicas": plan.most,
            "target_ongoing_requests": plan.target_ongoing,
            "look_back_period_s": _LOOK_BACK_S,
            "upscale_delay_s": _UPSCALE_DELAY_S,
            "downscale_delay_s": _DOWNSCALE_DELAY_S,
        }
    else:
        options["num_replicas"] = plan.least
    replica = serve.deployment(**options)(SegmenterReplica)
    # Requests come in through our own transports, so Ray's are not needed: its gRPC one listens on every interface.
    serve.start(proxy_location="Disabled", logging_config=_LOGGING)
    target = serve.RunTarget(
        target=replica.bind(settings, fingerprint), name=APPLICATION, route_prefix=None, logging_config=_LOGGING
    )
    return serve.run_many([target], wait_for_applications_running=False)[0]


def _fingerprint(settings: Settings, plan: ReplicaPlan) -> str:
    """Hash that is equal for replicas that need not be replaced by each other, wherever their ingresses listen."""
    of_replicas = replace(settings, network=replace(settings.network, host="", http_port=0, grpc_port=0))
    return hashlib.sha256(repr((of_replicas, plan)).encode()).hexdigest()


def _running_with(fingerprint: str) -> DeploymentHandle | None:
    """Handle of the replicas that another ingress has started, if they are what this one would start."""
    from ray import serve

    if APPLICATION not in serve.status().applications:
        return None
    handle = serve.get_app_handle(APPLICATION)
    try:
        same = handle.fingerprint.remote().result(timeout_s=_RESPONSE_TIMEOUT_S) == fingerprint
    except Exception as error:  # whatever keeps them from answering, new ones are the remedy
        _log.warning("the running replicas do not answer (%s); replacing them", error)
        return None
    return handle if same else None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """State of the deployment. `problem` is set once Ray has given up on it."""

    running: int  # replicas that take requests now
    complete: bool  # as many as planned
    problem: str = ""


def progress() -> Progress:
    """Ask Ray for the state of the deployment; may block for a moment."""
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    if application is None or DEPLOYMENT not in application.deployments:
        return Progress(running=0, complete=False)
    deployment = application.deployments[DEPLOYMENT]
    return Progress(
        running=deployment.replica_states.get("RUNNING", 0),
        complete=application.status == "RUNNING",
        problem=deployment.message or application.message if application.status == "DEPLOY_FAILED" else "",
    )
