/* A spiking network. Written by stars-snn VERSION; see README.md.

   C99 without heap, floating point or undefined behavior. A layer adds the weights of
   the spikes that arrive, then each neuron, in steps of 1/64 of its unit:

       u = wrap(trunc(u (2^i - 1) / 2^i) + 64 sum)
       v = clip(trunc(v (2^j - 1) / 2^j) + u + bias)
       spike = v > threshold, and then v = 0

   u wraps at +-2^23 and v is clipped to +-(2^23 - 1), as on Loihi. */
#include "network.h"

#include <stddef.h>
#include <string.h>

#define WRAP 8388608
#define LIMIT 8388607
#define TAPS 1 /* of the largest kernel along one axis */
#define BLOCK 16 /* values that compilers turn into vectors */
#define CHUNK 64 /* channels that are searched for spikes together */

/* One axis of a convolution; the last three count values per pixel, place and tap. */
struct axis {
    int32_t pixels, places, taps, stride, padding, dilation, repeat;
    int32_t step, to, from;
};

/* A convolution, or a matrix as a convolution of one pixel. */
struct link {
    const int8_t *weights;
    int32_t channels, group, count, step, width;
    int16_t scale;
    int8_t merged, groups, four; /* four: 1 for spikes, 2 for graded values */
    struct axis y, x;
};

/* The neurons of a layer; neuron n has bias[n % period]. */
struct neurons {
    const int32_t *bias;
    int32_t size, period, decay, current_decay, threshold;
    int16_t scale;
};

/* Values of the weights that meet places of the target. */
struct run {
    int32_t to, from, length;
};

static const int8_t link_0_0_weights[6] = {
    4, 12, 0, 8, -16, 2
};

static const int8_t link_1_0_weights[6] = {
    1, 0, -1, 3, 2, 1
};

static const int32_t bias_0[3] = {
    64, 0, 0
};

static const int32_t bias_1[2] = {
    0, 64
};

static const struct link link_0_0 = {
    link_0_0_weights, 2, 2, 3, 1, 3, 1, 1, 0, 1,
    {1, 1, 1, 1, 0, 1, 1, 2, 3, 3},
    {1, 1, 1, 1, 0, 1, 1, 2, 3, 3}};

static const struct link link_1_0 = {
    link_1_0_weights, 3, 3, 2, 1, 2, 1, 1, 0, 1,
    {1, 1, 1, 1, 0, 1, 1, 3, 2, 2},
    {1, 1, 1, 1, 0, 1, 1, 3, 2, 2}};

static const struct neurons neurons_0 = {
    bias_0, 3, 3, 1,
    0, 512, 64};

static const struct neurons neurons_1 = {
    bias_1, 2, 2, 31,
    0, INT32_MAX, 64};

static int32_t runs_at(
    const struct axis *axis, int32_t pixel, int32_t length, struct run *runs)
{
    int32_t count = 0;
    for (int32_t tap = 0; tap < axis->taps; tap++) {
        int32_t place = pixel + axis->padding - tap * axis->dilation;
        if (place < 0)
            break;
        if (axis->stride > 1) {
            if (place % axis->stride != 0)
                continue;
            place /= axis->stride;
        }
        if (place >= axis->places)
            continue;
        runs[count].to = place * axis->to;
        runs[count].from = (axis->repeat > 1 ? tap / axis->repeat : tap) * axis->from;
        runs[count].length = length;
        count++;
    }
    return count;
}

/* Taps and places that follow each other, as one run; the weights are mirrored. */
static int32_t merged_run(
    const struct axis *axis, int32_t pixel, int32_t length, struct run *runs)
{
    const int32_t reach = pixel + axis->padding;
    const int32_t last = reach < axis->taps ? reach : axis->taps - 1;
    const int32_t first = reach < axis->places ? 0 : reach - axis->places + 1;
    if (first > last)
        return 0;
    runs[0].to = (reach - last) * axis->to;
    runs[0].from = (axis->taps - 1 - last) * axis->from;
    runs[0].length = (last - first + 1) * length;
    return 1;
}

static void add_i16(
    int16_t *restrict sums, const int8_t *restrict weights, int32_t length,
    int16_t value)
{
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = (int16_t)(sums[i + k] + weights[i + k] * value);
    for (; i < length; i++)
        sums[i] = (int16_t)(sums[i] + weights[i] * value);
}

static void add_four_i16(
    int16_t *restrict sums, const int8_t *const from[4], int32_t length, int16_t value)
{
    const int8_t *a = from[0], *b = from[1], *c = from[2], *d = from[3];
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = (int16_t)(
                sums[i + k] + (a[i + k] + b[i + k] + c[i + k] + d[i + k]) * value);
    for (; i < length; i++)
        sums[i] = (int16_t)(sums[i] + (a[i] + b[i] + c[i] + d[i]) * value);
}

/* Two products of signed 8-bit numbers fit 16 bits. */
static void mix_four_i16(
    int16_t *restrict sums, const int8_t *const from[4], int32_t length,
    const int16_t values[4])
{
    const int8_t *a = from[0], *b = from[1], *c = from[2], *d = from[3];
    const int16_t e = values[0], f = values[1], g = values[2], h = values[3];
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = (int16_t)(
                sums[i + k]
                + ((int16_t)(a[i + k] * e + b[i + k] * f)
                    + (int16_t)(c[i + k] * g + d[i + k] * h)));
    for (; i < length; i++)
        sums[i] = (int16_t)(sums[i] + a[i] * e + b[i] * f + c[i] * g + d[i] * h);
}

/* Each value that is not 0 adds its part of the kernel to all places that see it. */
static void event_i16(
    const struct link *link, const int8_t *source, int16_t *sums)
{
    struct run rows[TAPS], columns[TAPS];
    int32_t active[CHUNK];
    for (int32_t y = 0; y < link->y.pixels; y++) {
        const int32_t high = runs_at(&link->y, y, 0, rows);
        for (int32_t x = 0; high > 0 && x < link->x.pixels; x++) {
            const int8_t *pixel = source + y * link->y.step + x * link->x.step;
            int32_t wide = -1; /* unknown: most pixels may be silent */
            for (int32_t first = 0; first < link->channels; first += CHUNK) {
                int32_t count = 0, last = first + CHUNK;
                last = last < link->channels ? last : link->channels;
                for (int32_t c = first; c < last; c++) {
                    active[count] = c;
                    count += pixel[c * link->step] != 0;
                }
                if (count == 0)
                    continue;
                if (wide < 0)
                    wide = link->merged
                        ? merged_run(&link->x, x, link->count, columns)
                        : runs_at(&link->x, x, link->count, columns);
                for (int32_t i = 0; i < high; i++)
                    for (int32_t j = 0; j < wide; j++) {
                        int16_t *to = sums + rows[i].to + columns[j].to;
                        const int32_t length = columns[j].length;
                        const int8_t *weights =
                            link->weights + rows[i].from + columns[j].from;
                        int32_t n = 0;
                        for (; n + 4 <= count && link->four; n += 4) {
                            const int8_t *from[4];
                            int16_t values[4];
                            for (int32_t k = 0; k < 4; k++) {
                                from[k] = weights + active[n + k] * link->width;
                                values[k] = pixel[active[n + k] * link->step];
                            }
                            if (link->four == 1)
                                add_four_i16(to, from, length, link->scale);
                            else
                                mix_four_i16(to, from, length, values);
                        }
                        for (; n < count; n++) {
                            const int32_t c = active[n];
                            add_i16(
                                to + (link->groups ? c / link->group * link->count : 0),
                                weights + c * link->width, length,
                                (int16_t)(pixel[c * link->step] * link->scale));
                        }
                    }
            }
        }
    }
}

/* trunc(value (2^shift - 1) / 2^shift); a shift of 31 keeps the value. */
static inline int32_t kept_i16(int32_t value, int32_t shift)
{
    const int32_t up = (int32_t)1 << 24; /* above every |value| */
    const int32_t rest =
        value > 0 && shift < 31 ? ((int32_t)1 << shift) - 1 : 0;
    return value - ((value + rest + up) >> shift) + (up >> shift);
}

static inline int32_t wrapped_i16(int32_t value)
{
    const int32_t back = value > WRAP ? -2 * WRAP : value <= -WRAP ? 2 * WRAP : 0;
    return value + back;
}

static inline void fire_one_i16(
    const struct neurons *layer, int32_t current, int32_t bias,
    int32_t *membrane, int8_t *spike)
{
    current = wrapped_i16(current);
    current += kept_i16(*membrane, layer->decay) + bias;
    current = current > LIMIT ? LIMIT : current < -LIMIT ? -LIMIT : current;
    *spike = current > layer->threshold;
    *membrane = current > layer->threshold ? 0 : (int32_t)current;
}

static void fire_i16(
    const struct neurons *constants, const int16_t *restrict sums,
    int32_t *restrict membranes,
    int8_t *restrict spikes)
{
    const struct neurons copy = *constants, *layer = &copy;
    const int32_t *bias = layer->bias;
    for (int32_t n = 0; n < layer->size; n += layer->period) {
        int32_t i = 0;
        for (; i + BLOCK <= layer->period; i += BLOCK)
            for (int32_t k = 0; k < BLOCK; k++)
                fire_one_i16(
                    layer, sums[n + i + k] * layer->scale, bias[i + k],
                    &membranes[n + i + k],
                    &spikes[n + i + k]);
        for (; i < layer->period; i++)
            fire_one_i16(
                layer, sums[n + i] * layer->scale, bias[i],
                &membranes[n + i], &spikes[n + i]);
    }
}

void network_reset(struct network_state *state)
{
    memset(state, 0, sizeof *state);
}

void network_step(struct network_state *state, const int8_t *input)
{
    /* layer 0: lif0 */
    {
        int16_t *sums = state->sums.i16;
        memset(sums, 0, sizeof(*sums) * 3);
        event_i16(&link_0_0, input, sums);
        fire_i16(&neurons_0, sums, state->membrane_0, state->spikes + 0);
    }
#ifdef STARS_RECORD
    network_record(
        0, 3, state->spikes + 0, state->membrane_0);
#endif
    /* layer 1: sum */
    {
        int16_t *sums = state->sums.i16;
        memset(sums, 0, sizeof(*sums) * 2);
        event_i16(&link_1_0, state->spikes + 0, sums);
        fire_i16(&neurons_1, sums, state->membrane_1, state->spikes + 3);
    }
#ifdef STARS_RECORD
    network_record(
        1, 2, state->spikes + 3, state->membrane_1);
#endif
}

int32_t network_run(
    struct network_state *state, const int8_t *spikes)
{
    const int32_t *membranes = network_membranes(state);
    int32_t best = 0;
    network_reset(state);
    for (int32_t step = 0; step < NETWORK_STEPS; step++) {
        network_step(state, spikes + step * NETWORK_INPUTS);
    }
    for (int32_t i = 1; i < NETWORK_OUTPUTS; i++)
        if (membranes[i] > membranes[best])
            best = i;
    return best;
}

const int32_t *network_membranes(const struct network_state *state)
{
    return state->membrane_1;
}
