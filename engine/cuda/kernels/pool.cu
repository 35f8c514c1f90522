// Pools over windows, and over parts of an image.

// One thread for each value of the output. `winners`, unless it is null, gets the pixel whose value was taken: the first
// of equal ones.
KERNEL(max_pool)(const float* input, float* output, int* winners, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.out_height * g.out_width * channels) return;
    const int channel = number % channels;
    const Pixel own = pixel_at(number / channels, number + 1, g.out_height, g.out_width);
    const int first = own.image * g.in_height * g.in_width;
    float best = -INFINITE;
    int winner = -1;
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seen = seen_pixel(g, own, row, column);
            if (seen < 0) continue;
            const float value = input[(long long)seen * channels + channel];
            if (winner < 0 || value > best || value != value) best = value, winner = seen - first;
        }
    output[number] = best;
    if (winners) winners[number] = winner;
}
EXPORT(max_pool)

// One thread for each value of the input, which asks every window that sees it.
KERNEL(max_pool_gradient)(const float* of_output, const int* winners, float* of_input, int add, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.in_height * g.in_width * channels) return;
    const int channel = number % channels;
    const Pixel own = pixel_at(number / channels, number + 1, g.in_height, g.in_width);
    float sum = add ? of_input[number] : 0;
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seeing = seeing_pixel(g, own, row, column);
            if (seeing < 0) continue;
            const long long place = (long long)seeing * channels + channel;
            if (winners[place] == own.y * g.in_width + own.x) sum += of_output[place];
        }
    of_input[number] = sum;
}
EXPORT(max_pool_gradient)

// `factors` has 1 / divisor for each position.
KERNEL(average_pool)(const float* input, float* output, const float* factors, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.out_height * g.out_width * channels) return;
    const int channel = number % channels, pixel = number / channels;
    const Pixel own = pixel_at(pixel, pixel + 1, g.out_height, g.out_width);
    float sum = 0;
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seen = seen_pixel(g, own, row, column);
            if (seen >= 0) sum += input[(long long)seen * channels + channel];
        }
    output[number] = sum * factors[pixel % (g.out_height * g.out_width)];
}
EXPORT(average_pool)

KERNEL(average_pool_gradient)(const float* of_output, const float* factors, float* of_input, int add, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.in_height * g.in_width * channels) return;
    const int channel = number % channels;
    const Pixel own = pixel_at(number / channels, number + 1, g.in_height, g.in_width);
    float sum = add ? of_input[number] : 0;
    for (int row = 0; row < g.kernel_height; row++)
        for (int column = 0; column < g.kernel_width; column++) {
            const int seeing = seeing_pixel(g, own, row, column);
            if (seeing >= 0) sum += of_output[(long long)seeing * channels + channel] * factors[seeing % (g.out_height * g.out_width)];
        }
    of_input[number] = sum;
}
EXPORT(average_pool_gradient)

// Part `index` of `parts` along a side: from its first pixel to before its last (PyTorch's adaptive pools).
INLINE int part_begin(int index, int parts, int side) { return index * side / parts; }
INLINE int part_end(int index, int parts, int side) { return ((index + 1) * side + parts - 1) / parts; }

// The mean of each part: a block for some channels of a part of an image.
KERNEL(part_mean)(const float* input, float* output, int lanes, Geometry g) {
    const int lane = threadIdx.x % lanes, runner = threadIdx.x / lanes, runners = THREADS / lanes;
    const int channels = g.in_channels, channel = blockIdx.x * lanes + lane;
    const int top = part_begin(blockIdx.y / g.out_width, g.out_height, g.in_height);
    const int bottom = part_end(blockIdx.y / g.out_width, g.out_height, g.in_height);
    const int left = part_begin(blockIdx.y % g.out_width, g.out_width, g.in_width);
    const int width = part_end(blockIdx.y % g.out_width, g.out_width, g.in_width) - left, count = (bottom - top) * width;
    float sum = 0;
    for (int i = runner; channel < channels && i < count; i += runners) {
        const int y = top + i / width, x = left + i % width;
        sum += input[((long long)(blockIdx.z * g.in_height + y) * g.in_width + x) * channels + channel];
    }
    sum = met(sum, lanes);
    if (runner == 0 && channel < channels)
        output[((long long)blockIdx.z * g.out_height * g.out_width + blockIdx.y) * channels + channel] = sum / count;
}
EXPORT(part_mean)

KERNEL(part_max)(const float* input, float* output, int* winners, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.out_height * g.out_width * channels) return;
    const int channel = number % channels;
    const auto [image, row, column, exists] = pixel_at(number / channels, number + 1, g.out_height, g.out_width);
    const float* from = input + (long long)image * g.in_height * g.in_width * channels + channel;
    float best = -INFINITE;
    int winner = -1;
    for (int y = part_begin(row, g.out_height, g.in_height); y < part_end(row, g.out_height, g.in_height); y++)
        for (int x = part_begin(column, g.out_width, g.in_width); x < part_end(column, g.out_width, g.in_width); x++) {
            const float value = from[(long long)(y * g.in_width + x) * channels];
            if (winner < 0 || value > best || value != value) best = value, winner = y * g.in_width + x;
        }
    output[number] = best;
    if (winners) winners[number] = winner;
}
EXPORT(part_max)

// The gradient of either: parts may overlap, so that a pixel can be in several. `winners` is null for means.
KERNEL(part_gradient)(const float* of_output, const int* winners, float* of_input, int add, Geometry g) {
    const int number = thread_number(), channels = g.in_channels;
    if (number >= g.images * g.in_height * g.in_width * channels) return;
    const int channel = number % channels;
    const auto [image, y, x, exists] = pixel_at(number / channels, number + 1, g.in_height, g.in_width);
    float sum = add ? of_input[number] : 0;
    const int last_row = min(g.out_height - 1, (y + 1) * g.out_height / g.in_height);
    const int last_column = min(g.out_width - 1, (x + 1) * g.out_width / g.in_width);
    for (int row = max(0, y * g.out_height / g.in_height - 1); row <= last_row; row++)
        for (int column = max(0, x * g.out_width / g.in_width - 1); column <= last_column; column++) {
            const int top = part_begin(row, g.out_height, g.in_height), bottom = part_end(row, g.out_height, g.in_height);
            const int left = part_begin(column, g.out_width, g.in_width), right = part_end(column, g.out_width, g.in_width);
            if (y < top || y >= bottom || x < left || x >= right) continue;
            const long long place = ((long long)(image * g.out_height + row) * g.out_width + column) * channels + channel;
            if (!winners)
                sum += of_output[place] / ((bottom - top) * (right - left));
            else if (winners[place] == y * g.in_width + x)
                sum += of_output[place];
        }
    of_input[number] = sum;
}
EXPORT(part_gradient)
