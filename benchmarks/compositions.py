"""Compositions that artists make, in real ComfyUI in this process on small models, each against what it has to equal.

    make compositions
    make compositions PACKS=folder

Those with ComfyUI's own nodes always; those with other packs where the folder holds them under their own names. The
table is Markdown. `off by` is the largest difference between two latents, whose values are around 1; `effect` is how
much the feature itself changes the picture. A verdict is `right`, `said` (no right value can be reached, and the log
says so), or what is wrong, and then the exit code is 1.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", type=Path, help="a folder with other packs, as custom_nodes has them")
    parser.add_argument("--only", nargs="+", default=[], help="words that all have to be in a row")
    parser.add_argument("--short", action="store_true", help="one row for all features of a composition, at the end")
    parser.add_argument("--list", action="store_true", help="name the cases and run none")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    from comfy_process import load_likeness

    pack = load_likeness()
    from composing import cases, families  # noqa: F401 - the families fill cases.CASES
    from composing.bench import Bench
    from composing.packs import Packs

    packs = Packs(given.packs and given.packs.resolve())
    chosen = [one for one in cases.CASES if all(word.lower() in one.words for word in given.only)]
    chosen.sort(key=lambda one: one.pack or "")  # other packs change ComfyUI when they are loaded: core's cases first
    if given.list:
        for one in chosen:
            print(f"{one.family}: {one.composition} | {one.feature} | {one.against} | {one.pack or 'core'}")
        return 0
    return report(cases, chosen, Bench(pack, packs), packs, given.short)


def report(cases, chosen, bench, packs, short) -> int:
    start, wrong, rows, left_out = time.perf_counter(), 0, [], set()
    print(cases.markdown(cases.HEAD))
    print(cases.markdown(["---"] * len(cases.HEAD)))
    for one in chosen:
        if one.pack and not (packs.has(one.pack) and packs.load(one.pack)):
            left_out.add(one.pack)
            continue
        found = cases.judge(one, bench)
        wrong += not found.is_right
        rows.append(found.row())
        if not short:
            print(cases.markdown(rows[-1]), flush=True)
    for row in cases.in_short(rows) if short else ():
        print(cases.markdown(row))
    print(f"\n{len(rows)} compositions, {wrong} of them wrong, {(time.perf_counter() - start) / 60:.1f} minutes.")
    if left_out:
        print(f"Left out, because PACKS does not hold them or they do not load: {', '.join(sorted(left_out))}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
