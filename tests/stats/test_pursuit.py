"""The fast inferences against plain ones, against scipy and against scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import OrthogonalMatchingPursuit

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.pursuit import Codes, best_atom, gradient_pursuit, omp, refit


def plain_pursuit(x, dictionary, l0):
    """The authors' rule on dense codes, one token at a time; also the smallest gap between the best two
    scores."""
    codes, gaps = torch.zeros(len(x), len(dictionary), dtype=x.dtype), []
    for t, steps in enumerate(torch.as_tensor(l0).expand(len(x)).tolist()):
        w, gap = torch.zeros(len(dictionary), dtype=x.dtype), float("inf")
        for _ in range(steps):
            residual = x[t] - w @ dictionary
            score = dictionary @ residual
            top = score.topk(2).values
            gap = min(gap, float(top[0] - top[1]))
            support = w != 0
            support[int(score.argmax())] = True
            gradient = torch.where(support, score, 0)
            move = gradient @ dictionary
            size = move @ move
            w = (w + (move @ residual / size if size > 0 else 0) * gradient).clamp(min=0)
        codes[t] = w
        gaps.append(gap)
    return codes, torch.tensor(gaps)


def atoms_and_signals(seed, d_sae=300, d_model=24, tokens=60, unit=True, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    atoms = torch.randn(d_sae, d_model, generator=rng, dtype=dtype)
    if unit:
        atoms /= atoms.norm(dim=1, keepdim=True)
    fires = torch.rand(tokens, d_sae, generator=rng) < 0.02
    weight = torch.rand(tokens, d_sae, generator=rng, dtype=dtype) * fires
    return weight @ atoms + 0.1 * torch.randn(tokens, d_model, generator=rng, dtype=dtype), atoms


def assert_same(ours, plain, gaps, x, atoms):
    dense = ours.decode(torch.eye(len(atoms)))
    close = torch.isclose(dense, plain, rtol=1e-8, atol=1e-10).all(1)
    ours_left, plain_left = ((x - codes @ atoms).norm(dim=1) for codes in (dense, plain))
    norms = torch.isclose(ours_left, plain_left, rtol=1e-8, atol=1e-10)
    assert bool((close | ((gaps < 1e-9) & norms)).all())


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("chunk, batch", [(2048, 256), (37, 7), (1, 60)])
def test_gradient_pursuit_equals_the_plain_rule(unit, chunk, batch):
    x, atoms = atoms_and_signals(1, unit=unit)
    l0 = torch.randint(0, 25, (len(x),), generator=torch.Generator().manual_seed(2))
    l0[:3] = torch.tensor([0, 24, 1])
    x[5] = 0
    plain, gaps = plain_pursuit(x, atoms, l0)
    ours = gradient_pursuit(x, atoms, l0, chunk=chunk, batch=batch)
    assert_same(ours, plain, gaps, x, atoms)
    assert bool((ours.l0 <= l0).all()) and int(ours.l0[0]) == 0 and int(ours.l0[5]) == 0
    assert bool((ours.values >= 0).all()) and ours.indices.shape == (60, 24)


def test_gradient_pursuit_where_the_rule_clamps_and_picks_again():
    """Antipodal and duplicate atoms, many steps in few dimensions: every branch of the rule is taken."""
    x, atoms = atoms_and_signals(3, d_sae=12, d_model=4, tokens=300)
    atoms = torch.cat([atoms, -atoms[:4], 2 * atoms[:2]])
    plain, gaps = plain_pursuit(x, atoms, 10)
    ours = gradient_pursuit(x, atoms, 10)
    assert_same(ours, plain, gaps, x, atoms)
    assert int((ours.l0 < 10).sum()) > 250  # the realised L0 falls short of the target
    sorted_support = ours.support.sort(1).values
    assert not bool(((sorted_support[:, 1:] == sorted_support[:, :-1]) & (sorted_support[:, 1:] >= 0)).any())


def test_gradient_pursuit_with_no_atom_in_the_signals_direction():
    """The best score is negative: the atom enters, is clamped, and nothing is written."""
    atoms = torch.tensor([[1.0, 0.0], [1.0, 0.1]], dtype=torch.float64)
    codes = gradient_pursuit(torch.tensor([[-1.0, 0.0]], dtype=torch.float64), atoms, 3)
    assert int(codes.l0) == 0 and torch.isfinite(codes.values).all()


def test_ties_go_to_the_lowest_index_whatever_the_chunk():
    atoms = torch.eye(4, dtype=torch.float64)[[3, 1, 0, 1, 0, 2]]
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    for chunk in (1, 2, 3, 6):
        assert gradient_pursuit(x, atoms, 1, chunk=chunk).indices.tolist() == [[1]]
        pick, score, at = best_atom(x, atoms, chunk=chunk, at=torch.tensor([[5, 2, 0]]))
        assert (pick.item(), score.item(), at.tolist()) == (1, 1.0, [[0.0, 1.0, 0.0]])


def test_a_worked_case_by_hand():
    """x = 3 e1 + e2 with atoms e1, e2: one step takes 3 e1, two steps are exact."""
    x, atoms = torch.tensor([[3.0, 1.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    one, two = gradient_pursuit(x, atoms, 1), gradient_pursuit(x, atoms, 2)
    assert one.indices.tolist() == [[0]] and one.values.tolist() == [[3.0]]
    assert two.indices.tolist() == [[0, 1]] and two.values.tolist() == [[3.0, 1.0]]


def test_the_unit_rule_ignores_the_lengths_of_atoms_in_the_pick():
    x = torch.tensor([[1.0, 0.2]], dtype=torch.float64)
    atoms = torch.tensor([[0.5, 0.0], [3.0, 3.0]], dtype=torch.float64)
    assert gradient_pursuit(x, atoms, 1).indices.item() == 1
    assert gradient_pursuit(x, atoms, 1, rule="unit").indices.item() == 0


def test_low_precision_is_worked_in_float32_and_zero_shapes_are_empty():
    x, atoms = atoms_and_signals(4)
    half = gradient_pursuit(x.half(), atoms.half(), 5)
    assert half.values.dtype == torch.float32
    assert torch.allclose(half.decode(atoms), gradient_pursuit(x, atoms, 5).decode(atoms).float(), atol=0.1)
    assert gradient_pursuit(x, atoms[:3], 9).indices.shape == (60, 3)  # no more than the atoms there are
    assert gradient_pursuit(x, atoms, 0).indices.shape == (60, 0)
    assert gradient_pursuit(x[:0], atoms, 3).values.shape[0] == 0
    assert gradient_pursuit(x.numpy(), atoms.numpy(), 2).decode(atoms).shape == x.shape


def test_refit_agrees_with_scipy():
    x, atoms = atoms_and_signals(5, tokens=200)
    support = torch.argsort(torch.rand(200, 300, generator=torch.Generator().manual_seed(6)), dim=1)[:, :20]
    support[:, 15:][torch.rand(200, 5, generator=torch.Generator().manual_seed(7)) < 0.5] = -1
    support[0] = -1
    dense = refit(x, atoms, support, batch=64).decode(torch.eye(len(atoms)))
    for t in range(200):
        used = support[t][support[t] >= 0]
        expected = torch.zeros(300, dtype=torch.float64)
        if len(used):
            expected[used] = torch.from_numpy(nnls(atoms[used].T.numpy(), x[t].numpy())[0])
        assert torch.allclose(dense[t], expected, atol=1e-9)


def test_refit_of_dependent_atoms_still_reaches_the_least_squares_minimum():
    """More atoms than dimensions, one of them twice: the codes are not unique, the residual is."""
    x, atoms = atoms_and_signals(8, d_sae=30, d_model=6, tokens=40)
    support = torch.arange(30).repeat(40, 1)
    support[:, 29] = 0
    codes = refit(x, atoms, support)
    for t in range(40):
        best = nnls(atoms[support[t]].T.numpy(), x[t].numpy())[1]
        assert float((x[t] - codes.decode(atoms)[t]).norm()) == pytest.approx(best, abs=1e-7)


def test_refit_never_loses_to_the_codes_it_refits():
    x, atoms = atoms_and_signals(9, tokens=200)
    pursued = gradient_pursuit(x, atoms, 12)
    better = refit(x, atoms, pursued.support)
    error = [(x - codes.decode(atoms)).square().sum(1) for codes in (better, pursued)]
    assert bool((error[0] <= error[1] + 1e-12).all()) and float(error[0].sum()) < float(error[1].sum())


def test_omp_agrees_with_scikit_learn():
    x, atoms = atoms_and_signals(10, tokens=100)
    for l0 in (1, 5, 12):
        model = OrthogonalMatchingPursuit(n_nonzero_coefs=l0, fit_intercept=False)
        model.fit(atoms.T.numpy(), x.T.numpy())
        ours = omp(x, atoms, l0, chunk=64, batch=33).decode(torch.eye(len(atoms)))
        np.testing.assert_allclose(ours.numpy(), model.coef_, atol=1e-9)


def test_omp_with_an_l0_of_each_token_and_an_exhausted_signal():
    x, atoms = atoms_and_signals(11, tokens=30)
    x[0] = 2 * atoms[5] - atoms[9]
    l0 = torch.arange(30) % 7
    l0[0] = 6
    codes = omp(x, atoms, l0)
    single = [omp(x[t : t + 1], atoms, int(l0[t])).decode(torch.eye(300)) for t in range(30)]
    assert torch.allclose(codes.decode(torch.eye(300)), torch.cat(single), atol=1e-10)
    assert torch.equal(codes.l0[1:], l0[1:]) and float((codes.decode(atoms)[0] - x[0]).norm()) < 1e-7


def test_codes_say_what_they_hold():
    codes = Codes(torch.tensor([[3, 1], [0, 0], [0, 1]]), torch.tensor([[3.0, 2.0], [0.0, 0.0], [1.0, 0.0]]))
    dense = torch.tensor([[0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert torch.equal(torch.zeros(3, 4).scatter(1, codes.indices, codes.values), dense)
    assert codes.support.tolist() == [[3, 1], [-1, -1], [0, -1]] and codes.l0.tolist() == [2, 0, 1]
    assert torch.equal(codes.decode(torch.eye(4)), dense)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(rule="author"), "authors"),
        (dict(l0=-1), "0 or more"),
        (dict(l0=1.5), "int"),
        (dict(l0=torch.ones(3, dtype=torch.int64)), "int"),
        (dict(dictionary=torch.ones(4, 3)), "do not fit"),
        (dict(x=torch.full((2, 5), float("nan"))), "finite"),
    ],
)
def test_bad_input_is_named(arguments, says):
    given = dict(x=torch.ones(2, 5), dictionary=torch.ones(4, 5), l0=1) | arguments
    with pytest.raises(BadInput, match=says):
        gradient_pursuit(given.pop("x"), given.pop("dictionary"), given.pop("l0"), **given)
    with pytest.raises(BadInput, match="outside"):
        refit(torch.ones(2, 5), torch.ones(4, 5), torch.full((2, 1), 4))
