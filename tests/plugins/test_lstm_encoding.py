from __future__ import annotations

import numpy as np
import pytest

from engine_lstm.encoding import Columns

NAMES = ("price", "flag", "constant", "never")


def table() -> np.ndarray:
    """1,000 rows: one column with holes, a flag, one that never changes, one that is never there."""
    rng = np.random.default_rng(0)
    price = rng.normal(30, 4, 1_000)
    price[::7] = np.nan
    flag, same, nothing = rng.integers(0, 2, 1_000), np.full(1_000, 5), np.full(1_000, np.nan)
    return np.stack([price, flag, same, nothing], axis=1).astype(np.float32)


def test_means_and_deviations_leave_out_what_is_missing():
    values = table()
    columns = Columns.of(NAMES, values.T)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(columns.mean[:2], np.nanmean(exact[:, :2], axis=0), rtol=1e-6)
    np.testing.assert_allclose(columns.deviation[:2], np.nanstd(exact[:, :2], axis=0), rtol=1e-6)
    assert columns.gaps == (True, False, False, True)


def test_what_was_missing_or_constant_reads_as_zero():
    values = table()
    scaled, gaps = Columns.of(NAMES, values.T).standardised(values[:, None])
    assert scaled.shape == (1_000, 1, 4) and gaps.shape == (1_000, 1, 2)
    assert (scaled[::7, 0, 0] == 0).all() and (scaled[..., 2:] == 0).all()
    np.testing.assert_array_equal(gaps[:, 0, 0] == 1, np.isnan(values[:, 0]))
    assert (gaps[..., 1] == 1).all()


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 4, 2)])
def test_nothing_stays_nothing(shape: tuple[int, ...]):
    values = np.zeros(shape, dtype=np.float32)
    names = tuple(str(i) for i in range(shape[-1]))
    rows = values.reshape(int(np.prod(shape[:-1])), shape[-1])
    columns = Columns.of(names, rows.T)
    assert columns.standardised(values)[0].shape == shape
