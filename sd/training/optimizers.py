"""What turns gradients into new weights: AdamW, and Muon for the matrices inside a network.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") steps by the
orthogonal matrix nearest to its momentum, so that no direction of a matrix learns slower than the
others. Its step is as long as AdamW's would be (Liu et al. 2025, eq. 4): one rate for both.
"""

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from sd.config.sections import TrainingConfig

MOMENTS = FIRST, SECOND = "exp_avg", "exp_avg_sq"  # AdamW's own names
BETAS, EPS = (0.9, 0.999), 1e-8  # AdamW's own
MOMENTUM = "momentum"
FUSED = ("cuda", "cpu")  # where one kernel updates all weights, on a CPU five times as fast
# What meets pixels, words or the time is no map between hidden values; AdamW has it.
OUTSIDE = re.compile(
    r"(^|\.)(token|place|label_emb|time_embed|emb_layers)\.|^input_blocks\.0\.|^out\."
    r"|^encoder\.conv_in\.|^decoder\.conv_out\."
)
QUINTIC = 3.4445, -4.7750, 2.0315  # Jordan et al.: brings singular values of 0.001..1 near 1
ITERATIONS = 5
DECAY = 0.95  # of the momentum
LIKE_ADAMW = 0.2  # Liu et al.: root mean square of AdamW's steps


def hidden_matrices(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return those weights, by name, that map hidden values to hidden values."""
    return {
        name: each
        for name, each in parameters.items()
        if each.ndim >= 2 and not OUTSIDE.search(name)
    }


def orthogonalize(x: Tensor) -> Tensor:
    """Return x [N, m, n] with every singular value brought near 1 (0.7 to 1.2), none exactly.

    Newton-Schulz, x <- (a + b x x^T + c (x x^T)^2) x. A CPU gathers the factors; a GPU, which
    may multiply in TF32, does not, as what rounding adds to a small value would grow with it.
    """
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.mT).mT
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return newton_schulz_gathered(x) if x.device.type == "cpu" else newton_schulz(x)


def newton_schulz(x: Tensor) -> Tensor:
    """Return the last x [N, m, n] of the iteration as it is published."""
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def newton_schulz_gathered(x: Tensor) -> Tensor:
    """Return the same; all factors are polynomials of the first x x^T, [m, m], multiplied there.

    For m << n that takes a half to a third of the time.
    """
    a, b, c = QUINTIC
    gram = x @ x.mT
    product = torch.eye(len(gram[0])).to(gram)
    for _ in range(ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product, gram = factor @ product, factor @ gram @ factor
    return product @ x


class Muon:
    """Momentum, made orthogonal; a convolution's weight is one matrix [out, in x places]."""

    def __init__(self, params: Iterable[nn.Parameter], weight_decay: float) -> None:
        self.params, self.weight_decay = list(params), weight_decay
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step with every gradient that is there; matrices of one shape go together."""
        alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for each in self.params:
            if each.grad is not None:
                alike.setdefault(tuple(each.shape), []).append(each)
        for weights in alike.values():
            self._step(weights, lr)

    def _step(self, weights: list[nn.Parameter], lr: float) -> None:
        ways = orthogonalize(torch.stack([self._way(each).flatten(1) for each in weights]))
        length = LIKE_ADAMW * math.sqrt(max(ways.shape[1:]))
        for each, way in zip(weights, ways, strict=True):
            each.mul_(1 - lr * self.weight_decay).sub_(way.reshape(each.shape), alpha=lr * length)

    def _way(self, weight: nn.Parameter) -> Tensor:
        """Return where the momentum will be after one more such gradient (Nesterov's)."""
        gradient = weight.grad
        assert gradient is not None
        state = self.state.setdefault(weight, {})
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(weight)
        state[MOMENTUM].lerp_(gradient, 1 - DECAY)
        return gradient.lerp(state[MOMENTUM], DECAY)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), by torch's own function of it.

    torch's class of it imports torch's compiler at its first step: three seconds of every start.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], weight_decay: float, fused: bool | None
    ) -> None:
        """Take the weights; fused: one kernel updates all."""
        self.params, self.weight_decay, self.fused = list(params), weight_decay, fused
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step with every gradient that is there."""
        moving = [each for each in self.params if each.grad is not None]
        states = [self.state.setdefault(each, self._begin(each)) for each in moving]
        adamw(
            list[Tensor](moving),
            [each.grad for each in moving if each.grad is not None],
            [state[FIRST] for state in states],
            [state[SECOND] for state in states],
            [],
            [state["step"] for state in states],
            fused=self.fused,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=lr,
            weight_decay=self.weight_decay,
            eps=EPS,
            maximize=False,
        )

    def _begin(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return the state of a weight before its first step."""
        done = torch.zeros((), device=weight.device if self.fused else "cpu")
        return {"step": done, **{moment: torch.zeros_like(weight) for moment in MOMENTS}}


class Optimizer:
    """All weights of a training and what updates them; `training.optimizer` says which."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], training: TrainingConfig, device: str
    ) -> None:
        """Begin with the weights by name, on a device: cpu, cuda or mps."""
        self._parameters = dict(parameters)
        matrices = hidden_matrices(parameters) if training.optimizer == "muon" else {}
        others = [each for name, each in parameters.items() if name not in matrices]
        self.rate, decay = training.learning_rate, training.weight_decay  # of the last step
        self._fused = device in FUSED
        self._adamw = AdamW(others, decay, self._fused or None)
        self._muon = Muon(matrices.values(), decay)
        self._moments = {
            name: (MOMENTUM,) if name in matrices else MOMENTS for name in self._parameters
        }

    def step(self, lr: float) -> None:
        """Update every weight by its gradient at a learning rate."""
        self.rate = lr
        self._adamw.step(lr)
        self._muon.step(lr)

    def zero_grad(self) -> None:
        """Let go of all gradients."""
        for each in self._parameters.values():
            each.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs, by names like "exp_avg.out.2.bias"; {} before any step."""
        states = self._adamw.state | self._muon.state
        return {
            f"{moment}.{name}": states[each][moment]
            for name, each in self._parameters.items()
            for moment in (self._moments[name] if each in states else ())
        }

    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Take up a `state` after so many updates.

        Raises `KeyError` or `RuntimeError` if it is another network's.
        """
        for name, each in self._parameters.items():
            state = {
                moment: _shaped(tensors[f"{moment}.{name}"], each) for moment in self._moments[name]
            }
            if MOMENTUM in state:
                self._muon.state[each] = state
            else:
                done = torch.tensor(float(updates), device=each.device if self._fused else "cpu")
                self._adamw.state[each] = {"step": done, **state}


def _shaped(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor laid out in memory, and where, as `like` is; `RuntimeError` if it cannot."""
    if tensor.shape != like.shape:
        raise RuntimeError(f"{list(tensor.shape)} is not {list(like.shape)}")
    return torch.empty_like(like, requires_grad=False).copy_(tensor)
