"""Schedules of the learning rate. Arguments and values are PyTorch's.

As long as nothing else sets the rates, they follow from the number of steps alone, without the
rounding of step after step. Where another schedule or the user changed a rate, those that PyTorch
can chain go on from it.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from lamina.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules that know the rate of every step.

    A subclass defines ``_rate(base, t)``: the rate of a group with initial rate ``base`` after
    ``t`` steps. Where a group's rate is not that of the step before, as another schedule or the
    user changed it, ``_next`` says what follows it.

    Args:
        optimizer: the one whose groups' ``"lr"`` is set.
        last_epoch: steps already taken; -1 starts anew from the rates the optimiser has.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: optimizer: expected an Optimizer, "
                f"got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: last_epoch: group {i} has no 'initial_lr' to resume"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def _rate(self, base: float, t: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not define _rate")

    def _rates(self, t: int) -> list[float]:
        return [self._rate(base, t) for base in self.base_lrs]

    def _next(self, lr: float, base: float, t: int) -> float:
        """The rate of step ``t`` that follows ``lr``, which is not this schedule's alone."""
        before = self._rate(1.0, t - 1) if t else 1.0
        now = self._rate(1.0, t)
        if now == before:
            return lr
        return lr * (now / before) if before else self._rate(base, t)

    def step(self) -> None:
        """Move on by one step and set the rates."""
        self._set(self.last_epoch + 1)

    def _set(self, t: int, restart: bool = False) -> None:
        """Set the rates of step ``t``; with ``restart`` whatever they were before."""
        groups = self.optimizer.param_groups
        # Groups that were added since start from the rate they came with.
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
        rates = self._rates(t)
        before = rates
        if not restart:
            before = self._rates(t - 1) if t else self.base_lrs
        for i, group in enumerate(groups):
            follows = restart or group["lr"] == before[i]
            group["lr"] = rates[i] if follows else self._next(group["lr"], self.base_lrs[i], t)
        self.last_epoch = t

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and functions."""
        return {
            key: value
            for key, value in self.__dict__.items()
            if key != "optimizer" and not key.startswith("_")
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        refuse_unknown(self, state_dict)
        self.__dict__.update(state_dict)


class _Closed(LRScheduler):
    """Base of schedules that set the rate whatever it was, as PyTorch's do."""

    def _set(self, t: int, restart: bool = True) -> None:
        del restart
        super()._set(t, restart=True)


class LambdaLR(_Closed):
    """``lr = initial * lr_lambda(t)``.

    Args:
        optimizer: whose rate is set.
        lr_lambda: a function of the number of steps, or one for each group.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._lambdas = lr_lambda if callable(lr_lambda) else list(lr_lambda)
        super().__init__(optimizer, last_epoch)

    def _rates(self, t: int) -> list[float]:
        lambdas = self._lambdas
        if isinstance(lambdas, list):
            _one_each("LambdaLR", "lr_lambda", "functions", lambdas, self.base_lrs)
            return [base * f(t) for base, f in zip(self.base_lrs, lambdas, strict=True)]
        factor = lambdas(t)
        return [base * factor for base in self.base_lrs]


class StepLR(LRScheduler):
    """``lr = initial * gamma^(t // step_size)``.

    Args:
        optimizer: whose rate is set.
        step_size: steps between changes.
        gamma: factor of each change.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        _positive("StepLR", "step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """``lr = initial * gamma^(milestones passed)``.

    Args:
        optimizer: whose rate is set.
        milestones: numbers of steps at which the rate changes; one given twice counts twice.
        gamma: factor of each change.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, t)


class ConstantLR(LRScheduler):
    """``lr = initial * factor`` for ``total_iters`` steps, then ``initial``.

    Args:
        optimizer: whose rate is set.
        factor: of the first steps.
        total_iters: how many.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _share("ConstantLR", "factor", factor, 0.0)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return base * self.factor if t < self.total_iters else base


class LinearLR(LRScheduler):
    """``lr = initial * f``, f from ``start_factor`` to ``end_factor`` in ``total_iters`` steps.

    Args:
        optimizer: whose rate is set.
        start_factor: f at first, above 0.
        end_factor: f from ``total_iters`` on.
        total_iters: steps in between.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _share("LinearLR", "start_factor", start_factor, math.ulp(0.0))
        _share("LinearLR", "end_factor", end_factor, 0.0)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        if t >= self.total_iters:
            return base * self.end_factor
        share = t / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class ExponentialLR(LRScheduler):
    """``lr = initial * gamma^t``.

    Args:
        optimizer: whose rate is set.
        gamma: factor of each step.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return base * self.gamma**t


class CosineAnnealingLR(LRScheduler):
    """``lr = eta_min + (initial - eta_min) * (1 + cos(pi t / T_max)) / 2``.

    Args:
        optimizer: whose rate is set.
        T_max: steps from the initial rate to the least.
        eta_min: the least rate.
        last_epoch: steps already taken, -1 for none.

    Reference:
        Loshchilov & Hutter, SGDR, 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        _positive("CosineAnnealingLR", "T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return _cosine(base, self.eta_min, t / self.T_max)

    def _next(self, lr: float, base: float, t: int) -> float:
        if t == 0:
            return lr
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        waves = [1 + math.cos(math.pi * at / self.T_max) for at in (t, t - 1)]
        return self.eta_min + (lr - self.eta_min) * waves[0] / waves[1]


class PolynomialLR(LRScheduler):
    """``lr = initial * (1 - t / total_iters)^power``, 0 from ``total_iters`` on.

    Args:
        optimizer: whose rate is set.
        total_iters: steps from the initial rate to 0.
        power: of the polynomial.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        _positive("PolynomialLR", "total_iters", total_iters)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        return base * (1 - min(t, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingWarmRestarts(_Closed):
    """Cosine annealing that starts again, each period ``T_mult`` times as long as the last.

    Args:
        optimizer: whose rate is set.
        T_0: steps of the first period.
        T_mult: growth of the periods, a whole number of at least 1.
        eta_min: the least rate.
        last_epoch: steps already taken, -1 for none.

    Reference:
        Loshchilov & Hutter, SGDR, 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        _positive("CosineAnnealingWarmRestarts", "T_0", T_0)
        _positive("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _rate(self, base: float, t: int) -> float:
        period = self.T_0
        if self.T_mult == 1:
            t %= period
        while t >= period:
            t -= period
            period *= self.T_mult
        return _cosine(base, self.eta_min, t / period)


class OneCycleLR(_Closed):
    """One rise of the rate to ``max_lr`` and one fall far below where it started.

    Args:
        optimizer: whose rate is set, and its momentum (or first beta).
        max_lr: the peak, or one for each group.
        total_steps: length of the cycle; or ``epochs`` times ``steps_per_epoch``.
        epochs: see ``total_steps``.
        steps_per_epoch: see ``total_steps``.
        pct_start: share of the steps that the rise takes.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: whether momentum falls where the rate rises.
        base_momentum: momentum at the peak.
        max_momentum: momentum at both ends.
        div_factor: the cycle starts from ``max_lr / div_factor``.
        final_div_factor: and ends at that over ``final_div_factor``.
        three_phase: fall back to the start as slowly as the rise, then to the end.
        last_epoch: steps already taken, -1 for none.

    Reference:
        Smith & Topin, Super-Convergence, 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        _positive("OneCycleLR", "total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start: expected 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}"
            )
        groups = optimizer.param_groups
        peaks = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        _one_each("OneCycleLR", "max_lr", "rates", peaks, groups)
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError("OneCycleLR: cycle_momentum: this optimiser has no momentum")
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.max_lrs = peaks
        self.base_momentum = base_momentum
        self.max_momentum = max_momentum
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase
        rise = float(pct_start * total_steps) - 1
        self.phases = (
            [rise, 2 * rise, total_steps - 1.0] if three_phase else [rise, total_steps - 1.0]
        )
        if last_epoch == -1:
            for group, peak in zip(groups, peaks, strict=True):
                group["initial_lr"] = peak / div_factor
        super().__init__(optimizer, last_epoch)

    def _set(self, t: int, restart: bool = True) -> None:
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step: expected at most {self.total_steps} steps, got {t}"
            )
        _one_each("OneCycleLR", "max_lr", "rates", self.max_lrs, self.optimizer.param_groups)
        super()._set(t, restart)
        if self.cycle_momentum:
            high, low = self.max_momentum, self.base_momentum
            ends = [high, low, high, high] if self.three_phase else [high, low, high]
            momentum = self._at(t, ends)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _rates(self, t: int) -> list[float]:
        rates = []
        for peak in self.max_lrs:
            start = peak / self.div_factor
            end = start / self.final_div_factor
            ends = [start, peak, start, end] if self.three_phase else [start, peak, end]
            rates.append(self._at(t, ends))
        return rates

    def _at(self, t: int, ends: list[float]) -> float:
        """Value at step ``t`` of a curve through ``ends``, one phase between each two."""
        begin = 0.0
        for i, end in enumerate(self.phases):
            if t <= end or i == len(self.phases) - 1:
                share = (t - begin) / (end - begin) if end != begin else 1.0
                if self.anneal_strategy == "cos":
                    return _cosine(ends[i], ends[i + 1], share)
                return ends[i] + (ends[i + 1] - ends[i]) * share
            begin = end
        raise AssertionError("the last phase takes every step")


def refuse_unknown(schedule: Any, state: dict[str, Any]) -> None:
    """Refuse a state with keys that the schedule has not."""
    unknown = ", ".join(sorted(set(state) - set(schedule.state_dict())))
    if unknown:
        raise ValueError(f"{type(schedule).__name__}: load_state_dict: unknown keys: {unknown}")


def _cosine(start: float, end: float, share: float) -> float:
    """Half a wave from ``start`` at 0 to ``end`` at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_each(name: str, arg: str, kind: str, values: Sequence[Any], groups: Sequence[Any]) -> None:
    if len(values) != len(groups):
        raise ValueError(f"{name}: {arg}: expected {len(groups)} {kind}, got {len(values)}")


def _positive(name: str, arg: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {arg}: expected a whole number of at least 1, got {value}")


def _share(name: str, arg: str, value: float, low: float) -> None:
    if not low <= value <= 1:
        above = "above 0" if low else "from 0"
        raise ValueError(f"{name}: {arg}: expected a number {above} to 1, got {value}")
