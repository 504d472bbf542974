"""Texts that are written beside the demo corpora: the rules that tie emotion to music, and settings to train with.

``corpus.ideal_output`` and ``synth.wav_bytes`` compute what the rules say.
"""

from kelly_core.corpora import RULES_FILE
from kelly_core.spec import CHAIN_MODELS

RULES = """\
- Emotion: the songs are spread evenly over valence v and arousal a, both within -0.85..0.85. A song has the same
  emotion in all five corpora.
- Tempo: 105 · 2^(0.75 a) beats a minute.
- Balance b: 1 where v and a are both moderate or both extreme, -1 where only one of them is. b = cos(π v / 0.85)
  cos(π a / 0.85). No polynomial of degree three, one of the baselines, can follow it.
- Chords: shares (1 + v) / 2 of the triads of a major key, (1 - v) / 2 of those of a minor key; a share of (1 + b) / 2
  of the triads becomes seventh chords.
- Melody: notes of the major and the minor pentatonic scale in the same shares, around pitch 67 + 8 a + 10 b.
- Dynamics: with a, loudness, its deviation and density rise; with b, accents and staccato rise, and length of notes,
  pedal and spread of chords fall.
- Groove: sixteenths between the eighths are late (swing) with v and b; eighths between the beats are early with b. With
  b, accents of these eighths get weaker and those of the sixteenths stronger.
- Sound: louder by 10 dB a unit of a, and brighter: partial k has amplitude k^-(2.2 - 1.2 a). A wah, a resonance at
  1 kHz, opens and closes in turn, each for one to three seconds, by ±9 (1 + v) dB. It is open as long as it is closed
  on average for every v, so the mean spectrum of a song carries little information about its valence. A recording
  is eight seconds from a random place of the song.
"""

_HARMONY = next(spec for spec in CHAIN_MODELS if spec.dataset == "chords")
_GROOVE = next(spec for spec in CHAIN_MODELS if spec.dataset == "groove_midi")

CONFIG_FILE = "config.toml"
CONFIG_TEXT = f"""\
# Settings for a short training on the demo corpora: kelly-core train --config config.toml --datasets-dir .

[training]
epochs = 32
batch_size = 8            # the corpora are small: larger batches leave too few steps an epoch
learning_rate = 0.002
validation_split = 0.33   # enough songs to choose the epoch and to judge

[models.{_HARMONY.name}]
learning_rate = 0.001
epochs = 60
patience = 0              # it makes no progress for many epochs before it finds how chords follow emotion

[models.{_GROOVE.name}]
learning_rate = 0.002     # instead of the model's own rate for real recordings
epochs = 40

[datasets.deam]
duration = 8.0            # length of the recordings in seconds
"""


def corpus_text() -> str:
    """Return the text of the file that marks a corpus as made by rules."""
    return f"""\
# Made by rules

`kelly-core datasets demo` made this corpus. It is not real music. These rules tie it to emotion:

{RULES}
Models learn these rules far better than they learn real music. Figures of models that are trained on this corpus show
that the program works, and nothing about real music. Because this file is here, trainings and exports state it, and
a gain that is implausible for real music is not reported as a leak.
"""


def readme_text() -> str:
    """Return the text of the README.md in the folder of the demo corpora."""
    folders = ", ".join(f"`{spec.dataset}`" for spec in CHAIN_MODELS)
    return f"""\
# Demo corpora

Five corpora, {folders}, in the layouts of the real ones.
All are made by rules, as `{RULES_FILE}` in each of them states.

## Rules

{RULES}
## Next steps

1. Show the corpora: `kelly-core datasets --datasets-dir FOLDER`, where FOLDER is this folder.
2. Train on them: `kelly-core train --config FOLDER/{CONFIG_FILE} --datasets-dir FOLDER --output OUTPUT`.
3. Train on real corpora: `kelly-core datasets` lists where to get each and where to put it.
"""
