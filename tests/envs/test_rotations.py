"""Laws of quaternion algebra, and directions that a hand can check."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robodistill_envs import rotations as rot

numbers = st.floats(-3.0, 3.0, allow_subnormal=False)
vectors = st.tuples(numbers, numbers, numbers).map(lambda v: torch.tensor(v, dtype=torch.float64))
quaternions = (
    st.tuples(numbers, numbers, numbers, numbers)
    .map(lambda q: torch.tensor(q, dtype=torch.float64))
    .filter(lambda q: bool(q.norm() > 0.1))
    .map(lambda q: q / q.norm())
)
laws = settings(max_examples=40, deadline=None)
HALF = math.sqrt(0.5)
X, Y, Z = torch.eye(3, dtype=torch.float64)
DOWN = -Z


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0.0, atol=1e-12)


def conjugate(quat: Tensor) -> Tensor:
    return quat * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)


def matrix(quat: Tensor) -> Tensor:
    """Return the rotation matrix by the textbook formula."""
    w, x, y, z = quat.tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


@laws
@given(quaternions, vectors)
def test_rotate_is_the_rotation_matrix(q: Tensor, v: Tensor) -> None:
    assert close(rot.rotate(q, v), matrix(q) @ v)
    assert close(rot.rotate_inverse(q, v), matrix(q).T @ v)


@laws
@given(quaternions, vectors)
def test_rotate_inverse_undoes_rotate_both_ways(q: Tensor, v: Tensor) -> None:
    assert close(rot.rotate_inverse(q, rot.rotate(q, v)), v)
    assert close(rot.rotate(q, rot.rotate_inverse(q, v)), v)


@laws
@given(quaternions, quaternions, quaternions, vectors)
def test_multiplication(a: Tensor, b: Tensor, c: Tensor, v: Tensor) -> None:
    one = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert close(rot.multiply(a, rot.multiply(b, c)), rot.multiply(rot.multiply(a, b), c))
    assert close(rot.multiply(a, one), a)
    assert close(rot.multiply(one, a), a)
    assert close(rot.multiply(a, conjugate(a)), one)
    assert abs(float(rot.multiply(a, b).norm()) - 1.0) < 1e-12
    assert close(rot.rotate(rot.multiply(a, b), v), rot.rotate(a, rot.rotate(b, v)))


@laws
@given(quaternions)
def test_projected_gravity_is_down_seen_from_the_body(q: Tensor) -> None:
    assert close(rot.projected_gravity(q), rot.rotate_inverse(q, DOWN))
    assert close(rot.projected_gravity(-q), rot.projected_gravity(q))


@laws
@given(quaternions, st.floats(-3.0, 3.0))
def test_projected_gravity_knows_no_heading(q: Tensor, angle: float) -> None:
    turned = rot.multiply(rot.from_rotation_vector(angle * Z), q)
    assert close(rot.projected_gravity(turned), rot.projected_gravity(q))


@laws
@given(vectors)
def test_rotation_vector(v: Tensor) -> None:
    q = rot.from_rotation_vector(v)
    assert abs(float(q.norm()) - 1.0) < 1e-12
    assert close(rot.rotate(q, v), v)  # the axis stays
    assert close(rot.from_rotation_vector(-v), conjugate(q))
    assert abs(float(2.0 * torch.atan2(q[1:].norm(), q[0])) - float(v.norm())) < 1e-12


def test_no_rotation_has_a_finite_gradient() -> None:
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    q = rot.from_rotation_vector(v)
    assert q.tolist() == [1.0, 0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(q[1], v)
    assert gradient.tolist() == [0.5, 0.0, 0.0]


@laws
@given(st.floats(-3.0, 3.0), st.floats(-1.4, 1.4), st.floats(-3.0, 3.0), vectors)
def test_roll_pitch_yaw(roll: float, pitch: float, heading: float, v: Tensor) -> None:
    angles = (torch.tensor(a, dtype=torch.float64) for a in (roll, pitch, heading))
    q = rot.from_roll_pitch_yaw(*angles)
    ahead = torch.tensor([math.cos(heading), math.sin(heading)], dtype=torch.float64)
    assert close(rot.heading(q), ahead)
    by_axis = [rot.from_rotation_vector(a * axis) for a, axis in ((heading, Z), (pitch, Y), (roll, X))]
    expected = rot.rotate(by_axis[0], rot.rotate(by_axis[1], rot.rotate(by_axis[2], v)))
    assert close(rot.rotate(q, v), expected)
    level = rot.from_rotation_vector(heading * Z)
    assert close(rot.to_heading(rot.heading(q), v), rot.rotate_inverse(level, v)[:2])


@pytest.mark.parametrize(
    ("quat", "gravity"),
    [
        ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        ((HALF, HALF, 0.0, 0.0), (0.0, -1.0, 0.0)),  # rolled to the right: down is on the right, -y
        ((HALF, 0.0, HALF, 0.0), (1.0, 0.0, 0.0)),  # nose down: down is ahead
        ((HALF, 0.0, 0.0, HALF), (0.0, 0.0, -1.0)),  # turned
        ((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),  # on its back
    ],
)
def test_gravity_by_hand(quat: tuple[float, ...], gravity: tuple[float, ...]) -> None:
    got = rot.projected_gravity(torch.tensor(quat, dtype=torch.float64))
    assert close(got, torch.tensor(gravity, dtype=torch.float64))


def test_turns_by_hand() -> None:
    left = torch.tensor([HALF, 0.0, 0.0, HALF], dtype=torch.float64)
    assert close(rot.rotate(left, X), Y)
    assert close(rot.rotate_inverse(left, Y), X)
    assert close(rot.heading(left), Y[:2])
    assert close(rot.to_heading(rot.heading(left), Y + Z), X[:2])


def test_straight_up_there_is_no_heading() -> None:
    """Where the body's x points along the world's z, the frame is the world's instead of NaN."""
    assert rot.heading(torch.tensor([0.5, 0.5, -0.5, 0.5])).tolist() == [1.0, 0.0]
    assert rot.heading(torch.tensor([0.5, 0.5, 0.5, 0.5])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_leading_dimensions(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.nn.functional.normalize(torch.randn(*shape, 4, generator=generator), dim=-1)
    v = torch.randn(*shape, 3, generator=generator)
    for result in (
        rot.rotate(q, v),
        rot.rotate_inverse(q, v),
        rot.projected_gravity(q),
    ):
        assert result.shape == (*shape, 3)
        assert result.dtype == torch.float32
    assert rot.multiply(q, q).shape == (*shape, 4)
    assert rot.heading(q).shape == rot.to_heading(rot.heading(q), v).shape == (*shape, 2)
