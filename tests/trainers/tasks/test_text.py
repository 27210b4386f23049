"""Language modelling: splits, digests of content, absent data, perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers import text_files
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.tasks import ABSENT, TASKS, Task
from trainers.tasks._text import LOGIT_BYTES, by_position, perplexity
from trainers.training.train import train


def new(name: str, **options: Any) -> Any:
    return TASKS[name].factory(**options)


def write_corpus(root: Path, text: str) -> None:
    (root / "text").mkdir(exist_ok=True)
    (root / "text" / "corpus.txt").write_bytes(text.encode())


# --- splits


def test_blocks_and_what_comes_next(root: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(1000))
    write_corpus(root, text)
    task = new("text", context=10, tokenizer="bytes")
    assert task.num_train == 89
    assert [len(task.splits[name].inputs) for name in ("train", "validation", "test")] == [89, 4, 4]
    start = 0
    for name, length in (("train", 900), ("validation", 50), ("test", 50)):
        inputs, labels = task.splits[name]
        part = torch.tensor(list(text[start : start + length].encode()))
        assert torch.equal(inputs.flatten(), part[: inputs.numel()])
        assert torch.equal(labels.flatten(), part[1 : inputs.numel() + 1])
        start += length


def test_splits_by_position_are_the_text() -> None:
    text = "".join(map(chr, range(1013)))
    parts = by_position(text)
    assert "".join(parts.values()) == text
    assert [len(part) for part in parts.values()] == [912, 50, 51]


def test_a_folder_has_splits_of_its_own(root: Path) -> None:
    folder = root / "text" / "own"
    folder.mkdir(parents=True)
    for name in ("train", "validation", "test"):
        (folder / f"{name}.txt").write_text(f"{name} " * 20, encoding="utf-8")
    task = new("text", corpus="own", context=5, tokenizer="bytes")
    for name in ("train", "validation", "test"):
        text = bytes(task.splits[name].inputs.flatten().tolist()).decode()
        assert text.startswith(f"{name} {name}")


def test_smaller_training_sets_are_the_first_blocks(root: Path) -> None:
    write_corpus(root, text_files.words(500, 1))
    whole, part = new("text"), new("text", train_size=3)
    assert part.num_train == 3
    assert torch.equal(part.train.inputs, whole.train.inputs[:3])
    assert torch.equal(part.test.inputs, whole.test.inputs)
    with pytest.raises(ValueError, match=r"train_size is 10000; allowed: 1 to \d+"):
        _ = new("text", train_size=10_000).splits


def test_a_text_that_is_too_short_is_refused(root: Path) -> None:
    write_corpus(root, "too short")
    with pytest.raises(ValueError, match=r"the train text has 8 tokens, fewer than a block"):
        _ = new("text").splits


def test_a_text_that_is_not_utf8_is_refused(root: Path) -> None:
    (root / "text").mkdir()
    (root / "text" / "corpus.txt").write_bytes(b"\xff\xfe" * 4000)
    with pytest.raises(ValueError, match=r"corpus.txt is not UTF-8"):
        _ = new("text").splits


def test_files_that_cannot_be_read_are_named(root: Path, forbidding: Any) -> None:
    text_files.write_all(root)
    small = {"context": 8, "tokenizer": "bytes"}
    options = {"text": {}, "wikitext103": small, "openwebtext": small | {"documents": 20}}
    files = {
        "text": "corpus.txt",
        "wikitext103": "wiki.test.tokens",
        "openwebtext": "train-00001-of-00003.parquet",
    }
    for name, file in files.items():
        path = root / name / file
        for forbidden in (path, path.parent):
            with (
                forbidding(forbidden),
                pytest.raises(ValueError, match=r"cannot be read: Perm") as e,
            ):
                new(name, **options[name]).data_digest()
            assert str(root / name) in str(e.value)
    (root / "wikitext103" / "wiki.valid.tokens").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=r"wiki\.valid\.tokens is not UTF-8"):
        _ = new("wikitext103", **options["wikitext103"]).splits


def damaged(path: Path) -> None:
    path.write_bytes(b"PAR1")


def without_text(path: Path) -> None:
    pq.write_table(pa.table({"texts": ["a"]}), path)


def with_a_gap(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None]}), path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to("away"), "is a link to away, which is not there: mend or re"),
        (damaged, "is no Parquet file with a column text, or is damaged; replace it"),
        (without_text, "is no Parquet file with a column text, or is damaged; replace it"),
        (with_a_gap, ": 1 of 2 rows have no text"),
    ],
)
def test_parquet_files_of_something_else_are_named(
    root: Path, make: Callable[[Path], None], said: str
) -> None:
    folder = root / "wikitext103"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        pq.write_table(pa.table({"text": [text_files.words(50, 0)]}), folder / f"{split}-0.parquet")
    make(folder / "test-1.parquet")
    with pytest.raises(ValueError, match=rf"{folder}/test-1\.parquet ?{said}"):
        _ = new("wikitext103", context=8, tokenizer="bytes").splits
    web = root / "openwebtext"
    web.mkdir()
    make(web / "train-0.parquet")
    with pytest.raises(ValueError, match=rf"{web}/train-0\.parquet ?{said}"):
        _ = new("openwebtext", context=8, tokenizer="bytes", documents=1).splits


def test_byte_pairs_are_of_the_training_split_alone(root: Path) -> None:
    write_corpus(root, "abab\n" * 1800 + "xyxy\n" * 200)
    task = new("text", tokenizer="bpe", vocabulary=300, context=4)
    assert task.input.vocabulary == 300
    # The last tenth is of other pairs, and has tokens of single bytes alone.
    assert (task.test.inputs < 256).all()
    assert (task.train.inputs >= 256).any()


@pytest.mark.parametrize("suffix", [".tokens", ".raw"])
def test_wikitext_as_published(root: Path, suffix: str) -> None:
    text_files.write_wikitext(root / "wikitext103", suffix)
    text_files.write_tokenizer(root / "tokenizers" / "bert-base-cased")
    task = new("wikitext103", context=8)
    assert task.input.vocabulary == 28_996
    assert task.num_train == 6
    first = text_files.words(49, 0).replace("<unk>", "[UNK]").split()[:8]
    assert [text_files.PIECES[token] for token in task.train.inputs[0]] == first


def test_wikitext_from_hugging_face(root: Path) -> None:
    folder = root / "wikitext103"
    text_files.write_wikitext(folder)
    plain = new("wikitext103", context=8, tokenizer="bytes")
    expected = {name: split.inputs for name, split in plain.splits.items()}
    digest = plain.data_digest()
    for name, published in (("train", "train"), ("validation", "valid"), ("test", "test")):
        file = folder / f"wiki.{published}.tokens"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.unlink()
        cut = len(lines) // 2
        for index, part in enumerate((lines[:cut], lines[cut:])):
            table = pa.table({"text": part})
            pq.write_table(table, folder / f"{name}-0000{index}-of-00002.parquet")
    task = new("wikitext103", context=8, tokenizer="bytes")
    for name, inputs in expected.items():
        assert torch.equal(task.splits[name].inputs, inputs)
    assert task.data_digest() not in (digest, ABSENT)


# --- content, and its absence


def test_ids_follow_content_and_not_its_place(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(root, text_files.words(500, 1))
    digest = new("text").data_digest()
    assert len(digest) == 16
    assert new("text", context=7).data_digest() == digest
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("ARCHPRIOR_DATA", str(elsewhere))
    assert new("text").data_digest() == ABSENT
    (elsewhere / "text").mkdir()
    (elsewhere / "text" / "other.txt").write_text(text_files.words(500, 1), encoding="utf-8")
    assert new("text", corpus="other").data_digest() == digest
    write_corpus(elsewhere, text_files.words(500, 2))
    assert new("text").data_digest() != digest


def test_the_tokenizer_is_part_of_the_content(root: Path) -> None:
    write_corpus(root, text_files.words(500, 1))
    options = {"tokenizer": "bert-base-cased"}
    assert new("text", **options).data_digest() == ABSENT
    folder = root / "tokenizers" / "bert-base-cased"
    text_files.write_tokenizer(folder)
    digest = new("text", **options).data_digest()
    assert digest not in (ABSENT, new("text").data_digest())
    with (folder / "vocab.txt").open("a") as file:
        file.write("zebra\n")
    assert new("text", **options).data_digest() not in (ABSENT, digest)


def test_pydoc_topics_are_not_tested_on_what_they_are_trained_on() -> None:
    texts = new("pydoc_topics").read()
    training = set(texts["train"].split("\n\n"))
    for name in ("validation", "test"):
        # Whole ones: the cut goes through a paragraph.
        paragraphs = texts[name].split("\n\n")[1:-1]
        assert len(paragraphs) > 50
        assert not training.intersection(paragraphs)


def test_pydoc_topics_are_a_version_of_python() -> None:
    digest = new("pydoc_topics").data_digest()
    assert digest not in (None, ABSENT)
    assert new("pydoc_topics", tokenizer="bytes").data_digest() == digest


@pytest.mark.parametrize(
    ("name", "expected"),
    [("text", 1_000_000), ("wikitext103", 103_227_021), ("openwebtext", 111_678_000)],
)
def test_absent_data_can_be_planned(root: Path, name: str, expected: int) -> None:
    task = new(name, context=100)
    assert task.data_digest() == ABSENT
    assert task.num_train == expected // 100
    assert task.input.vocabulary == {"text": 97}.get(name, 28_996)


def test_data_that_came_later_is_found(root: Path) -> None:
    task = new("text", context=10)
    assert task.num_train == 100_000
    write_corpus(root, "x" * 1000)
    assert task.num_train == 89
    assert task.data_digest() != ABSENT


def test_absent_text_is_an_error_that_says_where(root: Path) -> None:
    task = new("text", corpus="mine")
    for act in (task.check_data, task.load):
        with pytest.raises(FileNotFoundError, match=rf"neither {root}/text/mine\.txt nor a folder"):
            act()
    with pytest.raises(ValueError, match=r"corpus is '\.\./mine'; allowed: the name of a file"):
        new("text", corpus="../mine")


class _NoNetworkError(Exception):
    pass


def test_absent_wikitext_is_an_error_that_says_what_to_get(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for the network: what is asked of it, and that it fails.
    import huggingface_hub

    asked = []

    def fail(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        raise _NoNetworkError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = r"wiki\.train\.tokens.*train-\*\.parquet.*Salesforce/wikitext.*no network"
    with pytest.raises(FileNotFoundError, match=message):
        new("wikitext103").check_data()
    web = r"openwebtext holds 0 documents in 0 files train-\*\.parquet, and documents is 250000; .*"
    with pytest.raises(FileNotFoundError, match=web + "Skylion007/openwebtext, plain.*no network"):
        new("openwebtext", documents=250_000).check_data()
    first = [f"plain_text/train-0000{number}-of-*.parquet" for number in range(3)]
    assert asked == [
        (repository, {"repo_type": "dataset", "allow_patterns": patterns})
        for repository, patterns in (
            ("Salesforce/wikitext", ["wikitext-103-v1/*.parquet"]),
            ("Skylion007/openwebtext", first),
        )
    ]


def test_wikitext_is_downloaded(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for the network: a snapshot as the hub gives it.
    import huggingface_hub

    snapshot = tmp_path_factory.mktemp("snapshot")
    folder = snapshot / "wikitext-103-v1"
    folder.mkdir()
    for name in ("train", "validation", "test"):
        table = pa.table({"text": [f" {name} {name} {name} \n", "", " = it = \n"]})
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    task = new("wikitext103", context=8, tokenizer="bytes")
    task.check_data()
    assert bytes(task.train.inputs.flatten().tolist()) == b" train train train \n\n = "[:24]


# --- scores


def test_perplexity_is_that_of_the_mean_loss(root: Path) -> None:
    write_corpus(root, text_files.words(2000, 1))
    task: Task = new("text", context=16)
    inputs, labels = task.test
    assert task.primary_metric == "perplexity"
    assert not task.higher_is_better["perplexity"]
    logits = torch.randn(*inputs.shape, 97, generator=torch.Generator().manual_seed(0))
    whole = task.score(task.tally(logits, labels))
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), labels.flatten())
    assert whole["perplexity"] == pytest.approx(math.exp(nats.item()))
    # In parts that differ in size, the mean is over tokens and not over parts.
    sums: dict[str, float] = {}
    for part in (slice(0, 1), slice(1, len(inputs))):
        for name, value in task.tally(logits[part], labels[part]).items():
            sums[name] = sums.get(name, 0) + value
    assert task.score(sums) == pytest.approx(whole)


def test_perplexity_beyond_floats_is_infinite() -> None:
    assert perplexity(1000.0) == math.inf
    assert perplexity(0.0) == 1.0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"context": 256, "tokenizer": "bert-base-cased"}, 8),
        ({"context": 64}, 500),
        ({"context": 100_000, "tokenizer": "bpe", "vocabulary": 30_000}, 1),
    ],
)
def test_logits_of_one_forward_are_bounded(options: dict[str, Any], expected: int) -> None:
    task = new("text", **options)
    assert task.forward_batch == expected
    assert task.input.vocabulary is not None
    one = 4 * options["context"] * task.input.vocabulary
    assert expected * one <= max(LOGIT_BYTES, one)


def test_a_language_model_learns() -> None:
    condition = Condition(
        task=TASKS.component("pydoc_topics", context=32, train_size=640),
        target=ARCHITECTURES.component("gru", depth=1, width=48, embedding=32),
        train=TrainSettings(steps=40, batch_size=16, lr=1e-2, grad_clip=0.25),
    )
    result = train(condition, seed=0)
    history = [p.value for p in result.history.points if p.metric == "validation/perplexity"]
    assert history[0] == pytest.approx(97, rel=0.1)
    assert result.metrics["perplexity"] < 25
    assert result.metrics["perplexity"] == pytest.approx(math.exp(result.metrics["loss"]))
    tasks.clear_cache()
