"""A model and a corpus for Kelly: a guitar amplifier, learned from a recording of its input and output."""

from kelly_core.corpora import Corpus
from kelly_core.spec import Dense, Lstm, ModelSpec

AMP = ModelSpec(
    name="Amp",
    layers=(Lstm(1, 16), Dense(16, 1)),
    loss="kelly_amp.learning:error_to_signal",
    dataset="amp",
    metrics="kelly_amp.learning:AmpMetrics",
    learning_rate=0.005,
)

RECORDING = Corpus(
    name="amp",
    module="kelly_amp.learning",
    title="One recording: input.wav and output.wav of an amplifier, in time with each other",
    license="that of the recording",
    advice="Record some minutes of guitar before and after the amplifier and put input.wav and output.wav into",
)
