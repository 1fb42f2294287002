/* {{ title }}. Written by stars-snn {{ version }}; see README.md.

   C99 without heap, floating point or undefined behavior. A layer adds the weights of
   the spikes that arrive, then each neuron, in steps of 1/64 of its unit:

       u = wrap(trunc(u (2^i - 1) / 2^i) + 64 sum)
       v = clip(trunc(v (2^j - 1) / 2^j) + u + bias)
       spike = v > threshold, and then v = 0

   u wraps at +-2^23 and v is clipped to +-(2^23 - 1), as on Loihi. */
#include "{{ name }}.h"

#include <stddef.h>
#include <string.h>

#define WRAP 8388608
#define LIMIT 8388607
#define TAPS {{ taps }} /* of the largest kernel along one axis */
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
{% if uses_sparse %}

/* Single weights: those of source i are starts[i] to starts[i + 1] - 1. */
struct sparse {
    const int8_t *weights;
    const {{ index_type }} *targets;
    const uint32_t *starts;
    int32_t sources, scale;
};
{% endif %}

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
{% for array in arrays %}

static const {{ array.type }} {{ array.name }}[{{ array.size }}] = {
{{ array.text }}
};
{% endfor %}
{% for link in links %}

{% if link.sparse %}
static const struct sparse {{ link.name }} = {
    {{ link.name }}_weights, {{ link.name }}_targets, {{ link.name }}_starts,
    {{ link.sources }}, {{ link.scale }}};
{% else %}
static const struct link {{ link.name }} = {
    {{ link.name }}_weights, {{ link.numbers | join(", ") }},
    { {{- link.y | join(", ") -}} },
    { {{- link.x | join(", ") -}} }};
{% endif %}
{% endfor %}
{% for layer in layers %}

static const struct neurons neurons_{{ loop.index0 }} = {
    bias_{{ loop.index0 }}, {{ layer.size }}, {{ layer.period }}, {{ layer.decay }},
    {{ layer.current_decay }}, {{ layer.threshold }}, {{ layer.scale }}};
{% endfor %}
{% if uses_event %}

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
{% endif %}
{% if uses_dense %}

static int32_t dot(const int8_t *a, const int8_t *b, int32_t length)
{
    int32_t total = 0, i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            total += (int16_t)a[i + k] * (int16_t)b[i + k];
    for (; i < length; i++)
        total += (int16_t)a[i] * (int16_t)b[i];
    return total;
}
{% endif %}
{% for kind in kinds %}
{% set sum = kind.sum %}
{% set current = kind.current %}
{% if kind.event %}

static void add_{{ kind.name }}(
    {{ sum }} *restrict sums, const int8_t *restrict weights, int32_t length,
    int16_t value)
{
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = ({{ sum }})(sums[i + k] + weights[i + k] * value);
    for (; i < length; i++)
        sums[i] = ({{ sum }})(sums[i] + weights[i] * value);
}

static void add_four_{{ kind.name }}(
    {{ sum }} *restrict sums, const int8_t *const from[4], int32_t length, int16_t value)
{
    const int8_t *a = from[0], *b = from[1], *c = from[2], *d = from[3];
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = ({{ sum }})(
                sums[i + k] + (a[i + k] + b[i + k] + c[i + k] + d[i + k]) * value);
    for (; i < length; i++)
        sums[i] = ({{ sum }})(sums[i] + (a[i] + b[i] + c[i] + d[i]) * value);
}

/* Two products of signed 8-bit numbers fit 16 bits. */
static void mix_four_{{ kind.name }}(
    {{ sum }} *restrict sums, const int8_t *const from[4], int32_t length,
    const int16_t values[4])
{
    const int8_t *a = from[0], *b = from[1], *c = from[2], *d = from[3];
    const int16_t e = values[0], f = values[1], g = values[2], h = values[3];
    int32_t i = 0;
    for (; i + BLOCK <= length; i += BLOCK)
        for (int32_t k = 0; k < BLOCK; k++)
            sums[i + k] = ({{ sum }})(
                sums[i + k]
                + ((int16_t)(a[i + k] * e + b[i + k] * f)
                    + (int16_t)(c[i + k] * g + d[i + k] * h)));
    for (; i < length; i++)
        sums[i] = ({{ sum }})(sums[i] + a[i] * e + b[i] * f + c[i] * g + d[i] * h);
}

/* Each value that is not 0 adds its part of the kernel to all places that see it. */
static void event_{{ kind.name }}(
    const struct link *link, const int8_t *source, {{ sum }} *sums)
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
                        {{ sum }} *to = sums + rows[i].to + columns[j].to;
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
                                add_four_{{ kind.name }}(to, from, length, link->scale);
                            else
                                mix_four_{{ kind.name }}(to, from, length, values);
                        }
                        for (; n < count; n++) {
                            const int32_t c = active[n];
                            add_{{ kind.name }}(
                                to + (link->groups ? c / link->group * link->count : 0),
                                weights + c * link->width, length,
                                (int16_t)(pixel[c * link->step] * link->scale));
                        }
                    }
            }
        }
    }
}
{% endif %}
{% if kind.dense %}

/* Each place multiplies all values that it sees, without a look at their spikes. */
static void dense_{{ kind.name }}(
    const struct link *link, const int8_t *source, {{ sum }} *sums)
{
    const struct axis *down = &link->y, *right = &link->x;
    for (int32_t y = 0; y < down->places; y++)
        for (int32_t x = 0; x < right->places; x++) {
            const int32_t top = y * down->stride - down->padding;
            const int32_t left = x * right->stride - right->padding;
            const int32_t first = left < 0 ? -left : 0;
            int32_t taps = right->pixels - left;
            taps = (taps < right->taps ? taps : right->taps) - first;
            for (int32_t o = 0; taps > 0 && o < link->count; o++) {
                const int8_t *weights = link->weights + o * link->width;
                int32_t total = 0;
                for (int32_t tap = 0; tap < down->taps; tap++) {
                    const int32_t row = top + tap * down->dilation;
                    if (row >= 0 && row < down->pixels)
                        total += dot(
                            weights + tap * down->from + first * right->from,
                            source + row * down->step + (left + first) * right->step,
                            taps * right->from);
                }
                {{ sum }} *sum = sums + y * down->to + x * right->to + o;
                *sum = ({{ sum }})(*sum + total * link->scale);
            }
        }
}
{% endif %}
{% if kind.sparse %}

static void sparse_{{ kind.name }}(
    const struct sparse *link, const int8_t *source, {{ sum }} *sums)
{
    for (int32_t i = 0; i < link->sources; i++) {
        const int32_t value = source[i] * link->scale;
        if (value == 0)
            continue;
        for (uint32_t k = link->starts[i]; k < link->starts[i + 1]; k++) {
            {{ sum }} *sum = sums + link->targets[k];
            *sum = ({{ sum }})(*sum + link->weights[k] * value);
        }
    }
}
{% endif %}

/* trunc(value (2^shift - 1) / 2^shift); a shift of {{ kind.none }} keeps the value. */
static inline {{ current }} kept_{{ kind.name }}({{ current }} value, int32_t shift)
{
    const {{ current }} up = ({{ current }})1 << {{ kind.up }}; /* above every |value| */
    const {{ current }} rest =
        value > 0 && shift < {{ kind.none }} ? (({{ current }})1 << shift) - 1 : 0;
    return value - ((value + rest + up) >> shift) + (up >> shift);
}

static inline {{ current }} wrapped_{{ kind.name }}({{ current }} value)
{
    const {{ current }} back = value > WRAP ? -2 * WRAP : value <= -WRAP ? 2 * WRAP : 0;
    return value + back;
}
{% for memory in kind.memories %}
{% set prefix = "current_" if memory else "" %}

static inline void fire_one_{{ prefix }}{{ kind.name }}(
    const struct neurons *layer, {{ current }} current, int32_t bias,
    {{ current + " *kept, " if memory }}int32_t *membrane, int8_t *spike)
{
{% if memory %}
    current += kept_{{ kind.name }}(*kept, layer->current_decay);
{% endif %}
    current = wrapped_{{ kind.name }}(current);
{% if memory %}
    *kept = current;
{% endif %}
    current += kept_{{ kind.name }}(*membrane, layer->decay) + bias;
    current = current > LIMIT ? LIMIT : current < -LIMIT ? -LIMIT : current;
    *spike = current > layer->threshold;
    *membrane = current > layer->threshold ? 0 : (int32_t)current;
}

static void fire_{{ prefix }}{{ kind.name }}(
    const struct neurons *constants, const {{ sum }} *restrict sums,
    {{ current + " *restrict currents, " if memory }}int32_t *restrict membranes,
    int8_t *restrict spikes)
{
    const struct neurons copy = *constants, *layer = &copy;
    const int32_t *bias = layer->bias;
    for (int32_t n = 0; n < layer->size; n += layer->period) {
        int32_t i = 0;
        for (; i + BLOCK <= layer->period; i += BLOCK)
            for (int32_t k = 0; k < BLOCK; k++)
                fire_one_{{ prefix }}{{ kind.name }}(
                    layer, sums[n + i + k] * layer->scale, bias[i + k],
                    {{ "&currents[n + i + k], " if memory }}&membranes[n + i + k],
                    &spikes[n + i + k]);
        for (; i < layer->period; i++)
            fire_one_{{ prefix }}{{ kind.name }}(
                layer, sums[n + i] * layer->scale, bias[i],
                {{ "&currents[n + i], " if memory }}&membranes[n + i], &spikes[n + i]);
    }
}
{% endfor %}
{% endfor %}

void {{ name }}_reset(struct {{ name }}_state *state)
{
    memset(state, 0, sizeof *state);
}

void {{ name }}_step(struct {{ name }}_state *state, const int8_t *input)
{
{% for layer in layers %}
{% set i = loop.index0 %}
    /* {{ layer.comment }} */
    {
{% if layer.held %}
        if (input != NULL) {
            memset(state->held_{{ i }}, 0, sizeof state->held_{{ i }});
{% for call in layer.held_calls %}
            {{ call }}, state->held_{{ i }});
{% endfor %}
        }
{% endif %}
{% if layer.calls %}
        {{ layer.sum }} *sums = state->sums.{{ layer.kind }};
{% if layer.held %}
        memcpy(sums, state->held_{{ i }}, sizeof state->held_{{ i }});
{% else %}
        memset(sums, 0, sizeof(*sums) * {{ layer.size }});
{% endif %}
{% for call in layer.calls %}
        {{ call }}, sums);
{% endfor %}
{% else %}
        const {{ layer.sum }} *sums = state->held_{{ i }};
{% endif %}
        {{ layer.fire }}
    }
#ifdef STARS_RECORD
    {{ name }}_record(
        {{ i }}, {{ layer.size }}, state->spikes + {{ layer.slot }}, state->membrane_{{ i }});
#endif
{% endfor %}
}

int32_t {{ name }}_run(
    struct {{ name }}_state *state, const {{ "uint8_t *image" if encoding else "int8_t *spikes" }})
{
    const int32_t *membranes = {{ name }}_membranes(state);
    int32_t best = 0;
    {{ name }}_reset(state);
    for (int32_t step = 0; step < {{ upper }}_STEPS; step++) {
{% if encoding == "direct" %}
        if (step == 0)
            {{ name }}_encode(image, step, state->input);
        {{ name }}_step(state, step == 0 ? state->input : NULL);
{% elif encoding %}
        {{ name }}_encode(image, step, state->input);
        {{ name }}_step(state, state->input);
{% else %}
        {{ name }}_step(state, spikes + step * {{ upper }}_INPUTS);
{% endif %}
    }
    for (int32_t i = 1; i < {{ upper }}_OUTPUTS; i++)
        if (membranes[i] > membranes[best])
            best = i;
    return best;
}

const int32_t *{{ name }}_membranes(const struct {{ name }}_state *state)
{
    return state->membrane_{{ layers | length - 1 }};
}
