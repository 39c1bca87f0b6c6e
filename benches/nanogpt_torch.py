"""The training step of nanogpt.py in PyTorch, at its best: fused AdamW, fused attention.

Needs torch alone. Reads numbers of steps from standard input, a line each, and answers each with
the seconds they took.
"""

import argparse
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(dim, bias=False)
        self.c_attn = nn.Linear(dim, 3 * dim, bias=False)
        self.c_proj = nn.Linear(dim, dim, bias=False)
        self.ln_2 = nn.LayerNorm(dim, bias=False)
        self.c_fc = nn.Linear(dim, 4 * dim, bias=False)
        self.c_out = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x):
        n, length, dim = x.shape
        heads = self.c_attn(self.ln_1(x)).view(n, length, 3, self.heads, dim // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(n, length, dim))
        return x + self.c_out(functional.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, vocab, context, dim, heads, layers):
        super().__init__()
        self.wte = nn.Embedding(vocab, dim)
        self.wpe = nn.Embedding(context, dim)
        self.h = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                ends_branch = "c_proj" in name or "c_out" in name
                nn.init.normal_(p, 0.0, 0.02 / (math.sqrt(2 * layers) if ends_branch else 1))

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--data", required=True, help="raw int64 token ids")
    for name in ("vocab", "context", "batch", "dim", "heads", "layers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with open(args.data, "rb") as file:
        data = torch.frombuffer(bytearray(file.read()), dtype=torch.int64)
    model = GPT(args.vocab, args.context, args.dim, args.heads, args.layers)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

    def step():
        starts = torch.randint(len(data) - args.context, (args.batch,)).tolist()
        x = torch.stack([data[i : i + args.context] for i in starts])
        y = torch.stack([data[i + 1 : i + 1 + args.context] for i in starts])
        loss = functional.cross_entropy(model(x).view(-1, args.vocab), y.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(20):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
