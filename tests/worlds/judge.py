"""How often the verdict is right on simulated worlds, by the confidence it states.

    python tests/worlds/judge.py --mixtures 300 --misleading 150
    python tests/worlds/judge.py --misleading 15 --mixtures 0 --show

Prints accuracy for each word of confidence, in both sets, and for each sort of misleading world. Exits 1 where
``high`` is right less often than in 95 %, or ``medium`` in 75 %, of either set.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click
import pandas as pd
from worlds import Kind, World, make_world

from slotfill.analyse.bottleneck import Observed, bottleneck

BARS = {"high": 0.95, "medium": 0.75}


@dataclass(frozen=True)
class Judgement:
    """A world's truth beside what the analysis says of it."""

    set: str
    world: str
    seed: int
    truth: tuple[str, str, str]
    named: tuple[str, str, str]
    confidence: str
    right: bool


def judge(world: World, set_name: str, seed: int) -> Judgement:
    """Analyse a world and compare. Nothing of the world but what a reader has is handed over."""
    found = bottleneck(world.attempts, world.server, world.error_lines, Observed(world.samples, world.planted.cores))
    named = (found.verdict, found.mechanism, found.kind)
    truth = (world.truth.hop, world.truth.mechanism, world.truth.kind)
    return Judgement(set_name, world.name, seed, truth, named, found.confidence, world.truth.is_met_by(*named))


def judgements(kind: Kind, count: int, first_seed: int = 1) -> Iterator[Judgement]:
    for seed in range(first_seed, first_seed + count):
        yield judge(make_world(seed, kind), kind, seed)


def accuracy(found: list[Judgement], by: list[str]) -> pd.DataFrame:
    """How many there are of each, and which share is right."""
    table = pd.DataFrame([vars(each) for each in found])
    return table.groupby(by)["right"].agg(worlds="size", right="sum", share="mean").round(3)


@click.command()
@click.option("--mixtures", default=300, show_default=True)
@click.option("--misleading", default=150, show_default=True)
@click.option("--first-seed", default=1, show_default=True)
@click.option("--show", is_flag=True, help="Print each world that was judged wrongly.")
def main(mixtures: int, misleading: int, first_seed: int, show: bool) -> None:
    found: list[Judgement] = []
    sets: tuple[tuple[Kind, int], ...] = (("mixture", mixtures), ("misleading", misleading))
    for kind, count in sets:
        for each in judgements(kind, count, first_seed):
            found.append(each)
            if show and not each.right:
                truth, named = (", ".join(words) for words in (each.truth, each.named))
                print(f"{each.confidence:6s} {each.world} {each.seed}: {named}; true: {truth}", flush=True)
    by_word = accuracy(found, ["set", "confidence"])
    print(f"\n{by_word.to_string()}\n\n{accuracy(found, ['world', 'confidence']).to_string()}")
    sys.exit(any(share < BARS.get(word, 0.0) for (_, word), share in by_word["share"].items()))


if __name__ == "__main__":
    main()
