"""Writes the two networks that `autochrome-trainer eval` takes as files: inception.onnx for --fid-weights, lpips.onnx for --lpips-weights.

    python3 -m venv venv && venv/bin/pip install torch torchvision onnx lpips pytorch-fid
    venv/bin/python trainer/perceptual_networks.py FOLDER

The packages fetch the published weights: Inception-v3's as FID was defined with (pytorch-fid), AlexNet's of torchvision; LPIPS's own are in its package. With
--random nothing is fetched, and the files have the right shape and no meaning: to see whether they load.
"""

import argparse
import pathlib

import lpips
import torch
import torchvision
from pytorch_fid import inception

OPSET = 17


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--random", action="store_true", help="random weights in place of the published ones")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if given.random:
        inception.load_state_dict_from_url = lambda *_, **__: {}
        torchvision.models.Inception3.load_state_dict = lambda *_, **__: None

    # RGB from 0 to 1 at 299 x 299, which eval scales to; the file's first output is pool3.
    pool3 = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]], resize_input=False, normalize_input=True).eval()
    save(pool3, (torch.rand(1, 3, 299, 299),), given.folder / "inception.onnx", ["picture"], {})

    # RGB from -1 to 1, of any size.
    distance = lpips.LPIPS(net="alex", pnet_rand=given.random, verbose=False).eval()
    pair = tuple(torch.rand(1, 3, 144, 192) * 2 - 1 for _ in range(2))
    sides = {2: "height", 3: "width"}
    save(distance, pair, given.folder / "lpips.onnx", ["found", "truth"], {"found": sides, "truth": sides})


def save(network: torch.nn.Module, example: tuple, file: pathlib.Path, inputs: list, axes: dict) -> None:
    with torch.no_grad():
        torch.onnx.export(network, example, file, input_names=inputs, dynamic_axes=axes, opset_version=OPSET, dynamo=False)
    print(file)


if __name__ == "__main__":
    main()
