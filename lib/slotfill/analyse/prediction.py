"""What a faster hop would buy: the predicted time and throughput of the same closed loop.

Half of the hop's own time goes, and of what it grew by; where its queue is what attempts wait in, half of that queue's
service. What the queue's wait becomes follows from the law that fitted it: with n others in the loop, an arrival waits
W = d n R / T, R = d + W being the time in the queue and T all of an attempt (M. Reiser, S. Lavenberg, JACM 27, 1980,
in P. Schweitzer's form). All levels share the same own times, slopes and service, so what a better hop buys changes
evenly from level to level. The model is straight: beyond the knee of a curve it can be wrong.
"""

from collections.abc import Mapping

import numpy as np

from slotfill.analyse.causes import QUEUES, Leaves, Name
from slotfill.analyse.constants import FEW_SLOTS
from slotfill.analyse.document import Interval, Prediction
from slotfill.analyse.growth import Accounts
from slotfill.analyse.ledger import Fit
from slotfill.analyse.stats import Floats


def service_ms(wait: Floats, others: Floats, total: Floats) -> Floats:
    """The service time of the one queue that makes an attempt of ``total`` wait so long: W = d n (d + W) / T."""
    n = np.maximum(others, 1e-9)
    return np.asarray((np.sqrt((n * wait) ** 2 + 4 * n * wait * np.maximum(total, 1e-9)) - n * wait) / (2 * n))


def loop_ms(rest: Floats, service: Floats, others: Floats) -> Floats:
    """The time of an attempt in a loop of one queue and ``rest`` (which holds the service itself): T = rest + W."""
    n = others
    return np.asarray((rest + n * service + np.sqrt((rest - n * service) ** 2 + 4 * n * service**2)) / 2)


def delayed_ms(total: float, wait: float, others: tuple[float, float], added: float, held: bool) -> float:
    """The time of an attempt of ``total`` that waits for the one queue of its loop, once it is held back by ``added``.

    ``others`` in flight before and then. A delay while the resource is ``held`` lengthens each one's service, in
    proportion to how much of an attempt's own time that is, and so the queue. One outside of it is mostly hidden: who
    is held back queues for less.
    """
    n, then = np.array(others[:1]), np.array(others[1:])
    service, rest = service_ms(np.array([wait]), n, np.array([total])), np.array([max(total - wait, 1e-9)])
    inside = np.minimum(service / rest, 1.0) * added * held
    return float(loop_ms(rest + added, service + inside, then)[0])


def halved(
    found: Leaves, fitted: Fit, accounts: Accounts, per_min: Mapping[str, float], hop: str
) -> dict[str, Prediction]:
    """The prediction of every level for the hop taking half its time; ``per_min``: confirmed bookings a minute."""
    nothing = np.zeros_like(fitted.total)
    own = sum((found.own[name] for name in found.own if name[0] == hop), nothing)
    queue = _queue(found)
    share = np.divide(fitted.loads, np.maximum(fitted.others, 1e-9)[:, None])
    predicted = {}
    for place, label in enumerate(accounts.labels):
        total, n = fitted.totals[:, place], fitted.loads[:, place]
        waits = {name: np.minimum(wait * share[:, place], total) for name, wait in found.waits.items()}
        fellows = sum((wait for name, wait in waits.items() if name[0] == hop and name != queue), nothing)
        fellows = fellows + found.unnamed[hop] * share[:, place]
        service = service_ms(waits[queue], n, total)
        rest = np.maximum(total - waits[queue] - np.minimum(own + fellows, total) / 2, 1e-9)
        quicker = loop_ms(rest, service / 2 if queue[0] == hop else service, n)
        then = np.minimum(quicker, total)
        predicted[label] = _prediction(total, then, per_min[label], accounts.effective[label], fitted.clusters)
    return predicted


def limit_per_min(found: Leaves, fitted: Fit, hop: str) -> float | None:
    """The bookings a minute that the hop's queue lets through however many ask: a minute over its service time at the
    highest level, the utilisation law (X <= 1/D). None where what attempts wait in most is no queue of this hop."""
    queue = _queue(found)
    if queue[0] != hop:
        return None
    wait, total = found.waits[queue][:1], fitted.totals[:1, -1]
    service = float(service_ms(wait, fitted.loads[:1, -1], total)[0])
    return 60_000 / service if service > 0 else None


def _queue(found: Leaves) -> Name:
    """What attempts wait in most, of all queues."""
    return max((name for name in found.waits if name[1] in QUEUES), key=lambda name: float(found.waits[name][0]))


def _prediction(total: Floats, then: Floats, per_min: float, workers: int, clusters: int) -> Prediction:
    """Figures of the sample, with the intervals that the resamples give.

    Of the workers' time confirmed attempts take the share X R / N (Little's law); full slots and pauses become no
    shorter.
    """
    share = np.minimum(per_min / 60_000 * total / workers, 1.0)
    speed = per_min / np.maximum(1 - share * (1 - then / total), 1e-9)
    bounds = _interval(then), _interval(speed)
    told = bounds if clusters >= FEW_SLOTS else (None, None)
    return Prediction(float(total[0]), float(then[0]), told[0], per_min, float(speed[0]), told[1])


def _interval(drawn: Floats) -> Interval:
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return min(float(low), float(drawn[0])), max(float(high), float(drawn[0]))
