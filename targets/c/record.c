/* Runs a network on many inputs; writes every spike and membrane of every layer.

   record INPUT OUTPUT SAMPLES STEPS HELD FORCED

   INPUT holds, for each sample and step, the input; if HELD only that of the first
   step, and - is standard input. If FORCED, it then holds the spikes that replace those of each layer. OUTPUT
   receives, for each sample, step and layer, the spikes (int8) and the membranes (int32).
   If it is a pipe, the program ends when its writer does. NETWORK is replaced. */
#include "NETWORK.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct NETWORK_state state;
static FILE *from, *to;
static int forced;

static void stop(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static void take(int8_t *values, size_t size)
{
    if (fread(values, 1, size, from) != size)
        stop("the input ends too early");
}

void NETWORK_record(
    int32_t layer, int32_t size, int8_t *spikes, const int32_t *membranes)
{
    const size_t count = (size_t)size;
    (void)layer;
    if (fwrite(spikes, 1, count, to) != count
        || fwrite(membranes, sizeof *membranes, count, to) != count)
        stop("the output cannot be written");
    if (forced)
        take(spikes, count);
}

int main(int argc, char **argv)
{
    if (argc != 7)
        stop("expected INPUT OUTPUT SAMPLES STEPS HELD FORCED");
    const int samples = atoi(argv[3]), steps = atoi(argv[4]), held = atoi(argv[5]);
    forced = atoi(argv[6]);
    from = strcmp(argv[1], "-") == 0 ? stdin : fopen(argv[1], "rb");
    to = fopen(argv[2], "wb");
    if (from == NULL || to == NULL)
        stop("the input or output cannot be opened");
    for (int sample = 0; sample < samples; sample++) {
        NETWORK_reset(&state);
        for (int step = 0; step < steps; step++) {
            const int fresh = step == 0 || !held;
            if (fresh)
                take(state.input, sizeof state.input);
            NETWORK_step(&state, fresh ? state.input : NULL);
        }
    }
    if (fclose(to) != 0)
        stop("the output cannot be written");
    return 0;
}
