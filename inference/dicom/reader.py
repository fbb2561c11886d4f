"""Pixels of one acquisition as calibrated arrays: a volume, or volumes over time."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from inference.dicom.headers import FrameHeader
from inference.dicom.stack import Stack, arrange
from inference.dicom.volumes import Source, TimeSeries, Volume
from inference.errors import DicomReadError, NotAnalysable

Float32Array = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]
Report = Callable[[float], None]

MAX_BYTES = 12 * 2**30
AIR_HU = -1024.0
_NAMED_ECHOES = 4
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_STORED = {8: "u1", 16: "u2", 32: "u4"}
_THREADS = min(4, os.cpu_count() or 1)


def load_volume(headers: Sequence[FrameHeader], progress: Report | None = None) -> Volume:
    """Read one volume: HU for CT, the signal for MR.

    Of diffusion-weighted images those with the b-value nearest 1000 s/mm² are taken; several
    directions are joined by their geometric mean (the trace image).

    Raises
    ------
    NotAnalysable
        The images are not one whole volume.
    DicomReadError
        Pixels are missing, damaged, in an encoding that cannot be decoded, or too many.
    """
    chosen = [_trace_images(headers)] if _is_diffusion(headers) else [list(headers)]
    if _is_diffusion(headers):
        chosen = _by_direction(chosen[0])
    stacks = [_whole(arrange(group)) for group in chosen]
    for stack in stacks:
        if stack.time_points != 1:
            raise NotAnalysable(
                f"{stack.time_points} images at each position where one volume was expected"
            )
    first = stacks[0]
    if any(other.slices != first.slices for other in stacks[1:]):
        raise NotAnalysable("the diffusion directions do not cover the same slices")
    _refuse_too_large(first, copies=2 if len(stacks) > 1 else 1)
    data = np.zeros(first.geometry.shape, dtype=np.float32)
    for done, stack in enumerate(stacks):
        part = (
            np.empty((1, *first.geometry.shape), dtype=np.float32)
            if len(stacks) > 1
            else data[None]
        )
        _fill(part, stack, _partial(progress, done, len(stacks)))
        if len(stacks) > 1:
            data += np.log(np.maximum(part[0], 1e-3))
    if len(stacks) > 1:
        data = np.exp(data / len(stacks), dtype=np.float32)
    return Volume(data, first.geometry, _units(first), _source(first))


def load_time_series(headers: Sequence[FrameHeader], progress: Report | None = None) -> TimeSeries:
    """Read volumes over time: HU for CT, the signal for MR.

    Raises
    ------
    NotAnalysable
        Images are missing, the times cannot be trusted, or there are several echo times.
    DicomReadError
        Pixels are missing, damaged, in an encoding that cannot be decoded, or too many.
    """
    echo_time_s = _echo_time_s(headers)
    stack = _whole(arrange(headers))
    if stack.time_points < 2:
        raise NotAnalysable("one image at each position where a series over time was expected")
    if stack.timing_problem:
        raise NotAnalysable(stack.timing_problem)
    _refuse_too_large(stack)
    data = np.empty((stack.time_points, *stack.geometry.shape), dtype=np.float32)
    _fill(data, stack, progress)
    return TimeSeries(
        data, stack.times_s, stack.geometry, _units(stack), _source(stack), echo_time_s
    )


def _echo_time_s(headers: Sequence[FrameHeader]) -> float | None:
    """The echo time of all images in seconds; None where none of them says one."""
    said = {round(echo, 1) for h in headers if (echo := h.echo_time_ms or 0.0) > 0}
    if len(said) > 1:
        values = ", ".join(f"{value:g}" for value in sorted(said)[:_NAMED_ECHOES])
        raise NotAnalysable(
            f"{len(said)} echo times ({values} ms), expected one: several echoes are not analysed "
            "together; send the images of one echo as a series of their own"
        )
    return said.pop() / 1000 if said else None


def _is_diffusion(headers: Sequence[FrameHeader]) -> bool:
    return any((h.b_value or 0) >= 500 for h in headers)


def _trace_images(headers: Sequence[FrameHeader]) -> list[FrameHeader]:
    """The images at the b-value nearest 1000 s/mm²; trace images alone where there are some."""
    values = [h.b_value for h in headers if h.b_value is not None and h.b_value >= 500]
    target = min(values, key=lambda b: abs(b - 1000))
    weighted = [h for h in headers if h.b_value is not None and abs(h.b_value - target) <= 50]
    trace = [
        h for h in weighted if "TRACEW" in h.image_type or h.diffusion_directionality == "ISOTROPIC"
    ]
    return trace or weighted


def _by_direction(images: list[FrameHeader]) -> list[list[FrameHeader]]:
    """One list of images per diffusion direction (or repetition): the n-th image of each slice."""
    places: dict[tuple[float, ...], list[FrameHeader]] = {}
    for header in images:
        key = tuple(round(value, 1) for value in header.position or ())
        places.setdefault(key, []).append(header)
    if len({len(found) for found in places.values()}) > 1:
        raise NotAnalysable("diffusion-weighted images are missing at some positions")
    ordered = [
        sorted(found, key=lambda h: (h.instance_number or 0, h.frame or 0))
        for found in places.values()
    ]
    return [list(group) for group in zip(*ordered, strict=True)]


def _partial(progress: Report | None, done: int, parts: int) -> Report | None:
    if progress is None:
        return None
    return lambda fraction: progress((done + fraction) / parts)


def _whole(stack: Stack) -> Stack:
    if stack.gaps:
        raise NotAnalysable("; ".join(stack.gaps))
    return stack


def _refuse_too_large(stack: Stack, copies: int = 1) -> None:
    slices, rows, columns = stack.geometry.shape
    needed = 4 * copies * stack.time_points * slices * rows * columns
    if needed > MAX_BYTES:
        raise DicomReadError(
            f"{stack.time_points} x {slices} images of {rows}x{columns} need"
            f" {needed / 2**30:.1f} GiB of memory; at most {MAX_BYTES / 2**30:.0f} are used"
        )


def _units(stack: Stack) -> str:
    return "HU" if stack.first.modality == "CT" else "1"


def _source(stack: Stack) -> Source:
    frames = [frame for row in stack.frames for frame in row if frame is not None]
    return Source(
        study_uid=stack.first.study_instance_uid,
        series_uids=tuple(sorted({frame.series_instance_uid for frame in frames})),
        sop_instance_uids=np.array(
            [[frame.sop_instance_uid if frame else "" for frame in row] for row in stack.frames]
        ),
        timing=stack.timing,
        timing_guessed=stack.timing_guessed,
    )


def _fill(data: Float32Array, stack: Stack, progress: Report | None) -> None:
    """Read every image of a whole stack to its place in ``data`` (time, slice, row, column)."""
    places = [
        (t, s, frame)
        for t, row in enumerate(stack.frames)
        for s, frame in enumerate(row)
        if frame is not None
    ]
    without = sum(not frame.has_pixel_data for _, _, frame in places)
    if without:
        raise DicomReadError(f"{without} of {len(places)} images have no or too few pixel data")

    files: dict[Path, list[tuple[int, int, FrameHeader]]] = {}
    for place in places:
        files.setdefault(place[2].path, []).append(place)

    def read(of_one_file: list[tuple[int, int, FrameHeader]]) -> int:
        images = read_frames([frame for _, _, frame in of_one_file])
        for (t, s, _), image in zip(of_one_file, images, strict=True):
            data[t, s] = image
        return len(of_one_file)

    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, count in enumerate(pool.map(read, files.values()), start=1):
            done += count
            if progress is not None and (number % 16 == 0 or done == len(places)):
                progress(done / len(places))


def read_frames(headers: Sequence[FrameHeader]) -> Iterator[Float32Array]:
    """Calibrated pixels of images of one file, each of shape ``(row, column)``.

    HU for CT, where padding and anything below air become -1024; the rescaled signal otherwise.

    Raises
    ------
    DicomReadError
        The pixels cannot be had.
    NotAnalysable
        Colour, or CT images without the calibration to HU.
    """
    for header in headers:
        _refuse_uncalibrated(header)
    plain = headers[0].pixel_offset > 0 and headers[0].bits_allocated in _STORED
    stored = map(_read_plain, headers) if plain else _decode(headers)
    for header, image in zip(headers, stored, strict=True):
        if image.shape != (header.rows, header.columns):
            raise DicomReadError(
                f"pixels of shape {image.shape} where {header.rows}x{header.columns} was declared"
            )
        yield _calibrate(image, header)


def _refuse_uncalibrated(header: FrameHeader) -> None:
    if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
        raise NotAnalysable(f"colour pixels ({header.photometric}) cannot be analysed")
    if header.modality == "CT" and None in (header.rescale_slope, header.rescale_intercept):
        raise NotAnalysable("CT images without RescaleSlope and RescaleIntercept have no HU")
    if header.rescale_slope == 0:
        raise NotAnalysable("RescaleSlope is 0")


def _calibrate(stored: Stored, header: FrameHeader) -> Float32Array:
    slope = 1.0 if header.rescale_slope is None else header.rescale_slope
    values = stored.astype(np.float32)
    values *= np.float32(slope)
    values += np.float32(header.rescale_intercept or 0.0)
    if header.modality == "CT":
        np.maximum(values, AIR_HU, out=values)
        if header.pixel_padding is not None:
            low, high = header.pixel_padding
            values[(stored >= low) & (stored <= high)] = AIR_HU
    return values


def _read_plain(header: FrameHeader) -> Stored:
    """Uncompressed pixels straight from the file."""
    order = ">" if header.transfer_syntax_uid == _BIG_ENDIAN else "<"
    dtype = np.dtype(order + _STORED[header.bits_allocated])
    size = header.rows * header.columns * dtype.itemsize
    try:
        with header.path.open("rb") as file:
            file.seek(header.pixel_offset + ((header.frame or 1) - 1) * size)
            raw = file.read(size)
    except OSError as error:
        raise DicomReadError(f"the file cannot be read ({type(error).__name__})") from error
    if len(raw) < size:
        raise DicomReadError("truncated pixel data; send the image again")
    pixels = np.frombuffer(raw, dtype=dtype).reshape(header.rows, header.columns)
    return _sign_and_mask(pixels.astype(dtype.newbyteorder("=")), header)


def _sign_and_mask(pixels: Stored, header: FrameHeader) -> Stored:
    """Stored values: bits above BitsStored (overlays of old scanners) cut off, sign restored."""
    signed = np.dtype(f"i{pixels.dtype.itemsize}")
    spare = header.bits_allocated - header.bits_stored
    typed = pixels.view(signed) if header.pixel_representation else pixels
    if spare <= 0 or header.high_bit != header.bits_stored - 1:
        return typed
    cut = (typed << spare) >> spare
    if header.pixel_padding is None:
        return cut
    # padding may lie outside the stored bits: keep it recognisable
    low, high = header.pixel_padding
    return np.where((typed >= low) & (typed <= high), typed, cut)


def _decode(headers: Sequence[FrameHeader]) -> Iterator[Stored]:
    """Encoded pixels of frames of one file, by whichever decoder knows the transfer syntax."""
    indices = None if headers[0].frame is None else [(h.frame or 1) - 1 for h in headers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            deflated = headers[0].transfer_syntax_uid == DeflatedExplicitVRLittleEndian
            source = dcmread(headers[0].path) if deflated else headers[0].path
            yield from iter_pixels(source, indices=indices, raw=True)
    except (AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise DicomReadError(
            f"pixels in transfer syntax {headers[0].transfer_syntax_uid} cannot be decoded"
            f" ({type(error).__name__})"
        ) from error
