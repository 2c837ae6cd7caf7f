#!/usr/bin/env bash
# Trains the four examples on all of Fashion-MNIST for about ten minutes each on two cores, with seeds 0 to 2, and prints the
# table of docs/results.md: benches/fashion_mnist.sh FOLDER [SEED…]. FOLDER holds the four files of the set (Debian's package
# dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist; `sslc fetch fashion_mnist` gets them).
# What was begun goes on and what is done is not done again; runs lie in runs/fashion_mnist.
set -euo pipefail
folder=$(realpath "$1")
shift
seeds=("${@:-0 1 2}")
cd "$(dirname "$0")/.."
sslc=${SSLC:-target/release/sslc}
out=runs/fashion_mnist
mkdir -p "$out"

# Passes over the 60,000 images that take ten minutes on two cores of the machine that docs/results.md names.
declare -A epochs=([simclr]=35 [byol]=29 [barlow_twins]=37 [simsiam]=32)

for seed in ${seeds[@]}; do
  for method in simclr byol barlow_twins simsiam; do
    spec=$out/$method.ssl
    sed -e "s|^data = .*|data = fashion_mnist(\"$folder\")|" \
      -e 's|^eval .*|eval { knn(k: 20, temperature: 0.1); linear() }|' "examples/$method.ssl" >"$spec"
    run=$out/$method-$seed
    if [ -e "$run/run.json" ]; then
      "$sslc" resume "$run" >>"$out/log.txt"
    else
      "$sslc" run "$spec" --set "epochs=${epochs[$method]}" --set "train.seed=$seed" --out "$run" >>"$out/log.txt"
    fi
  done
done

echo "method,seed,subject,knn,linear"
for metrics in "$out"/*/metrics.jsonl; do
  run=$(basename "$(dirname "$metrics")")
  sed -nE 's/^\{.*"subject":"([a-z]+)","knn":([0-9.]+),"linear":([0-9.]+)\}$/\1,\2,\3/p' "$metrics" |
    sed "s/^/${run%-*},${run##*-},/"
done
