#!/usr/bin/env python3
"""Writes the golden vectors: values and gradients by PyTorch, which the tests compare with ours.

    /usr/bin/python3 make_golden.py [FOLDER]       (Debian's python3-torch; default: this folder)
"""
import pathlib
import sys

import loss_cases
import nn_cases
import op_cases
import optim_cases
import recurrent_cases
import transformer_cases

FILES = {
    "elementwise": op_cases.elementwise, "reduce": op_cases.reduce, "matmul": op_cases.matmul,
    "layout": op_cases.layout, "index": op_cases.index, "softmax": op_cases.softmax, "norm": op_cases.norm,
    "loss": loss_cases.loss, "modules": nn_cases.modules, "optimizers": optim_cases.optimizers,
    "learning_rates": optim_cases.learning_rates, "transformer": transformer_cases.transformer,
    "recurrent": recurrent_cases.recurrent, "recurrent_state_dict": recurrent_cases.state_dict,
}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    folder = folder if folder.is_dir() else folder.parent
    for name, make in FILES.items():
        golden = make()
        path = folder / f"{name}.safetensors"
        golden.write(path)
        print(f"{path.name}: {len(golden.metadata) - 1} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
