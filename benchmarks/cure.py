"""The cure measured by itself: where its masks lie, how well its inversion returns, and what it costs.

    make bench-cure

The tables go to out/bench-cure. The first two parts are of Facelets and come out the same each time. The price is also
that of SD1.5 in its full size, with random weights; times are of this machine, FLOPs and memory are not.
"""

import argparse
import multiprocessing
import os
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts

PARTS = ("masks", "inversion", "price")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--people", type=int, default=12, help="whose masks are measured")
    parser.add_argument("--prompts", type=int, default=2, help="per person, of each length")
    parser.add_argument("--pictures", type=int, default=8, help="that are inverted")
    parser.add_argument("--steps", type=int, default=20, help="of Facelets")
    parser.add_argument("--cfg", type=float, default=3.0, help="of Facelets")
    parser.add_argument("--repeats", type=int, default=5, help="of the times of Facelets")
    parser.add_argument("--sd-steps", type=int, default=10, help="of SD1.5; 0 leaves it out")
    parser.add_argument("--sd-cells", type=int, default=32, help="the side of SD1.5's latent: 64 is 512 pixels")
    parser.add_argument("--sd-repeats", type=int, default=0, help="of its times; 0 takes those of the metered run")
    parser.add_argument("--processes", type=int, default=2, help="for masks")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench-cure")
    return parser.parse_args()


def masks(given) -> str:
    from cure_bench import masks
    from ruler.stack import Stopped

    options = masks.Options(given.people, given.prompts, given.steps, given.cfg)
    found = []
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        try:
            for number, own in enumerate(pool.imap(partial(masks.measure_person, options), range(given.people))):
                found += own
                print(f"person {number + 1} of {given.people}", file=sys.stderr, flush=True)
        except Stopped as why:
            sys.exit(str(why))
        pool.close()
        pool.join()  # so that workers end on their own
    return masks.markdown(options, found)


def inversion(given) -> str:
    from cure_bench import inversion

    return inversion.markdown(inversion.measure(given.pictures, given.steps), given.pictures, given.steps)


def price(given) -> str:
    from facelets.pack import start

    start()  # ComfyUI, which the next line needs
    from cure_bench import price

    text = "## Price\n"
    subjects = [partial(price.facelets, given.steps, given.cfg, given.repeats)]
    if given.sd_steps:
        subjects.append(partial(price.stable_diffusion, given.sd_steps, given.sd_cells, given.sd_repeats))
    for make in subjects:
        subject = make()
        text += "\n" + price.markdown(subject, *price.measure(subject))
        (given.out / "price.md").write_text(text)  # the larger model takes long
    return text


def main():
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    for part in given.only:
        start = time.perf_counter()
        text = {"masks": masks, "inversion": inversion, "price": price}[part](given)
        text += f"\n{(time.perf_counter() - start) / 60:.1f} minutes.\n"
        (given.out / f"{part}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
