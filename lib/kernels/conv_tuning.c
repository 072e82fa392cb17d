#include "kernels/conv_tuning.h"

#include "kernels/target.h"

#include <stdio.h>
#include <string.h>

void mio__tuning_free(mio__tuning *tuning)
{
    if (tuning->context)
        mio__free(tuning->context, tuning->rows);
    *tuning = (mio__tuning){.context = tuning->context};
}

static mio_status reserve(mio__tuning *tuning, size_t rows)
{
    return mio__grow(tuning->context, (void **)&tuning->rows, &tuning->capacity, tuning->count, rows,
                     sizeof *tuning->rows);
}

mio_status mio__tuning_copy(const mio__tuning *tuning, mio__tuning *copy)
{
    *copy = (mio__tuning){.context = tuning->context};
    const mio_status status = tuning->count ? reserve(copy, tuning->count) : MIO_OK;
    if (!status && tuning->count) {
        memcpy(copy->rows, tuning->rows, tuning->count * sizeof *copy->rows);
        copy->count = tuning->count;
    }
    return status;
}

/* The row's place; the number of rows if it is not there. */
static size_t find(const mio__tuning *tuning, const mio__tuning_key *key, const char *target)
{
    size_t i = 0;
    for (; i < tuning->count; i++) {
        const mio__tuning_row *row = &tuning->rows[i];
        if (row->key.pass == key->pass && row->key.precision == key->precision &&
            !memcmp(row->key.numbers, key->numbers, sizeof key->numbers) && !strcmp(row->target, target))
            break;
    }
    return i;
}

mio_status mio__tuning_put(mio__tuning *tuning, const mio__tuning_row *row)
{
    const size_t place = find(tuning, &row->key, row->target);
    const mio_status status = reserve(tuning, place + 1);
    if (status)
        return status;
    tuning->rows[place] = *row;
    tuning->count += place == tuning->count;
    return MIO_OK;
}

static uint32_t images_of(const mio__images *images, int pass)
{
    if (pass == MIO__INFERENCE)
        return images->lanes < 16 ? (uint32_t)images->lanes : 32;
    return (uint32_t)(images->views * images->groups * images->lanes);
}

mio__tuning_key mio__tuning_key_of(const mio__conv_geometry *geometry, int pass)
{
    return (mio__tuning_key){pass,
                             geometry->images.precision,
                             {
                                 [MIO__TUNED_IMAGES] = images_of(&geometry->images, pass),
                                 [MIO__TUNED_IN] = (uint32_t)geometry->input.channels,
                                 [MIO__TUNED_OUT] = (uint32_t)geometry->output.channels,
                                 [MIO__TUNED_HEIGHT] = (uint32_t)geometry->input.height,
                                 [MIO__TUNED_WIDTH] = (uint32_t)geometry->input.width,
                                 [MIO__TUNED_KERNEL] = (uint32_t)geometry->kernel,
                                 [MIO__TUNED_STRIDE] = (uint32_t)geometry->stride,
                                 [MIO__TUNED_PADDING] = (uint32_t)geometry->padding,
                             }};
}

const mio__tuning_row *mio__tuning_find(const mio__tuning *tuning, const mio__tuning_key *key)
{
    const size_t place = find(tuning, key, mio__target_name());
    return place < tuning->count ? &tuning->rows[place] : NULL;
}

mio__conv_choice mio__tuning_choose(const mio__tuning *tuning, const mio__conv_geometry *geometry,
                                    mio__conv_algorithm algorithm, int training, int *tuned)
{
    mio__conv_choice choice = mio__conv_choose(geometry, algorithm, training);
    int followed = 0;
    for (int pass = MIO__FORWARD; pass < (training ? MIO__PASSES : MIO__BACKWARD_DATA); pass++) {
        const mio__tuning_key key = mio__tuning_key_of(geometry, training ? pass : MIO__INFERENCE);
        const mio__tuning_row *row = mio__tuning_find(tuning, &key);
        if (!row || !mio__conv_permits(geometry, algorithm, row->method))
            continue;
        choice.of[pass] = row->method;
        followed++;
    }
    if (tuned)
        *tuned = followed;
    return choice;
}
