// Convolutions whose every channel sees itself alone. Weights: taps × channels.

// One thread computes four channels of one pixel.
template <int WIDE>
INLINE void depthwise(const float* input, const float* weights, float* output, const float* scale, const float* shift,
                      const float* residual, float* before, int activation, const Geometry& g) {
    const int channels = g.in_channels, fours = (channels + 3) / 4;
    const int number = thread_number();
    if (number >= g.images * g.out_height * g.out_width * fours) return;
    const int channel = number % fours * 4, pixel = number / fours, count = min(4, channels - channel);
    const int line = pixel / g.out_width, image = line / g.out_height;
    const int top = line % g.out_height * g.stride_y - g.pad_top, left = pixel % g.out_width * g.stride_x - g.pad_left;
    Four sum = {{0, 0, 0, 0}};
    for (int row = 0; row < g.kernel_height; row++) {
        const int y = top + row * g.dilation_y;
        if (y < 0 || y >= g.in_height) continue;
        for (int column = 0; column < g.kernel_width; column++) {
            const int x = left + column * g.dilation_x;
            if (x < 0 || x >= g.in_width) continue;
            const long long place = ((long long)(image * g.in_height + y) * g.in_width + x) * channels + channel;
            const Four value = load<WIDE>(input + place, count);
            const Four weight = load<WIDE>(weights + (row * g.kernel_width + column) * channels + channel, count);
            for (int i = 0; i < 4; i++) sum.at[i] += value.at[i] * weight.at[i];
        }
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
    const int line = pixel / g.in_width, image = line / g.in_height;
    const int bottom = line % g.in_height + g.pad_top, right = pixel % g.in_width + g.pad_left;
    const long long place = (long long)pixel * channels + channel;
    Four sum = {{0, 0, 0, 0}};
    if (add) sum = load<WIDE>(of_input + place, count);
    for (int row = 0; row < g.kernel_height; row++) {
        const int y = bottom - row * g.dilation_y;
        if (y < 0 || y % g.stride_y || y / g.stride_y >= g.out_height) continue;
        for (int column = 0; column < g.kernel_width; column++) {
            const int x = right - column * g.dilation_x;
            if (x < 0 || x % g.stride_x || x / g.stride_x >= g.out_width) continue;
            const long long line = (long long)(image * g.out_height + y / g.stride_y) * g.out_width + x / g.stride_x;
            const Four value = load<WIDE>(of_output + line * channels + channel, count);
            const Four weight = load<WIDE>(weights + (row * g.kernel_width + column) * channels + channel, count);
            for (int i = 0; i < 4; i++) sum.at[i] += value.at[i] * weight.at[i];
        }
    }
    store<WIDE>(of_input + place, sum, count);
}

// A block sums over a part of the pixels, for `lanes` channels (a power of two up to 32) and a square kernel of SIDE;
// SIDE 0 is any kernel, one tap after another. The last block for its channels sums the parts.
template <int SIDE>
INLINE void depthwise_weights(const float* input, const float* of_output, float* of_weights, float* partials,
                              int* counters, int lanes, const Geometry& g) {
    const int taps = g.kernel_height * g.kernel_width, channels = g.in_channels;
    const int lane = threadIdx.x % lanes, runner = threadIdx.x / lanes, runners = THREADS / lanes;
    const int channel = blockIdx.x * lanes + lane;
    const int pixels = g.images * g.out_height * g.out_width, share = (pixels + gridDim.y - 1) / gridDim.y;
    const int first = blockIdx.y * share, last = min(pixels, first + share);
    constexpr int TOGETHER = SIDE == 0 ? 1 : SIDE * SIDE;
    for (int from = 0; from < taps; from += TOGETHER) {
        float sums[TOGETHER] = {};
        for (int pixel = first + runner; channel < channels && pixel < last; pixel += runners) {
            const int line = pixel / g.out_width, image = line / g.out_height;
            const int top = line % g.out_height * g.stride_y - g.pad_top;
            const int left = pixel % g.out_width * g.stride_x - g.pad_left;
            const float gradient = of_output[(long long)pixel * channels + channel];
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                const int row = SIDE == 0 ? from / g.kernel_width : i / max(SIDE, 1);
                const int column = SIDE == 0 ? from % g.kernel_width : i % max(SIDE, 1);
                const int y = top + row * g.dilation_y, x = left + column * g.dilation_x;
                if (y >= 0 && y < g.in_height && x >= 0 && x < g.in_width)
                    sums[i] += gradient * input[((long long)(image * g.in_height + y) * g.in_width + x) * channels + channel];
            }
        }
#pragma unroll
        for (int i = 0; i < TOGETHER; i++) {
            const float sum = met(sums[i], lanes);
            if (runner == 0 && channel < channels)
                partials[((long long)blockIdx.y * taps + from + i) * channels + channel] = sum;
        }
    }
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    for (int tap = runner; channel < channels && tap < taps; tap += runners) {
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
