/* The network's input for images of 8-bit pixels, in integers. */
#include "{{ name }}.h"

{% if encoding == "direct" %}
/* The signed 8-bit input of each channel and pixel value. */
static const int8_t levels[{{ channels }}][256] = {
{% for row in levels %}
    { {{- row -}} },
{% endfor %}
};

void {{ name }}_encode(const uint8_t *image, int32_t step, int8_t *input)
{
    (void)step; /* equal at all steps */
    for (int32_t i = 0; i < {{ upper }}_INPUTS; i++)
        input[i] = levels[i / {{ inputs // channels }}][image[i]];
}
{% elif encoding == "latency" %}
/* The step at which each pixel value spikes; -1 for never. */
static const int32_t spikes_at[256] = {
{{ levels }}
};

void {{ name }}_encode(const uint8_t *image, int32_t step, int8_t *input)
{
    for (int32_t i = 0; i < {{ upper }}_INPUTS; i++)
        input[i] = spikes_at[image[i]] == step;
}
{% else %}
#include <string.h>

/* A pixel spikes if the upper 53 bits of its random number are below its limit. The
   numbers are those of Philox4x64-10 (Salmon et al., SC 2011) with the key (seed, first
   8 bytes of the image's SHA-256), drawn step by step, pixels in C order. */
static const uint64_t limits[256] = {
{{ levels }}
};

static const uint32_t constants[64] = {
{{ sha_constants }}
};

static uint32_t rotated(uint32_t x, int32_t by)
{
    return x >> by | x << (32 - by);
}

static void sha256_block(uint32_t hash[8], const uint8_t block[64])
{
    uint32_t w[64], s[8];
    for (int32_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16
            | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int32_t i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3)
            + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(s, hash, sizeof s);
    for (int32_t i = 0; i < 64; i++) {
        const uint32_t e = s[4], a = s[0];
        const uint32_t one = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25))
            + ((e & s[5]) ^ (~e & s[6])) + constants[i] + w[i];
        const uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22))
            + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        for (int32_t k = 7; k > 0; k--)
            s[k] = s[k - 1];
        s[4] += one;
        s[0] = one + two;
    }
    for (int32_t i = 0; i < 8; i++)
        hash[i] += s[i];
}

/* The first 8 bytes of the image's SHA-256, little-endian. */
static uint64_t image_key(const uint8_t *image)
{
    uint32_t hash[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const uint64_t size = 8 * (uint64_t){{ upper }}_INPUTS;
    int32_t place = 0;
    uint8_t block[64];
    for (; {{ upper }}_INPUTS - place >= 64; place += 64)
        sha256_block(hash, image + place);
    memset(block, 0, sizeof block);
    for (int32_t i = place; i < {{ upper }}_INPUTS; i++)
        block[i - place] = image[i];
    block[{{ upper }}_INPUTS - place] = 0x80;
    if ({{ upper }}_INPUTS - place > 55) {
        sha256_block(hash, block);
        memset(block, 0, sizeof block);
    }
    for (int32_t i = 0; i < 8; i++)
        block[63 - i] = (uint8_t)(size >> 8 * i);
    sha256_block(hash, block);
    uint64_t key = 0;
    for (int32_t i = 0; i < 8; i++)
        key |= (uint64_t)(hash[i / 4] >> (24 - 8 * (i % 4)) & 0xff) << 8 * i;
    return key;
}

/* (high, low) 64 bits of a product. */
static void product(uint64_t a, uint64_t b, uint64_t *high, uint64_t *low)
{
    const uint64_t mask = 0xffffffff;
    const uint64_t a0 = a & mask, a1 = a >> 32, b0 = b & mask, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    const uint64_t other = a0 * b1 + (middle & mask);
    *high = a1 * b1 + (middle >> 32) + (other >> 32);
    *low = a * b;
}

static void philox(uint64_t counter, uint64_t key, uint64_t x[4])
{
    uint64_t k0 = {{ seed }}U, k1 = key;
    x[0] = counter;
    x[1] = x[2] = x[3] = 0;
    for (int32_t round = 0; round < 10; round++) {
        uint64_t high0, low0, high1, low1;
        product(0xD2E7470EE14C6C93U, x[0], &high0, &low0);
        product(0xCA5A826395121157U, x[2], &high1, &low1);
        x[0] = high1 ^ x[1] ^ k0;
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ k1;
        x[3] = low0;
        k0 += 0x9E3779B97F4A7C15U;
        k1 += 0xBB67AE8584CAA73BU;
    }
}

void {{ name }}_encode(const uint8_t *image, int32_t step, int8_t *input)
{
    const uint64_t key = image_key(image);
    uint64_t place = (uint64_t)step * {{ upper }}_INPUTS, numbers[4];
    for (int32_t i = 0; i < {{ upper }}_INPUTS; i++, place++) {
        if (i == 0 || place % 4 == 0)
            philox(1 + place / 4, key, numbers);
        input[i] = numbers[place % 4] >> 11 < limits[image[i]];
    }
}
{% endif %}
