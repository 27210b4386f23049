"""MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601): MLPs over patches, then over channels."""

from __future__ import annotations

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.architectures.vit import check_patches
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec


class MixerBlock(nn.Module):
    """Pre-norm MLPs with skips: over patches, the same for all channels; then over channels."""

    def __init__(self, num_patches: int, width: int, patch_mlp: int, channel_mlp: int) -> None:
        super().__init__()
        self.patch_norm = nn.LayerNorm(width, eps=1e-6)
        self.patch_mlp = _mlp(num_patches, patch_mlp)
        self.channel_norm = nn.LayerNorm(width, eps=1e-6)
        self.channel_mlp = _mlp(width, channel_mlp)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, patches, width) to the same shape."""
        across = self.patch_norm(features).transpose(1, 2)
        features = features + self.patch_mlp(across).transpose(1, 2)
        output: Tensor = features + self.channel_mlp(self.channel_norm(features))
        return output


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Mixer(Network):
    """Patches, blocks, norm, mean over patches, linear; a tap per block."""

    def __init__(
        self,
        input: InputSpec,
        num_outputs: int,
        patch: int,
        depth: int,
        width: int,
        patch_mlp: int,
        channel_mlp: int,
    ) -> None:
        super().__init__()
        channels, rows, columns = input.shape
        num_patches = (rows // patch) * (columns // patch)
        self.stem = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential()
        for index in range(depth):
            block = MixerBlock(num_patches, width, patch_mlp, channel_mlp)
            self.blocks.add_module(f"block{index + 1}", block)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.output = nn.Linear(width, num_outputs)
        self.taps = tuple(f"blocks.block{index + 1}" for index in range(depth))

    def forward(self, images: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of images (batch, channels, height, width)."""
        patches = self.stem(images).flatten(2).transpose(1, 2)
        answers: Tensor = self.output(self.norm(self.blocks(patches)).mean(1))
        return answers


@register("mixer", inputs=("image",))
def mixer(
    input: InputSpec,
    output: OutputSpec,
    *,
    patch: int = 4,
    depth: int = 4,
    width: int = 64,
    patch_mlp: int = 32,
    channel_mlp: int = 256,
) -> Mixer:
    """MLP-Mixer: `depth` blocks of `width` channels; a tap after each.

    Its MLPs have `patch_mlp` and `channel_mlp` hidden units: half and four times the width, as in
    the published sizes. Initialised as PyTorch does by default, the head too (published: zeros).
    """
    if min(patch, depth, width, patch_mlp, channel_mlp) < 1:
        raise UserError(
            f"architecture mixer: patch {patch}, depth {depth}, width {width}, patch_mlp "
            f"{patch_mlp}, channel_mlp {channel_mlp}; allowed: 1 or more"
        )
    check_patches("mixer", input, patch)
    return Mixer(input, output.num_outputs, patch, depth, width, patch_mlp, channel_mlp)
