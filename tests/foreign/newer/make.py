"""Makes ``workflow``, ``rows.parquet`` and ``encoded.parquet`` of this folder by NVTabular's main branch (made at 08e06339f of March 2026).

git clone https://github.com/NVIDIA-Merlin/NVTabular
PYTHONPATH=NVTabular:.:tests/foreign/newer python tests/foreign/newer/make.py tests/foreign/newer
"""

import os
import sys
from pathlib import Path

from cartwheel.merlin_compat import prepare

prepare()

import functions  # noqa: E402
import numpy as np  # noqa: E402
import nvtabular as nvt  # noqa: E402
import pandas as pd  # noqa: E402
from merlin.io import Dataset  # noqa: E402
from merlin.schema import Tags  # noqa: E402
from nvtabular import ops  # noqa: E402


def main(folder: Path) -> None:
    """Fit, encode and save."""
    random, count = np.random.default_rng(0), 120
    rows = pd.DataFrame(
        {
            "user": random.integers(1, 12, count),
            "city": random.choice(["a", "b", "c", "dä"], count),
            "device": random.choice(["x", "y"], count),
            "price": random.normal(5, 2, count).astype("float32"),
            "age": np.where(random.random(count) < 0.1, np.nan, random.normal(40, 9, count)),
            "stars": random.integers(1, 6, count),
            "tags": [list(random.choice(["p", "q", "r"], random.integers(1, 4))) for _ in range(count)],
        }
    )
    os.chdir(folder)
    graph = ["user", "device"] >> ops.Categorify() >> ops.TagAsUserID()
    graph += ["tags"] >> ops.Categorify(freq_threshold=2) >> ops.ListSlice(0, 2)
    graph += [["city", "device"]] >> ops.Categorify(encode_type="combo", out_path="combined")
    graph += ["price"] >> ops.Clip(0.5, 8) >> ops.LogOp() >> ops.Normalize() >> ops.Rename(postfix="_n")
    graph += ["price"] >> ops.FillMissing(1) >> ops.NormalizeMinMax() >> ops.Rename(postfix="_range")
    graph += ["age"] >> ops.FillMedian(add_binary_cols=True)
    graph += ["price"] >> ops.Bucketize([2.0, 4.0, 6.0]) >> ops.Rename(name="bucket")
    graph += [["city", "device"], "user"] >> ops.TargetEncoding("stars", kfold=1, p_smooth=3)
    graph += ["device"] >> ops.JoinGroupby(cont_cols=["price"], stats=["mean", "count"])
    graph += ["stars"] >> ops.LambdaOp(functions.high) >> ops.Rename(f=functions.label) >> ops.AddMetadata(tags=[Tags.TARGET])
    workflow = nvt.Workflow(graph)
    workflow.fit(Dataset(rows))
    rows = rows.head(20)
    rows.to_parquet("rows.parquet")
    workflow.transform(rows).to_parquet("encoded.parquet")
    workflow.save("workflow")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
