"""The constants of the analysis, in one place, each with where it comes from.

"Worlds" are the simulated ones of ``tests/worlds``, whose truth is known; "gauntlet" is ``tests/gauntlet.py``. A
"choice" has no experiment behind it: it says what is worth a reader's time, or how much a rough rule may be wrong.
"""

# Intervals and comparisons

CONFIDENCE = 0.95
"""Of every interval printed: the usual one."""
FEW_SLOTS = 5
"""Fewer clusters than this carry no interval: coverage fell to .30–.77 at 2–3 slots (simulation)."""
FEWEST_VALUES = 120
"""Below this a mean has no interval: one booking in 40 that takes seconds is seen in no more than 95 % of samples of
this size (the rule of three), and a sample that does not hold it cannot know of it."""
FEW_ATTEMPTS = 20
"""The smallest sample with an observation beyond its 95th percentile."""
FEWEST_ROUNDS = 2
"""What differs from run to run is a spread, and one round has none."""

# The model of time and its verdict

SATURATED_SHARE = 0.5
"""A leaf saturates where at least this share of it is owed to others: the definition of the kind (design.md)."""
TIE_SHARE = 0.05
"""Two hops are a tie where the other one wins in so many of the resamples: the usual 5 % of a test."""
RESAMPLES = 400
"""A share of resamples has a standard error of 1.5 points at most from so many on."""
NO_GROWTH_QUANTILE = 0.025
"""A part grows where its share owed to others is above zero beyond this quantile of the resamples (95 %)."""
ROBUST_QUANTILE = 0.875
"""Values beyond this quantile of their level count as this quantile where growth is judged. One stall hits at most
the workers' number of attempts, 8 of 84 in the worlds; growth that is real moves the others too."""
QUEUED = 0.25
"""An attempt queued for a resource where it waited for at least this share of the work it then did there."""
MATERIAL_WAIT = 0.05
"""An inner queue that limits holds at least this much of the outer one's wait: two threads around a lock that is held
for 4/5 of their time leave an eighth of the waiting inside (worlds)."""
CPU_BUSY, CPU_FULL = 0.6, 0.9
"""Between these utilisations of the machine its processors pass from no limit to the limit."""
MACHINE_SHARE = 0.55
"""The share of a busy machine's processor time that makes it one process's doing; of a healthy booking's time the
database has near half (gauntlet, controls)."""
DEADLOCK_RATE = 0.05
"""Deadlocks per attempt from which on they are what happens and not an accident."""
REFUSED_PLAINLY, REFUSED_CAP = 0.25, 0.85
"""Below this share of refused connections the confirmed bookings may wait for another hop longer than the refusals cost
(two of the four wrong "high" verdicts in the worlds), so the verdict is not called high."""
TURNED_AWAY = 0.1
"""Share of attempts turned away from which on that is the bottleneck, whatever the confirmed ones took."""
ONE_CORE_PERHAPS, ONE_CORE_FULL, MORE_THAN_ONE_CORE = 0.85, 0.97, 1.05
"""Cores of a busy web process: from the first on it may be an interpreter that computes on one core at a time, from
the second on nothing else explains it; beyond the third it is none. A permit around computing looks alike below."""
CROWDED_SHARE = 0.2
"""Beside processes of others, a hop of which this much is its own computing is taken for computing alone: four hogs
on two cores make computing last up to five times as long (worlds, gauntlet)."""
HOG_SHARE = 0.4
"""Share of the cores that processes of others must keep busy to count as a cause from outside."""
STARVED = 0.6
"""Share of an attempt that must be computing, as slow as others leave it, to be put down to them."""
CLOSE = 0.8
"""A leaf this close to the largest, as a share of it, keeps the verdict from being sure: the worlds count answers
that save 0.85 of the best as equally right, and the model is right to a tenth."""
CAPS = {
    "tie": 0.65,
    "undivided": 0.65,
    "no_profile": 0.85,
    "not_sampled": 0.65,
    "pool_inferred": 0.65,
    "too_few": 0.85,
    "one_level": 0.85,
    "few_attempts_decide": 0.6,
    "warm_up_decides": 0.6,
    "close": 0.85,
    "inner_or_outer": 0.65,
    "others_computed": 0.65,
    "not_observed": 0.85,
    "grows_unexplained": 0.6,
    "one_core": 0.85,
    "machine_grows": 0.65,
}
"""How sure a verdict can be beside each named doubt: below high (0.9), or below medium (0.7)."""

# Findings: what is seen of each mechanism beside the model

MATERIAL_COST = 0.1
"""A mechanism is worth naming when it explains this share of an attempt's time (choice)."""
MATERIAL_GROWTH = 0.25
"""A wait that a finding calls a queue makes up this much of the time at the highest level (choice: half of what
saturation asks for, since a finding only supports the model)."""
BUSY = 0.8
"""A resource this busy makes work wait: in a single queue (M/M/1) the wait is then four service times."""
IMPOSSIBLE = 1.05
"""A utilisation beyond what interpolating counters, read a second apart, can make of 1."""
MANY_ROUND_TRIPS = 10
"""Fewer database calls than this are not called many (choice)."""
SLOW_MS, SLOW_SHARE = 10.0, 0.4
"""A statement that runs longer than this, and is this much of all that runs, is slow (choice; those planted in the
gauntlet take 60 ms and more)."""

# Estimates where the platform does not say how its time is divided

OPEN_SHARE = 0.15
"""Transactions that stand open between statements for this share of the handler make round trips (choice, held by the
gauntlet without profile)."""
STEPS_GROWN = 1.5
"""A pool makes the allocator's own steps wait, so that they grow by half at least; a queue before the handler leaves
them as they are (choice, held by the gauntlet without profile)."""
FRONT_SPREAD, FRONT_LEAST_MS = 5.0, 5.0
"""A queue's waits are spread about as exponential ones: beyond five medians lie 3 %. Waits of a few milliseconds are
left as they are."""
