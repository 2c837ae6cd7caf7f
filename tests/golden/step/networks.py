"""The networks of the golden steps, written plainly; attribute names are the parameter paths of the specs."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Relu(nn.Module):
    """ReLU that notes how near to 0 its inputs came since `nearest` was last reset."""

    nearest = float("inf")

    def forward(self, x):
        Relu.nearest = min(Relu.nearest, x.detach().abs().min().item())
        return F.relu(x)


relu = Relu()


def conv(n_in, n_out, kernel, stride=1):
    return nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, n_in, planes, stride):
        super().__init__()
        self.conv1 = conv(n_in, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or n_in != planes:
            self.downsample = nn.Sequential(conv(n_in, planes, 1, stride), nn.BatchNorm2d(planes))

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, n_in, planes, stride):
        super().__init__()
        self.conv1 = conv(n_in, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, 4 * planes, 1)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or n_in != 4 * planes:
            self.downsample = nn.Sequential(conv(n_in, 4 * planes, 1, stride), nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(relu(self.bn2(self.conv2(y)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """As torchvision's, without `fc`; the stem is a 3x3 convolution of stride 1."""

    def __init__(self, block, counts, width):
        super().__init__()
        self.conv1 = conv(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        n_in = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                planes = width * 2**stage
                blocks.append(block(n_in, planes, 2 if stage > 0 and i == 0 else 1))
                n_in = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(counts)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))


class SmallBasic(nn.Module):
    """`small` of the specs that have basic blocks: three blocks, one of them with stride 2."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = conv(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = BasicBlock(width, width, 1)
        self.layer2 = BasicBlock(width, 2 * width, 2)

    def forward(self, x):
        return self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))).mean(dim=(2, 3))


class SmallBottleneck(nn.Module):
    """`small` of the specs that have bottlenecks: a stem with max-pool, then two blocks."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = conv(3, width, 5, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Bottleneck(width, width // 2, 1), Bottleneck(2 * width, width // 2, 1))

    def forward(self, x):
        return self.layer1(F.max_pool2d(relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)).mean(dim=(2, 3))


class Mlp(nn.Module):
    """The standard library's `mlp`: linear, norm, relu, ..., linear(, norm); children under `layers`."""

    def __init__(self, n_in, *sizes, bias=True, norm="batch", last_norm=False, last_affine=True):
        super().__init__()
        layers = []
        for i, n_out in enumerate(sizes):
            last = i == len(sizes) - 1
            normed = last_norm if last else norm == "batch"
            layers.append(nn.Linear(n_in, n_out, bias=bias and not normed))
            if normed:
                layers.append(nn.BatchNorm1d(n_out, affine=last_affine if last else True))
            if not last:
                layers.append(Relu())
            n_in = n_out
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


def scale_only(n):
    """Batch norm without shift."""
    norm = nn.BatchNorm1d(n)
    norm.register_parameter("bias", None)
    return norm
