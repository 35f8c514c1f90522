// What is computed value by value, and small things that hardly pay for a file of their own.

// Images × channels × pixels become images × pixels × channels.
KERNEL(interleave)(const float* from, float* to, int pixels, int channels, int images) {
    const int number = thread_number(), values = pixels * channels;
    if (number >= images * values) return;
    const int image = number / values, at = number % values;
    to[number] = from[image * values + at % channels * pixels + at / channels];
}
EXPORT(interleave)

// Takes over or adds values, dropped image by image.
KERNEL(give)(const float* from, float* to, int add, Chance chance, const unsigned* step, int values, int images) {
    const int number = thread_number();
    if (number >= images * values) return;
    const float value = from[number] * kept(chance, step, number / values);
    to[number] = add ? to[number] + value : value;
}
EXPORT(give)

// The same with every value dropped by itself. Elements are numbered channels first, whatever the order in memory.
KERNEL(drop)(const float* from, float* to, int add, Chance chance, const unsigned* step, int pixels, int channels, int images) {
    const int number = thread_number(), values = pixels * channels;
    if (number >= images * values) return;
    const int at = number % values;
    const long long element = number - at + at % channels * pixels + at / channels;
    const float value = from[number] * kept(chance, step, element);
    to[number] = add ? to[number] + value : value;
}
EXPORT(drop)

KERNEL(activate)(const float* from, float* to, int activation, int count) {
    const int number = thread_number();
    if (number < count) to[number] = activated(activation, from[number]);
}
EXPORT(activate)

KERNEL(activate_gradient)(const float* of_output, const float* input, float* of_input, int activation, int add, int count) {
    const int number = thread_number();
    if (number >= count) return;
    const float value = of_output[number] * slope(activation, input[number]);
    of_input[number] = add ? of_input[number] + value : value;
}
EXPORT(activate_gradient)

// Softmax over the channels of a pixel, one thread each.
KERNEL(softmax)(const float* from, float* to, int pixels, int channels) {
    const int pixel = thread_number();
    if (pixel >= pixels) return;
    const float* scores = from + (long long)pixel * channels;
    float* shares = to + (long long)pixel * channels;
    float largest = -INFINITE, sum = 0;
    for (int i = 0; i < channels; i++) largest = fmaxf(largest, scores[i]);
    for (int i = 0; i < channels; i++) sum += shares[i] = expf(scores[i] - largest);
    for (int i = 0; i < channels; i++) shares[i] /= sum;
}
EXPORT(softmax)

KERNEL(softmax_gradient)(const float* of_output, const float* output, float* of_input, int add, int pixels, int channels) {
    const int pixel = thread_number();
    if (pixel >= pixels) return;
    const long long first = (long long)pixel * channels;
    float mean = 0;
    for (int i = 0; i < channels; i++) mean += output[first + i] * of_output[first + i];
    for (int i = 0; i < channels; i++) {
        const float value = output[first + i] * (of_output[first + i] - mean);
        of_input[first + i] = add ? of_input[first + i] + value : value;
    }
}
EXPORT(softmax_gradient)

// An image times a gate of one value for each channel; the gradient of the image as well.
KERNEL(scale)(const float* image, const float* gate, float* to, int add, int pixels, int channels, int images) {
    const int number = thread_number(), values = pixels * channels;
    if (number >= images * values) return;
    const float value = image[number] * gate[number / values * channels + number % channels];
    to[number] = add ? to[number] + value : value;
}
EXPORT(scale)

// The gradient of the gate: a block for some channels of an image.
KERNEL(scale_gradient)(const float* of_output, const float* image, float* of_gate, int add, int pixels, int channels, int lanes) {
    const int lane = threadIdx.x % lanes, runner = threadIdx.x / lanes, runners = THREADS / lanes;
    const int channel = blockIdx.x * lanes + lane, number = blockIdx.y;
    float sum = 0;
    for (int pixel = runner; channel < channels && pixel < pixels; pixel += runners) {
        const long long place = ((long long)number * pixels + pixel) * channels + channel;
        sum += of_output[place] * image[place];
    }
    sum = met(sum, lanes);
    if (runner > 0 || channel >= channels) return;
    float* to = of_gate + number * channels + channel;
    *to = add ? *to + sum : sum;
}
EXPORT(scale_gradient)

// Convolution over the channels of a pixel, zeros beyond the ends. Turned round it gives the gradient of the input.
KERNEL(channel_convolve)(const float* from, const float* weights, float* to, int is_gradient, int add, int kernel, int channels, int images) {
    const int number = thread_number();
    if (number >= images * channels) return;
    const int channel = number % channels;
    float sum = add ? to[number] : 0;
    for (int tap = 0; tap < kernel; tap++) {
        const int distance = is_gradient ? kernel / 2 - tap : tap - kernel / 2;
        if (channel + distance >= 0 && channel + distance < channels) sum += weights[tap] * from[number + distance];
    }
    to[number] = sum;
}
EXPORT(channel_convolve)

// The gradient of its weights: a block for each tap.
KERNEL(channel_convolve_weights)(const float* input, const float* of_output, float* of_weights, int kernel, int channels, int images) {
    const int distance = int(blockIdx.x) - kernel / 2;
    float sum = 0;
    for (int number = threadIdx.x; number < images * channels; number += THREADS) {
        const int seen = number % channels + distance;
        if (seen >= 0 && seen < channels) sum += of_output[number] * input[number + distance];
    }
    sum = met(sum, 1);
    if (threadIdx.x == 0) of_weights[blockIdx.x] = sum;
}
EXPORT(channel_convolve_weights)

// Values moved to other places. `sources` has, for each value of an image of the output, its place in this input, or -1
// where it comes from another.
KERNEL(arrange)(const float* from, float* to, const int* sources, int in_values, int out_values, int images) {
    const int number = thread_number();
    if (number >= images * out_values) return;
    const int source = sources[number % out_values];
    if (source >= 0) to[number] = from[(long long)(number / out_values) * in_values + source];
}
EXPORT(arrange)

// For each value of an image of the input `places` has where it went, from `starts` on.
KERNEL(arrange_gradient)(const float* of_output, float* of_input, const int* starts, const int* places, int add, int in_values, int out_values, int images) {
    const int number = thread_number();
    if (number >= images * in_values) return;
    const int at = number % in_values;
    const float* gradients = of_output + (long long)(number / in_values) * out_values;
    float sum = add ? of_input[number] : 0;
    for (int i = starts[at]; i < starts[at + 1]; i++) sum += gradients[places[i]];
    of_input[number] = sum;
}
EXPORT(arrange_gradient)
