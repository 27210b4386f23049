"""Transformer encoders of token sequences."""

from __future__ import annotations

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.architectures._attention import EncoderLayer, Norm, Sizes, visible
from trainers.architectures._sequences import mean_over_real, real_positions, sinusoids
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec


class Encoder(Network):
    """Embedding plus sinusoidal positions, encoder layers, linear; a tap per layer.

    Tasks of whole sequences are answered from the mean over real positions.
    """

    positions: Tensor

    def __init__(
        self, input: InputSpec, output: OutputSpec, sizes: Sizes, norm: Norm, *, causal: bool
    ) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self._input, self._per_position, self._causal = input, output.per_position, causal
        self.embedding = nn.Embedding(input.vocabulary, sizes.width)
        self.register_buffer("positions", sinusoids(input.shape[0], sizes.width), persistent=False)
        self.layers = nn.ModuleDict(
            {f"layer{index + 1}": EncoderLayer(sizes, norm) for index in range(sizes.depth)}
        )
        self.output = nn.Linear(sizes.width, output.num_outputs)
        self.taps = tuple(f"layers.{name}" for name in self.layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Answers (batch, num_outputs), or (batch, time, num_outputs), of tokens (batch, time)."""
        real = real_positions(tokens, self._input)
        mask = visible(tokens, real, causal=self._causal)
        features = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for layer in self.layers.values():
            features = layer(features, mask)
        if not self._per_position:
            features = mean_over_real(features, real)
        answers: Tensor = self.output(features)
        return answers


@register("transformer_encoder", inputs=("tokens",))
def transformer_encoder(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 64,
    heads: int = 4,
    feed_forward: int = 256,
    dropout: float = 0.0,
    causal: bool = False,
    norm: Norm = "last",
) -> Encoder:
    """Transformer encoder (the paper's on parity): embedding, sinusoidal positions, `depth` layers.

    Embeddings are drawn from N(0, 1). Layer norm comes after each residual (`last`) or before each
    part (`first`); `causal` hides later positions.
    """
    sizes = Sizes(depth=depth, width=width, heads=heads, feed_forward=feed_forward, dropout=dropout)
    sizes.check("transformer_encoder")
    if causal not in (True, False):
        raise UserError(
            f"architecture transformer_encoder: causal is {causal}; allowed: true, false"
        )
    return Encoder(input, output, sizes, norm, causal=causal)
