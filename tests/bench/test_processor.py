import pytest


@pytest.fixture
def described(load_script):
    return load_script("bench/processor.py").described


@pytest.mark.parametrize(
    ("cpuinfo", "environment", "expected"),
    [
        ("model name\t: A 5\nflags\t\t: fpu avx2 fma\nmodel name\t: B\n", {}, "A 5 (AVX2)"),
        (
            "model name : A\nflags : avx2 avx512bw avx512_vnni avx512_bf16\n",
            {"ONEDNN_MAX_CPU_ISA": "AVX2"},
            "A (AVX2, AVX-512, VNNI, bf16, limited to AVX2)",
        ),
        ("model name : C\nflags : avx2 avx_vnni\n", {"ONEDNN_MAX_CPU_ISA": ""}, "C (AVX2, VNNI)"),
        ("model name : D\nFeatures : fp asimd asimddp bf16\n", {}, "D (bf16, NEON, dot product)"),
        ("model name : E\nflags : fpu\n", {}, "E (instructions unknown)"),
    ],
)
def test_what_linux_says_is_shown(described, cpuinfo, environment, expected):
    assert described(cpuinfo, environment) == expected


def test_a_system_without_cpuinfo_is_named(described):
    assert described("", {}).endswith(" (instructions unknown)")
