/* What is random about a view. Every operation has a random stream of its own, so switching one off leaves the others'
   numbers as they are. */
#include "core/random.h"
#include "data/augment.h"

#include <math.h>

static double value_of(const mio_augment *augment, size_t parameter)
{
    return augment->settings.values[parameter];
}

static int happens(mio__random *random, double probability)
{
    return mio__random_uniform(random) < probability;
}

static double limited(double value, double limit)
{
    return value < 1 ? 1 : value > limit ? limit : value;
}

/* The middle of the image, as large as the bounds of the ratio let it be. */
static void crop_centre(const mio_augment *augment, size_t height, size_t width, mio__view *view)
{
    const double low = value_of(augment, MIO__AUGMENT_CROP_RATIO_MIN);
    const double high = value_of(augment, MIO__AUGMENT_CROP_RATIO_MAX);
    const double ratio = (double)width / (double)height;
    view->height = height;
    view->width = width;
    if (ratio < low)
        view->height = (size_t)limited(rint((double)width / low), (double)height);
    else if (ratio > high)
        view->width = (size_t)limited(rint((double)height * high), (double)width);
    view->top = (height - view->height) / 2;
    view->left = (width - view->width) / 2;
}

/* torchvision's RandomResizedCrop: ten tries of an area and a ratio, then the middle. */
static void draw_crop(const mio_augment *augment, mio__random *random, size_t height, size_t width, mio__view *view)
{
    const double area = (double)height * (double)width;
    const double low = log(value_of(augment, MIO__AUGMENT_CROP_RATIO_MIN));
    const double high = log(value_of(augment, MIO__AUGMENT_CROP_RATIO_MAX));
    for (int attempt = 0; attempt < 10; attempt++) {
        const double target = area * mio__random_between(random, value_of(augment, MIO__AUGMENT_CROP_SCALE_MIN),
                                                         value_of(augment, MIO__AUGMENT_CROP_SCALE_MAX));
        const double ratio = exp(mio__random_between(random, low, high));
        const double w = rint(sqrt(target * ratio)), h = rint(sqrt(target / ratio));
        if (w >= 1 && w <= (double)width && h >= 1 && h <= (double)height) {
            view->height = (size_t)h;
            view->width = (size_t)w;
            view->top = mio__random_below(random, height - view->height + 1);
            view->left = mio__random_below(random, width - view->width + 1);
            return;
        }
    }
    crop_centre(augment, height, width, view);
}

/* A factor around 1, never negative. */
static float draw_factor(mio__random *random, double strength)
{
    return (float)mio__random_between(random, strength < 1 ? 1 - strength : 0, 1 + strength);
}

static void draw_jitter(const mio_augment *augment, mio__random *random, mio__view *view)
{
    view->jitter = happens(random, value_of(augment, MIO__AUGMENT_JITTER_PROBABILITY));
    view->factor[MIO__JITTER_BRIGHTNESS] = draw_factor(random, value_of(augment, MIO__AUGMENT_BRIGHTNESS));
    view->factor[MIO__JITTER_CONTRAST] = draw_factor(random, value_of(augment, MIO__AUGMENT_CONTRAST));
    view->factor[MIO__JITTER_SATURATION] = draw_factor(random, value_of(augment, MIO__AUGMENT_SATURATION));
    const double hue = value_of(augment, MIO__AUGMENT_HUE);
    view->factor[MIO__JITTER_HUE] = (float)mio__random_between(random, -hue, hue);
    size_t order[MIO__JITTERS];
    mio__random_permutation(random, MIO__JITTERS, order);
    const int fixed = value_of(augment, MIO__AUGMENT_JITTER_ORDER) != 0;
    for (size_t i = 0; i < MIO__JITTERS; i++)
        view->order[i] = (unsigned char)(fixed ? i : order[i]);
}

void mio__augment_draw(const mio_augment *augment, uint64_t seed, uint64_t epoch, uint64_t image, uint64_t index,
                       size_t height, size_t width, mio__view *view)
{
    mio__random random;
    mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_FLIP);
    view->flip = happens(&random, value_of(augment, MIO__AUGMENT_FLIP_PROBABILITY));

    view->top = view->left = 0;
    view->height = height;
    view->width = width;
    if (value_of(augment, MIO__AUGMENT_CROP) != 0) {
        mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_CROP);
        draw_crop(augment, &random, height, width, view);
    }
    mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_JITTER);
    draw_jitter(augment, &random, view);
    mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_GREY);
    view->grey = happens(&random, value_of(augment, MIO__AUGMENT_GREY_PROBABILITY));
    mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_BLUR);
    view->blur = happens(&random, value_of(augment, MIO__AUGMENT_BLUR_PROBABILITY));
    view->sigma = mio__random_between(&random, value_of(augment, MIO__AUGMENT_BLUR_SIGMA_MIN),
                                      value_of(augment, MIO__AUGMENT_BLUR_SIGMA_MAX));
    mio__random_start(&random, seed, epoch, image, index, MIO__PURPOSE_SOLARIZE);
    view->solarize = happens(&random, value_of(augment, MIO__AUGMENT_SOLARIZE_PROBABILITY));
}
