"""What every further story is made of: its alerts fire, the steps of their runbooks are walked while the fault lasts,
it is mended as the page says, and all is quiet again.

Unlike the eight of `stories` a fault may bring other alerts with it, which the story names with the reason. Knows
nothing of any fault.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import chart
from chart import Failure
from stories import GRACE_SECONDS, Stage, Story, wait_for

# Most of these faults make rows late, which the story need not say; and by a clock that runs so much faster a scrape
# that a busy machine delays by a moment is a minute without any. Windows of days remember both.
LATENESS = {f"PenstockFreshnessBudgetBurn{speed}" for speed in ("Fast", "Medium", "Slow")}


class Rarer(Story):
    # Each must fire, and each has its page walked.
    alerts: tuple[str, ...] = ()
    # May fire as well, and why.
    beside: dict[str, str] = {}
    # Of those the ones that fire all the time.
    throughout: frozenset[str] = frozenset()
    fires_minutes = 24.0
    clears_minutes = 35.0
    rate = 20
    guests: tuple[str, ...] = ()
    has_admin = False
    # Nothing fires before the fault; where the release is never well, nothing but its own alerts.
    is_well_before = True
    says = ("", "", "")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.alert = self.alerts[0]
        self.release.rate, self.release.guests = self.rate, self.guests
        self.began = time.time()

    def watch(self) -> None:
        stage, watcher = self.stage, self.stage.watcher
        self.is_judged()
        patience = GRACE_SECONDS + stage.seconds(self.clears_minutes)
        if self.is_well_before:
            self.is_quiet(patience)
        else:
            may = {*self.alerts, *self.may_fire()}
            wait_for("what the start brings", lambda: watcher.now(self.release) <= may, patience)
        self.began = time.time()
        self.induce()
        self.tell("the fault is there")
        self.each_fires(stage.seconds(self.fires_minutes) + GRACE_SECONDS)
        self.hears()
        mended = time.time()
        self.repair()
        self.tell("mended")
        self.is_quiet(stage.seconds(self.clears_minutes) + GRACE_SECONDS)
        self.tell(f"all is quiet {time.time() - mended:.1f} s after the repair")
        fired = watcher.fired(self.release, self.began)
        if beside := fired - set(self.alerts):
            self.tell(f"fired as well: {', '.join(sorted(beside))}")
        if unexpected := fired - set(self.alerts) - self.may_fire():
            self.wrong.append(f"{sorted(unexpected)} fired as well")
        if self.wrong:
            raise Failure("\n".join(self.wrong))

    def is_quiet(self, seconds: float) -> None:
        """Nothing fires. What the story names may still be about to."""
        watcher, may = self.stage.watcher, self.may_fire()
        ever = may & (LATENESS | self.throughout)

        def quiet() -> bool:
            return not watcher.now(self.release, "firing") - ever and watcher.now(self.release) <= may

        try:
            wait_for("", quiet, seconds)
        except Failure as failure:
            said = f"it is not quiet within {seconds:.0f} s; {self.alerts_now()}"
            raise Failure("\n".join([said, *self.wrong])) from failure

    def may_fire(self) -> set[str]:
        return (LATENESS | set(self.beside)) - set(self.alerts)

    def each_fires(self, seconds: float) -> None:
        """In whichever order; the page of each is walked as soon as it does."""
        left, until = list(self.alerts), time.time() + seconds
        while left:
            firing = self.stage.watcher.now(self.release, "firing")
            for alert in [alert for alert in left if alert in firing]:
                left.remove(alert)
                self.tell(f"{alert} fires after {time.time() - self.began:.1f} s")
                self.walk(alert)
            if left and time.time() > until:
                said = f"{left} do not fire within {seconds:.0f} s; {self.alerts_now()}"
                raise Failure("\n".join([said, *self.wrong]))
            self.wait_a_moment()

    def wait_a_moment(self) -> None:
        """For the next evaluation of the rules."""
        until = time.time() + self.stage.seconds(0.25)
        wait_for("the next evaluation", lambda: time.time() >= until, 10)

    def run(self, *arguments: object) -> subprocess.CompletedProcess:
        return chart.run(*self.release.command(*arguments))

    def until(self, what: str, question: Callable[[], object]) -> object:
        return wait_for(f"{self.name}: {what}", question, GRACE_SECONDS)
