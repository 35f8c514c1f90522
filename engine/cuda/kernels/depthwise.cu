// Convolutions whose every channel sees itself alone. Weights: taps × channels.

// One thread computes four channels of one pixel.
template <int WIDE>
INLINE void depthwise(const float* input, const float* weights, float* output, const float* scale, const float* shift,
                      const float* residual, float* before, int activation, const Geometry& g) {
    const int channels = g.in_channels, fours = (channels + 3) / 4;
    const int number = thread_number();
    if (number >= g.images * g.out_height * g.out_width * fours) return;
    const int channel = number % fours * 4, pixel = number / fours, count = min(4, channels - channel);
    const Pixel own = pixel_at(pixel, pixel + 1, g.out_height, g.out_width);
    Four sum = {{0, 0, 0, 0}};
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seen = seen_pixel(g, own, row, column);
            if (seen < 0) continue;
            const Four value = load<WIDE>(input + (long long)seen * channels + channel, count);
            const Four weight = load<WIDE>(weights + (row * g.kernel_width + column) * channels + channel, count);
            for (int i = 0; i < 4; i++) sum.at[i] += value.at[i] * weight.at[i];
        }
    const long long place = (long long)pixel * channels + channel;
    for (int i = 0; i < count; i++) {
        if (scale) sum.at[i] *= scale[channel + i];
        if (shift) sum.at[i] += shift[channel + i];
    }
    if (before) store<WIDE>(before + place, sum, count);
    for (int i = 0; i < 4; i++) sum.at[i] = activated(activation, sum.at[i]);
    if (residual)
        for (int i = 0; i < count; i++) sum.at[i] += residual[place + i];
    store<WIDE>(output + place, sum, count);
}

template <int WIDE>
INLINE void depthwise_data(const float* of_output, const float* weights, float* of_input, bool add, const Geometry& g) {
    const int channels = g.in_channels, fours = (channels + 3) / 4;
    const int number = thread_number();
    if (number >= g.images * g.in_height * g.in_width * fours) return;
    const int channel = number % fours * 4, pixel = number / fours, count = min(4, channels - channel);
    const Pixel own = pixel_at(pixel, pixel + 1, g.in_height, g.in_width);
    const long long place = (long long)pixel * channels + channel;
    Four sum = {{0, 0, 0, 0}};
    if (add) sum = load<WIDE>(of_input + place, count);
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seeing = seeing_pixel(g, own, row, column);
            if (seeing < 0) continue;
            const Four value = load<WIDE>(of_output + (long long)seeing * channels + channel, count);
            const Four weight = load<WIDE>(weights + (row * g.kernel_width + column) * channels + channel, count);
            for (int i = 0; i < 4; i++) sum.at[i] += value.at[i] * weight.at[i];
        }
    store<WIDE>(of_input + place, sum, count);
}

// A block sums over a part of the pixels, for `lanes` channels (a power of two up to 32) and a square kernel of SIDE;
// SIDE 0 is any kernel, one tap after another. The last block for its channels sums the parts.
template <int SIDE>
INLINE void depthwise_weights(const float* input, const float* of_output, float* of_weights, float* partials,
                              int* counters, int lanes, const Geometry& g) {
    const int taps = g.kernel_height * g.kernel_width, channels = g.in_channels;
    const int pixels = g.images * g.out_height * g.out_width;
    const auto [runner, runners, channel, first, last, works] = share_of(lanes, channels, pixels);
    constexpr int TOGETHER = SIDE == 0 ? 1 : SIDE * SIDE;
    for (int from = 0; from < taps; from += TOGETHER) {
        float sums[TOGETHER] = {};
        for (int pixel = first + runner; works && pixel < last; pixel += runners) {
            const Pixel own = pixel_at(pixel, pixels, g.out_height, g.out_width);
            const float gradient = of_output[(long long)pixel * channels + channel];
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                const int row = SIDE == 0 ? from / g.kernel_width : i / max(SIDE, 1);
                const int column = SIDE == 0 ? from % g.kernel_width : i % max(SIDE, 1);
                const int seen = seen_pixel(g, own, row, column);
                if (seen >= 0) sums[i] += gradient * input[(long long)seen * channels + channel];
            }
        }
#pragma unroll
        for (int i = 0; i < TOGETHER; i++) {
            const float sum = met(sums[i], lanes);
            if (runner == 0 && works)
                partials[((long long)blockIdx.y * taps + from + i) * channels + channel] = sum;
        }
    }
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    for (int tap = runner; works && tap < taps; tap += runners) {
        float sum = 0;
        for (int part = 0; part < gridDim.y; part++)
            sum += fresh(&partials[((long long)part * taps + tap) * channels + channel]);
        of_weights[tap * channels + channel] = sum;
    }
}

#define DEPTHWISE(wide)                                                                                                 \
    KERNEL(depthwise_##wide)(const float* input, const float* weights, const float* scale, const float* shift,          \
                             const float* residual, float* before, float* output, int activation, Geometry g) {         \
        depthwise<wide>(input, weights, output, scale, shift, residual, before, activation, g);                         \
    }                                                                                                                   \
    EXPORT(depthwise_##wide)                                                                                            \
    KERNEL(depthwise_data_##wide)(const float* of_output, const float* weights, float* of_input, int add, Geometry g) { \
        depthwise_data<wide>(of_output, weights, of_input, add, g);                                                     \
    }                                                                                                                   \
    EXPORT(depthwise_data_##wide)

DEPTHWISE(1)
DEPTHWISE(4)

#define DEPTHWISE_WEIGHTS(side)                                                                                      \
    KERNEL(depthwise_weights_##side)(const float* input, const float* of_output, float* of_weights, float* partials, \
                                     int* counters, int lanes, Geometry g) {                                         \
        depthwise_weights<side>(input, of_output, of_weights, partials, counters, lanes, g);                         \
    }                                                                                                                \
    EXPORT(depthwise_weights_##side)

DEPTHWISE_WEIGHTS(0)
DEPTHWISE_WEIGHTS(3)
DEPTHWISE_WEIGHTS(5)
DEPTHWISE_WEIGHTS(7)
