/* Tables of choices as text:

       libmio tuning 1
       # comments, and lines without words
       PASS PRECISION TARGET IMAGES IN OUT HEIGHT WIDTH KERNEL STRIDE PADDING METHOD METHOD=MICROSECONDS ...

   one row a line, words apart by spaces or tabs. The times are for people: nothing depends on them. */
#include "kernels/conv_tuning.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 1, ROW_ROOM = 320, HEAD_ROOM = 320, WORD_ROOM = 40 };

static const char *const passes[MIO__TUNED_PASSES] = {"forward", "data", "weights", "infer"};
static const char *const precisions[] = {"fp32", "bf16"};
static const char *const numbers[MIO__TUNED_NUMBERS] = {"images", "in",     "out",    "height",
                                                        "width",  "kernel", "stride", "padding"};

/* ---- printing ---- */

static size_t print_head(char *text, size_t room)
{
    return (size_t)snprintf(
        text, room,
        "libmio tuning %d\n"
        "# Which algorithm computes which pass of which convolution, and the microseconds each took.\n"
        "# pass precision target images in out height width kernel stride padding algorithm\n",
        VERSION);
}

static size_t print_row(const mio__tuning_row *row, char *text, size_t room)
{
    size_t at =
        (size_t)snprintf(text, room, "%-7s %s %s", passes[row->key.pass], precisions[row->key.precision], row->target);
    for (size_t i = 0; i < MIO__TUNED_NUMBERS; i++)
        at += (size_t)snprintf(text + at, room - at, " %u", (unsigned)row->key.numbers[i]);
    at += (size_t)snprintf(text + at, room - at, " %s", mio__conv_method_name(row->method));
    for (int m = 0; m < MIO__METHODS; m++)
        if (row->microseconds[m])
            at += (size_t)snprintf(text + at, room - at, " %s=%u", mio__conv_method_name((mio__conv_method)m),
                                   (unsigned)row->microseconds[m]);
    return at + (size_t)snprintf(text + at, room - at, "\n");
}

mio_status mio__tuning_print(const mio__tuning *tuning, char **text, size_t *length)
{
    const size_t room = HEAD_ROOM + tuning->count * ROW_ROOM;
    char *made = mio__alloc(tuning->context, room);
    if (!made)
        return MIO_ERROR_MEMORY;
    size_t at = print_head(made, room);
    for (size_t i = 0; i < tuning->count; i++)
        at += print_row(&tuning->rows[i], made + at, room - at);
    *text = made;
    *length = at;
    return MIO_OK;
}

/* ---- parsing ---- */

/* Where the reader is. */
typedef struct reader {
    const char *source;
    size_t line;
    const char *next, *end; /* of the line */
    char word[WORD_ROOM];   /* the last one, cut where it is longer */
} reader;

__attribute__((format(printf, 2, 3))) static mio_status refuse(const reader *r, const char *format, ...)
{
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    return mio__fail(MIO_ERROR_FORMAT, "%s, line %zu: %s", r->source, r->line, words);
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes the next word of the line; 0 at its end. */
static int next_word(reader *r)
{
    size_t length = 0;
    while (r->next < r->end && is_space(*r->next))
        r->next++;
    for (; r->next < r->end && !is_space(*r->next); r->next++)
        if (length + 1 < sizeof r->word)
            r->word[length++] = *r->next >= ' ' && *r->next <= '~' ? *r->next : '?';
    r->word[length] = 0;
    return length != 0;
}

/* A number of digits alone, at most nine. */
static int read_number(const char *word, uint32_t *number)
{
    const size_t length = strspn(word, "0123456789");
    *number = 0;
    if (!length || length > 9 || word[length])
        return 0;
    for (size_t i = 0; i < length; i++)
        *number = *number * 10 + (uint32_t)(word[i] - '0');
    return 1;
}

/* Place of the next word in a list of names. */
static mio_status read_name(reader *r, const char *what, size_t count, const char *const *names, int *place)
{
    if (!next_word(r))
        return refuse(r, "the line ends before the %s", what);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(names[i], r->word)) {
            *place = (int)i;
            return MIO_OK;
        }
    return refuse(r, "there is no %s '%s'", what, r->word);
}

static mio_status read_method(reader *r, const char *what, int *method)
{
    const char *names[MIO__METHODS];
    for (int m = 0; m < MIO__METHODS; m++)
        names[m] = mio__conv_method_name((mio__conv_method)m);
    return read_name(r, what, MIO__METHODS, names, method);
}

static mio_status read_key(reader *r, mio__tuning_row *row)
{
    int precision = 0;
    mio_status status = read_name(r, "pass", MIO__TUNED_PASSES, passes, &row->key.pass);
    if (!status)
        status = read_name(r, "precision", sizeof precisions / sizeof *precisions, precisions, &precision);
    if (status)
        return status;
    row->key.precision = (mio__precision)precision;
    if (!next_word(r))
        return refuse(r, "the line ends before the target");
    if (strlen(r->word) >= sizeof row->target)
        return refuse(r, "the target '%s' has more than %d letters", r->word, MIO__TARGET_NAME - 1);
    strcpy(row->target, r->word);
    for (size_t i = 0; i < MIO__TUNED_NUMBERS; i++) {
        if (!next_word(r))
            return refuse(r, "the line ends before the number '%s'", numbers[i]);
        if (!read_number(r->word, &row->key.numbers[i]))
            return refuse(r, "'%s' is no number for '%s'", r->word, numbers[i]);
        if (!row->key.numbers[i] && i != MIO__TUNED_PADDING)
            return refuse(r, "'%s' is 0", numbers[i]);
    }
    return MIO_OK;
}

/* The rest of the line: METHOD=MICROSECONDS. */
static mio_status read_times(reader *r, mio__tuning_row *row)
{
    while (next_word(r)) {
        char *value = strchr(r->word, '=');
        int method = 0;
        if (!value)
            return refuse(r, "'%s' is no time; times are like 'direct=1200'", r->word);
        for (*value++ = 0; method < MIO__METHODS; method++)
            if (!strcmp(mio__conv_method_name((mio__conv_method)method), r->word))
                break;
        if (method == MIO__METHODS)
            return refuse(r, "there is no algorithm '%s' to have a time", r->word);
        if (!read_number(value, &row->microseconds[method]))
            return refuse(r, "'%s' is no number of microseconds", value);
    }
    return MIO_OK;
}

/* Can the method compute it at all? */
static mio_status check_row(const reader *r, const mio__tuning_row *row)
{
    const uint32_t *n = row->key.numbers;
    const size_t kernel = n[MIO__TUNED_KERNEL], stride = n[MIO__TUNED_STRIDE], padding = n[MIO__TUNED_PADDING];
    const size_t height = mio__conv_extent(n[MIO__TUNED_HEIGHT], kernel, stride, padding);
    const size_t width = mio__conv_extent(n[MIO__TUNED_WIDTH], kernel, stride, padding);
    if (!height || !width)
        return refuse(r, "a kernel of %zu does not fit into %u x %u with a padding of %zu", kernel,
                      (unsigned)n[MIO__TUNED_HEIGHT], (unsigned)n[MIO__TUNED_WIDTH], padding);
    const mio__conv_geometry geometry = {mio__shape_of(n[MIO__TUNED_IN], n[MIO__TUNED_HEIGHT], n[MIO__TUNED_WIDTH]),
                                         mio__shape_of(n[MIO__TUNED_OUT], height, width),
                                         kernel,
                                         stride,
                                         padding,
                                         {1, n[MIO__TUNED_IMAGES], 1, n[MIO__TUNED_IMAGES], row->key.precision}};
    if (!mio__conv_permits(&geometry, MIO__CONV_FAST, row->method))
        return refuse(r, "'%s' cannot compute this convolution", mio__conv_method_name(row->method));
    return MIO_OK;
}

static mio_status read_row(reader *r, mio__tuning *tuning)
{
    mio__tuning_row row = {0};
    int method = 0;
    mio_status status = read_key(r, &row);
    if (!status)
        status = read_method(r, "algorithm", &method);
    row.method = (mio__conv_method)method;
    if (!status)
        status = read_times(r, &row);
    if (!status)
        status = check_row(r, &row);
    const size_t before = tuning->count;
    if (!status)
        status = mio__tuning_put(tuning, &row);
    if (!status && tuning->count == before)
        status = refuse(r, "an earlier line chooses for the same pass and convolution");
    return status;
}

static mio_status read_head(reader *r)
{
    uint32_t version = 0;
    if (!next_word(r) || strcmp(r->word, "libmio") || !next_word(r) || strcmp(r->word, "tuning") || !next_word(r) ||
        !read_number(r->word, &version) || next_word(r))
        return refuse(r, "a table of choices begins with the line 'libmio tuning %d'", VERSION);
    if (version != VERSION)
        return refuse(r, "the table has version %u; this build reads version %d: use a newer libmio", (unsigned)version,
                      VERSION);
    return MIO_OK;
}

mio_status mio__tuning_parse(mio_context *context, const char *source, size_t length, const char *text,
                             mio__tuning *tuning)
{
    reader r = {.source = source};
    const char *next = text, *end = text + length;
    mio_status status = MIO_OK;
    *tuning = (mio__tuning){.context = context};
    do {
        const char *stop = next < end ? memchr(next, '\n', (size_t)(end - next)) : NULL;
        r.line++;
        r.next = next;
        r.end = stop ? stop : end;
        next = stop ? stop + 1 : end;
        if (r.line == 1) {
            status = read_head(&r);
            continue;
        }
        const char *begin = r.next;
        const int words = next_word(&r) && *r.word != '#';
        r.next = begin;
        if (words)
            status = read_row(&r, tuning);
    } while (!status && next < end);
    if (status)
        mio__tuning_free(tuning);
    return status;
}
