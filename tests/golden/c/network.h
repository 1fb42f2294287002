/* A spiking network. Written by stars-snn VERSION; see README.md. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#define NETWORK_STEPS 3 /* T, steps of one input */
#define NETWORK_INPUTS 2 /* values of one input, C order */
#define NETWORK_OUTPUTS 2 /* neurons of the last layer */
#define NETWORK_LAYERS 2

/* Everything that changes while the network runs; a member ends with its layer. */
struct network_state {
    int32_t membrane_0[3];
    int32_t membrane_1[2];
    union {
        int16_t i16[3];
    } sums; /* what arrives at one layer in one step */
    int8_t spikes[5];
    int8_t input[2];
};

/* Set the state to that before the first step of an input. */
void network_reset(struct network_state *state);

/* Run one step on NETWORK_INPUTS values, 0 or 1. */
void network_step(struct network_state *state, const int8_t *input);

/* Reset, run all steps on [STEPS][INPUTS] spikes, and return the class. */
int32_t network_run(struct network_state *state, const int8_t *spikes);

/* The last layer's membranes, [OUTPUTS].
   In volts: 2^-6 times the integer, plus 0.0. */
const int32_t *network_membranes(const struct network_state *state);

#ifdef STARS_RECORD
/* Called after each layer of each step; may replace the spikes. To be defined by the
   program that records. Layers of pixels are in the order row, column, channel. */
void network_record(
    int32_t layer, int32_t size, int8_t *spikes, const int32_t *membranes);
#endif

#endif
