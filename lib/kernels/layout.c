#include "kernels/layout.h"

mio__shape mio__shape_of(size_t channels, size_t height, size_t width)
{
    const size_t rounded = (channels + 15) / 16 * 16;
    const size_t block = channels <= 4 ? 4 : channels <= 8 ? 8 : rounded % 64 == 0 ? 64 : rounded % 32 == 0 ? 32 : 16;
    return (mio__shape){channels, height, width, block, (channels + block - 1) / block};
}

mio__images mio__images_of(size_t views, size_t count)
{
    size_t lanes = count % 32 == 0 ? 32 : 16;
    while (lanes / 2 >= count)
        lanes /= 2;
    return (mio__images){views, count, lanes, (count + lanes - 1) / lanes, MIO__FP32};
}

mio__images mio__images_in(mio__precision precision, size_t views, size_t count)
{
    mio__images images = mio__images_of(views, count);
    images.precision = precision;
    if (precision == MIO__BF16 && images.lanes < 2)
        images.lanes = 2;
    return images;
}

size_t mio__group_size(const mio__shape *shape, const mio__images *images)
{
    return shape->blocks * shape->height * shape->width * images->lanes * shape->block;
}

size_t mio__tensor_size(const mio__shape *shape, const mio__images *images)
{
    return images->views * images->groups * mio__group_size(shape, images);
}

size_t mio__group_count(const mio__images *images, size_t group)
{
    const size_t left = images->count - group * images->lanes;
    return left < images->lanes ? left : images->lanes;
}
