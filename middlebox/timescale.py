"""A profile whose clock runs faster: what takes minutes in a real system takes seconds in a test.

Scaled are the times for which a box remembers: residuals, marks, idle connections. Not scaled is what a capture shows
within one connection: delays of injection, spacing, holding, rates.
"""

from __future__ import annotations

from dataclasses import replace

from middlebox.profile import Action, Case, Deployment, Mark, Phase, Profile, Residual, Rule, Timeline


def scaled(deployment: Deployment, scale: float) -> Deployment:
    """The deployment with every remembered time multiplied by `scale`; timelines stay. scale: above 0, 1 is real."""
    if scale == 1:
        return deployment
    known: dict[int, Profile] = {}

    def timeline(phases: Timeline) -> Timeline:
        return tuple(Phase(phase.at_ns, once(phase.profile)) for phase in phases)

    def once(profile: Profile | None) -> Profile | None:
        """A profile named twice stays one object."""
        if profile is None:
            return None
        return known.setdefault(id(profile), scaled_profile(profile, scale))

    return replace(
        deployment,
        timeline=timeline(deployment.timeline),
        subscribers=tuple(replace(s, timeline=timeline(s.timeline)) for s in deployment.subscribers),
    )


def scaled_profile(profile: Profile, scale: float) -> Profile:
    """One profile, scaled."""
    tcp = replace(profile.tcp, idle_ns=_time(profile.tcp.idle_ns, scale))
    return replace(profile, rules=tuple(_rule(rule, scale) for rule in profile.rules), tcp=tcp)


def _rule(rule: Rule, scale: float) -> Rule:
    residual = None if rule.residual is None else _residual(rule.residual, scale)
    return replace(rule, do=_actions(rule.do, scale), residual=residual)


def _residual(residual: Residual, scale: float) -> Residual:
    return replace(
        residual,
        duration_ns=_time(residual.duration_ns, scale),
        do=_actions(residual.do, scale),
        cases=tuple(Case(case.when, _actions(case.do, scale)) for case in residual.cases),
    )


def _actions(actions: tuple[Action, ...], scale: float) -> tuple[Action, ...]:
    return tuple(
        replace(action, duration_ns=_time(action.duration_ns, scale)) if isinstance(action, Mark) else action
        for action in actions
    )


def _time(time_ns: int, scale: float) -> int:
    return max(1, round(time_ns * scale))
