// One pass over all parameters. Each belongs to a group whose factors the host computes for each step; group 255 does not
// learn. Where the loss is not finite nothing moves.

enum Rule { SGD, ADAM, ADAMAX, RMSPROP, RMSPROP_WITH_MOMENTUM, LION };

constexpr int FROZEN = 255;
constexpr int FACTORS = 8;

// Gradients of what is frozen are 0; those of batches that waited are added. Where this batch waits too, they are kept.
KERNEL(gather_gradients)(float* gradients, float* waiting, const unsigned char* groups, int add, int waits, int count) {
    const int number = thread_number();
    if (number >= count) return;
    float gradient = groups[number] == FROZEN ? 0.0f : gradients[number];
    if (add) gradient += waiting[number];
    gradients[number] = gradient;
    if (waits) waiting[number] = gradient;
}
EXPORT(gather_gradients)

// The square of the length of all gradients together.
KERNEL(squared_length)(const float* gradients, double* partials, double* squares, int* counters, int count) {
    double sum = 0;
    for (int i = thread_number(); i < count; i += gridDim.x * THREADS) sum += double(gradients[i]) * gradients[i];
    sum = met(sum, 1);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
    if (!is_last(counters, gridDim.x)) return;
    sum = 0;
    for (int part = threadIdx.x; part < gridDim.x; part += THREADS) sum += __ldcg(&partials[part]);
    sum = met(sum, 1);
    if (threadIdx.x == 0) *squares = sum;
}
EXPORT(squared_length)

// `scaling`: what gradients are multiplied by, the mean over the batches that waited; then how long all of them together
// may be, below 0 for any length.
KERNEL(optimize)(float* parameters, float* gradients, float* first, float* second, const unsigned char* groups, const float* factors, const double* result, const double* squares, const float* scaling, int rule, int count) {
    const int number = thread_number();
    if (number >= count || groups[number] == FROZEN || !(fabs(result[0]) < INFINITE)) return;
    const float* f = factors + groups[number] * FACTORS;
    float factor = scaling[0];
    // As `torch.nn.utils.clip_grad_norm_`.
    if (scaling[1] >= 0) factor *= float(fmin(scaling[1] / (sqrt(*squares) * factor + 1e-6), 1.0));
    const float weight = parameters[number], g = factor * gradients[number] + f[0] * weight;
    gradients[number] = factor * gradients[number];
    float& one = first[number];
    switch (rule) {
        case SGD:
            one = f[1] * one + g;
            parameters[number] = weight - f[2] * (f[3] * g + f[4] * one);
            break;
        case ADAM: {
            float& two = second[number];
            one = f[1] * one + (1.0f - f[1]) * g;
            two = f[2] * two + (1.0f - f[2]) * g * g;
            parameters[number] = weight * f[3] - f[4] * one / (sqrtf(two) * f[5] + f[6]);
            break;
        }
        case ADAMAX: {
            float& largest = second[number];
            one = f[1] * one + (1.0f - f[1]) * g;
            largest = fmaxf(f[2] * largest, fabsf(g) + f[3]);
            parameters[number] = weight - f[4] * one / largest;
            break;
        }
        case RMSPROP:
            one = f[1] * one + (1.0f - f[1]) * g * g;
            parameters[number] = weight - f[3] * g / (sqrtf(one) + f[2]);
            break;
        case RMSPROP_WITH_MOMENTUM: {
            float& velocity = second[number];
            one = f[1] * one + (1.0f - f[1]) * g * g;
            velocity = f[4] * velocity + g / (sqrtf(one) + f[2]);
            parameters[number] = weight - f[3] * velocity;
            break;
        }
        case LION: {
            const float direction = f[1] * one + (1.0f - f[1]) * g;
            const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
            parameters[number] = weight * f[3] - f[4] * sign;
            one = f[2] * one + (1.0f - f[2]) * g;
            break;
        }
    }
}
EXPORT(optimize)
