// The output of a convolution (product.cu).

#define CONVOLVE(size, down, across, wide)                                                                              \
    KERNEL(convolve_##size##_##wide)(const float* input, const float* weights, const float* scale, const float* shift,  \
                                     const float* residual, float* before, float* output, int activation, Geometry g) { \
        End end = {scale, shift, residual, before, activation};                                                         \
        product<FORWARD, down, across, wide>(input, weights, output, nullptr, nullptr, end, false, g);                  \
    }                                                                                                                   \
    EXPORT(convolve_##size##_##wide)

TILES(CONVOLVE)
