#!/bin/sh
# Everything about the engine on a GPU that needs one, in one go, from programs that were built elsewhere:
#   cargo build --release; cargo test -p nasgen-engine --lib --no-run
#   benches/cuda/run.sh OUT_FOLDER target/release/nasgen target/debug/deps/nasgen_engine-…
# 1. the tests of the kernels on this GPU; 2. the same under compute-sanitizer, where there is one; 3. training steps
# against PyTorch, eager and with CUDA graphs, at 32×32 and 96×96; 4. how long each kernel takes (nsys), where there is it.
set -u
out=$1 nasgen=$2 tests=$3
here=$(dirname "$0")
python=${PYTHON:-python3}
mkdir -p "$out"
# NVRTC may come with the toolkit or with PyTorch.
nvrtc=$(find /usr/local/cuda* / -xdev -name 'libnvrtc.so*' 2>/dev/null | head -1)
[ -z "$nvrtc" ] || export LD_LIBRARY_PATH="$(dirname "$nvrtc")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
{ nvidia-smi; "$python" -c 'import torch; print(torch.__version__, torch.version.cuda)'; echo "NVRTC: $nvrtc"; } \
    >"$out/machine.txt" 2>&1
NASGEN_REQUIRE=gpu "$tests" cuda --test-threads 4 >"$out/tests.txt" 2>&1
echo "tests: exit $?"
tail -5 "$out/tests.txt"
compare() {
    name=$1
    shift
    "$python" "$here/../vs_pytorch/compare.py" --device cuda --compile --nasgen "$nasgen" --rounds 3 --seconds 1 \
        --json "$out/$name.json" --markdown "$out/$name.md" "$@" >"$out/$name.txt" 2>&1
    echo "$name: exit $?"
    cat "$out/$name.md" 2>/dev/null || tail -5 "$out/$name.txt"
}
configs="$here/../../model_configs"
compare train32 --batch 128 --samples 3 "$configs/mobilenetv3_large.yml" "$configs/efficientnet_b0.yml"
compare train96 --batch 256 --input 3x96x96 "$configs/mobilenetv3_large.yml"
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        NASGEN_REQUIRE=gpu timeout 150 compute-sanitizer --tool $tool --error-exitcode 9 "$tests" cuda::tests::joins \
            cuda::tests::norms cuda::tests::convolutions >"$out/$tool.txt" 2>&1
        echo "$tool: exit $?"
        tail -3 "$out/$tool.txt"
    done
fi
