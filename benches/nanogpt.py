"""nanoGPT's recipe for a CPU: tiny Shakespeare by character, 0.8M parameters, 2000 steps.

    python benches/nanogpt.py input.txt --threads 2
    python benches/nanogpt.py input.txt --torch /path/to/python --pairs 15

The first trains and prints the time of a step and the validation loss (nanoGPT reaches 1.88). The
second times the same step here and in PyTorch, in turns. Reference: github.com/karpathy/nanoGPT.
"""

import argparse
import math
import pathlib
import subprocess
import tempfile
import time

import numpy as np

import lamina
from lamina import models, ops, optim

CONTEXT, BATCH, DIM, HEADS, LAYERS = 64, 12, 128, 4, 4
LR, MIN_LR, WARMUP = 1e-3, 1e-4, 100


class Run:
    """Model, optimiser and data of one training run."""

    def __init__(self, text, steps, seed):
        alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)
        split = int(0.9 * len(ids))
        self.train, self.validation = ids[:split], ids[split:]
        self.steps = steps
        self.rng = np.random.default_rng(seed)
        self.vocab = len(alphabet)
        config = models.GPTConfig(
            vocab_size=self.vocab,
            context=CONTEXT,
            dim=DIM,
            num_heads=HEADS,
            num_layers=LAYERS,
            bias=False,
            activation="gelu",
        )
        self.model = models.GPT(config, rng=self.rng)
        self.parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = optim.AdamW(groups, lr=LR, betas=(0.9, 0.99))
        self.done = 0

    def loss(self, ids):
        starts = self.rng.integers(0, len(ids) - CONTEXT, BATCH)[:, None] + np.arange(CONTEXT)
        logits = self.model(ids[starts])
        return ops.cross_entropy(logits.reshape(-1, self.vocab), ids[starts + 1].reshape(-1))

    def step(self):
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(self.done)
        loss = self.loss(self.train)
        self.model.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.done += 1

    def lr(self, step):
        if step < WARMUP:
            return LR * (step + 1) / (WARMUP + 1)
        progress = (step - WARMUP) / max(1, self.steps - WARMUP)
        return MIN_LR + (LR - MIN_LR) * (1 + math.cos(math.pi * min(1, progress))) / 2

    def validate(self, batches):
        self.model.eval()
        with lamina.no_grad():
            loss = np.mean([self.loss(self.validation).item() for _ in range(batches)])
        self.model.train()
        return loss

    def timed(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - start


def train(run, steps, batches):
    seconds = 0.0
    while run.done < steps:
        count = min(250, steps - run.done)
        taken = run.timed(count)
        seconds += taken
        loss = run.validate(batches if run.done == steps else 20)
        print(f"step {run.done:5d}  {taken / count * 1e3:6.2f} ms/step  val loss {loss:.4f}")
    tokens = steps * BATCH * CONTEXT
    print(f"{run.model.num_parameters():,} parameters, {tokens:,} tokens in {seconds:.1f} s")


def compare(run, python, threads, pairs, block):
    """Blocks of steps here and in PyTorch, in turns: A, B, A, B, ..."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(run.train.astype(np.int64).tobytes())
        file.flush()
        script = pathlib.Path(__file__).with_name("nanogpt_torch.py")
        sizes = {"vocab": run.vocab, "context": CONTEXT, "batch": BATCH, "dim": DIM}
        sizes |= {"heads": HEADS, "layers": LAYERS, "threads": threads, "data": file.name}
        command = [python, str(script), *(f"--{name}={size}" for name, size in sizes.items())]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as torch:
            run.timed(20)
            if torch.stdout.readline() != "ready\n":
                raise SystemExit("torch: did not start")
            times = np.empty((pairs, 2))
            for pair in range(pairs):
                times[pair, 0] = run.timed(block) / block * 1e3
                torch.stdin.write(f"{block}\n")
                times[pair, 1] = float(torch.stdout.readline()) / block * 1e3
            torch.stdin.close()
    ratios = times[:, 1] / times[:, 0]
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    ours, theirs = np.median(times, axis=0)
    print(f"{threads} thread(s), {pairs} pairs of {block} steps, {lamina.isa()}")
    print(f"lamina {ours:.2f} ms/step, torch {theirs:.2f} ms/step")
    print(f"torch / lamina: {median:.2f} (quartiles {low:.2f} to {high:.2f})")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=pathlib.Path, help="tiny Shakespeare, or any text")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=lamina.num_threads())
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--eval-batches", type=int, default=200)
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--block", type=int, default=20, help="steps in a block")
    args = parser.parse_args()
    lamina.set_num_threads(args.threads)
    run = Run(args.text.read_text(encoding="utf-8"), args.steps, args.seed)
    if args.torch:
        compare(run, args.torch, args.threads, args.pairs, args.block)
    else:
        train(run, args.steps, args.eval_batches)


if __name__ == "__main__":
    main()
