#!/usr/bin/env python3
"""Trains the sample network and writes model.onnx, calib.npz and eval.npz beside this file.

The data is scikit-learn's copy of the UCI handwritten digits: 1797 images of 8x8 pixels. The files are committed; this script
is kept to show where they come from. It needs torch, scikit-learn and onnx:  python train_digits.py
"""
import io
import pathlib

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
CALIBRATION = 256  # images, without labels, out of the training part
EVALUATION = 597   # images with labels, never trained on
EPOCHS = 30
BATCH = 32


def block(cin, cout, kernel, stride=1, groups=1, act=nn.ReLU):
    """Convolution, batch normalization (folded into the convolution by the export), activation."""
    return [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout), act()]


def network():
    """A little of everything that is searched: dense, depthwise, pointwise and strided convolutions, and two Gemm."""
    return nn.Sequential(
        *block(1, 12, 3),
        *block(12, 12, 3, groups=12, act=nn.ReLU6),
        *block(12, 24, 1),
        *block(24, 32, 3, stride=2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32), nn.ReLU(),
        nn.Linear(32, 10))


def split():
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(2).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return (images[EVALUATION:], labels[EVALUATION:]), (images[:EVALUATION], labels[:EVALUATION])


def train(net, images, labels):
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
    net.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for first in range(0, len(images) - BATCH + 1, BATCH):
            pick = order[first:first + BATCH]
            shift = torch.randint(-1, 2, (2,)).tolist()  # the digits are not always quite in the middle
            loss = nn.functional.cross_entropy(net(torch.roll(images[pick], shift, (2, 3))), labels[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    (images, labels), (eval_images, eval_labels) = split()
    net = network()
    train(net, images, labels)
    with torch.no_grad():
        top1 = (net(torch.from_numpy(eval_images)).argmax(1).numpy() == eval_labels).mean()
    print(f"{sum(p.numel() for p in net.parameters())} parameters, top-1 {top1:.4f} on {len(eval_labels)} images")

    exported = io.BytesIO()
    torch.onnx.export(net, torch.from_numpy(images[:2]), exported, input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}}, opset_version=17, dynamo=False)
    model = onnx.load_from_string(exported.getvalue())
    for node in model.graph.node:  # file names of the machine it was trained on
        node.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "model.onnx")
    np.savez_compressed(HERE / "calib.npz", image=images[:CALIBRATION])
    np.savez_compressed(HERE / "eval.npz", image=eval_images, label=eval_labels)


if __name__ == "__main__":
    main()
