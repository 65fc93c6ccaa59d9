"""What a training of several processes, started by ``torchrun``, needs to agree upon.

Gradients are exchanged by torch's DistributedDataParallel; here are the rank of a process, its
rows of a batch, and small decisions over a channel of their own on the CPU, so that no GPU waits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dnn.extra import told_extra
from ivector.base.errors import UsageError
from ivector.gpu.device import open_device

if TYPE_CHECKING:
    import torch

# One rank validates while the others wait.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Ranks:
    """A process among those of a training.

    Attributes
    ----------
    rank, n_ranks : int
    local_rank : int
        Among those of this machine; tells which GPU is its own.
    """

    rank: int = 0
    n_ranks: int = 1
    local_rank: int = 0
    _channel: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process validates, logs and writes."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This process' rows of every batch.

        Raises
        ------
        UsageError
            The batch does not divide.
        """
        if batch_size % self.n_ranks:
            raise UsageError(
                f"a batch of {batch_size} does not divide among {self.n_ranks} processes; take a "
                "multiple as batch size"
            )
        size = batch_size // self.n_ranks
        return slice(self.rank * size, (self.rank + 1) * size)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process; all must ask."""
        if self.n_ranks == 1:
            return flag
        import torch
        import torch.distributed as dist

        told = torch.tensor(int(flag))
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._channel)
        return bool(told)

    def lead_number(self, number: int) -> int:
        """The leading process' number; all must ask."""
        if self.n_ranks == 1:
            return number
        import torch
        import torch.distributed as dist

        told = torch.tensor(number)
        dist.broadcast(told, src=0, group=self._channel)
        return int(told)

    def wrap(self, module: Any, device: Any) -> Any:
        """The module, its gradients averaged over all processes."""
        if self.n_ranks == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that ``torchrun`` started; within the block they can talk to each other.

    A process that was started alone gets the only rank, without any network.
    """
    n_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if n_ranks == 1:
        yield Ranks()
        return
    import torch
    import torch.distributed as dist

    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_gpus:
        if local_rank >= n_gpus:
            raise UsageError(
                f"torchrun started more processes than there are GPUs here, {n_gpus}: take "
                f"--nproc-per-node={n_gpus}, or hide the GPUs with CUDA_VISIBLE_DEVICES="
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if n_gpus else "gloo", timeout=PATIENCE)
    try:
        channel = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield Ranks(dist.get_rank(), n_ranks, local_rank, channel)
    finally:
        dist.destroy_process_group()


@told_extra()
def pick_device(name: str, ranks: Ranks) -> torch.device:
    """The device of a process by name; "auto" takes its GPU if there is one.

    Raises
    ------
    UsageError
        An unknown name, or a GPU where none is usable.
    """
    import torch

    if name == "auto":
        name = f"cuda:{ranks.local_rank}" if torch.cuda.is_available() else "cpu"
    return open_device(name)
