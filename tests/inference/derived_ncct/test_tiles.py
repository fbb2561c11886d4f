import numpy as np
import pytest

from inference.derived_ncct.tiles import MARGIN, Ranges, Tile, box_around, plan_tiles

BOX: Ranges = (range(0, 9), range(10, 50), range(5, 36))


def lengths(tile: Tile) -> tuple[int, ...]:
    return tuple(len(axis) for axis in tile.wide)


def test_box_holds_the_mask() -> None:
    mask = np.zeros((5, 7, 9), np.bool_)
    mask[2, 1, 3] = mask[4, 5, 4] = True
    assert box_around(mask) == (range(2, 5), range(1, 6), range(3, 5))


def test_what_fits_is_one_tile_with_a_margin() -> None:
    (tile,) = plan_tiles(BOX, 10, 10**6)
    assert tile.core == BOX
    assert lengths(tile) == tuple(len(axis) + 2 * MARGIN for axis in BOX)


@pytest.mark.parametrize("most", [20_000, 9000, 5000])
def test_tiles_cover_the_box_once_and_fit(most: int) -> None:
    halo = 4
    tiles = plan_tiles(BOX, halo, most)
    assert len(tiles) > 1
    count = np.zeros((9, 60, 40), int)
    for tile in tiles:
        assert tile.voxels <= most
        count[tile.place] += 1
        for part, wide, axis in zip(tile.core, tile.wide, BOX, strict=True):
            assert wide.start == max(part.start - halo, axis.start - MARGIN)
            assert wide.stop == min(part.stop + halo, axis.stop + MARGIN)
    inside = np.zeros_like(count)
    inside[:, 10:50, 5:36] = 1
    np.testing.assert_array_equal(count, inside)


def test_tiles_are_never_smaller_than_their_halo() -> None:
    tiles = plan_tiles(BOX, 8, 1)
    assert max(len(axis) for tile in tiles for axis in tile.core) <= 9
    assert len(tiles) < 100


def test_the_border_of_the_scan_is_repeated() -> None:
    frames = np.arange(2 * 9 * 60 * 40, dtype=np.float32).reshape(2, 9, 60, 40)
    (tile,) = plan_tiles(BOX, 10, 10**6)
    cut = tile.cut(frames)
    assert cut.shape == (2, *lengths(tile))
    np.testing.assert_array_equal(cut[:, *tile.inner], frames[:, *tile.place])
    for index in range(MARGIN):
        np.testing.assert_array_equal(cut[:, index], cut[:, MARGIN])
        np.testing.assert_array_equal(cut[:, -1 - index], cut[:, -1 - MARGIN])
    np.testing.assert_array_equal(cut[:, MARGIN, 0], frames[:, 0, 10 - MARGIN, 2:39])
