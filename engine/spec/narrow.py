"""A spec with some of its models and combinations: for a run of one of them, or for what a gate needs."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import replace

from engine.errors import NotFoundError
from engine.spec.expectation import Expectation
from engine.spec.validate import LoadedSpec


def with_models(loaded: LoadedSpec, names: Collection[str]) -> LoadedSpec:
    """The spec with these models and combinations, what those are made of, and the fallback.

    In its own order; what it expects of others is left out. NotFoundError for a name that it does
    not have.
    """
    spec, resolved = loaded.spec, loaded.resolved
    for name in names:
        if name not in spec.contenders:
            close = difflib.get_close_matches(name, list(spec.contenders), n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            hint = f"{advice}models: {', '.join(spec.contenders)}"
            raise NotFoundError(f"{loaded.path} has no model {name!r}", hint=hint)
    needed = spec.fitted_for(names)
    kept = [name for name in spec.models if name in needed or name == spec.run.fallback]
    combine = {name: use for name, use in spec.combine.items() if name in names}

    def judged(expected: Expectation) -> bool:
        return set(expected.models or ()) <= {*kept, *combine}

    judging = [judged(expected) for expected in spec.expect]
    expect = [e for e, yes in zip(spec.expect, judging, strict=True) if yes]
    plain = [e for e, yes in zip(resolved.get("expect", []), judging, strict=True) if yes]
    models = {name: spec.models[name] for name in kept}
    return replace(
        loaded,
        spec=spec.model_copy(update={"models": models, "combine": combine, "expect": expect}),
        resolved={
            **resolved,
            "models": {name: resolved["models"][name] for name in kept},
            "combine": {name: resolved["combine"][name] for name in combine},
            "expect": plain,
        },
    )
