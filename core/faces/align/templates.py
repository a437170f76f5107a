"""Where the five landmarks of a face (`found.Landmark`) belong in the chips that descriptors were trained on."""

Points = tuple[tuple[float, float], ...]

# InsightFace's template for 112 x 112 pixels, which ArcFace and AdaFace share.
ARCFACE_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

# facexlib's template for 512 x 512 pixels, of the whole head.
HEAD_TEMPLATE = (
    (192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
    (313.08905, 371.15118),
)  # fmt: skip
HEAD_SIDE = 512


def arcface_template(size: int) -> Points:
    """ARCFACE_TEMPLATE for chips of size x size pixels, as InsightFace's `estimate_norm` scales it.

    Multiples of 112 show the same piece of the face; multiples of 128 that are none of 112 show a seventh more, with 8
    pixels of 128 more on the left and right and 16 more below. Raises ValueError for any other size.
    """
    if size <= 0 or (size % 112 and size % 128):
        raise ValueError(f"ArcFace's template is for chips of a multiple of 112 or 128 pixels, but {size} was asked.")
    ratio, right = (size / 112, 0) if size % 112 == 0 else (size / 128, 8)
    return tuple(((x + right) * ratio, y * ratio) for x, y in ARCFACE_TEMPLATE)


# Where dlib's get_face_chip_details (padding 0.25) puts the mean of its 68-point training shapes in a 150 x 150 chip:
# pixel = (position + 0.25) / 1.5 * 150, with the eyes as the mean of points 36-41 and 42-47, the nose tip as point 30,
# the mouth corners as points 48 and 54.
DLIB_TEMPLATE = ((47.549, 46.599), (100.476, 46.599), (74.013, 76.562), (50.415, 103.023), (97.61, 103.023))
DLIB_SIDE = 150


def dlib_template(size: int) -> Points:
    """DLIB_TEMPLATE for chips of size x size pixels."""
    return tuple((x * size / DLIB_SIDE, y * size / DLIB_SIDE) for x, y in DLIB_TEMPLATE)
