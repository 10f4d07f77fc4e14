"""Computes which shard a coin belongs to; every collector gets the same result. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from exchanges.bus.subjects import shard_name


@dataclass(frozen=True, slots=True)
class ShardChoice:
    """Shard ``index`` (from 1) of ``count``."""

    index: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """The shard as part of a subject."""
        return shard_name(self.index, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, coins: Iterable[str]) -> list[str]:
        """Those of the coins that belong to this shard, in the given order."""
        return [coin for coin in coins if shard_of(coin, self.count) == self.index]


def shard_of(coin: str, count: int) -> int:
    """The shard (from 1) of a coin among ``count``.

    Each shard gets a number for the coin from a hash, and the shard with the highest number has the coin (rendezvous
    hashing). If a shard is added, only the coins of the new shard move, one in ``count + 1``.
    """
    return max(range(1, count + 1), key=lambda shard: blake2b(f"{shard} {coin}".encode(), digest_size=8).digest())
