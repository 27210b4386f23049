"""Tokenizers of texts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import text_files
from trainers.tasks._tokenizers import Characters, tokenizer_of


def test_characters() -> None:
    codes = Characters().encode("\n ~aé\t€𝄞")
    assert codes.tolist() == [1, 2, 96, ord("a") - 30, 0, 0, 0, 0]
    everything = Characters().encode("".join(map(chr, range(32, 127))))
    assert everything.tolist() == list(range(2, 97))


def test_bytes() -> None:
    assert tokenizer_of("text", "bytes", None).encode("aé").tolist() == [97, 0xC3, 0xA9]


def test_byte_pairs_are_learnt_from_the_training_text() -> None:
    tokenizer = tokenizer_of("text", "bpe", 300)
    tokenizer.learn("banana bandana\n" * 50)
    assert len(tokenizer.encode("banana bandana\n" * 10)) < 60
    tokens = tokenizer.encode("été banana zebra\n")
    assert tokens.min() >= 0
    assert tokens.max() < 300
    other = tokenizer_of("text", "bpe", 300)
    other.learn("zebra " * 50)
    assert len(other.encode("zebra " * 10)) < len(tokenizer.encode("zebra " * 10))


LEARN = """
import hashlib
from trainers.tasks._tokenizers import tokenizer_of
from trainers.tasks.pydoc_topics import PydocTopics
text = PydocTopics().read()["train"][:20_000]
tokenizer = tokenizer_of("text", "bpe", 400)
tokenizer.learn(text)
digest = hashlib.sha256(tokenizer.encode(text).tobytes()).hexdigest()
"""


@pytest.mark.processes
def test_learning_depends_on_no_threads_and_no_hash_seed() -> None:
    here: dict[str, Any] = {}
    exec(LEARN, here)
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", f"{LEARN}print(digest)"]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == here["digest"]


def test_word_pieces(root: Path) -> None:
    text_files.write_tokenizer(root / "tokenizers" / "bert-base-cased")
    tokenizer = tokenizer_of("text", "bert-base-cased", None)
    assert tokenizer.vocabulary == 28_996
    tokens = tokenizer.encode("The cats runs <unk> sleeps. THE\n dogs zebra")
    pieces = [text_files.PIECES[token] for token in tokens]
    assert pieces == [
        "The", "cat", "##s", "runs", "[UNK]", "sleeps", ".", "[UNK]", "dog", "##s", "[UNK]",
    ]  # fmt: skip


def test_uncased_word_pieces_ignore_case(root: Path) -> None:
    text_files.write_tokenizer(root / "tokenizers" / "bert-base-uncased")
    tokens = tokenizer_of("text", "bert-base-uncased", 40).encode("THE Dog")
    assert [text_files.PIECES[token] for token in tokens] == ["the", "dog"]


def test_an_absent_tokenizer_is_an_error_that_says_where(root: Path) -> None:
    tokenizer = tokenizer_of("text", "no-such-tokenizer-here", 50)
    folder = root / "tokenizers" / "no-such-tokenizer-here"
    for use in (tokenizer.digest, lambda: tokenizer.encode("x")):
        with pytest.raises(FileNotFoundError, match=rf"neither tokenizer\.json .* is in {folder}"):
            use()


def test_tokenizer_json_is_what_vocab_txt_says(root: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder = root / "tokenizers" / "own"
    text_files.write_tokenizer(folder)
    text = text_files.words(200, 3)
    listed = tokenizer_of("text", "own", None)
    assert listed.vocabulary == len(text_files.PIECES)
    expected, digest = listed.encode(text), listed.digest()
    vocabulary = {piece: index for index, piece in enumerate(text_files.PIECES)}
    fast = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=False)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.save(str(folder / "tokenizer.json"))
    tokenizer = tokenizer_of("text", "own", None)
    assert (tokenizer.encode(text) == expected).all()
    assert tokenizer.digest() != digest


def test_a_vocabulary_that_is_too_small_is_refused(root: Path) -> None:
    text_files.write_tokenizer(root / "tokenizers" / "own")
    with pytest.raises(ValueError, match=r"vocabulary is 5; allowed .*24 or more"):
        tokenizer_of("text", "own", 5).encode("the")


@pytest.mark.parametrize(
    ("name", "vocabulary", "message"),
    [
        ("characters", 97, "vocabulary is 97; allowed with tokenizer characters: null"),
        ("bpe", 255, "vocabulary is 255; allowed with bpe: 256 or more"),
        ("bpe", 0, "vocabulary is 0"),
        ("../x", None, "tokenizer is '../x'; allowed: characters, bytes, bpe"),
        ("own", None, "tokenizer is own, of which the vocabulary is not known; set vocabulary"),
    ],
)
def test_bad_tokenizers(root: Path, name: str, vocabulary: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer_of("text", name, vocabulary)


@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"{" * 9])
def test_files_that_are_no_tokenizer_are_named(root: Path, file: str, content: bytes) -> None:
    if file == "vocab.txt" and content.isascii() and content:
        pytest.skip("any text is a list of words")
    folder = root / "tokenizers" / "own"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"task text: {folder / file} is no tokenizer, or is dam"):
        tokenizer_of("text", "own", None)
