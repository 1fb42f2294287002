/* {{ samples }} inputs, and the reference's results for them. */
#include <stdint.h>

#define SAMPLES {{ samples }}

static const {{ "uint8_t" if encoding else "int8_t" }} golden_inputs[SAMPLES][{{ values }}] = {
{% for row in golden_inputs %}
    { {{- row -}} },
{% endfor %}
};

/* Of each input: the class, and a hash of each layer at each step. */
static const int32_t golden_classes[SAMPLES] = { {{- classes -}} };
static const uint32_t golden_hashes[SAMPLES][{{ steps * layers | length }}] = {
{% for row in hashes %}
    { {{- row -}} },
{% endfor %}
};

static const char *const layer_names[] = {
{% for layer in layers %}
    "{{ layer.label }}",
{% endfor %}
};
