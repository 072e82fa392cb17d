#include "data/augment.h"

#include <math.h>
#include <string.h>

static const char *const jitter_orders[] = {"random", "fixed", NULL};

/* The initial values are those of preset "none". */
static const mio__parameter parameters[MIO__AUGMENT_PARAMETERS] = {
    [MIO__AUGMENT_CROP] = {"crop", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL,
                           "random resized crop; off, the whole image is resized to the view", ""},
    [MIO__AUGMENT_CROP_SCALE_MIN] = {"crop_scale_min", MIO_PARAMETER_REAL, 0.8, 0, 1, 1, 0, NULL,
                                     "smallest area of a crop", "of the image's area"},
    [MIO__AUGMENT_CROP_SCALE_MAX] = {"crop_scale_max", MIO_PARAMETER_REAL, 1, 0, 1, 1, 0, NULL,
                                     "largest area of a crop", "of the image's area"},
    [MIO__AUGMENT_CROP_RATIO_MIN] = {"crop_ratio_min", MIO_PARAMETER_REAL, 3.0 / 4, 0.001, 1000, 0, 0, NULL,
                                     "smallest width of a crop over its height; drawn log-uniformly", ""},
    [MIO__AUGMENT_CROP_RATIO_MAX] = {"crop_ratio_max", MIO_PARAMETER_REAL, 4.0 / 3, 0.001, 1000, 0, 0, NULL,
                                     "largest width of a crop over its height", ""},
    [MIO__AUGMENT_ANTIALIAS] = {"antialias", MIO_PARAMETER_BOOLEAN, 0, 0, 1, 0, 0, NULL, "smooth while reducing", ""},
    [MIO__AUGMENT_FLIP_PROBABILITY] = {"flip_probability", MIO_PARAMETER_REAL, 0, 0, 1, 0, 0, NULL,
                                       "chance of a horizontal flip", ""},
    [MIO__AUGMENT_JITTER_PROBABILITY] = {"jitter_probability", MIO_PARAMETER_REAL, 0, 0, 1, 0, 0, NULL,
                                         "chance of colour jitter", ""},
    [MIO__AUGMENT_BRIGHTNESS] = {"brightness", MIO_PARAMETER_REAL, 0, 0, 100, 0, 0, NULL,
                                 "brightness factor within 1 -+ this, never below 0", ""},
    [MIO__AUGMENT_CONTRAST] = {"contrast", MIO_PARAMETER_REAL, 0, 0, 100, 0, 0, NULL,
                               "contrast factor within 1 -+ this, never below 0", ""},
    [MIO__AUGMENT_SATURATION] = {"saturation", MIO_PARAMETER_REAL, 0, 0, 100, 0, 0, NULL,
                                 "saturation factor within 1 -+ this, never below 0; no effect on one channel", ""},
    [MIO__AUGMENT_HUE] = {"hue", MIO_PARAMETER_REAL, 0, 0, 0.5, 0, 0, NULL,
                          "hue shift within -+ this; no effect on one channel", "turns of the colour circle"},
    [MIO__AUGMENT_JITTER_ORDER] = {"jitter_order", MIO_PARAMETER_CHOICE, 0, 0, 0, 0, 0, jitter_orders,
                                   "order of the jitter: random, or brightness, contrast, saturation, hue", ""},
    [MIO__AUGMENT_GREY_PROBABILITY] = {"grey_probability", MIO_PARAMETER_REAL, 0, 0, 1, 0, 0, NULL,
                                       "chance of losing all colour; no effect on one channel", ""},
    [MIO__AUGMENT_BLUR_PROBABILITY] = {"blur_probability", MIO_PARAMETER_REAL, 0, 0, 1, 0, 0, NULL,
                                       "chance of a Gaussian blur", ""},
    [MIO__AUGMENT_BLUR_SIGMA_MIN] = {"blur_sigma_min", MIO_PARAMETER_REAL, 0.1, 0.001, 1000, 0, 0, NULL,
                                     "smallest sigma of the blur", "pixels"},
    [MIO__AUGMENT_BLUR_SIGMA_MAX] = {"blur_sigma_max", MIO_PARAMETER_REAL, 2, 0.001, 1000, 0, 0, NULL,
                                     "largest sigma of the blur", "pixels"},
    [MIO__AUGMENT_BLUR_KERNEL] = {"blur_kernel", MIO_PARAMETER_INTEGER, 0, 0, 511, 0, 0, NULL,
                                  "size of the blur kernel, an even one counts as the next odd; 0: a tenth of the view",
                                  "pixels"},
    [MIO__AUGMENT_SOLARIZE_PROBABILITY] = {"solarize_probability", MIO_PARAMETER_REAL, 0, 0, 1, 0, 0, NULL,
                                           "chance of inverting what is bright", ""},
    [MIO__AUGMENT_SOLARIZE_THRESHOLD] = {"solarize_threshold", MIO_PARAMETER_REAL, 0.5, 0, 1, 0, 0, NULL,
                                         "what counts as bright", ""},
};

/* ---- presets ---- */

typedef struct preset {
    const char *name;
    double crop_scale_min; /* 0: no crop */
    double flip, jitter, brightness, contrast, saturation, hue;
    int fixed_order;
    double grey, blur, solarize;
    double small_jitter; /* factor of the jitter's strengths for views of at most SMALL pixels */
} preset;

/* Blur and solarisation are left out for views whose shorter side is at most this: they would destroy them. */
enum { SMALL = 32 };

static const preset presets[] = {
    {.name = "none"},
    /* The authors' recipe. */
    {"mio-paper", 0.8, 0.5, 0.8, 0.4, 0.4, 0.4, 0.1, 0, 0.2, 0.5, 0.2, 1},
    /* The reference runs of the authors' loss with stronger crops. */
    {"mio-reference", 0.2, 0.5, 0.8, 0.4, 0.4, 0.4, 0, 1, 0.2, 0, 0, 1},
    /* Ours, for small encoders on few cores. */
    {"mio-small", 0.2, 0.5, 0.8, 0.4, 0.4, 0.4, 0.1, 0, 0.2, 0, 0, 1},
    /* google-research/simclr: strength 1 with blur; its CIFAR command has strength 0.5 without. */
    {"simclr", 0.08, 0.5, 0.8, 0.8, 0.8, 0.8, 0.2, 0, 0.2, 0.5, 0, 0.5},
    /* For images without colour. */
    {"grey", 0.2, 0.5, 0.8, 0.4, 0.4, 0, 0, 0, 0, 0, 0, 1},
};
enum { PRESETS = sizeof presets / sizeof *presets };

const char *mio_augment_name_at(size_t index)
{
    return index < PRESETS ? presets[index].name : NULL;
}

static const preset *find_preset(const char *name)
{
    const size_t place = mio__find_name("augmentation preset", name, mio_augment_name_at);
    return place == MIO__NO_NAME ? NULL : &presets[place];
}

/* Makes the preset's values the defaults of the object's own table, and its values. */
static void take_preset(mio_augment *augment, const preset *chosen)
{
    memcpy(augment->table, parameters, sizeof parameters);
    mio__parameter *table = augment->table;
    const int small = (augment->height < augment->width ? augment->height : augment->width) <= SMALL;
    const double strength = small ? chosen->small_jitter : 1;
    table[MIO__AUGMENT_CROP].initial = chosen->crop_scale_min > 0;
    if (chosen->crop_scale_min > 0)
        table[MIO__AUGMENT_CROP_SCALE_MIN].initial = chosen->crop_scale_min;
    table[MIO__AUGMENT_FLIP_PROBABILITY].initial = chosen->flip;
    table[MIO__AUGMENT_JITTER_PROBABILITY].initial = chosen->jitter;
    table[MIO__AUGMENT_BRIGHTNESS].initial = strength * chosen->brightness;
    table[MIO__AUGMENT_CONTRAST].initial = strength * chosen->contrast;
    table[MIO__AUGMENT_SATURATION].initial = strength * chosen->saturation;
    table[MIO__AUGMENT_HUE].initial = strength * chosen->hue;
    table[MIO__AUGMENT_JITTER_ORDER].initial = chosen->fixed_order;
    table[MIO__AUGMENT_GREY_PROBABILITY].initial = chosen->grey;
    table[MIO__AUGMENT_BLUR_PROBABILITY].initial = small ? 0 : chosen->blur;
    table[MIO__AUGMENT_SOLARIZE_PROBABILITY].initial = small ? 0 : chosen->solarize;
    mio__settings_init(&augment->settings, "augment", chosen->name, table, MIO__AUGMENT_PARAMETERS);
}

/* ---- the object ---- */

MIO__DEFINE_SETTINGS_FUNCTIONS(augment)

static void destroy(mio_augment *augment)
{
    mio_context *context = augment->context;
    mio__free(context, augment->scale);
    mio__free(context, augment->shift);
    mio__free(context, augment);
    mio_context_release(context);
}

mio_status mio_augment_create(mio_context *context, const char *name, size_t height, size_t width, size_t channels,
                              mio_augment **augment)
{
    if (!context || !augment)
        return mio__fail(MIO_ERROR_ARGUMENT, "mio_augment_create needs a context and a place for the augment");
    const preset *chosen = find_preset(name);
    if (!chosen)
        return MIO_ERROR_ARGUMENT;
    if (height < 1 || height > 16384 || width < 1 || width > 16384 || channels < 1 || channels > 1024)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "views of %zu x %zu x %zu cannot be; height and width take 1 to 16384, channels 1 to 1024",
                         height, width, channels);
    mio_augment *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->height = height;
    made->width = width;
    made->channels = channels;
    take_preset(made, chosen);
    made->scale = mio__alloc(context, channels * sizeof(float));
    made->shift = made->scale ? mio__alloc_zeroed(context, channels, sizeof(float)) : NULL;
    if (!made->shift) {
        destroy(made);
        return MIO_ERROR_MEMORY;
    }
    for (size_t c = 0; c < channels; c++)
        made->scale[c] = 1;
    *augment = made;
    return MIO_OK;
}

mio_augment *mio_augment_retain(mio_augment *augment)
{
    if (augment)
        mio__references_take(&augment->references);
    return augment;
}

void mio_augment_release(mio_augment *augment)
{
    if (augment && mio__references_drop(&augment->references))
        destroy(augment);
}

mio_status mio_augment_set_normalization(mio_augment *augment, size_t channels, const double *mean,
                                         const double *deviation)
{
    if (!augment)
        return mio__settings_null("augment");
    if (channels != augment->channels || !mean || !deviation)
        return mio__fail(MIO_ERROR_ARGUMENT, "the normalisation needs mean and deviation of %zu channels, not of %zu",
                         augment->channels, channels);
    for (size_t c = 0; c < channels; c++)
        if (!isfinite(mean[c]) || !isfinite(deviation[c]) || deviation[c] <= 0)
            return mio__fail(MIO_ERROR_ARGUMENT,
                             "mean %g and deviation %g of channel %zu: they must be finite, the deviation above 0",
                             mean[c], deviation[c], c);
    for (size_t c = 0; c < channels; c++) {
        augment->scale[c] = (float)(1 / deviation[c]);
        augment->shift[c] = (float)(-mean[c] / deviation[c]);
    }
    return MIO_OK;
}

/* ---- views ---- */

static double value_of(const mio_augment *augment, size_t parameter)
{
    return augment->settings.values[parameter];
}

static mio_status check_range(const mio_augment *augment, size_t low, size_t high)
{
    if (value_of(augment, low) <= value_of(augment, high))
        return MIO_OK;
    return mio__fail(MIO_ERROR_ARGUMENT, "augment '%s': %s is %g, above %s, which is %g", augment->settings.name,
                     augment->table[low].name, value_of(augment, low), augment->table[high].name,
                     value_of(augment, high));
}

static int changes_colour(const mio_augment *augment)
{
    const int jitter = value_of(augment, MIO__AUGMENT_BRIGHTNESS) > 0 || value_of(augment, MIO__AUGMENT_CONTRAST) > 0 ||
                       value_of(augment, MIO__AUGMENT_SATURATION) > 0 || value_of(augment, MIO__AUGMENT_HUE) > 0;
    return value_of(augment, MIO__AUGMENT_GREY_PROBABILITY) > 0 ||
           (jitter && value_of(augment, MIO__AUGMENT_JITTER_PROBABILITY) > 0);
}

mio_status mio__augment_check(const mio_augment *augment)
{
    mio_status status = check_range(augment, MIO__AUGMENT_CROP_SCALE_MIN, MIO__AUGMENT_CROP_SCALE_MAX);
    if (!status)
        status = check_range(augment, MIO__AUGMENT_CROP_RATIO_MIN, MIO__AUGMENT_CROP_RATIO_MAX);
    if (!status)
        status = check_range(augment, MIO__AUGMENT_BLUR_SIGMA_MIN, MIO__AUGMENT_BLUR_SIGMA_MAX);
    if (!status && augment->channels != 1 && augment->channels != 3 && changes_colour(augment))
        status = mio__fail(MIO_ERROR_ARGUMENT,
                           "augment '%s' changes colours, which %zu channels do not have; set jitter_probability and "
                           "grey_probability to 0, or take the preset 'none'",
                           augment->settings.name, augment->channels);
    return status;
}

static size_t blur_kernel(const mio_augment *augment)
{
    const size_t given = (size_t)value_of(augment, MIO__AUGMENT_BLUR_KERNEL);
    const size_t side = augment->height < augment->width ? augment->height : augment->width;
    return (given ? given : side / 10) | 1;
}

size_t mio__augment_scratch_size(const mio_augment *augment, size_t source_width)
{
    mio__picture picture;
    return mio__picture_lay_out(&picture, augment->channels, augment->height, augment->width, source_width,
                                blur_kernel(augment), NULL);
}

/* Jitter of strength 0 is left out, as torchvision leaves it out, and so is colour on a single channel. */
static void jitter(const mio_augment *augment, const mio__view *view, mio__picture *picture)
{
    const int coloured = augment->channels == 3;
    for (size_t i = 0; i < MIO__JITTERS; i++) {
        const unsigned operation = view->order[i];
        const float factor = view->factor[operation];
        if (operation == MIO__JITTER_BRIGHTNESS && value_of(augment, MIO__AUGMENT_BRIGHTNESS) > 0)
            mio__picture_brightness(picture, factor);
        else if (operation == MIO__JITTER_CONTRAST && value_of(augment, MIO__AUGMENT_CONTRAST) > 0)
            mio__picture_contrast(picture, factor);
        else if (operation == MIO__JITTER_SATURATION && coloured && value_of(augment, MIO__AUGMENT_SATURATION) > 0)
            mio__picture_saturation(picture, factor);
        else if (operation == MIO__JITTER_HUE && coloured && value_of(augment, MIO__AUGMENT_HUE) > 0)
            mio__picture_hue(picture, factor);
    }
}

static void render(const mio_augment *augment, const mio__view *view, mio__pixels source, void *scratch, float *out)
{
    mio__picture picture;
    mio__picture_lay_out(&picture, augment->channels, augment->height, augment->width, source.width,
                         blur_kernel(augment), scratch);
    if (value_of(augment, MIO__AUGMENT_ANTIALIAS) != 0)
        mio__picture_crop_antialias(&picture, source, view->top, view->left, view->height, view->width, view->flip);
    else
        mio__picture_crop(&picture, source, view->top, view->left, view->height, view->width, view->flip);
    if (view->jitter)
        jitter(augment, view, &picture);
    if (view->grey && augment->channels == 3)
        mio__picture_grey(&picture);
    if (view->blur)
        mio__picture_blur(&picture, blur_kernel(augment), view->sigma);
    if (view->solarize)
        mio__picture_solarize(&picture, (float)value_of(augment, MIO__AUGMENT_SOLARIZE_THRESHOLD));
    mio__picture_write(&picture, augment->scale, augment->shift, out);
}

void mio__augment_run(const mio_augment *augment, void *scratch, uint64_t seed, uint64_t epoch, uint64_t image,
                      uint64_t index, mio__pixels source, float *out)
{
    mio__view view;
    mio__augment_draw(augment, seed, epoch, image, index, source.height, source.width, &view);
    render(augment, &view, source, scratch, out);
}

mio_status mio_augment_apply(const mio_augment *augment, uint64_t seed, uint64_t epoch, uint64_t image,
                             uint64_t view_index, size_t height, size_t width, size_t row_stride, const uint8_t *pixels,
                             float *view)
{
    if (!augment)
        return mio__settings_null("augment");
    if (!pixels || !view)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s is NULL", pixels ? "the place for the view" : "the image");
    if (!height || !width || height > UINT32_MAX || width > UINT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "an image of %zu x %zu cannot be; both take 1 to 4294967295", height,
                         width);
    if (row_stride && row_stride < width * augment->channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "row_stride is %zu, less than a row of %zu x %zu bytes; 0 means packed",
                         row_stride, width, augment->channels);
    if (epoch > UINT32_MAX || image > UINT32_MAX || view_index > UINT16_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "epoch and image must be below 2^32, the view below 2^16");
    const mio_status status = mio__augment_check(augment);
    if (status)
        return status;
    void *scratch = mio__alloc(augment->context, mio__augment_scratch_size(augment, width));
    if (!scratch)
        return MIO_ERROR_MEMORY;
    const mio__pixels source = {pixels, height, width, row_stride ? row_stride : width * augment->channels};
    mio__augment_run(augment, scratch, seed, epoch, image, view_index, source, view);
    mio__free(augment->context, scratch);
    return MIO_OK;
}
