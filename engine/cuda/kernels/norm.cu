// Batch normalisation. Sums over pixels are cut into parts, one block each, for `lanes` channels (a power of two up to
// 32); the last block for its channels joins them, always in the same order.

// Per channel in `lines`: scale and shift that give the value before the activation; the mean; 1 / deviation.
KERNEL(norm_measure)(const float* input, const float* weight, const float* bias, float* running_mean, float* running_var,
                     float* lines, float* partials, int* counters, int pixels, int channels, int lanes, float epsilon,
                     float momentum) {
    const auto [runner, runners, channel, first, last, works] = share_of(lanes, channels, pixels);
    // What is subtracted from each value first, so that large means cost no digits.
    const float origin = works && first < last ? input[(long long)first * channels + channel] : 0;
    float sum = 0, squares = 0;
    for (int pixel = first + runner; works && pixel < last; pixel += runners) {
        const float value = input[(long long)pixel * channels + channel] - origin;
        sum += value, squares += value * value;
    }
    sum = met(sum, lanes), squares = met(squares, lanes);
    const int count = max(0, last - first);
    if (runner == 0 && works && count > 0) {
        const float offset = sum / count;
        partials[2 * (blockIdx.y * channels + channel)] = origin + offset;
        partials[2 * (blockIdx.y * channels + channel) + 1] = squares - sum * offset;
    }
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    // The mean of all first, then the squared distances from it (Chan et al. 1983).
    const int share = (pixels + gridDim.y - 1) / gridDim.y;
    auto of_parts = [&, runner = runner, runners = runners, channel = channel, works = works](auto work) {
        double total = 0;
        for (int part = runner; works && part < gridDim.y; part += runners) {
            const int begin = part * share, end = min(pixels, begin + share);
            if (begin >= end) break;
            const float* found = &partials[2 * (part * channels + channel)];
            total += work(double(end - begin), double(fresh(found)), double(fresh(found + 1)));
        }
        return met(total, lanes);
    };
    const double mean = of_parts([](double count, double mean, double) { return count * mean; }) / pixels;
    const double distances = of_parts([&](double count, double own, double squares) {
        return squares + count * (own - mean) * (own - mean);
    });
    if (runner > 0 || !works) return;
    const double variance = fmax(distances / pixels, 0.0), inverse = 1.0 / sqrt(variance + epsilon);
    const float scale = weight[channel] * float(inverse);
    lines[channel] = scale;
    lines[channels + channel] = bias[channel] - float(mean) * scale;
    lines[2 * channels + channel] = mean;
    lines[3 * channels + channel] = inverse;
    running_mean[channel] = running_mean[channel] * (1.0 - momentum) + mean * momentum;
    const double unbiased = variance * pixels / (pixels - 1.0);
    running_var[channel] = running_var[channel] * (1.0 - momentum) + unbiased * momentum;
}
EXPORT(norm_measure)

// The lines of all norms from their running statistics. For each norm, `table` has the places of its weight, bias and
// mean, of its lines, and the number of channels; epsilons lie beside it.
KERNEL(norm_recall)(const float* parameters, const float* statistics, const int* table, const float* epsilons, float* lines) {
    const int* norm = table + 5 * blockIdx.x;
    const int channels = norm[4];
    for (int channel = threadIdx.x; channel < channels; channel += THREADS) {
        const float* running = statistics + norm[2];
        float* line = lines + norm[3];
        const float inverse = 1.0f / sqrtf(running[channels + channel] + epsilons[blockIdx.x]);
        const float scale = parameters[norm[0] + channel] * inverse;
        line[channel] = scale;
        line[channels + channel] = parameters[norm[1] + channel] - running[channel] * scale;
        line[2 * channels + channel] = running[channel];
        line[3 * channels + channel] = inverse;
    }
}
EXPORT(norm_recall)

// act(scale · x + shift), dropped image by image, plus a residual where there is one.
template <int WIDE>
INLINE void norm_apply(const float* input, const float* lines, const float* residual, float* output, int activation,
                       int values, int channels, const Chance& chance, const unsigned* step, int images) {
    const int fours = (channels + 3) / 4, number = thread_number(), pixels = values / channels;
    if (number >= images * pixels * fours) return;
    const int channel = number % fours * 4, pixel = number / fours, count = min(4, channels - channel);
    const long long place = (long long)pixel * channels + channel;
    const float factor = kept(chance, step, pixel / pixels);
    Four four = load<WIDE>(input + place, count);
    const Four scale = load<WIDE>(lines + channel, count), shift = load<WIDE>(lines + channels + channel, count);
    for (int i = 0; i < 4; i++) four.at[i] = factor * activated(activation, four.at[i] * scale.at[i] + shift.at[i]);
    if (residual) {
        const Four other = load<WIDE>(residual + place, count);
        for (int i = 0; i < 4; i++) four.at[i] += other.at[i];
    }
    store<WIDE>(output + place, four, count);
}

// Sums that the gradient needs; with them the gradients of weight and bias, and in `turns` the slope and the offset that
// correct the gradient of x for what the statistics owe to it.
KERNEL(norm_gradient)(const float* of_output, const float* input, const float* lines, float* of_weight, float* of_bias,
                      float* turns, float* partials, int* counters, int activation, int pixels, int channels, int lanes,
                      int pixels_of_image, Chance chance, const unsigned* step) {
    const auto [runner, runners, channel, first, last, works] = share_of(lanes, channels, pixels);
    float scale = 0, shift = 0, mean = 0, inverse = 0;
    if (works) {
        scale = lines[channel], shift = lines[channels + channel];
        mean = lines[2 * channels + channel], inverse = lines[3 * channels + channel];
    }
    float plain = 0, weighted = 0;
    for (int pixel = first + runner; works && pixel < last; pixel += runners) {
        const long long place = (long long)pixel * channels + channel;
        const float x = input[place];
        const float g = of_output[place] * slope(activation, x * scale + shift) * kept(chance, step, pixel / pixels_of_image);
        plain += g, weighted += g * (x - mean) * inverse;
    }
    plain = met(plain, lanes), weighted = met(weighted, lanes);
    if (runner == 0 && works) {
        partials[2 * (blockIdx.y * channels + channel)] = plain;
        partials[2 * (blockIdx.y * channels + channel) + 1] = weighted;
    }
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    plain = 0, weighted = 0;
    for (int part = runner; works && part < gridDim.y; part += runners) {
        plain += fresh(&partials[2 * (part * channels + channel)]);
        weighted += fresh(&partials[2 * (part * channels + channel) + 1]);
    }
    plain = met(plain, lanes), weighted = met(weighted, lanes);
    if (runner > 0 || !works) return;
    of_bias[channel] = plain;
    of_weight[channel] = weighted;
    const float turn = scale * inverse * weighted / pixels;
    turns[channel] = -turn;
    turns[channels + channel] = turn * mean - scale * plain / pixels;
}
EXPORT(norm_gradient)

// The gradient of what a norm read.
template <int WIDE>
INLINE void norm_correct(const float* of_output, const float* input, const float* lines, const float* turns,
                         float* of_input, int activation, int values, int channels, const Chance& chance,
                         const unsigned* step, int images, bool add) {
    const int fours = (channels + 3) / 4, number = thread_number(), pixels = values / channels;
    if (number >= images * pixels * fours) return;
    const int channel = number % fours * 4, pixel = number / fours, count = min(4, channels - channel);
    const long long place = (long long)pixel * channels + channel;
    const float factor = kept(chance, step, pixel / pixels);
    Four gradient = load<WIDE>(of_output + place, count);
    const Four x = load<WIDE>(input + place, count);
    const Four scale = load<WIDE>(lines + channel, count), shift = load<WIDE>(lines + channels + channel, count);
    const Four turn = load<WIDE>(turns + channel, count), offset = load<WIDE>(turns + channels + channel, count);
    for (int i = 0; i < 4; i++) {
        const float g = factor * gradient.at[i] * slope(activation, x.at[i] * scale.at[i] + shift.at[i]);
        gradient.at[i] = scale.at[i] * g + turn.at[i] * x.at[i] + offset.at[i];
    }
    if (add) {
        const Four before = load<WIDE>(of_input + place, count);
        for (int i = 0; i < 4; i++) gradient.at[i] += before.at[i];
    }
    store<WIDE>(of_input + place, gradient, count);
}

#define NORMS(wide)                                                                                                   \
    KERNEL(norm_apply_##wide)(const float* input, const float* lines, const float* residual, float* output,           \
                              int activation, int values, int channels, Chance chance, const unsigned* step,          \
                              int images) {                                                                           \
        norm_apply<wide>(input, lines, residual, output, activation, values, channels, chance, step, images);         \
    }                                                                                                                 \
    EXPORT(norm_apply_##wide)                                                                                         \
    KERNEL(norm_correct_##wide)(const float* of_output, const float* input, const float* lines, const float* turns,   \
                                float* of_input, int activation, int values, int channels, Chance chance,             \
                                const unsigned* step, int images, int add) {                                          \
        norm_correct<wide>(of_output, input, lines, turns, of_input, activation, values, channels, chance, step,      \
                           images, add);                                                                              \
    }                                                                                                                 \
    EXPORT(norm_correct_##wide)

NORMS(1)
NORMS(4)

// The gradient before an activation that follows a bias, and the gradient of the bias. `before` may be null where there
// is no activation, and `of_before` where it is that of the output.
KERNEL(bias_gradient)(const float* of_output, const float* before, float* of_before, float* of_bias, float* partials,
                      int* counters, int activation, int pixels, int channels, int lanes) {
    const auto [runner, runners, channel, first, last, works] = share_of(lanes, channels, pixels);
    float sum = 0;
    for (int pixel = first + runner; works && pixel < last; pixel += runners) {
        const long long place = (long long)pixel * channels + channel;
        const float g = of_output[place] * (before ? slope(activation, before[place]) : 1.0f);
        if (of_before) of_before[place] = g;
        sum += g;
    }
    if (!of_bias) return;
    sum = met(sum, lanes);
    if (runner == 0 && works) partials[blockIdx.y * channels + channel] = sum;
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    sum = 0;
    for (int part = runner; works && part < gridDim.y; part += runners) sum += fresh(&partials[part * channels + channel]);
    sum = met(sum, lanes);
    if (runner == 0 && works) of_bias[channel] = sum;
}
EXPORT(bias_gradient)
