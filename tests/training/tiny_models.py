"""Models of a few thousand random weights and datasets of a few rows: they train in seconds, and know nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from keepstone.training.data import ChatRow, DatasetCard, DatasetConfig, Datasets, RetrievalRow
from keepstone.training.data.assemble import listed
from keepstone.training.data.rows import to_lines

SUBJECTS = (
    *("amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "hazel", "indigo", "jasper", "kelp", "larch"),
    *("maple", "nickel", "onyx", "pearl", "quartz", "russet", "slate", "topaz", "umber", "velvet", "willow", "zinc"),
)
_GLUE = ("what", "is", "known", "about", "the", "book", "says", "that", "can", "be", "found", "here", "?", ".")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_encoder(folder: Path, *, seed: int = 0, words: Iterable[str] = SUBJECTS) -> Path:
    """Write a BERT of two layers and 32 channels that knows these words, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *dict.fromkeys((*_GLUE, *words))])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    transformer = Transformer(str(folder / "plain"), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu")
    model.save_pretrained(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"


def tiny_llm(folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama of two layers and 32 channels that reads bytes and has a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    inner = Tokenizer(models.BPE({each: number for number, each in enumerate([*special, *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.chat_template = CHATML
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def retrieval_dataset(folder: Path, *, negatives: int = 1, rows: Iterable[RetrievalRow] | None = None) -> Path:
    """Write a dataset of these rows, or of one question about each subject, under `folder`; return its own folder."""
    return add_dataset(folder, retrieval=rows if rows is not None else questions(negatives))


def questions(negatives: int = 1) -> list[RetrievalRow]:
    """Return one question about each subject."""
    about = [f"the book says that {subject} can be found here ." for subject in SUBJECTS]
    return [
        RetrievalRow(
            id=str(number),
            question=f"what is known about {subject} ?",
            answer=subject,
            positive=about[number],
            negatives=tuple(about[(number + step) % len(about)] for step in range(1, negatives + 1)),
            positive_chunk=number,
            document=subject,
            language="en",
            source="generated",
            kind="written",
        )
        for number, subject in enumerate(SUBJECTS)
    ]


def chat_dataset(folder: Path) -> Path:
    """Write a dataset of one conversation about each of twelve subjects."""
    return add_dataset(
        folder,
        chat=[
            chat_row(subject, "Be short.", f"Where is {subject}?", f"In the book of {subject}.")
            for subject in SUBJECTS[:12]
        ],
    )


def chat_row(name: str, system: str, question: str, answer: str) -> ChatRow:
    """Return a conversation of one question."""
    said = (("system", system), ("user", question), ("assistant", answer))
    messages = [{"role": role, "content": content} for role, content in said]
    return ChatRow.model_validate({"id": name, "messages": messages, "document": name, "source": "generated"})


def add_dataset(
    folder: Path,
    *,
    retrieval: Iterable[RetrievalRow] = (),
    chat: Iterable[ChatRow] = (),
    held_out: Iterable[RetrievalRow] = (),
) -> Path:
    """Write a dataset `words` of these rows; return its own folder."""
    files = {
        "retrieval/train.jsonl": to_lines(retrieval),
        "retrieval/test.jsonl": to_lines(held_out),
        "chat/train.jsonl": to_lines(chat),
    }
    card = DatasetCard(
        name="words",
        collection_id="col_words",
        collection="words",
        change_sequence=1,
        encoder="tiny@1",
        model="none",
        model_version="1",
        question_source="written",
        prompts=(),
        settings=DatasetConfig(collection="col_words"),
        seed=0,
        documents={"train": len(SUBJECTS), "test": 0},
        passages=len(SUBJECTS),
        kinds={},
        dropped={},
        files=listed(files),
    )
    return Datasets(folder).add("words", files, card, "job_test").folder
