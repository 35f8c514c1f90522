// The gradient of what a convolution read (product.cu).

#define CONVOLVE_DATA(size, down, across, wide)                                                                    \
    KERNEL(convolve_data_##size##_##wide)(const float* of_output, const float* weights, float* of_input, int add,  \
                                          Geometry g) {                                                            \
        product<DATA, down, across, wide>(of_output, weights, of_input, nullptr, nullptr, End(), add, g);          \
    }                                                                                                              \
    EXPORT(convolve_data_##size##_##wide)

TILES(CONVOLVE_DATA)
