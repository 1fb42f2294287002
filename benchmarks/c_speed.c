/* Prints the best seconds per image, the seconds to read all weights once, and the
   classes. Reads IMAGES images of 8-bit pixels; runs them REPEATS times. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct network_state state;

static double best(double a, clock_t since)
{
    const double now = (double)(clock() - since) / CLOCKS_PER_SEC;
    return now < a ? now : a;
}

int main(int argc, char **argv)
{
    const int images = atoi(argv[1]), repeats = atoi(argv[2]), weights = atoi(argv[3]);
    uint8_t *pixels = malloc((size_t)images * NETWORK_INPUTS);
    volatile uint64_t *words = calloc(1, (size_t)weights + 8);
    int32_t *classes = calloc((size_t)images, sizeof *classes);
    double run = 1e9, floor = 1e9;
    if (argc != 4 || fread(pixels, NETWORK_INPUTS, (size_t)images, stdin) != (size_t)images)
        return 1;
    for (int r = 0; r < repeats; r++) {
        const clock_t start = clock();
        for (int i = 0; i < images; i++)
            classes[i] = network_run(&state, pixels + i * NETWORK_INPUTS);
        run = best(run, start);
    }
    for (int r = 0; r < repeats; r++) {
        const clock_t start = clock();
        uint64_t total = 0;
        for (int k = 0; k < 100; k++)
            for (int w = 0; w < weights / 8; w++)
                total += words[w];
        floor = total ? 0 : best(floor, start);
    }
    printf("%.9f %.9f", run / images, floor / 100);
    for (int i = 0; i < images; i++)
        printf(" %d", (int)classes[i]);
    return 0;
}
