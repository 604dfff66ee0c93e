"""Which trial comes next. Every strategy is a generator that is sent the score of what it proposed.

The strategies know nothing of processes or time, and propose the same when they are sent the same: an interrupted sweep
is resumed by sending them what was measured before.

`auto` starts at the defaults of `engine run`; the stage rates of that first run say how many decoders the chips need
(the analytic point); then each option is climbed from the best point so far, the most important first; what is left of
the trials goes to Optuna's TPE (J. Bergstra et al., NIPS 2011), which has seen all of that and is not tied to lines.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import PerfError
from engine.perflog.fingerprint import lookup
from engine.perflog.metrics import number
from engine.sweep.space import AUTO, START, Params, Space, Value, key_of

SEED = 310
#: Decoders are provided for this much more than the chips take, so that they are not what is waited for.
HEADROOM = 1.1
DEFAULT_TRIALS = 12


@dataclass(frozen=True)
class Score:
    """What a trial gave. value : higher is better; 0 where the run failed or broke a bound"""

    value: float
    document: Mapping[str, Any]


Search = Generator[Params, Score, None]


def grid_search(space: Space) -> Search:
    """All of it, in order."""
    yield from space.grid()


def auto_search(space: Space, n_trials: int = DEFAULT_TRIALS) -> Search:
    """At most `n_trials` combinations, none twice."""
    climber = _Climber(space, n_trials)
    first = yield from climber.visit(space.nearest(START))
    if first is not None:
        yield from climber.visit(analytic_point(space, climber.best, first.document))
    for name in space.values:
        yield from climber.climb(name)
    yield from _tpe_search(climber)


def analytic_point(space: Space, params: Params, document: Mapping[str, Any]) -> Params:
    """`params` with as many decoders as feed the chips, by the rates that a run measured; never more than cores."""
    decoders = [value for value in space.values.get("workers", ()) if isinstance(value, int)]
    interface_per_s = number(document, "throughput.interface_per_s")
    decoder_per_s = _decoder_per_s(document)
    if not decoders or interface_per_s is None or decoder_per_s is None:
        return params
    n_cores = int(number(document, "environment.n_cores") or max(decoders))
    enough = [n for n in decoders if n * decoder_per_s >= HEADROOM * interface_per_s]
    usable = [n for n in decoders if n <= n_cores] or decoders[:1]
    return {**params, "workers": min(enough[0] if enough else usable[-1], usable[-1])}


def _decoder_per_s(document: Mapping[str, Any]) -> float | None:
    """Images per second of one decoder that never waits."""
    stages = [lookup(document, f"stages.{name}") for name in ("read", "decode", "resample")]
    rates = [
        float(stage["images_per_s"]) / max(1, int(stage.get("n_parallel", 1)))
        for stage in stages
        if isinstance(stage, Mapping) and number(stage, "images_per_s") is not None
    ]
    return 1 / sum(1 / rate for rate in rates) if rates else None


class _Climber:
    """What was tried, and the best of it."""

    def __init__(self, space: Space, n_trials: int) -> None:
        self.space = space
        self.n_trials = n_trials
        self.tried: dict[str, tuple[Params, float]] = {}
        self.best: Params = {}

    @property
    def is_over(self) -> bool:
        return len(self.tried) >= min(self.n_trials, len(self.space))

    def visit(self, params: Params) -> Generator[Params, Score, Score | None]:
        """Try it; None where it was tried before or no trial is left."""
        if self.is_over or key_of(params) in self.tried:
            return None
        score = yield params
        if not self.best or score.value > self.tried[key_of(self.best)][1]:
            self.best = params
        self.tried[key_of(params)] = params, score.value
        return score

    def climb(self, name: str) -> Search:
        """Up the values of one option from the best point while it gets better, then down."""
        values = self.space.values[name]
        for step in (1, -1):
            at = values.index(self.best[name])
            while 0 <= at + step < len(values):
                at += step
                candidate = {**self.best, name: values[at]}
                yield from self.visit(candidate)
                if self.best != candidate:
                    break


def _tpe_search(climber: _Climber) -> Search:
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {
        name: optuna.distributions.IntDistribution(0, len(values) - 1) for name, values in climber.space.values.items()
    }
    sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def learn(params: Params, value: float) -> None:
        indices = {name: climber.space.values[name].index(chosen) for name, chosen in params.items()}
        trial = optuna.trial.create_trial(params=indices, distributions=distributions, value=value)
        study.add_trial(trial)

    for params, value in climber.tried.values():
        learn(params, value)
    while not climber.is_over:
        asked = study.ask(distributions).params
        params = _untried_near(climber, {name: int(at) for name, at in asked.items()})
        score = yield from climber.visit(params)
        assert score is not None
        learn(params, score.value)


def _untried_near(climber: _Climber, at: Mapping[str, int]) -> Params:
    """The combination that was not tried with the fewest steps from `at`."""
    spaces = climber.space.values

    def steps(params: Params) -> int:
        return sum(abs(spaces[name].index(value) - at[name]) for name, value in params.items())

    return min((params for params in climber.space.grid() if key_of(params) not in climber.tried), key=steps)


def import_optuna() -> Any:
    """Optuna, or PerfError with how to get it."""
    try:
        import optuna
    except ImportError:
        raise PerfError(
            "--strategy auto needs Optuna: pip install 'ascend-engine[sweep]', or use --strategy grid"
        ) from None
    return optuna


def cost_of(params: Mapping[str, Value]) -> tuple[float, ...]:
    """What a combination takes of the host: decoders, feeders, slots, window, batch; smaller is cheaper."""
    numbers = {name: 0.0 if value == AUTO else float(value) for name, value in params.items()}
    return tuple(numbers.get(name, 0.0) for name in ("workers", "feeders", "slots", "window", "batch"))
