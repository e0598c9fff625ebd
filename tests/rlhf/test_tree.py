"""The tree layout equals padded rows, in value and gradient, whatever the architecture."""

from contextlib import nullcontext

import device
import pytest
import torch
from tree_models import ROWS, TREE, build, forest, mixed_batch, packed

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.data.batch import Tree, TreeShape
from swiftrl.models.attention import Terms
from swiftrl.rlhf import block_attention, tree_attention
from swiftrl.rlhf.block_attention import block_kernel
from swiftrl.rlhf.layout import choose_layout, layout_error
from swiftrl.rlhf.scoring import Scorer, causal_lm
from swiftrl.rlhf.tree_attention import NAME, Segments, sdpa_kernel


def value_and_gradients(model, layout, batch):
    scorer = Scorer(model, layout=layout)
    factor = device.put(torch.linspace(-1, 1, len(batch.target_ids)))
    with scorer.plain_attention() if layout == "rows" else torch.enable_grad():
        logps = scorer(batch).logps
        model.zero_grad()
        (logps * factor).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    if layout == "tree":
        causal_lm(model).config.get_text_config()._attn_implementation = scorer._plain
    return logps.detach(), gradients


@pytest.mark.parametrize("name", TREE)
def test_tree_equals_rows(name):
    model = build(name)
    assert choose_layout(model).layout == "tree"
    batch = mixed_batch()
    rows, row_gradients = value_and_gradients(model, "rows", batch)
    tree, tree_gradients = value_and_gradients(model, "tree", batch)
    torch.testing.assert_close(tree, rows, rtol=1e-5, atol=2e-5)
    assert tree_gradients.keys() == row_gradients.keys()
    largest = max(gradient.abs().max() for gradient in row_gradients.values())
    for key, gradient in row_gradients.items():
        assert (tree_gradients[key] - gradient).abs().max() <= 2e-5 * largest, key


@pytest.mark.parametrize("name", TREE)
def test_rows_equal_the_model_s_own_logits(name):
    assert layout_error(build(name), "rows", mixed_batch()) < 1e-4


@pytest.mark.parametrize("name", ROWS)
def test_architectures_without_trees_get_rows(name):
    model = build(name)
    choice = choose_layout(model)
    assert choice.layout == "rows"
    assert len(choice.reason) > 10
    assert layout_error(model, "rows", mixed_batch()) < 1e-4
    with pytest.raises(ConfigError, match="--layout tree"):
        choose_layout(model, "tree")


def test_the_probe_notices_attention_that_is_merely_causal(monkeypatch):
    model = build("qwen2")

    def merely_causal(shapes, window):
        lengths = [shape.trunk + sum(shape.branches) for shape in shapes]
        pieces = [tree_attention.Piece(0, length) for length in lengths]
        return pieces, [tree_attention.Call(i, (i,)) for i in range(len(pieces))]

    monkeypatch.setattr(tree_attention, "_plan", merely_causal)
    choice = choose_layout(model)
    assert choice.layout == "rows"
    assert "other log-probabilities" in choice.reason


@pytest.mark.parametrize("name", ["qwen2", "gpt_oss", "gemma2"])
def test_packed_trees_do_not_see_each_other(name):
    model = build(name)
    scorer = Scorer(model, layout="tree")
    shapes = ((6, 5, 3), (4, 7, 2, 6), (9, 4))
    trees, others = forest(shapes), forest(shapes, seed=1)
    first = scorer(packed(trees)).logps
    for changed in range(3):
        mixed = [*trees]
        mixed[changed] = others[changed]
        batch = packed(mixed)
        second = scorer(batch).logps
        parts = zip(batch.split_by_tree(first), batch.split_by_tree(second), strict=True)
        for number, (before, after) in enumerate(parts):
            if number == changed:
                assert (before - after).abs().max() > 1e-2
            else:
                torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_branches_do_not_see_each_other():
    model = build("qwen2")
    scorer = Scorer(model, layout="tree")
    (tree,) = forest(((6, 5, 3, 4),))
    weights = tree.branch_weights
    other = Tree(tree.trunk_ids, (tree.branch_ids[0][::-1].copy(), *tree.branch_ids[1:]), weights)
    before = scorer(packed([tree])).logps
    after = scorer(packed([other])).logps
    assert (before[:5] - after[:5]).abs().max() > 1e-2
    torch.testing.assert_close(before[5:], after[5:], rtol=0, atol=1e-6)


def _visible(batch, window):
    """[T, T] which tokens each token may look at, written out."""
    visible = torch.zeros(len(batch.token_ids), len(batch.token_ids), dtype=torch.bool)
    for shape in batch.shapes:
        place = [(None, shape.start + i) for i in range(shape.trunk)]
        start = shape.start + shape.trunk
        for branch, size in enumerate(shape.branches):
            place += [(branch, start + i) for i in range(size)]
            start += size
        for branch, i in place:
            for other, j in place:
                near = window is None or batch.positions[i] - batch.positions[j] < window
                visible[i, j] = near and j <= i and other in (None, branch)
    return visible


def _states(length, dtype):
    torch.manual_seed(0)
    query = torch.randn(1, 4, length, 8, dtype=torch.float64)
    key, value = torch.randn(2, 1, 2, length, 8, dtype=torch.float64)
    return [states.to(dtype).requires_grad_() for states in (query, key, value)]


@pytest.mark.parametrize("window", [None, 2, 7])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("block", [1024, 3, 1])
def test_kernel_against_a_mask_written_out(monkeypatch, window, soft, block):
    monkeypatch.setattr(tree_attention, "_BLOCK", block)
    batch = mixed_batch()
    query, key, value = _states(len(batch.token_ids), torch.float64)
    sinks = torch.randn(4, dtype=torch.float64) if soft else None
    terms = Terms(0.3, window, soft_cap=1.5 if soft else None, sinks=sinks)
    found = sdpa_kernel(query, key, value, Segments(batch.shapes, sdpa_kernel), terms)

    wide_key, wide_value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = query @ wide_key.transpose(-1, -2) * 0.3
    if soft:
        scores = torch.tanh(scores / 1.5) * 1.5
    scores = scores.masked_fill(~_visible(batch, window), float("-inf"))
    if soft:
        extra = sinks.view(1, 4, 1, 1).expand(1, 4, len(batch.token_ids), 1)
        weights = torch.cat([scores, extra], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    tolerance = 1e-6 if soft else 1e-12
    expected = (weights @ wide_value).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("window", [None, 2, 7])
@pytest.mark.parametrize("rows", [128, 4, 1])
@pytest.mark.parametrize("kept", [0, 8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_block_kernel_against_the_other(monkeypatch, window, rows, kept, dtype):
    """In float64 to rounding; in bfloat16 to the rounding of weights and results."""
    monkeypatch.setattr(block_attention, "exact_sums", lambda *_: nullcontext)
    monkeypatch.setattr(block_attention, "_ROWS", rows)
    monkeypatch.setattr(block_attention, "_KEPT", kept)
    batch = mixed_batch()
    states = _states(len(batch.token_ids), dtype)
    wide = [s.detach().double().requires_grad_() for s in states]
    terms = Terms(0.3, window)
    found = block_kernel(*states, Segments(batch.shapes, block_kernel), terms)
    expected = sdpa_kernel(*wide, Segments(batch.shapes, sdpa_kernel), terms)
    upstream = torch.randn_like(expected)
    pairs = zip(
        (found, *torch.autograd.grad(found, states, upstream.to(dtype))),
        (expected, *torch.autograd.grad(expected, wide, upstream)),
        strict=True,
    )
    # Weights are computed in float32 either way.
    bound = 1e-2 if dtype == torch.bfloat16 else 1e-6
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert ours.dtype == dtype
        assert (ours.double() - theirs).norm() <= bound * theirs.norm()


@pytest.mark.parametrize("last", [False, True])
def test_block_kernel_asks_for_what_is_read(monkeypatch, last):
    """In a last layer the result and the gradient of the rows that are read stay the same."""
    monkeypatch.setattr(block_attention, "exact_sums", lambda *_: nullcontext)
    monkeypatch.setattr(block_attention, "_ROWS", 3)
    batch = mixed_batch()
    rows = batch.source_index.unique().cpu()
    states = _states(len(batch.token_ids), torch.float64)
    terms = Terms(0.3)
    found = block_kernel(*states, Segments(batch.shapes, block_kernel, rows, last), terms)
    expected = sdpa_kernel(*states, Segments(batch.shapes, sdpa_kernel, rows, last), terms)
    torch.testing.assert_close(found[:, rows], expected[:, rows], rtol=1e-6, atol=1e-7)
    first = int(rows[0])
    assert first > 0
    assert bool((found[:, :first] == 0).all()) == last
    upstream = torch.zeros_like(expected)
    upstream[:, rows] = torch.randn_like(upstream[:, rows])
    ours, theirs = (torch.autograd.grad(o, states, upstream) for o in (found, expected))
    for gradient, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_block_kernels_result_can_be_viewed(monkeypatch, groups):
    """As many key as query heads, fewer, or one: models flatten the heads with `view`."""
    monkeypatch.setattr(block_attention, "exact_sums", lambda *_: nullcontext)
    batch = mixed_batch()
    tokens = len(batch.token_ids)
    query, key, value = (torch.randn(1, n, tokens, 8) for n in (4, 4 // groups, 4 // groups))
    terms = Terms(0.3)
    found = block_kernel(query, key, value, Segments(batch.shapes, block_kernel), terms)
    expected = sdpa_kernel(query, key, value, Segments(batch.shapes, sdpa_kernel), terms)
    torch.testing.assert_close(found.view(1, tokens, -1), expected.flatten(2))


def test_blocks_come_in_few_shapes():
    """Whatever the lengths: a processor compiles a product of each new shape."""
    shapes = {
        (block.padded, block.keys)
        for trunk in range(200, 300)
        for block in block_attention._blocks(
            Segments((TreeShape(0, trunk, (130, 141)),), block_kernel), None, 8
        )
    }
    assert len(shapes) < 20


def test_block_kernel_leaves_other_terms_to_the_other(monkeypatch):
    monkeypatch.setattr(block_attention, "exact_sums", lambda *_: nullcontext)
    batch = mixed_batch()
    states = _states(len(batch.token_ids), torch.float64)
    terms = Terms(0.3, soft_cap=1.5, sinks=torch.randn(4, dtype=torch.float64))
    segments = Segments(batch.shapes, block_kernel)
    torch.testing.assert_close(
        block_kernel(*states, segments, terms), sdpa_kernel(*states, segments, terms)
    )


def test_gradient_checkpointing_recomputes_tree_attention():
    model = build("qwen2", num_hidden_layers=3)
    batch = mixed_batch()
    _, plain = value_and_gradients(model, "tree", batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    _, recomputed = value_and_gradients(model, "tree", batch)
    for key, gradient in plain.items():
        torch.testing.assert_close(recomputed[key], gradient)


def test_a_model_in_tree_attention_cannot_be_called_by_mistake():
    model = build("qwen2")
    scorer = Scorer(model, layout="tree")
    ids = device.put(torch.tensor([[1, 2, 3]]))
    with pytest.raises(ModelError, match="without its trees"):
        model(input_ids=ids)
    with scorer.plain_attention():
        plain = model(input_ids=ids).logits
    torch.testing.assert_close(plain, build("qwen2")(input_ids=ids).logits)


def test_the_attention_in_use_is_not_saved(tmp_path):
    model = build("qwen2")
    Scorer(model, layout="tree")
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()


def test_unknown_layout():
    with pytest.raises(ConfigError, match="expected auto, tree or rows"):
        choose_layout(build("qwen2"), "square")


def test_long_segments_are_cut_into_blocks_and_windows_drop_far_ones():
    shapes = packed(forest(((10, 3000, 3000), (5000,)))).shapes
    pieces, calls = tree_attention._plan(shapes, None)
    assert sum(piece.length for piece in pieces) == 11010
    masked = [call for call in calls if call.keys != (call.query,)]
    assert len(masked) == 6
    assert all(pieces[call.query].length <= 1024 for call in masked)
    pieces, calls = tree_attention._plan(shapes, 100)
    assert all(pieces[call.query].length <= 1024 for call in calls)
    assert max(len(call.keys) for call in calls) == 2
