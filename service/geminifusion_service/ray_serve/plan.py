"""The plan of the replicas: their number, and what each of them may use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geminifusion_service.settings import Settings, SettingsError


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
        share = {"threads": self.threads, "decode_workers": settings.decode_workers or self.threads}
        return Settings(**{**vars(settings), **share})


def plan_replicas(settings: Settings, cores: int) -> ReplicaPlan:
    """Divide this machine among the replicas, or take what the settings say of each.

    Args:
        settings: `threads` is of each replica; 0 divides `cores` by the most replicas there may be.
        cores: number that this process may use.

    Raises:
        SettingsError: the settings contradict each other.
    """
    most = settings.max_replicas or settings.replicas
    if most < settings.replicas:
        raise SettingsError(
            f"max_replicas is {most} and replicas is {settings.replicas}; give --max-replicas a number not below "
            "--replicas, or 0 for a fixed number"
        )
    if settings.model_repository:
        raise SettingsError(
            f"model_repository is {settings.model_repository!r}, and replicas on Ray do not change their models while "
            "they run; name the artifacts with --artifact and start anew to change them"
        )
    if settings.ray_address and not settings.threads:
        raise SettingsError(
            f"ray_address is {settings.ray_address!r} and threads is 0, which divides the cores of this machine; "
            "say how many each replica of the cluster shall have with --threads"
        )
    return ReplicaPlan(
        least=settings.replicas,
        most=most,
        target_ongoing=settings.target_ongoing,
        capacity=settings.queue_size,
        # rounded down: Ray counts in ten-thousandths, and three rounded up would not fit
        cpus=float(settings.threads) or math.floor(1000 * cores / most) / 1000,
        gpus=settings.replica_gpus,
        threads=settings.threads or max(1, cores // most),
    )
