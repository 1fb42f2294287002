/* {{ title }}. Written by stars-snn {{ version }}; see README.md. */
#ifndef {{ upper }}_H
#define {{ upper }}_H

#include <stdint.h>

#define {{ upper }}_STEPS {{ steps }} /* T, steps of one input */
#define {{ upper }}_INPUTS {{ inputs }} /* values of one input, C order */
#define {{ upper }}_OUTPUTS {{ outputs }} /* neurons of the last layer */
#define {{ upper }}_LAYERS {{ layers | length }}

/* Everything that changes while the network runs; a member ends with its layer. */
struct {{ name }}_state {
{% for type, member, size in state %}
{% if type == "union" %}
    union {
{% for type, member, size in sums %}
        {{ type }} {{ member }}[{{ size }}];
{% endfor %}
    } sums; /* what arrives at one layer in one step */
{% else %}
    {{ type }} {{ member }}[{{ size }}];
{% endif %}
{% endfor %}
};

/* Set the state to that before the first step of an input. */
void {{ name }}_reset(struct {{ name }}_state *state);

/* Run one step on {{ upper }}_INPUTS values{{
   ", -127 to 127; NULL holds the last ones" if graded else ", 0 or 1" }}. */
void {{ name }}_step(struct {{ name }}_state *state, const int8_t *input);

{% if encoding %}
/* Write the network's input at a step (from 0) for an image of 8-bit pixels. */
void {{ name }}_encode(const uint8_t *image, int32_t step, int8_t *input);

/* Reset, run all steps on an image of 8-bit pixels, and return its class. */
int32_t {{ name }}_run(struct {{ name }}_state *state, const uint8_t *image);
{% else %}
/* Reset, run all steps on [STEPS][INPUTS] spikes, and return the class. */
int32_t {{ name }}_run(struct {{ name }}_state *state, const int8_t *spikes);
{% endif %}

/* The last layer's membranes, [OUTPUTS]{{ pixels }}.
   In volts: 2^{{ exponent }} times the integer, plus {{ offset }}. */
const int32_t *{{ name }}_membranes(const struct {{ name }}_state *state);

#ifdef STARS_RECORD
/* Called after each layer of each step; may replace the spikes. To be defined by the
   program that records. Layers of pixels are in the order row, column, channel. */
void {{ name }}_record(
    int32_t layer, int32_t size, int8_t *spikes, const int32_t *membranes);
#endif

#endif
