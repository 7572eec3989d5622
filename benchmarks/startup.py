"""How long an import and a load take, beside what they cannot do without.

    python benchmarks/startup.py [--rounds 5]

Each is measured in a process of its own, in turn: `import spacy` and `import spacy, spacy_bert`; and,
with spaCy imported (which imports torch), `spacy.load` of a pipeline with an encoder, and its parts:
reading the weights into memory, and loading the same pipeline without the encoder. All modules have
been compiled to bytecode before, as pip does when it installs a package.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import srsly
import typer

from compare import default_checkpoint

HERE = Path(__file__).parent
CLOCK = "import time; {}; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
# What is measured -> what is imported before, and the code.
READ = "w = safetensors.torch.load_file({weights!r}); [t.clone() for t in w.values()]"
PARTS = {
    "import spacy": ("pass", "import spacy"),
    "import spacy, spacy_bert": ("pass", "import spacy, spacy_bert"),
    "load": ("import spacy", "spacy.load({full!r})"),
    "load without the encoder": ("import spacy", "spacy.load({bare!r})"),
    "read the weights": ("import spacy, safetensors.torch", READ),
}


def main(
    rounds: int = typer.Option(5, help="How often each is measured"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
) -> None:
    """Measure imports and loads."""
    import spacy

    import spacy_bert

    checkpoint = default_checkpoint()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"full": str(Path(folder) / "full"), "bare": str(Path(folder) / "bare")}
        paths["weights"] = str(checkpoint / "model.safetensors")
        spacy_bert.from_checkpoint(checkpoint).to_disk(paths["full"])
        spacy.blank("en").to_disk(paths["bare"])
        # Where Python writes no bytecode, every process would compile anew what was not installed by pip.
        without = {"PYTHONDONTWRITEBYTECODE"}
        env = {name: value for name, value in os.environ.items() if name not in without}
        env["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        runs: Dict[str, List[float]] = {name: [] for name in PARTS}
        for number in range(rounds + 1):
            for name, (before, code) in PARTS.items():
                code = CLOCK.format(before, code.format(**paths))
                command = [sys.executable, "-W", "ignore", "-c", code]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
                seconds = float(done.stdout)
                if number:  # the first fills the system's cache of files, and writes the bytecode
                    runs[name].append(seconds)
    median = {name: statistics.median(times) for name, times in runs.items()}
    extra = median["import spacy, spacy_bert"] - median["import spacy"]
    parts = median["load without the encoder"] + median["read the weights"]
    lines = ["| | seconds, median (range) |", "|---|--:|"]
    lines += [
        f"| {name} | {median[name]:.2f} ({min(times):.2f} to {max(times):.2f}) |"
        for name, times in runs.items()
    ]
    lines += ["", f"`import spacy_bert` adds {extra * 1000:.0f} ms to `import spacy`; loading takes "
              f"{median['load'] / parts:.2f} times what reading the weights and loading the rest take."]  # fmt: skip
    table = "\n".join(lines) + "\n"
    print(table)
    output.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output / "startup.json", {"seconds": runs})
    (output / "startup.md").write_text(table, encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
