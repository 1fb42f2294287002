/* Runs the golden inputs and compares every layer at every step with the reference.
   Prints PASS, or the first divergence and exits with 1. Needs STARS_RECORD. */
#include "{{ name }}.h"

#include "golden.h"

#include <stdio.h>

static struct {{ name }}_state state;
static int32_t sample, calls, failed;

void {{ name }}_record(
    int32_t layer, int32_t size, int8_t *spikes, const int32_t *membranes)
{
    uint32_t hash = 0;
    for (int32_t i = 0; i < size; i++)
        hash = hash * 16777619U + 2U * (uint32_t)membranes[i] + (spikes[i] ? 1U : 0U);
    if (hash != golden_hashes[sample][calls] && !failed) {
        printf("FAIL: input %d, step %d, layer %s\n", (int)sample,
            (int)(calls / {{ upper }}_LAYERS), layer_names[layer]);
        failed = 1;
    }
    calls++;
}

int main(void)
{
    for (sample = 0; sample < SAMPLES && !failed; sample++) {
        calls = 0;
        const int32_t found = {{ name }}_run(&state, golden_inputs[sample]);
        if (found != golden_classes[sample] && !failed) {
            printf("FAIL: input %d is of class %d, expected %d\n", (int)sample,
                (int)found, (int)golden_classes[sample]);
            failed = 1;
        }
    }
    if (!failed)
        puts("PASS");
    return failed;
}
