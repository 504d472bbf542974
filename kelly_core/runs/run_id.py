"""Ids of runs: their start time, by which they sort, and two words to remember."""

from __future__ import annotations

import random
from datetime import datetime

_ADJECTIVES = """
amber brave bright brisk calm candid clear cosy crisp deft eager early fair fleet fond gentle glad golden
grand hardy humble jolly keen kind light lively loyal lucid mellow merry mild neat noble placid plucky
proud quick quiet rapid ready robust rosy rustic sage serene sharp silver sleek snug sober solid spry
steady stout sunny supple tender tidy vivid warm wise witty
"""
_NOUNS = """
adagio alto anthem aria arpeggio ballad bass bolero bridge bugle cadence canon cello chant chime choir
chord clef coda concerto drone duet echo etude fanfare fiddle flute fugue gong harp hymn interval jig
lilt lute lyre madrigal march mazurka melody minuet motet nocturne oboe octave opus polka prelude quartet
quaver refrain reed reel rhythm rondo serenade sonata tempo tenor tune viola waltz
"""


def new_run_id(began: datetime) -> str:
    """Return an id such as ``2026-11-22-1431-brave-cadence``: local time to the minute and two random words."""
    # Not the global generator: a run's name must neither depend on a seed of the training nor disturb it.
    chance = random.SystemRandom()
    return f"{began:%Y-%m-%d-%H%M}-{chance.choice(_ADJECTIVES.split())}-{chance.choice(_NOUNS.split())}"
