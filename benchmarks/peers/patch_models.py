"""anomalib's PatchCore and PaDiM on a folder of pictures, in a process of their own.

Run by `benchmarks.anomalib` with the interpreter of an environment that has anomalib. It knows nothing of adjax:

    python patch_models.py FOLDER OUT.npz --model patchcore --weights FILE --mean … --sd … --side HEIGHT WIDTH

FOLDER has train/good and test/*; what OUT.npz holds is said by `main`. Both models are fitted by anomalib's own engine.
For prediction the model is called batch by batch, without the engine's callbacks: the least that gives maps and scores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

LAYERS = {"layer1": "blocks.1", "layer2": "blocks.2", "layer3": "blocks.4"}
"""Maps at 1/4, 1/8 and 1/16 of the side, by timm's names of EfficientNet-Lite0's blocks."""
CHOSEN = {"patchcore": ("layer2", "layer3"), "padim": ("layer1", "layer2", "layer3")}
"""anomalib's own choice of layers."""
PADIM_FEATURES = 100
BATCH = 32


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=CHOSEN, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors in timm's names")
    parser.add_argument("--mean", type=float, nargs=3, required=True)
    parser.add_argument("--sd", type=float, nargs=3, required=True)
    parser.add_argument("--side", type=int, nargs=2, required=True, help="height and width, px")
    parser.add_argument("--passes", type=int, default=3, help="through the test pictures")
    return parser.parse_args()


def make(args: argparse.Namespace) -> Any:
    """anomalib's model with the weights given instead of those that timm would download."""
    from anomalib.models import Padim, Patchcore
    from anomalib.pre_processing import PreProcessor
    from safetensors.torch import load_file
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    resized = Resize(tuple(args.side), antialias=True)
    common = {
        "backbone": "tf_efficientnet_lite0",
        "layers": [LAYERS[name] for name in CHOSEN[args.model]],
        "pre_trained": False,
        "pre_processor": PreProcessor(transform=Compose([resized, Normalize(mean=args.mean, std=args.sd)])),
        "evaluator": False,
        "visualizer": False,
    }
    model = Patchcore(**common) if args.model == "patchcore" else Padim(**common, n_features=PADIM_FEATURES)
    network = model.model.feature_extractor.feature_extractor
    found = network.load_state_dict(load_file(args.weights), strict=False)
    if missing := [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]:
        raise SystemExit(f"{args.weights} lacks {', '.join(missing[:3])}")
    return model


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def running_s() -> float:
    """Seconds since this process was started."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float(Path("/proc/uptime").read_text().split()[0]) - started


def main() -> None:
    """Fits, predicts and writes `names`, `scores` float32[N], `maps` float32[N, h, w], `figures` (JSON) and the
    features of four test pictures by layer."""
    args = options()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    import torch
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine

    figures: dict[str, Any] = {"import_s": time.perf_counter() - started}
    torch.manual_seed(0)
    started = time.perf_counter()
    model = make(args)
    data = Folder(
        name=args.folder.name,
        root=args.folder,
        normal_dir="train/good",
        train_batch_size=BATCH,
        num_workers=0,
        test_split_mode="none",
        val_split_mode="none",
    )
    data.setup()
    with tempfile.TemporaryDirectory() as work:
        engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=work, enable_progress_bar=False)
        engine.fit(model=model, train_dataloaders=data.train_dataloader())
    figures |= {"fit_s": time.perf_counter() - started, "from_start_s": running_s()}
    model.eval()
    passes, said = list[float](), list[Any]()
    test = PredictDataset(path=args.folder / "test")
    for _ in range(args.passes):
        started, said = time.perf_counter(), []
        loader = torch.utils.data.DataLoader(test, batch_size=BATCH, collate_fn=test.collate_fn)
        with torch.inference_mode():
            for batch in loader:
                found = model.model(model.pre_processor(batch.image))
                said.append((batch.image_path, found.pred_score.numpy(), found.anomaly_map[:, 0].numpy()))
        passes.append(len(test) / (time.perf_counter() - started))
    figures |= {"pictures_per_s": passes, "peak_mib": peak_mib()}
    names, scores, maps = zip(*said, strict=True)
    with torch.inference_mode():
        first = model.pre_processor(next(iter(loader)).image[:4])
        features = model.model.feature_extractor(first)
    inverse = {theirs: ours for ours, theirs in LAYERS.items()}
    np.savez(
        args.out,
        names=[str(Path(name).relative_to(args.folder)) for each in names for name in each],
        scores=np.concatenate(scores).ravel(),
        maps=np.concatenate(maps),
        figures=json.dumps(figures),
        **{inverse[name]: x.permute(0, 2, 3, 1).numpy() for name, x in features.items()},
    )


if __name__ == "__main__":
    main()
