"""What several tests need: cells with exact labels, converted slides, small networks with a fixed seed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import settings
from skimage.draw import disk

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def load_script():
    """Import a script that lies outside of the library, by its path in the repository."""

    def load(path):
        spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[1] / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def draw_cells():
    """Return (image (c, y, x) uint8, labels (y, x) uint8) of bright separate discs."""

    def draw(height=150, width=133, seed=0, channels=1):
        rng = np.random.default_rng(seed)
        labels = np.zeros((height, width), np.uint8)
        for _ in range(60):
            place = disk(rng.uniform((0, 0), (height, width)), rng.uniform(5, 9), shape=labels.shape)
            wider = disk(np.mean(place, axis=1), 11, shape=labels.shape) if place[0].size else place
            if place[0].size and not labels[wider].any():
                labels[place] = labels.max() + 1
        image = np.where(labels > 0, 170, 40) + rng.normal(0, 12, (channels, height, width))
        return image.clip(0, 255).astype(np.uint8), labels

    return draw


@pytest.fixture(scope="session")
def convert_cells(draw_cells):
    """Draw cells, save them as files of a user, convert them, and return the manifest of the store."""
    from slideunet.slides.convert import Slide, convert

    def make(folder, slide="S1", **drawing):
        image, labels = draw_cells(**drawing)
        (folder / "input").mkdir(parents=True, exist_ok=True)
        files = [folder / "input" / f"{slide}_{kind}.tif" for kind in ("image", "labels")]
        tifffile.imwrite(files[0], image.squeeze() if len(image) == 1 else image, photometric="minisblack")
        tifffile.imwrite(files[1], labels)
        manifest = folder / "slides" / f"{slide}.json"
        convert(Slide(slide, *files, 0.5), manifest, channels=None, version="0.5")
        return manifest

    return make


@pytest.fixture(scope="session")
def slide_store(tmp_path_factory, convert_cells):
    """The manifest of one converted slide of 150 x 133 px; not to be changed."""
    return convert_cells(tmp_path_factory.mktemp("store"))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 512 px of chunks of 64: all proportions as they are, and slides of many blocks are small."""
    from slideunet.geometry import blocks as blocks_module
    from slideunet.slides import convert as convert_module
    from slideunet.sources import lazy_pixels
    from slideunet.stores import omezarr

    for module in (blocks_module, convert_module, omezarr):
        monkeypatch.setattr(module, "BLOCK", 512)
    monkeypatch.setattr(omezarr, "CHUNK", 64)
    monkeypatch.setattr(lazy_pixels, "CHUNK", 128)
    return 512


@pytest.fixture(scope="session")
def fill_store():
    """Write the pixels (c, y, x) of the blocks that a store in the making lacks."""
    from slideunet.geometry.blocks import block_at, digest
    from slideunet.stores import omezarr

    def fill(store, pixels, wanted=None):
        levels = omezarr.open_levels(store.path, "r+")
        for index in store.todo(wanted):
            region = block_at(pixels.shape, index)
            block = np.ascontiguousarray(pixels[(..., *region)])
            omezarr.write_block(levels, region, block)
            store.record(index, {"digest": digest(block)})

    return fill


@pytest.fixture(scope="session")
def write_store(fill_store):
    """Write a complete store with its manifest: pixels (c, y, x), labels (y, x), and maps by their names."""
    from slideunet.stores import omezarr
    from slideunet.stores.fingerprint import fingerprint
    from slideunet.stores.resumable import building
    from slideunet.stores.verified import block_digests

    def write(manifest, pixels, *, labels=None, maps=None, name="truth", version="0.5", **facts):
        facts = {"fingerprint": manifest.stem, "mpp": None, "shape": list(pixels.shape)} | facts
        options = {"channels": ["a"] * len(pixels), "mpp": facts["mpp"], "version": version}
        known = fingerprint(of=facts["fingerprint"])
        with building(
            manifest, known, lambda path: omezarr.create_image(path, pixels.shape, pixels.dtype, **options)
        ) as store:
            fill_store(store, pixels)
            if labels is not None:
                omezarr.write_label_image(store.path, name, labels, mpp=facts["mpp"], version=version)
                facts[name] = facts.get(name, {}) | {"blocks": block_digests(labels)}
            if maps is not None:
                planes = np.stack(list(maps.values()))
                omezarr.write_image(store.path / omezarr.MAPS, planes, **options | {"channels": list(maps)})
                facts["maps"] = {"names": list(maps), "blocks": block_digests(planes)}
            store.finish(facts)
        return manifest

    return write


@pytest.fixture
def one_thread():
    """Let torch compute with one thread, deterministically as far as it was, and put back what was set."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture(scope="session")
def random_network():
    """Build a U-Net whose weights and batch statistics are all random and matter."""
    import torch

    from slideunet.network.architecture.unet import UNet, UNetSpec

    def build(
        seed=0, channels=1, width=4, depth=2, decoder="transposed", dropout=0.0, heads=(), encoder=None
    ):
        torch.manual_seed(seed)
        network = UNet(UNetSpec(channels, width, depth, decoder, dropout, heads, encoder)).eval()
        for block in network.modules():
            if isinstance(block, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                torch.nn.init.kaiming_normal_(block.weight)
            if isinstance(block, torch.nn.BatchNorm2d):
                block.running_mean.normal_(0, 0.3)
                block.running_var.uniform_(0.5, 2.0)
                torch.nn.init.uniform_(block.weight, 0.5, 2.0)
                torch.nn.init.normal_(block.bias, 0, 0.3)
        return network

    return build


@pytest.fixture(scope="session")
def save_network():
    """Save a network as a model that is ready to predict, and return its folder."""
    from slideunet.network.architecture.model_folder import save_model
    from slideunet.network.architecture.receptive_field import halo

    def save(folder, network, **facts):
        known = {"architecture": network.spec.as_dict(), "halo": halo(network.spec), "threshold": 0.5}
        known |= {"normalisation": "percentile", "background": "dark", "precision": "fp32"}
        save_model(folder, network.state_dict(), known | facts)
        return folder

    return save


@pytest.fixture
def labelled_slide():
    """Open a converted slide as training and validation see it."""
    from slideunet.network.patches.dataset import LabelledSlide
    from slideunet.slides.normalisation import normalisation
    from slideunet.stores.manifests import read_manifest

    def open_slide(manifest):
        facts = read_manifest(manifest)
        constants = normalisation(facts["statistics"], "percentile", "dark")
        return LabelledSlide(manifest, tuple(facts["shape"][1:]), constants)

    return open_slide


@pytest.fixture(scope="session")
def dask_section():
    """The `dask` section of a configuration."""
    return {"cluster": "local", "workers": "auto", "threads_per_worker": 1, "wait_minutes": 5, "slurm": {}}


@pytest.fixture(scope="session")
def prediction_section():
    """The `prediction` section of a configuration."""
    return {
        "threshold": "tuned", "tile": "auto", "engine": "torch", "precision": "fp32",
        "parts": 1, "tissue": "auto",
    }  # fmt: skip


@pytest.fixture
def no_augmentation():
    """All strengths of the augmentation at zero."""
    names = (
        "flip", "rotation", "scale", "elastic", "noise", "blur", "brightness", "contrast", "gamma",
        "illumination", "shot_noise", "invert", "colour", "stain",
        "counterstain", "dim", "empty", "paste",
    )  # fmt: skip
    return dict.fromkeys(names, 0.0)


@pytest.fixture
def training_section(no_augmentation):
    """The `training` section of a configuration, for seconds of training."""
    return {
        "epochs": 2, "batch_size": 2, "at_once": None, "epoch_patches": 1, "balance": 0.0,
        "patch_size": 64,
        "learning_rate": 1e-2, "optimiser": "adamw",
        "weight_decay": 0.01, "schedule": "cosine", "warmup": 2, "loss": "bce_dice", "loss_weights": None,
        "border_weight": 0.0, "best_by": "ap", "patience": None, "ema": 0.5, "seeds": [3],
        "gpus": 1, "freeze_encoder": False, "fixed_statistics": 0.0, "precision": "fp32",
        "augmentation": no_augmentation | {"flip": 0.5, "rotation": 20.0, "noise": 0.02},
    }  # fmt: skip
