"""Write the float weights of the built-in model as a checkpoint, to convert or to measure.

    python scripts/float_weights.py OUT

OUT is a folder. The repository holds the weights as float16 in train/weights/.
"""

import sys
from pathlib import Path

import safetensors
from safetensors.numpy import load_file, save_file

import fcs_edge

WEIGHTS = Path(__file__).parents[1] / "train/weights/edge-65k-28-narrow.safetensors"


def main() -> None:
    """Copy the tensors that the built-in model has, and its configuration."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with safetensors.safe_open(fcs_edge.load().model.path, "np") as file:
        config, names = file.metadata()["config"], set(file.keys())
    tensors = load_file(WEIGHTS)
    save_file({name: tensors[name] for name in names & set(tensors)}, out / "model.safetensors")
    (out / "config.json").write_text(config)


if __name__ == "__main__":
    main()
