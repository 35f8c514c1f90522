// The gradient of a convolution's weights (product.cu).

#define CONVOLVE_WEIGHTS(size, down, across, wide)                                                               \
    KERNEL(convolve_weights_##size##_##wide)(const float* input, const float* of_output, float* of_weights,      \
                                             float* partials, int* counters, Geometry g) {                       \
        product<WEIGHTS, down, across, wide>(input, of_output, of_weights, partials, counters, End(), false, g); \
    }                                                                                                            \
    EXPORT(convolve_weights_##size##_##wide)

TILES(CONVOLVE_WEIGHTS)
