// Convolutions and fully connected layers as matrix products whose left side is gathered from the image as it is needed
// (implicit GEMM). Three products: the output, the gradient of the input, the gradient of the weights. A block computes a
// tile of rows × columns; each of its warps 32 × 32 of it, in the places that `mma.m16n8k8` gives each lane.

enum Product { FORWARD, DATA, WEIGHTS };

constexpr int DEPTH = 16;  // of one step

#if defined(NASGEN_TF32) && !defined(NASGEN_HOST)
// To the 10 bits of mantissa that tensor cores multiply.
INLINE float rounded(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}
INLINE void multiply(float sum[4], const float a[4], const float b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
                   "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#elif !defined(NASGEN_TF32)
INLINE float rounded(float x) { return x; }
#endif

// The activation as a call: its text is long, and stands for every sum that a thread has.
NOINLINE float finished(int activation, float x) { return activated(activation, x); }

// What the product of the output ends in.
struct End {
    const float* scale;     // of each channel, or null for 1
    const float* shift;     // of each channel, or null for 0
    const float* residual;  // added last, or null
    float* before;          // gets the values before the activation, or null
    int activation;
};

template <int KIND, int WARPS_DOWN, int WARPS_ACROSS, int WIDE>
INLINE void product(const float* image, const float* other, float* result, float* partials, int* counters, End end,
                    bool add, Geometry g) {
    constexpr int ROWS = 32 * WARPS_DOWN, COLUMNS = 32 * WARPS_ACROSS, THREADS_HERE = 32 * WARPS_DOWN * WARPS_ACROSS;
    // Tiles in shared memory lie as in the matrices, so that four values that are loaded together are stored together;
    // strides are such that no two lanes of a fragment meet in a bank.
    constexpr bool LEFT_BY_ROWS = KIND != WEIGHTS, RIGHT_BY_COLUMNS = KIND == DATA;
    constexpr int LEFT_STRIDE = LEFT_BY_ROWS ? DEPTH + 4 : ROWS + 8;
    constexpr int RIGHT_STRIDE = RIGHT_BY_COLUMNS ? DEPTH + 4 : COLUMNS + 8;
    constexpr int LEFT_LINES = LEFT_BY_ROWS ? ROWS : DEPTH, RIGHT_LINES = RIGHT_BY_COLUMNS ? COLUMNS : DEPTH;
    constexpr int LEFT_PER_LINE = (LEFT_BY_ROWS ? DEPTH : ROWS) / 4;
    constexpr int RIGHT_PER_LINE = (RIGHT_BY_COLUMNS ? DEPTH : COLUMNS) / 4;
    constexpr int LEFT_LOADS = ROWS * DEPTH / 4 / THREADS_HERE, RIGHT_LOADS = COLUMNS * DEPTH / 4 / THREADS_HERE;
    SHARED ALIGNED16 float left_tile[2][LEFT_LINES * LEFT_STRIDE];
    SHARED ALIGNED16 float right_tile[2][RIGHT_LINES * RIGHT_STRIDE];

    const int taps = g.kernel_height * g.kernel_width, group = blockIdx.z % g.groups, split = blockIdx.z / g.groups;
    const int splits = gridDim.z / g.groups;
    const int in = g.in_channels / g.groups, out = g.out_channels / g.groups;
    const int in_pixels = g.images * g.in_height * g.in_width, out_pixels = g.images * g.out_height * g.out_width;
    const int rows = KIND == FORWARD ? out_pixels : KIND == DATA ? in_pixels : taps * in;
    const int columns = KIND == DATA ? in : out;
    const int inner = KIND == FORWARD ? in : out;  // values of a tap
    const int depth = KIND == WEIGHTS ? out_pixels : taps * inner;
    const int first_row = blockIdx.x * ROWS, first_column = blockIdx.y * COLUMNS;
    const int steps = (depth + DEPTH - 1) / DEPTH, share = (steps + splits - 1) / splits;
    const int first_step = split * share, last_step = min(steps, first_step + share);

    // The pixels of this thread's rows do not change from step to step.
    Pixel pixels[LEFT_LOADS];
#pragma unroll
    for (int i = 0; i < LEFT_LOADS; i++) {
        int row = first_row + (threadIdx.x + i * THREADS_HERE) / LEFT_PER_LINE;
        if (KIND == FORWARD) pixels[i] = pixel_at(row, rows, g.out_height, g.out_width);
        if (KIND == DATA) pixels[i] = pixel_at(row, rows, g.in_height, g.in_width);
    }
    Four left[LEFT_LOADS], right[RIGHT_LOADS];
    auto fetch = [&](int step) {
        const int deep = step * DEPTH;
#pragma unroll
        for (int i = 0; i < LEFT_LOADS; i++) {
            const int vector = threadIdx.x + i * THREADS_HERE;
            const int line = vector / LEFT_PER_LINE, along = vector % LEFT_PER_LINE * 4;
            Four values = {{0, 0, 0, 0}};
            Pixel pixel = pixels[i];
            // Which of the image's values: the tap and the channel of the first of four.
            int at = KIND == WEIGHTS ? first_row + along : deep + along;
            const int bound = KIND == WEIGHTS ? rows : depth, channels = KIND == DATA ? out : in;
            const int all_channels = KIND == DATA ? g.out_channels : g.in_channels;
            if (KIND == WEIGHTS) pixel = pixel_at(deep + line, depth, g.out_height, g.out_width);
#pragma unroll
            for (int part = 0; part < 4; part += WIDE, at += WIDE) {
                if (at >= bound) continue;
                const int tap = taps == 1 ? 0 : at / channels, channel = at - tap * channels;
                const int row = tap / g.kernel_width, column = tap % g.kernel_width;
                const int found = KIND == DATA ? seeing_pixel(g, pixel, row, column) : seen_pixel(g, pixel, row, column);
                if (found < 0) continue;
                const float* from = image + (long long)found * all_channels + group * channels + channel;
                if (WIDE == 4)
                    values = load<4>(from, 4);
                else
                    values.at[part] = *from;
            }
            left[i] = values;
        }
#pragma unroll
        for (int i = 0; i < RIGHT_LOADS; i++) {
            const int vector = threadIdx.x + i * THREADS_HERE;
            const int line = vector / RIGHT_PER_LINE, along = vector % RIGHT_PER_LINE * 4;
            Four values = {{0, 0, 0, 0}};
#pragma unroll
            for (int part = 0; part < 4; part += WIDE) {
                const int row = RIGHT_BY_COLUMNS ? deep + along + part : deep + line;
                const int column = first_column + (RIGHT_BY_COLUMNS ? line : along + part);
                if (row >= depth || column >= columns) continue;
                long long place = (long long)row * g.out_channels + group * out + column;
                if (KIND == DATA) {
                    const int tap = taps == 1 ? 0 : row / out;
                    place = (long long)(tap * in + column) * g.out_channels + group * out + row - tap * out;
                }
                if (WIDE == 4)
                    values = load<4>(other + place, 4);
                else
                    values.at[part] = other[place];
            }
            right[i] = values;
        }
    };
    auto keep = [&](int buffer) {
#pragma unroll
        for (int i = 0; i < LEFT_LOADS; i++) {
            const int vector = threadIdx.x + i * THREADS_HERE;
            for (int part = 0; part < 4; part++) left[i].at[part] = rounded(left[i].at[part]);
            store<4>(&left_tile[buffer][vector / LEFT_PER_LINE * LEFT_STRIDE + vector % LEFT_PER_LINE * 4], left[i], 4);
        }
#pragma unroll
        for (int i = 0; i < RIGHT_LOADS; i++) {
            const int vector = threadIdx.x + i * THREADS_HERE;
            for (int part = 0; part < 4; part++) right[i].at[part] = rounded(right[i].at[part]);
            store<4>(&right_tile[buffer][vector / RIGHT_PER_LINE * RIGHT_STRIDE + vector % RIGHT_PER_LINE * 4], right[i], 4);
        }
    };

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int down = warp / WARPS_ACROSS * 32, across = warp % WARPS_ACROSS * 32;
    const int lane_row = lane / 4, lane_column = lane % 4;
    // Sum i of part (m, n) is at row m·16 + i / 2 · 8 + lane_row and column n·8 + 2 · lane_column + i % 2.
    float sums[2][4][4] = {};
    auto left_at = [&](int buffer, int row, int deep) {
        return left_tile[buffer][LEFT_BY_ROWS ? row * LEFT_STRIDE + deep : deep * LEFT_STRIDE + row];
    };
    auto right_at = [&](int buffer, int deep, int column) {
        return right_tile[buffer][RIGHT_BY_COLUMNS ? column * RIGHT_STRIDE + deep : deep * RIGHT_STRIDE + column];
    };
    if (first_step < last_step) {
        fetch(first_step);
        keep(0);
    }
    __syncthreads();
    for (int step = first_step; step < last_step; step++) {
        const int buffer = (step - first_step) % 2;
        if (step + 1 < last_step) fetch(step + 1);
#ifdef NASGEN_TF32
        for (int deep = 0; deep < DEPTH; deep += 8) {
            float a[2][4], b[4][2];
            for (int m = 0; m < 2; m++)
                for (int i = 0; i < 4; i++)
                    a[m][i] = left_at(buffer, down + m * 16 + i % 2 * 8 + lane_row, deep + i / 2 * 4 + lane_column);
            for (int n = 0; n < 4; n++)
                for (int i = 0; i < 2; i++)
                    b[n][i] = right_at(buffer, deep + i * 4 + lane_column, across + n * 8 + lane_row);
            for (int m = 0; m < 2; m++)
                for (int n = 0; n < 4; n++) multiply(sums[m][n], a[m], b[n]);
        }
#else
        for (int deep = 0; deep < DEPTH; deep++) {
            float a[2][2], b[4][2];
            for (int m = 0; m < 2; m++)
                for (int i = 0; i < 2; i++) a[m][i] = left_at(buffer, down + m * 16 + i * 8 + lane_row, deep);
            for (int n = 0; n < 4; n++)
                for (int i = 0; i < 2; i++) b[n][i] = right_at(buffer, deep, across + n * 8 + 2 * lane_column + i);
            for (int m = 0; m < 2; m++)
                for (int n = 0; n < 4; n++)
                    for (int i = 0; i < 4; i++) sums[m][n][i] += a[m][i / 2] * b[n][i % 2];
        }
#endif
        if (step + 1 < last_step) keep(1 - buffer);
        __syncthreads();
    }

    const int width = KIND == DATA ? g.in_channels : g.out_channels;
    // Sums are registers only where all their indices are known.
    auto each = [&](auto work) {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int row = first_row + down + m * 16 + i / 2 * 8 + lane_row;
                    const int column = first_column + across + n * 8 + 2 * lane_column + i % 2;
                    if (row < rows && column < columns)
                        work(sums[m][n][i], (long long)row * width + group * columns + column, group * columns + column);
                }
    };
    if (KIND == WEIGHTS && splits > 1) {
        const long long size = (long long)rows * width;
        each([&](float sum, long long place, int) { partials[split * size + place] = sum; });
        const int tile = (group * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        if (!is_last(&counters[tile], splits)) return;
        each([&](float, long long place, int) {
            float sum = 0;
#pragma unroll 1
            for (int part = 0; part < splits; part++) sum += fresh(&partials[part * size + place]);
            result[place] = sum;
        });
        return;
    }
    each([&](float sum, long long place, int channel) {
        if (KIND == FORWARD) {
            if (end.scale) sum *= end.scale[channel];
            if (end.shift) sum += end.shift[channel];
            if (end.before) end.before[place] = sum;
            if (end.activation >= 0) sum = finished(end.activation, sum);
            if (end.residual) sum += end.residual[place];
        }
        result[place] = KIND == DATA && add ? result[place] + sum : sum;
    });
}

// Tiles of 128 × 64, 64 × 64 and 128 × 32; the last where four values cannot be loaded together.
#define TILES(KERNELS)      \
    KERNELS(large, 4, 2, 4)  \
    KERNELS(small, 2, 2, 4)  \
    KERNELS(narrow, 4, 1, 4) \
    KERNELS(small, 2, 2, 1)
