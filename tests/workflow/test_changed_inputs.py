"""Inputs that changed are noticed whatever their times and names; those that did not are not."""

import os

import numpy as np
import tifffile
import zarr


def test_older_and_rewritten_inputs_run_the_jobs_again(tmp_path, snakemake):
    folder = tmp_path / "a {x} [b] & 'c' $d"
    folder.mkdir()
    pixels = np.arange(64 * 60, dtype=np.uint16).reshape(64, 60)
    tifffile.imwrite(folder / "i{a}.tif", pixels)
    group = zarr.open_group(folder / "z.zarr", mode="w")
    group.create_array("s0", data=pixels.T, chunks=(30, 32), compressors=None)
    image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "s0"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    (folder / "slides.tsv").write_text("slide\timage\nS1\ti{a}.tif\nS2\tz.zarr\n")
    config = {
        "slides": "slides.tsv", "model": {"weights": "nuclei-fluorescence"}, "report": {"title": "a {b}"},
    }  # fmt: skip

    def is_done():
        result = snakemake(folder, "-n", "results/inputs.tsv", config=config)
        assert result.returncode == 0, result.stderr
        return "Nothing to be done" in result.stdout + result.stderr

    result = snakemake(folder, "results/inputs.tsv", config=config)
    assert result.returncode == 0, result.stderr
    assert is_done()
    stamp = (folder / "i{a}.tif").stat().st_mtime_ns
    os.utime(folder / "i{a}.tif", ns=(stamp - 10**12,) * 2)
    assert not is_done()
    os.utime(folder / "i{a}.tif", ns=(stamp,) * 2)
    assert is_done()
    chunk = folder / "z.zarr" / "s0" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    assert not is_done()
