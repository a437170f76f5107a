"""How a head is turned, from 68 landmarks and an average face in three dimensions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...places import EMBEDDED
from ...weights.reader import read_weights


def load_mean_shape() -> Tensor:
    """The average face, [68, 3] float32: InsightFace's, x to the image's right, y down, z to the viewer."""
    return read_weights(EMBEDDED / "meanshape68.safetensors").tensors["points"]


def fit_to(mean_shape: Tensor) -> Tensor:
    """[4, 68]: times points [68, 2], the affine camera [4, 2] under which the average face comes closest to them."""
    ones = mean_shape.new_ones(len(mean_shape), 1)
    return torch.linalg.pinv(torch.cat([mean_shape, ones], 1).double()).float()


def head_pose(points: Tensor, fit: Tensor) -> Tensor:
    """Pitch, yaw and roll in degrees, [N, 3], from landmarks [N, 68, 2] (or more columns: only x and y count).

    The rows of the affine camera, made unit vectors, are the first two rows of the rotation and their cross product the
    third, as insightface computes it. Positive pitch looks up, positive yaw to the image's right, and positive roll is
    clockwise.
    """
    camera = (fit.to(points) @ points[..., :2]).transpose(1, 2)[..., :3]
    first, second = F.normalize(camera, dim=-1).unbind(1)
    third = torch.linalg.cross(first, second)
    side = torch.sqrt(first[:, 0] ** 2 + second[:, 0] ** 2)
    pitch = torch.atan2(third[:, 1], third[:, 2])
    yaw = torch.atan2(-third[:, 0], side)
    roll = torch.atan2(second[:, 0], first[:, 0])
    return torch.rad2deg(torch.stack([pitch, yaw, roll], 1))
