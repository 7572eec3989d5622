"""What is measured: one class for each package, in the environment that the package is run in."""

from typing import Any

# What a peer is called -> its class, and the environment (a file of requirements/) that it needs.
PEERS = {
    "ours": ("spacy_pipelines:Ours", "ours"),
    "ours bf16": ("spacy_pipelines:OursBf16", "ours"),
    "ours int8": ("spacy_pipelines:OursInt8", "ours"),
    "spacy-transformers": ("spacy_pipelines:SpacyTransformers", "spacy-transformers"),
    "spacy-curated-transformers": ("spacy_pipelines:Curated", "spacy-curated-transformers"),
    "huggingface": ("plain:HuggingFace", "huggingface"),
    "sentence-transformers": ("plain:SentenceTransformers", "sentence-transformers"),
    "onnxruntime": ("plain:Onnx", "onnxruntime"),
    "onnxruntime int8": ("plain:OnnxInt8", "onnxruntime"),
    "openvino int8": ("plain:OpenVinoInt8", "openvino"),
}
# They compute in fewer bits: their vectors are compared by direction.
REDUCED = ("ours bf16", "ours int8", "onnxruntime int8", "openvino int8")


def make_peer(name: str, checkpoint: str, cache: str) -> Any:
    """name (str): A peer. checkpoint (str): A BERT. cache (str): Folder for what it converts.
    RETURNS (Any): The peer, loaded."""
    import importlib

    module, kind = PEERS[name][0].split(":")
    return getattr(importlib.import_module(f"peers.{module}"), kind)(checkpoint, cache)
