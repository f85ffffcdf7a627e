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
    from slideunet.slides.convert import ConversionPlan, Slide, convert

    def make(folder, slide="S1", **drawing):
        image, labels = draw_cells(**drawing)
        (folder / "input").mkdir(parents=True, exist_ok=True)
        files = [folder / "input" / f"{slide}_{kind}.tif" for kind in ("image", "labels")]
        tifffile.imwrite(files[0], image.squeeze() if len(image) == 1 else image, photometric="minisblack")
        tifffile.imwrite(files[1], labels)
        manifest = folder / "slides" / f"{slide}.json"
        convert(Slide(slide, *files, 0.5), ConversionPlan(), manifest)
        return manifest

    return make


@pytest.fixture(scope="session")
def slide_store(tmp_path_factory, convert_cells):
    """The manifest of one converted slide of 150 x 133 px; not to be changed."""
    return convert_cells(tmp_path_factory.mktemp("store"))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 512 px of chunks of 64: all proportions as they are, and slides of many blocks are small."""
    from making import blocks_of

    from slideunet.sources import lazy_pixels

    monkeypatch.setattr(lazy_pixels, "CHUNK", 128)
    with blocks_of(512):
        yield 512


@pytest.fixture(scope="session")
def fill_store():
    """Write the pixels (c, y, x) of the blocks that a store in the making lacks."""
    from slideunet.geometry.blocks import BlockGrid, digest
    from slideunet.stores import omezarr

    def fill(store, pixels, wanted=None):
        levels = omezarr.open_levels(store.path, "r+")
        for index in store.todo(wanted):
            region = BlockGrid(pixels.shape)[index]
            block = np.ascontiguousarray(pixels[..., *region])
            omezarr.write_block(levels, region, block)
            store.record(index, {"digest": digest(block)})

    return fill


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    """Both versions of OME-Zarr, one after the other."""
    return request.param


@pytest.fixture(scope="session")
def write_store(fill_store):
    """Write a complete store with its manifest: pixels (c, y, x), labels (y, x), and maps by their names."""
    from making import write_image, write_label_image

    from slideunet.stores import omezarr
    from slideunet.stores.fingerprint import fingerprint
    from slideunet.stores.resumable import building
    from slideunet.stores.verified import block_digests

    def write(manifest, pixels, *, labels=None, maps=None, name="truth", version="0.5", **facts):
        facts = {
            "fingerprint": manifest.stem,
            "mpp": None,
            "shape": list(pixels.shape),
            "white": None,
        } | facts
        options = {"channels": ["a"] * len(pixels), "mpp": facts["mpp"], "version": version}
        known = fingerprint(of=facts["fingerprint"])
        with building(
            manifest, known, lambda path: omezarr.create_image(path, pixels.shape, pixels.dtype, **options)
        ) as store:
            fill_store(store, pixels)
            if labels is not None:
                write_label_image(store.path, name, labels, mpp=facts["mpp"], version=version)
                facts[name] = facts.get(name, {}) | {"blocks": block_digests(labels)}
            if maps is not None:
                planes = np.stack(list(maps.values()))
                write_image(store.path / omezarr.MAPS, planes, **options | {"channels": list(maps)})
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
        seed=0,
        channels=1,
        width=4,
        depth=2,
        decoder="transposed",
        dropout=0.0,
        heads=(),
        encoder=None,
        head_stride=1,
    ):
        torch.manual_seed(seed)
        spec = UNetSpec(channels, width, depth, decoder, dropout, heads, encoder, head_stride=head_stride)
        network = UNet(spec).eval()
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
def defaults():
    """The configuration when only the sheet is given, by its schema."""
    from slideunet.inputs.configuration.schema import check_configuration
    from slideunet.inputs.configuration.strict_yaml import read_yaml_strictly

    schema = read_yaml_strictly(Path(__file__).parents[1] / "workflow/schemas/config.schema.yaml")

    def build(**sections):
        return check_configuration({"slides": "slides.tsv"} | sections, schema)

    return build


@pytest.fixture(scope="session")
def dask_section(defaults):
    """The `dask` section of a configuration."""
    return defaults()["dask"]


@pytest.fixture(scope="session")
def prediction_section(defaults):
    """The `prediction` section of a configuration, with nothing left to timing."""
    return defaults(prediction={"engine": "torch", "precision": "fp32"})["prediction"]


@pytest.fixture
def no_augmentation(defaults):
    """All strengths of the augmentation at zero."""
    return defaults(training={"augmentation": "none"})["training"]["augmentation"]


@pytest.fixture
def training_section(defaults):
    """The `training` section of a configuration, for seconds of training."""
    quick = {
        "epochs": 2, "epoch_patches": 1, "batch_size": 2, "patch_size": 64, "learning_rate": 1e-2,
        "warmup": 2, "ema": 0.5, "seeds": [3], "precision": "fp32",
        "augmentation": {"preset": "none", "flip": 0.5, "rotation": 20.0, "noise": 0.02},
    }  # fmt: skip
    return defaults(training=quick)["training"]


@pytest.fixture(scope="session")
def model_section(defaults):
    """The `model` section of a configuration, for a tiny network."""
    return defaults(model={"width": 4, "depth": 2})["model"]
