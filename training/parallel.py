"""Several processes train one network, on one machine or on several; torchrun starts them.

    torchrun --nproc-per-node 2 train_script.py

Each takes its share of every batch, and together they compute what one process would with the whole
batch: random numbers are drawn for all its images by everyone, batch norm takes its statistics over
all of them, DistributedDataParallel averages the gradients. The first process alone prints and
writes. Without torchrun, nothing in here does anything.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import model
from files.images import content_hash
from model import CaptchaNet

PATIENCE = timedelta(seconds=45)  # with a process that no longer answers
WAIT = timedelta(hours=1)  # for a process that loads images from a slower disk
CHUNK = 256  # validation images that each process reads before all exchange what they read
ASKING = 5  # seconds in which the processes settle who says why they end
STOPPED = "the training was stopped, here or in another process; what is done can be resumed."
NO_WAY = (
    "the processes do not reach one another; GLOO_SOCKET_IFNAME=eth0, say, names the network "
    "interface by which this machine reaches the others."
)
DIFFERENT = (
    "the processes differ in their settings or training images: give each machine the same command "
    "and the same split folder."
)


class Share(NamedTuple):
    """Which images of a batch a process has: each ``world``-th, from number ``rank`` on."""

    batch: int  # images of all processes
    rank: int = 0
    world: int = 1

    def of(self, rows: Tensor) -> Tensor:
        """Return what is this process's of a tensor with a row per image, (B, ...) -> (b, ...)."""
        return rows[self.rank :: self.world]

    def draw(self, sampler: Callable[..., Tensor], *shape: int, device: torch.device) -> Tensor:
        """Return random numbers (b, *shape), the same for an image whoever has it."""
        return self.of(sampler(self.batch, *shape, device=device))

    @property
    def weight(self) -> float:
        """What makes the mean over the processes, of means over shares, the mean of the batch."""
        return len(range(self.rank, self.batch, self.world)) * self.world / self.batch


def world() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first_here() -> bool:
    """Tell whether this is the first process of its machine."""
    return world() == 1 or os.environ["LOCAL_RANK"] == "0"


def own_share(batch: int) -> Share:
    """Return this process's share of each batch. Raises ValueError if that is no image."""
    if batch < world():
        raise ValueError(f"BATCH_SIZE is {batch}; {world()} processes need an image each.")
    return Share(batch, rank(), world())


# ---------------------------------------------------------------- from the start to the end


@contextlib.contextmanager
def processes() -> Iterator[None]:
    """Meet the other processes, if torchrun started several; all but the first are silent.

    What goes wrong in one ends them all, and is said once, by the one that met it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    gpus, number = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus:
        if number >= gpus:
            raise ValueError(f"this machine has {gpus} GPUs, --nproc-per-node asks for more.")
        torch.cuda.set_device(number)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    try:
        store, own, count = next(dist.rendezvous("env://", timeout=PATIENCE))
        dist.init_process_group(backend, store=store, rank=own, world_size=count, timeout=PATIENCE)
    except RuntimeError as error:
        raise ValueError(NO_WAY) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # torchrun's, if another one ended
    try:
        with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as silence:
            if own > 0:
                silence.enter_context(contextlib.redirect_stdout(nowhere))
                silence.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    except (Exception, KeyboardInterrupt) as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stopped = isinstance(error, KeyboardInterrupt | dist.DistError) or "gloo" in str(error)
        said = is_said(store)
        if own == 0 and stopped:  # the others, too, learn of it
            wait_for_questions(store, count)
        if said:
            sys.exit(1)
        if stopped:
            raise ValueError(STOPPED) from error
        raise
    finally:
        # A thread of gloo may still hold a tensor; Python, if it took itself down meanwhile, would
        # abort the process (https://github.com/pytorch/pytorch/issues/190489).
        time.sleep(1)


def is_said(store: dist.Store) -> bool:
    """Tell whether another process has said already why all of them end."""
    counts = []

    def ask() -> None:
        """Count this process among those that want to say it."""
        with contextlib.suppress(RuntimeError):
            counts.append(store.add("said", 1))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ASKING)  # a machine that is out of reach never answers
    return bool(counts) and counts[0] > 1


def wait_for_questions(store: dist.Store, count: int) -> None:
    """Keep the store, which the first process may hold, until all ``count`` processes have asked.

    A process that was killed never asks: after ASKING seconds it is waited for no longer.
    """
    end = time.monotonic() + ASKING
    with contextlib.suppress(RuntimeError):  # another machine held it, and has ended
        while store.add("said", 0) < count and time.monotonic() < end:
            time.sleep(0.1)


def join(net: CaptchaNet, share: Share, same: list[Any]) -> nn.Module:
    """Return the network as all processes train it together; for a single one, the network itself.

    ``same`` is what must be the same everywhere. Raises ValueError if it is not.
    """
    if share.world == 1:
        return net
    wait()
    own = repr(same) + content_hash(torch.get_rng_state().numpy().tobytes())
    everywhere = [own] * share.world
    dist.all_gather_object(everywhere, own)
    if len(set(everywhere)) > 1:
        raise ValueError(DIFFERENT)
    for layer in net.modules():  # their weights, and the names of these, stay
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = BatchNorm
        elif isinstance(layer, nn.Dropout):
            layer.__class__ = Dropout
            layer.share = share  # type: ignore[assignment]
    return DistributedDataParallel(net, forward_sync_buffers=False)


def wait() -> None:
    """Wait for the other processes, also if a slow disk or drawing keeps them for long."""
    if world() > 1:
        dist.barrier(timeout=WAIT)


def part() -> bool:
    """Leave the other processes; tell whether this is the one that goes on, to judge and keep."""
    first = rank() == 0
    if world() > 1:
        dist.destroy_process_group()
    return first


# ---------------------------------------------------------------- what all know


def of_first(value: Any) -> Any:  # noqa: ANN401 (whatever it is given)
    """Return what the first process gave as the value."""
    values = [value]
    if world() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def mean(*values: float) -> list[float]:
    """Return the means of some values over all processes."""
    if world() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums)
    return (sums / world()).tolist()


def compute_logits(net: CaptchaNet, images: Tensor) -> Tensor:
    """Return what model.compute_logits() does, of which each process computes its share.

    It is as precise as the training, and twice as fast as reading where that is in bfloat16.
    """
    if world() == 1:
        with model.autocast(net.mean.device):
            return model.compute_logits(net, images)
    found = []
    for some in images.split(CHUNK * world()):
        own = Share(len(some), rank(), world()).of(some)
        logits = torch.zeros(len(some), net.length, len(net.charset) + 1)
        if len(own):
            with model.autocast(net.mean.device):
                logits[rank() :: world()] = model.compute_logits(net, own)
        dist.all_reduce(logits)  # every row is zero in all processes but one
        found.append(logits)
    return torch.cat(found)


# ---------------------------------------------------------------- layers that know the whole batch


class BatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of all shares. (nn.SyncBatchNorm does so on GPUs only.)"""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        places = torch.full_like(self.bias, values[:, 0].numel())  # (C,), the same for each channel
        sums = [values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), places]
        total, squares, count = Sum.apply(torch.stack(sums))  # (C,) each
        average = total / count
        variance = squares / count - average**2
        with torch.no_grad():
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - average * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(x.dtype)


class Dropout(nn.Dropout):
    """Dropout that leaves out of an image what it would without other processes."""

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(self.share.batch, *x.shape[1:]).bernoulli_(1 - self.p)
        return x * self.share.of(kept / (1 - self.p))


class Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; each learns what all need of its part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401 (torch gives it no type)
        """Add up."""
        return all_sum(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        """Every process's result depends on each part."""
        return all_sum(gradient)


def all_sum(part: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    total = part.clone()
    dist.all_reduce(total)
    return total
