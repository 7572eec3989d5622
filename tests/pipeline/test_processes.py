"""Several processes and several threads give the answers of one."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import spacy_bert

from .heads import listener, ner, perturb, pooled_listener, textcat

# The checkpoint is large enough for torch to compute with several threads.
START = """
import multiprocessing
import sys
import numpy as np
import spacy
import torch

path, method = sys.argv[1:]
TEXTS = [f"Alice number {i} lives in Paris, where she likes a very long walk." for i in range(12)]

def compare(nlp):
    torch.set_num_threads(2)
    alone = list(nlp.pipe(TEXTS, batch_size=3))
    docs = list(nlp.pipe(TEXTS, batch_size=3, n_process=2))
    assert torch.get_num_threads() == 2
    for doc, other in zip(docs, alone, strict=True):
        assert doc.text == other.text
        np.testing.assert_allclose(doc.tensor, other.tensor, atol=1e-5)
        assert all(abs(score - other.cats[label]) < 1e-5 for label, score in doc.cats.items())
        if doc.has_extension("bert"):
            np.testing.assert_allclose(doc._.bert.cls, other._.bert.cls, atol=1e-5)
            np.testing.assert_array_equal(doc._.bert.ids, other._.bert.ids)
    return docs

def inlined():
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-bert.BertPooled.v1", "pooling": "mean", "window": 64, "stride": 48,
        "width": 384, "depth": 6, "heads": 12, "intermediate_width": 1536,
    }
    head = {"@architectures": "spacy-bert.BertTextCat.v1", "exclusive_classes": True}
    nlp.add_pipe("textcat", config={"model": {**head, "tok2vec": model}})
    nlp.get_pipe("textcat").add_label("A")
    nlp.get_pipe("textcat").add_label("B")
    callback = {"@callbacks": "spacy-bert.LoadCheckpoint.v1", "checkpoint": path}
    nlp.config["initialize"]["before_init"] = callback
    nlp.initialize()
    output = nlp.get_pipe("textcat").model.get_ref("output_layer")
    output.set_param("W", np.random.default_rng(0).normal(size=(2, 384)).astype("f"))
    return nlp

if __name__ == "__main__":
    multiprocessing.set_start_method(method)
    if method == "fork":
        cats = [doc.cats["A"] for doc in compare(inlined())]
        assert len(set(cats)) > 1, cats
    import spacy_bert
    docs = compare(spacy_bert.from_checkpoint(path, config={"model": {"window": 64, "stride": 48}}))
    assert docs[0]._.bert.names == ["bert"] and docs[0].tensor.any()
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes(minilm_path, tmp_path, method):
    """Catches a forked child that waits for ever for torch's threads, which only its parent has;
    pipelines that cannot be sent to a new process; other answers than those of one process; and
    warnings (of forks, by the tokenizers library, or of hooks that Doc.to_bytes loses)."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    (tmp_path / "main.py").write_text(START)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "main.py", str(minilm_path), method],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        result = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its children hang, too
        raise
    assert result == ("done\n", "")


@contextmanager
def often_switching():
    """Threads take turns some thousand times as often as by default, so that they do meet."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_eight_threads(tiny_checkpoint, make_examples):
    """Catches state that predictions share: modes of the module, buffers, the batch of another
    thread. With dropout, so that a module in training mode would give other vectors."""
    model = {"window": 32, "stride": 24, "hidden_dropout": 0.5, "attention_dropout": 0.5}
    nlp = spacy_bert.from_checkpoint(tiny_checkpoint, config={"model": model})
    nlp.add_pipe("ner", config=ner(listener()))
    nlp.add_pipe("textcat", config=textcat(pooled_listener()))
    nlp.initialize(lambda: make_examples(nlp))
    perturb(nlp)
    texts = [f"{name} lives in {place} " * n for name in ("Alice", "Bob") for place in ("Paris", "x") for n in range(1, 17)]  # fmt: skip
    expected = [nlp(text) for text in texts]
    with ThreadPoolExecutor(8) as pool, often_switching():
        docs = list(pool.map(nlp, texts))
        batches = list(pool.map(lambda batch: list(nlp.pipe(batch)), [texts] * 8))
    for answers in (docs, *batches):
        for doc, other in zip(answers, expected, strict=True):
            np.testing.assert_allclose(doc.tensor, other.tensor, atol=1e-5)
            assert doc.cats == pytest.approx(other.cats, abs=1e-5)
            assert str(doc.ents) == str(other.ents)


LATE = """
import sys, threading, time
import spacy, torch
torch.set_num_threads(2)
nlp = spacy.load(sys.argv[1])

def work():
    threading.main_thread().join()
    docs = [nlp("Ada lives."), nlp("Ada lives. " * 200), spacy.load(sys.argv[1])("Ada lives.")]
    print(*(len(doc) for doc in docs), flush=True)

threading.Thread(target=work).start()
"""


def test_after_the_main_thread(tiny_checkpoint, tmp_path):
    """Catches long texts that fail in a consumer's thread, which goes on when the main thread has ended:
    Python has sent its pools of threads home by then."""
    spacy_bert.from_checkpoint(tiny_checkpoint).to_disk(tmp_path / "saved")
    code = [sys.executable, "-c", LATE, str(tmp_path / "saved")]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("3 600 3\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_threads_of_others_at_a_fork():
    """Catches a thread that uses torch for the first time while another one forks, and has one thread of
    torch for good; and a child whose own threads compute with threads that it does not have."""
    code = (
        "import os, threading, torch, spacy_bert.layers.shim\n"
        "from spacy_bert.layers import fork_guard\n"
        "torch.set_num_threads(2)\n"
        "def of_another():\n"
        "    found = []\n"
        "    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))\n"
        "    thread.start(); thread.join(); return found[0]\n"
        "fork_guard._to_one_thread(); print(torch.get_num_threads(), of_another(), flush=True)\n"
        "fork_guard._restore_threads(); print(torch.get_num_threads(), of_another(), flush=True)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    print(torch.get_num_threads(), of_another(), flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["1 2", "2 2", "1 1"], done.stderr
