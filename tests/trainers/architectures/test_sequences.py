"""Networks of token sequences: padding, and what they compute, against PyTorch's own layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from trainers import architectures
from trainers.architectures import ARCHITECTURES, Network, taps
from trainers.architectures._attention import DecoderLayer, EncoderLayer, Sizes, visible
from trainers.architectures._sequences import sinusoids
from trainers.tasks import InputSpec, OutputSpec

TOKENS = [name for name in ARCHITECTURES.names() if "tokens" in ARCHITECTURES[name].info["inputs"]]
VOCABULARY, PADDING, TIME = 6, 2, 12
LENGTHS = torch.tensor([12, 7, 1, 4])
INPUT = InputSpec(kind="tokens", shape=(TIME,), vocabulary=VOCABULARY, padding=PADDING)


def padded() -> Tensor:
    """Tokens (4, 12) of several lengths."""
    real = torch.randint(3, VOCABULARY, (len(LENGTHS), TIME), generator=torch.Generator())
    return real.masked_fill(torch.arange(TIME) >= LENGTHS[:, None], PADDING)


def build(name: str, *, per_position: bool, **options: Any) -> Network:
    torch.manual_seed(0)
    component = ARCHITECTURES.component(name, **options)
    output = OutputSpec(num_classes=3, per_position=per_position)
    return architectures.build(component, INPUT, output).eval()


@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("name", TOKENS)
def test_answers_do_not_depend_on_the_amount_of_padding(name: str, per_position: bool) -> None:
    network, tokens = build(name, per_position=per_position), padded()
    with torch.no_grad():
        together = network(tokens)
        for row, length in enumerate(LENGTHS.tolist()):
            alone = network(tokens[row : row + 1, :length])[0]
            long = together[row, :length] if per_position else together[row]
            torch.testing.assert_close(long, alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("name", TOKENS)
def test_real_tokens_do_matter(name: str, per_position: bool) -> None:
    network, tokens = build(name, per_position=per_position), padded()
    changed = tokens.clone()
    changed[:, 0] = 3 + (changed[:, 0] - 2) % 3
    differences = (network(tokens) - network(changed)).abs().flatten(1).sum(1)
    # Over twelve steps little of a first token is left in a network that did not learn.
    assert (differences > 5e-5).all()


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", TOKENS)
def test_taps_are_finite_at_padding_and_change_no_answer(name: str, mode: bool) -> None:
    network, tokens = build(name, per_position=False).train(mode), padded()
    tokens[2] = PADDING
    with torch.no_grad():
        plain = network(tokens)
        with taps.record(network, network.taps) as outputs:
            recorded = network(tokens)
    assert tuple(outputs) == network.taps
    assert all(output.isfinite().all() for output in outputs.values())
    assert torch.equal(plain, recorded)


@pytest.mark.parametrize(
    ("name", "cell"),
    [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU), ("parity_rnn", nn.RNN)],
)
def test_recurrent_networks_are_packed_sequences(name: str, cell: Any) -> None:
    network, tokens = build(name, per_position=False, depth=2), padded()
    stacked = cell(64, 64, num_layers=2, batch_first=True)
    weights = {
        key.replace("l0", f"l{index}"): value
        for index, layer in enumerate(("layer1", "layer2"))
        for key, value in network.get_submodule(f"layers.{layer}").state_dict().items()
    }
    stacked.load_state_dict(weights)
    packed = pack_padded_sequence(
        network.get_submodule("embedding")(tokens), LENGTHS, batch_first=True, enforce_sorted=False
    )
    _, state = stacked(packed)
    last = (state[0] if name == "lstm" else state)[-1]
    expected = network.get_submodule("output")(last.relu() if name == "parity_rnn" else last)
    torch.testing.assert_close(network(tokens), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "gates"), [("rnn", 1), ("parity_rnn", 1), ("gru", 3), ("lstm", 4)]
)
def test_each_gate_is_orthogonal(name: str, gates: int) -> None:
    network = build(name, per_position=True, width=16, init="orthogonal")
    for layer in network.taps:
        blocks = network.get_parameter(f"{layer}.weight_hh_l0").split(16)
        assert len(blocks) == gates
        for block in blocks:
            torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)
    assert not torch.equal(blocks[0], blocks[-1]) or gates == 1


def _attention(weights: dict[str, Tensor], name: str, own: str) -> dict[str, Tensor]:
    return {
        f"{name}.in_proj_weight": weights[f"{own}.query_key_value.weight"],
        f"{name}.in_proj_bias": weights[f"{own}.query_key_value.bias"],
        f"{name}.out_proj.weight": weights[f"{own}.projection.weight"],
        f"{name}.out_proj.bias": weights[f"{own}.projection.bias"],
    }


def _rest(weights: dict[str, Tensor], norms: int) -> dict[str, Tensor]:
    names = {f"norms.{i}": f"norm{i + 1}" for i in range(norms)}
    names |= {"feed_forward.0": "linear1", "feed_forward.3": "linear2"}
    return {
        f"{its}.{part}": weights[f"{own}.{part}"]
        for own, its in names.items()
        for part in ("weight", "bias")
    }


@pytest.mark.parametrize("norm", ["first", "last"])
@pytest.mark.parametrize("causal", [False, True])
def test_encoder_layers_are_those_of_pytorch(norm: Any, causal: bool) -> None:
    torch.manual_seed(0)
    sizes = Sizes(depth=1, width=8, heads=2, feed_forward=16, dropout=0.0)
    layer = EncoderLayer(sizes, norm)
    weights = layer.state_dict()
    its = nn.TransformerEncoderLayer(
        8, 2, 16, 0.0, batch_first=True, norm_first=norm == "first"
    ).train()
    its.load_state_dict(_attention(weights, "self_attn", "attention") | _rest(weights, 2))
    features, tokens = torch.randn(len(LENGTHS), TIME, 8), padded()
    real = tokens != PADDING
    mask = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if causal else None
    expected = its(features, src_mask=mask, src_key_padding_mask=~real)
    own = layer(features, visible(tokens, real, causal=causal))
    torch.testing.assert_close(own[real], expected[real], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cross", [False, True])
def test_decoder_layers_are_those_of_pytorch(cross: bool) -> None:
    torch.manual_seed(0)
    layer = DecoderLayer(Sizes(depth=1, width=8, heads=2, feed_forward=16, dropout=0.0))
    weights = layer.state_dict()
    its = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True)
    attentions = _attention(weights, "self_attn", "self_attention")
    attentions |= _attention(weights, "multihead_attn", "cross_attention")
    its.load_state_dict(attentions | _rest(weights, 3))
    features, memory = torch.randn(2, 3, TIME, 8)
    hidden = torch.ones(TIME, TIME, dtype=torch.bool).triu(1)
    expected = its(features, memory, tgt_mask=hidden, memory_mask=hidden if cross else None)
    own = layer(features, memory, ~hidden, ~hidden if cross else None)
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-6)


def test_attention_starts_as_that_of_pytorch() -> None:
    sizes = Sizes(depth=1, width=8, heads=2, feed_forward=16, dropout=0.0)
    torch.manual_seed(0)
    weights = EncoderLayer(sizes).state_dict()
    torch.manual_seed(0)
    its = nn.TransformerEncoderLayer(8, 2, 16).state_dict()
    own = _attention(weights, "self_attn", "attention") | _rest(weights, 2)
    assert own.keys() == its.keys()
    for name, value in its.items():
        assert own[name].shape == value.shape
        if name.startswith("self_attn.") and "bias" in name:
            assert not own[name].any()
        bound = (6 / 32) ** 0.5 if name == "self_attn.in_proj_weight" else 8**-0.5
        if "norm" not in name and "linear2" not in name:
            assert own[name].abs().max() <= bound


def test_sinusoids() -> None:
    table = sinusoids(7, 6)
    assert table.shape == (7, 6)
    torch.testing.assert_close(table[3, 0], torch.tensor(3.0).sin())
    torch.testing.assert_close(table[3, 5], torch.tensor(3.0 / 10_000 ** (4 / 6)).cos())
    assert sinusoids(7, 5).shape == (7, 5)


def test_encoders_see_both_ways_unless_causal() -> None:
    tokens = padded()[:1]
    changed = tokens.clone()
    changed[0, 8] = 3 + (changed[0, 8] - 2) % 3
    for causal in (False, True):
        network = build("transformer_encoder", per_position=True, causal=causal)
        before = (network(tokens) - network(changed))[0, :8].abs().max()
        assert (before < 1e-6) == causal


def test_dropout_is_applied_in_training_alone() -> None:
    network, tokens = build("transformer_encoder", per_position=False, dropout=0.5), padded()
    assert torch.equal(network(tokens), network(tokens))
    network.train()
    assert not torch.equal(network(tokens), network(tokens))


def _changed_later(network: Network) -> float:
    """Largest change of the answers before position 8 when that is another token."""
    tokens = padded()[:1]
    changed = tokens.clone()
    changed[0, 8] = 3 + (changed[0, 8] - 2) % 3
    return (network(tokens) - network(changed))[0, :8].abs().max().item()


def test_decoders_are_causal_unless_their_memory_is_not() -> None:
    assert _changed_later(build("transformer_decoder", per_position=True)) == 0
    assert _changed_later(build("transformer_decoder", per_position=True, cross="all")) > 1e-3


def test_shared_layers_have_one_set_of_weights_and_taps_of_their_own() -> None:
    tokens = padded()
    shared = build("transformer_decoder", per_position=True, depth=3, shared=True)
    apart = build("transformer_decoder", per_position=True, depth=3)
    layer = sum(p.numel() for p in shared.get_submodule("layers").parameters())
    assert sum(p.numel() for p in apart.get_submodule("layers").parameters()) == 3 * layer
    with taps.record(shared, shared.taps) as outputs:
        shared(tokens)
    first, second, third = outputs.values()
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_dropout_of_the_causal_transformer_is_everywhere() -> None:
    network, tokens = build("transformer", per_position=True, dropout=0.5), padded()
    assert torch.equal(network(tokens), network(tokens))
    network.train()
    assert not torch.equal(network(tokens), network(tokens))
    names = ["dropout", "blocks.block1.dropout:1", "blocks.block1.dropout:2"]
    with taps.record(network, names) as outputs:
        network(tokens)
    for output in outputs.values():
        assert (output == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_gpt_initialisation() -> None:
    network = build("transformer", per_position=True, init="gpt", width=64)
    for name, parameter in network.named_parameters():
        if "norm" in name or "feed_forward.0" in name:
            assert set(parameter.flatten().tolist()) <= {0.0, 1.0}
        elif "bias" in name:
            assert not parameter.any()
        elif parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1)


def test_sinusoidal_positions_have_no_weights() -> None:
    learned, fixed = (
        build("transformer", per_position=True, positions=positions)
        for positions in ("learned", "sinusoidal")
    )
    own = dict(fixed.named_parameters()).keys()
    assert dict(learned.named_parameters()).keys() - own == {"position.weight"}
    assert "sinusoids" not in fixed.state_dict()


WORD_PIECES = 28_996
LANGUAGE = {"vocabulary": WORD_PIECES, "shape": (256,), "num_classes": WORD_PIECES}
COPYING = {"vocabulary": 14, "shape": (82,), "num_classes": 11}
EMBEDDED = {"embedding.weight": 7_422_976, "output.weight": 14_845_952, "output.bias": 28_996}
#: Parameters of the paper's networks, by the first parts of their names.
PAPER: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, int]]] = [
    (
        "rnn",
        {"depth": 4, "width": 512, "embedding": 256},
        LANGUAGE,
        EMBEDDED
        | {
            "layers.layer1": 512 * 256 + 512 * 512 + 2 * 512,
            "layers.layer2": 525_312,
            "layers.layer3": 525_312,
            "layers.layer4": 525_312,
        },
    ),
    (
        "lstm",
        {"depth": 4, "width": 512, "embedding": 256},
        LANGUAGE,
        EMBEDDED
        | {
            "layers.layer1": 1_576_960,
            "layers.layer2": 2_101_248,
            "layers.layer3": 2_101_248,
            "layers.layer4": 2_101_248,
        },
    ),
    (
        "transformer",
        {
            "depth": 4, "width": 512, "heads": 16, "feed_forward": 2048, "dropout": 0.1,
            "init": "gpt",
        },
        LANGUAGE,
        {
            "embedding.weight": 14_845_952,
            "position.weight": 131_072,
            **{f"blocks.block{index}": 3_152_384 for index in (1, 2, 3, 4)},
            "norm": 1024,
            "output.weight": 14_845_952,
            "output.bias": 28_996,
        },
    ),
    (
        "transformer_decoder",
        {"depth": 4, "width": 512, "heads": 16, "feed_forward": 2048, "dropout": 0.1},
        COPYING,
        {
            "embedding.weight": 7168,
            **{f"layers.{index}": 4_204_032 for index in (0, 1, 2, 3)},
            "output.weight": 5632,
            "output.bias": 11,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "data", "expected"), PAPER)
def test_sizes_are_those_of_the_paper(
    name: str, options: dict[str, Any], data: dict[str, Any], expected: dict[str, int]
) -> None:
    input = InputSpec(kind="tokens", shape=data["shape"], vocabulary=data["vocabulary"])
    output = OutputSpec(num_classes=data["num_classes"], per_position=True)
    network = architectures.build_on_meta(ARCHITECTURES.component(name, **options), input, output)
    found: Counter[str] = Counter()
    for parameter, values in network.named_parameters():
        (prefix,) = [part for part in expected if f"{parameter}.".startswith(f"{part}.")]
        found[prefix] += values.numel()
    assert found == expected
    assert len(network.taps) == 4
