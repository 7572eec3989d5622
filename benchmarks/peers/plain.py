"""Packages that know no spaCy: texts go in sorted by length, in batches, padded to the longest."""

from pathlib import Path
from typing import Any, Callable, List, Tuple

import numpy as np

BATCH = 32
LONGEST = 512  # what is longer is cut: these packages have no windows


class Plain:
    """Base of the peers.

    encode (Callable): (ids, mask, type_ids) -> the last layer's vectors, all arrays.
    """

    def __init__(self, checkpoint: str, cache: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
        self.encode = self.load(checkpoint, Path(cache))

    def load(self, checkpoint: str, cache: Path) -> Callable[..., np.ndarray]:
        raise NotImplementedError

    def pipe(self, texts: List[str]) -> None:
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), BATCH):
            self._run(ordered[start : start + BATCH])

    def vectors(self, texts: List[str]) -> np.ndarray:
        rows, mask = self._run(texts)
        return np.stack([row[keep].mean(axis=0) for row, keep in zip(rows, mask.astype(bool))])

    def one(self, text: str) -> None:
        self._run([text])

    def _run(self, texts: List[str]) -> Tuple[np.ndarray, np.ndarray]:
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="np"
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        return self.encode(ids, mask, encoded["token_type_ids"]), mask


class HuggingFace(Plain):
    def load(self, checkpoint: str, cache: Path) -> Callable[..., np.ndarray]:
        import torch
        from transformers import AutoModel

        model = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()

        def encode(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(*map(torch.from_numpy, (ids, mask, types))).last_hidden_state.numpy()

        return encode


class SentenceTransformers:
    """It sorts and batches by itself."""

    def __init__(self, checkpoint: str, cache: str) -> None:
        from sentence_transformers import SentenceTransformer, models

        word = models.Transformer(checkpoint, max_seq_length=LONGEST)
        pooling = models.Pooling(word.get_word_embedding_dimension(), pooling_mode="mean")
        self.model = SentenceTransformer(modules=[word, pooling], device="cpu")

    def pipe(self, texts: List[str]) -> None:
        self.model.encode(texts, batch_size=BATCH, show_progress_bar=False)

    def vectors(self, texts: List[str]) -> np.ndarray:
        return self.model.encode(texts, show_progress_bar=False)

    def one(self, text: str) -> None:
        self.model.encode([text], show_progress_bar=False)


def export(checkpoint: str, path: Path) -> Path:
    """RETURNS (Path): The encoder in ONNX's format, exported if it is not there."""
    if not path.exists():
        import torch
        from transformers import AutoModel

        model = AutoModel.from_pretrained(
            checkpoint, add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        names = ["input_ids", "attention_mask", "token_type_ids"]
        sample = tuple(torch.ones(2, 9, dtype=torch.int64) for _ in names)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            model, sample, str(path), dynamo=False, opset_version=17,
            input_names=names, output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "n", 1: "length"} for name in [*names, "last_hidden_state"]},
        )  # fmt: skip
    return path


class Onnx(Plain):
    def file(self, checkpoint: str, cache: Path) -> Path:
        return export(checkpoint, cache / "model.onnx")

    def load(self, checkpoint: str, cache: Path) -> Callable[..., np.ndarray]:
        import os

        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["THREADS"])
        session: Any = onnxruntime.InferenceSession(
            str(self.file(checkpoint, cache)), options, providers=["CPUExecutionProvider"]
        )
        names = [node.name for node in session.get_inputs()]

        def encode(*arrays: np.ndarray) -> np.ndarray:
            return session.run(None, dict(zip(names, arrays)))[0]

        return encode


class OnnxInt8(Onnx):
    def file(self, checkpoint: str, cache: Path) -> Path:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        path = cache / "model-int8.onnx"
        if not path.exists():
            plain = export(checkpoint, cache / "model.onnx")
            quantize_dynamic(plain, path, weight_type=QuantType.QInt8, per_channel=True)
        return path


class OpenVinoInt8(Plain):
    """Weights and activations in 8 bits, with scales that were fixed on paragraphs of the project's
    generated text."""

    def load(self, checkpoint: str, cache: Path) -> Callable[..., np.ndarray]:
        import os

        import nncf
        import openvino

        core = openvino.Core()
        path = cache / "model-int8.xml"
        if not path.exists():
            model = core.read_model(export(checkpoint, cache / "model.onnx"))
            raw = sorted((cache.parent / "raw").glob("*.txt"))[0].read_text(encoding="utf8")
            lines = [line for line in raw.splitlines() if line.strip()][:96]
            samples = [
                dict(self.tokenizer(lines[i : i + 8], padding=True, return_tensors="np"))
                for i in range(0, len(lines), 8)
            ]
            model = nncf.quantize(
                model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER
            )
            openvino.save_model(model, path)
        compiled = core.compile_model(
            path, "CPU", {"INFERENCE_NUM_THREADS": int(os.environ["THREADS"])}
        )

        def encode(*arrays: np.ndarray) -> np.ndarray:
            return compiled(list(arrays))[0]

        return encode
