#!/usr/bin/env python3
"""What arithmetic and NVIDIA's assembler say about CUDA steps, without a GPU: Markdown tables on standard output.

    benches/cuda_roofline.py [--nvrtc FOLDER] [--gpu h100] [--jobs N] [--top N] [--arch sm_80 ... --] SPEC...

A SPEC is a file with settings after commas, as `sslc graph --set` takes them: examples/byol.ssl,batch=64,train.precision=bf16.
Specs need no data. `sslc` is target/release/sslc, or what the variable SSLC names. FOLDER holds libnvrtc.so.12 or .13 (else
SSLC_NVRTC, else the library path). What was compiled lies in target/cuda_roofline (or under CARGO_TARGET_DIR), so that a
second run is fast and one that was stopped goes on. `--arch --` compiles nothing: the second table needs no compiler.

1. Every distinct function of all specs, compiled for each architecture with the options that `sslc` itself compiles with:
   failures, registers, spills. Exit code 1 if one fails.
2. For each spec the roofline of its step: over all kernels, the sum of max(operations / peak, bytes / bandwidth), each tensor
   read and written once, in memory. Contractions of bf16 count at the tensor cores' rate, all else at that of f32. What a cache
   keeps from one kernel to the next would make it less; launches, tiles at edges, waits and all else make it more.
3. For each spec the functions with the largest shares of that: a kernel counts for the function that it launches first. With
   registers of the GPU's own architecture, if that is among the compiled ones: blocks that a multiprocessor holds.
"""

import argparse
import ctypes
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Those of cuda/src/nvrtc.rs, for machine code.
OPTIONS = ["--std=c++17", "--fmad=false", "-default-device", "--ptxas-options=-v"]
PRELUDE = [ROOT / "cuda/src/code/prelude.cu", ROOT / "cuda/src/code/contract/prelude.cu"]

GPUS = {
    # NVIDIA's data sheet of the H100 SXM; its 1,979 TFLOP/s of bf16 are with sparsity, dense is half. A multiprocessor's limits are
    # those of compute capability 9.0 in the CUDA C++ programming guide and the occupancy calculator.
    "h100": {
        "title": "H100 SXM",
        "arch": "sm_90",
        "f32": 67e12,
        "bf16": 989e12,
        "bandwidth": 3.35e12,
        "registers": 65536,
        "registers_of_warp": 256,
        "shared": 228 * 1024,
        "shared_of_block": 1024,
        "threads": 2048,
        "blocks": 32,
    },
}


class Nvrtc:
    """NVIDIA's run-time compiler."""

    def __init__(self, folder):
        names = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
        for name in names:
            try:
                self.library = ctypes.CDLL(str(Path(folder) / name) if folder else name)
                break
            except OSError:
                continue
        else:
            sys.exit("no libnvrtc.so: name its folder with --nvrtc (docs/cuda.md says how to have it)")
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"
        count = ctypes.c_int()
        self.library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self.library.nvrtcGetSupportedArchs(known)
        self.architectures = [f"sm_{a}" for a in known]

    def compile(self, source, arch):
        """Whether it compiles, and the log, which tells registers and spills."""
        program = ctypes.c_void_p()
        texts = [f"--gpu-architecture={arch}", *OPTIONS]
        options = (ctypes.c_char_p * len(texts))(*[t.encode() for t in texts])
        status = self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), None, 0, None, None)
        if status != 0:
            return False, f"no program: NVRTC's error {status}"
        status = self.library.nvrtcCompileProgram(program, len(texts), options)
        size = ctypes.c_size_t()
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log.value.decode(errors="replace")


def facts(log):
    """What the assembler's log says of one function."""
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    used = re.findall(r"Used (\d+) registers", log)
    shared = re.findall(r"(\d+)(?:\+\d+)? bytes smem", log)
    if not used or not spills:
        raise ValueError(f"the assembler's log tells no registers:\n{log}")
    return {
        "registers": max(map(int, used)),
        "stores": sum(int(s) for s, _ in spills),
        "loads": sum(int(l) for _, l in spills),
        "shared": max(map(int, shared), default=0),
    }


def unnamed(function):
    """A function's text without its name, which is its first kernel's: functions that differ in nothing else are one."""
    return re.sub(rf"\b{re.escape(function['name'])}(?=\b|_table\b)", "kernel_of_this", function["source"])


class Compiled:
    """What the assembler says of functions, kept from run to run."""

    def __init__(self, nvrtc, jobs):
        self.nvrtc, self.jobs = nvrtc, jobs
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.folder = target / "cuda_roofline"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prelude = "".join(p.read_text() for p in PRELUDE)

    def one(self, text, arch):
        source = f"{self.prelude}\n{text}"
        key = hashlib.sha256(f"{self.nvrtc.version} {arch} {OPTIONS}\n{source}".encode()).hexdigest()
        path = self.folder / f"{key}.json"
        if path.exists():
            return json.loads(path.read_text())
        good, log = self.nvrtc.compile(source, arch)
        result = facts(log) if good else {"failure": log}
        if good:
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(result))
            part.rename(path)
        return result

    def all(self, texts, arch):
        done = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            for text, result in zip(texts, pool.map(lambda t: self.one(t, arch), texts)):
                done[text] = result
                if len(done) % 50 == 0:
                    print(f"{arch}: {len(done)} of {len(texts)}", file=sys.stderr, flush=True)
        return done


class Spec:
    """A step: its kernels with what they cost, its launches and functions."""

    def __init__(self, given, sslc):
        path, *settings = given.split(",")
        self.name = " ".join([path.removeprefix("examples/"), *settings])
        self.cuda = graph(sslc, path, settings, "cuda")
        kernels = graph(sslc, path, settings, "kernels")
        self.program, self.costs = kernels["program"], kernels["costs"]
        self.functions = {f["name"]: f for f in self.cuda["functions"]}
        self.launches = self.cuda["launches"]
        views = [b for b in self.program["buffers"] if b["name"].startswith("view/")]
        self.batch = views[0]["shape"][0]

    def contraction(self, k):
        """Operations of a kernel's contraction and whether its operands are bf16; None where it has none."""
        kind = self.program["kernels"][k]["kind"]
        of = kind["fused"]["contraction"] if "fused" in kind else kind.get("contraction")
        if of is None:
            return None
        ((name, c),) = of.items()
        if name == "matmul":
            operands, operations = (c["a"], c["b"]), 2 * math.prod(c[d] for d in ("batch", "m", "n", "k"))
        else:
            operands = {"conv": ("x", "w"), "convinputgrad": ("dy", "w"), "convfiltergrad": ("x", "dy")}[name]
            operands, s = [c[o] for o in operands], c["shape"]
            operations = 2 * math.prod(s[d] for d in ("n", "oh", "ow", "k", "kernel", "kernel", "c")) // s["groups"]
        return operations, all(self.program["buffers"][b]["element"] == "bf16" for b in operands)

    def kind(self, k):
        kernel = self.program["kernels"][k]
        if self.contraction(k) is not None:
            return "contractions"
        return "updates" if kernel["name"].startswith("update ") else "loops"

    def roofline(self, gpu):
        """Of each kernel, its seconds and whether memory sets them."""
        for k, cost in enumerate(self.costs):
            of_tensor_cores, rest = 0, cost["flops"]
            contraction = self.contraction(k)
            if contraction and contraction[1]:
                of_tensor_cores, rest = contraction[0], rest - contraction[0]
            computing = max(of_tensor_cores / gpu["bf16"], rest / gpu["f32"])
            memory = cost["bytes"] / gpu["bandwidth"]
            yield max(computing, memory), memory >= computing

    def function_of_kernels(self):
        """The function that each kernel launches first. Kernels that share another's launch have none: its table has their buffers."""
        first, tables = {}, []
        for launch in self.launches:
            first.setdefault(launch["kernel"], launch["function"])
            for argument in launch["arguments"]:
                if "table" in argument:
                    tables.append((set(argument["table"]), launch["function"]))
        for k, kernel in enumerate(self.program["kernels"]):
            if k not in first:
                touched = set(buffers(kernel["kind"]))
                first[k] = next((name for table, name in tables if touched <= table), None)
        return first


def buffers(value):
    """The buffers that a loop reads and writes."""
    if isinstance(value, dict):
        if "buffer" in value:
            yield value["buffer"]
        for inner in value.values():
            yield from buffers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from buffers(inner)


def graph(sslc, path, settings, stage):
    sets = [word for s in settings for word in ("--set", s)]
    command = [sslc, "graph", path, "--emit", stage, "--format", "json", *sets]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def resident(gpu, threads, registers, shared):
    """Blocks that a multiprocessor holds. Registers are given to warps by 256, and each of its four parts has a quarter of them."""
    warps = math.ceil(threads / 32)
    grain = gpu["registers_of_warp"]
    of_warp = math.ceil(registers * 32 / grain) * grain
    by_registers = gpu["registers"] // 4 // of_warp * 4 // warps
    by_shared = gpu["shared"] // (math.ceil(shared / 128) * 128 + gpu["shared_of_block"])
    return min(by_registers, by_shared, gpu["threads"] // (warps * 32), gpu["blocks"])


def figure(value):
    """Three digits of a number, and no exponent."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(value))
    return f"{round(value, places):,.{max(places, 0)}f}"


def table(head, rows):
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print()


def print_compiled(results, version, names):
    rows = []
    for arch, done in results.items():
        good = [r for r in done.values() if "failure" not in r]
        spill = [r for r in good if r["stores"] + r["loads"] > 0]
        most = max((r["registers"] for r in good), default=0)
        stores, loads = sum(r["stores"] for r in spill), sum(r["loads"] for r in spill)
        spilled = f"{len(spill)} ({stores:,} B stored, {loads:,} B loaded)" if spill else "none"
        rows.append([arch, version, f"{len(done):,}", len(done) - len(good) or "none", spilled, most])
    table(["architecture", "NVRTC", "functions", "failures", "functions that spill", "most registers"], rows)
    rows, failed = [], False
    for arch, done in results.items():
        for text, r in done.items():
            if "failure" in r:
                failed = True
                print(f"{arch}: `{names[text][0][1]}` of {names[text][0][0]}:\n{r['failure']}", file=sys.stderr)
            elif r["stores"] + r["loads"] > 0:
                spec, name = names[text][0]
                rows.append([f"`{name}`", spec, len(names[text]), arch, r["registers"], r["stores"], r["loads"]])
    if rows:
        rows.sort()
        table(["spills", "of", "specs", "architecture", "registers", "bytes stored", "loaded"], rows)
    return failed


def print_roofline(specs, gpu):
    rows = []
    for spec in specs:
        kinds, memory, total = Counter(), 0.0, 0.0
        for k, (seconds, by_memory) in enumerate(spec.roofline(gpu)):
            kinds[spec.kind(k)] += seconds
            memory += seconds if by_memory else 0.0
            total += seconds
        parts = [figure(kinds[k] * 1e3) for k in ("contractions", "loops", "updates")]
        speed = figure(spec.batch / total)
        rows.append([spec.name, spec.batch, figure(total * 1e3), *parts, f"{memory / total:.0%}", speed, f"{len(spec.launches):,}"])
    head = ["step", "batch", "ms", "contractions", "loops", "updates", "bound by memory", "images/s", "launches"]
    table(head, rows)


def print_functions(spec, gpu, done, top):
    share, launches = Counter(), Counter(l["function"] for l in spec.launches)
    reasons = defaultdict(Counter)
    function = spec.function_of_kernels()
    for k, (seconds, by_memory) in enumerate(spec.roofline(gpu)):
        share[function[k]] += seconds
        reasons[function[k]]["m" if by_memory else "c"] += seconds
    total = sum(share.values())
    head = ["function", "share", "bound by", "launches", "threads"]
    if done:
        head += ["registers", "shared, KiB", "blocks", "occupancy"]
    rows = []
    for name, seconds in share.most_common(top):
        if name is None:
            rows.append(["of no launch that was found", f"{seconds / total:.1%}"] + [""] * (len(head) - 2))
            continue
        f = spec.functions[name]
        reason = {"m": "memory", "c": "computing"}[reasons[name].most_common(1)[0][0]]
        row = [f"`{name}`", f"{seconds / total:.1%}", reason, launches[name], f["threads"]]
        if done:
            r = done[unnamed(f)]
            shared = r["shared"] + f["shared_bytes"]
            blocks = resident(gpu, f["threads"], r["registers"], shared)
            occupancy = blocks * math.ceil(f["threads"] / 32) * 32 / gpu["threads"]
            row += [r["registers"], figure(shared / 1024), blocks, f"{occupancy:.0%}"]
        rows.append(row)
    print(f"{spec.name}\n")
    table(head, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="*", default=["sm_80", "sm_90"], metavar="sm_XX", help="sm_80 and sm_90 by default")
    parser.add_argument("--nvrtc", default=os.environ.get("SSLC_NVRTC"), metavar="FOLDER")
    parser.add_argument("--gpu", default="h100", choices=GPUS)
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="functions of the third table")
    parser.add_argument("specs", nargs="+", metavar="SPEC")
    given = parser.parse_args()
    gpu = GPUS[given.gpu]
    if given.arch:
        nvrtc = Nvrtc(given.nvrtc)
        unknown = [a for a in given.arch if a not in nvrtc.architectures]
        if unknown:
            sys.exit(f"NVRTC {nvrtc.version} knows {', '.join(nvrtc.architectures)}, not {', '.join(unknown)}")
    sslc = os.environ.get("SSLC", str(ROOT / "target/release/sslc"))
    specs = [Spec(s, sslc) for s in given.specs]
    names = defaultdict(list)
    for spec in specs:
        for f in spec.functions.values():
            names[unnamed(f)].append((spec.name, f["name"]))
    results, failed = {}, False
    if given.arch:
        compiled = Compiled(nvrtc, given.jobs)
        results = {arch: compiled.all(list(names), arch) for arch in given.arch}
        print("## Functions\n")
        failed = print_compiled(results, nvrtc.version, names)
    speeds = f"{gpu['f32'] / 1e12:.0f} TFLOP/s of f32, {gpu['bf16'] / 1e12:.0f} of dense bf16, {gpu['bandwidth'] / 1e12:.2f} TB/s"
    print(f"## Roofline of a step on an {gpu['title']}\n\n{speeds} (NVIDIA's data sheet)\n")
    print_roofline(specs, gpu)
    print("## Functions with the largest shares\n")
    for spec in specs:
        if not failed:
            print_functions(spec, gpu, results.get(gpu["arch"]), given.top)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
