"""The plan of the replicas: their number, and what each of them may use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from geminifusion_service.setting_fields import SettingsError
from geminifusion_service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ReplicaPlan:
    """The replicas of one service.

    `cpus` and `gpus` are what Ray reserves for each, which is bookkeeping: what a replica really uses is `threads` of
    the engine and as many that decode and encode.
    """

    least: int
    most: int
    target_ongoing: float  # requests in flight per replica at which their number is right
    capacity: int  # most requests in flight in a replica, those queued in it included
    cpus: float
    gpus: float
    threads: int

    @property
    def autoscaled(self) -> bool:
        """Whether Ray changes the number of replicas."""
        return self.most > self.least

    @property
    def total_cpus(self) -> int:
        """CPUs that Ray must have for all replicas; it counts in whole ones."""
        return math.ceil(self.cpus * self.most)

    @property
    def total_gpus(self) -> int:
        """GPUs that Ray must have for all replicas; it counts in whole ones."""
        return math.ceil(self.gpus * self.most)

    def settings_of_replica(self, settings: Settings) -> Settings:
        """The settings of the service with a replica's share of the machine."""
        return replace(
            settings,
            runtime=replace(settings.runtime, threads=self.threads),
            decoding=replace(settings.decoding, decode_workers=settings.decoding.decode_workers or self.threads),
        )


def plan_replicas(settings: Settings, cores: int) -> ReplicaPlan:
    """Divide this machine among the replicas, or take what the settings say of each.

    Args:
        settings: `threads` is of each replica; 0 divides `cores` by the most replicas there may be.
        cores: number that this process may use.

    Raises:
        SettingsError: the settings contradict each other.
    """
    most = settings.ray.max_replicas or settings.ray.replicas
    if most < settings.ray.replicas:
        raise SettingsError(
            f"max_replicas is {most} and replicas is {settings.ray.replicas}; give --max-replicas a number not below "
            "--replicas, or 0 for a fixed number"
        )
    if settings.models.model_repository:
        raise SettingsError(
            f"model_repository is {settings.models.model_repository!r}, and replicas on Ray do not change their models "
            "while they run; name the artifacts with --artifact and start anew to change them"
        )
    if settings.ray.ray_address and not settings.runtime.threads:
        raise SettingsError(
            f"ray_address is {settings.ray.ray_address!r} and threads is 0, which divides the cores of this machine; "
            "say how many each replica of the cluster shall have with --threads"
        )
    return ReplicaPlan(
        least=settings.ray.replicas,
        most=most,
        target_ongoing=settings.ray.target_ongoing,
        capacity=settings.limits.queue_size,
        # rounded down: Ray counts in ten-thousandths, and three rounded up would not fit
        cpus=float(settings.runtime.threads) or math.floor(1000 * cores / most) / 1000,
        gpus=settings.ray.replica_gpus,
        threads=settings.runtime.threads or max(1, cores // most),
    )
