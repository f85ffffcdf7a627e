import json

import numpy as np
import tifffile

import share_cells


def share(folder):
    share_cells.main(
        slides=["S1", "S2"],
        predictions_folder=folder / "predictions",
        cells_folder=folder / "cells",
        manifest=folder / "batch.json",
    )


def test_only_what_changed_is_written_again(tmp_path, write_store):
    def predict(slide, fingerprint, value):
        write_store(
            tmp_path / f"predictions/{slide}.json", np.zeros((1, 30, 40), np.uint8), slide=slide, mpp=None,
            labels=np.full((30, 40), value, np.uint32), name="cells", cells={"fingerprint": fingerprint},
        )  # fmt: skip

    predict("S1", "a", 1)
    predict("S2", "b", 2)
    share(tmp_path)
    assert json.loads((tmp_path / "batch.json").read_text()) == {"S1": "a", "S2": "b"}
    before = (tmp_path / "cells/S1.ome.tif").stat().st_mtime_ns
    predict("S2", "c", 3)
    share(tmp_path)
    assert (tmp_path / "cells/S1.ome.tif").stat().st_mtime_ns == before
    assert (tifffile.imread(tmp_path / "cells/S2.ome.tif") == 3).all()
    assert json.loads((tmp_path / "batch.json").read_text()) == {"S1": "a", "S2": "c"}
