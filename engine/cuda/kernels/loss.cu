// The loss and the gradient of the scores, in f64: one block for the whole batch, one thread for an image at a time.

enum LossKind { CATEGORICAL, BINARY };

INLINE int first_largest(const float* row, int classes) {
    int best = 0;
    for (int i = 1; i < classes; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

// For a class: p times the derivative by p, and its part of the loss.
INLINE void focal(double share, double logarithm, double amount, double gamma, double* turn, double* part) {
    const double rest = fmax(1.0 - share, 0.0), power = gamma == 0 ? 1.0 : pow(rest, gamma);
    double more = gamma == 0 ? 0.0 : gamma * share * logarithm * pow(rest, gamma - 1.0);
    // The limit for p = 1, where 0 × ∞ would be NaN.
    if (more != more && logarithm == logarithm) more = 0;
    *turn = amount * (more - power), *part = -amount * power * logarithm;
}

INLINE double binary(const float* scores, const float* target, const float* weights, float* gradient, int classes, double divisor) {
    double loss = 0;
    for (int i = 0; i < classes; i++) {
        const double score = scores[i], weight = weights ? weights[i] : 1.0;
        const double softplus = fmax(score, 0.0) + log1p(exp(-fabs(score)));
        loss += weight * (score != score ? score : softplus - target[i] * score);
        gradient[i] = weight * (1.0 / (1.0 + exp(-score)) - target[i]) / divisor;
    }
    return loss;
}

INLINE double categorical(const float* scores, const float* target, const float* weights, const float* offsets, float* gradient, int classes, double gamma, double divisor) {
    auto score = [&](int i) { return double(scores[i]) + (offsets ? offsets[i] : 0.0); };
    double largest = -INFINITE, sum = 0, loss = 0, pull = 0;
    for (int i = 0; i < classes; i++) largest = fmax(largest, score(i));
    for (int i = 0; i < classes; i++) sum += exp(score(i) - largest);
    const double total = log(sum);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < classes; i++) {
            const double logarithm = score(i) - largest - total, share = exp(logarithm);
            double turn = 0, part = 0;
            if (target[i] != 0) focal(share, logarithm, (weights ? weights[i] : 1.0) * target[i], gamma, &turn, &part);
            if (pass == 0)
                pull += turn, loss += part;
            else
                gradient[i] = (turn - share * pull) / divisor;
        }
    return loss;
}

// Mean loss and number of right answers go to `result`. `weights` and `offsets` have one value for each class, or are
// null.
KERNEL(loss)(const float* scores, const float* targets, const float* weights, const float* offsets, float* gradient, double* result, int kind, float gamma, int classes, int images) {
    double divisor = 0, loss = 0;
    int correct = 0;
    for (int image = threadIdx.x; image < images; image += THREADS) {
        const float* target = targets + (long long)image * classes;
        const double counts = kind == BINARY ? classes : weights ? weights[first_largest(target, classes)] : 1.0;
        divisor += counts;
    }
    divisor = met(divisor, 1);
    for (int image = threadIdx.x; image < images; image += THREADS) {
        const long long first = (long long)image * classes;
        const float *row = scores + first, *target = targets + first;
        correct += first_largest(row, classes) == first_largest(target, classes);
        loss += kind == BINARY
            ? binary(row, target, weights, gradient + first, classes, divisor)
            : categorical(row, target, weights, offsets, gradient + first, classes, gamma, divisor);
    }
    loss = met(loss, 1), correct = met(correct, 1);
    if (threadIdx.x == 0) result[0] = loss / divisor, result[1] = correct;
}
EXPORT(loss)
