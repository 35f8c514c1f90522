// What every kernel may use. Kernels are CUDA C++ that a host compiler takes as well: tests run them on a CPU, thread by
// thread (host.h). Values are f32, pixels × channels (NHWC); a kernel takes pointers, ints, floats and structs of ints.

#ifdef NASGEN_HOST
#include "host.h"
#else
#define KERNEL(name) extern "C" __global__ void name
#define EXPORT(name)
#define INLINE __device__ __forceinline__
#define NOINLINE __device__ __noinline__
#define SHARED __shared__
#define ALIGNED16 __align__(16)
#define INFINITE __int_as_float(0x7f800000)
#endif

[[maybe_unused]] constexpr int THREADS = 256;
[[maybe_unused]] constexpr int WARP = 32;

// A window over an image, or a convolution. The order is that of `Geometry` in geometry.rs.
struct Geometry {
    int images;
    int in_height, in_width, in_channels;
    int out_height, out_width, out_channels;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int dilation_y, dilation_x;
    int pad_top, pad_left;
    int groups;
};

// A pixel of an image of a batch.
struct Pixel {
    int image, y, x;
    bool exists;
};

// The pixel with this number, of `count` in a batch of images.
INLINE Pixel pixel_at(int number, int count, int height, int width) {
    int line = number / width;
    return {line / height, line % height, number % width, number < count};
}

// The number of the pixel in the input that a tap sees from a pixel of the output; below 0 for the padding.
INLINE int seen_pixel(const Geometry& g, const Pixel& pixel, int row, int column) {
    int y = pixel.y * g.stride_y - g.pad_top + row * g.dilation_y;
    int x = pixel.x * g.stride_x - g.pad_left + column * g.dilation_x;
    if (!pixel.exists || y < 0 || y >= g.in_height || x < 0 || x >= g.in_width) return -1;
    return (pixel.image * g.in_height + y) * g.in_width + x;
}

// The number of the pixel in the output whose tap sees a pixel of the input; below 0 where there is none.
INLINE int seeing_pixel(const Geometry& g, const Pixel& pixel, int row, int column) {
    int y = pixel.y + g.pad_top - row * g.dilation_y, x = pixel.x + g.pad_left - column * g.dilation_x;
    if (!pixel.exists || y < 0 || x < 0 || y % g.stride_y || x % g.stride_x) return -1;
    y /= g.stride_y, x /= g.stride_x;
    if (y >= g.out_height || x >= g.out_width) return -1;
    return (pixel.image * g.out_height + y) * g.out_width + x;
}

// What a thread sums of many pixels: its channel, and every `runners`-th pixel of its block's share. A block has `lanes`
// channels (a power of two up to 32); blocks lie side by side for the channels, and below each other for the pixels.
struct Share {
    int runner, runners, channel, first, last;
    // Whether there is such a channel.
    bool works;
};

INLINE Share share_of(int lanes, int channels, int pixels) {
    const int channel = blockIdx.x * lanes + threadIdx.x % lanes, each = (pixels + gridDim.y - 1) / gridDim.y;
    const int first = blockIdx.y * each;
    return {int(threadIdx.x) / lanes, THREADS / lanes, channel, first, min(pixels, first + each), channel < channels};
}

// Number of this thread in the whole grid of a kernel that has one dimension.
INLINE int thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Whether this is the last block of `count` to come here: what the others wrote before is then there to be read by
// `fresh`. The counter begins and ends at 0.
INLINE bool is_last(int* counter, int count) {
    SHARED int before;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        before = atomicAdd(counter, 1);
        if (before == count - 1) *counter = 0;
    }
    __syncthreads();
    __threadfence();
    return before == count - 1;
}

// What another block wrote in this launch.
INLINE float fresh(const float* place) { return __ldcg(place); }

// The sum over all threads of a block that have the same lane, for each of them; always added in the same order. A lane is
// the number of a thread modulo `lanes`, a power of two.
template <class T>
NOINLINE T met(T value, int lanes) {
    SHARED T values[THREADS];
    __syncthreads();
    values[threadIdx.x] = value;
    for (int half = THREADS / lanes / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x / lanes < half) values[threadIdx.x] += values[threadIdx.x + half * lanes];
    }
    __syncthreads();
    return values[threadIdx.x % lanes];
}

struct Four {
    float at[4];
};

// Four values side by side; WIDE says whether they are known to be aligned, and then they are all there.
template <int WIDE>
INLINE Four load(const float* from, int count) {
    Four four = {{0, 0, 0, 0}};
    if (WIDE == 4) {
        float4 vector = *reinterpret_cast<const float4*>(from);
        four.at[0] = vector.x, four.at[1] = vector.y, four.at[2] = vector.z, four.at[3] = vector.w;
    } else {
        for (int i = 0; i < 4; i++)
            if (i < count) four.at[i] = from[i];
    }
    return four;
}

template <int WIDE>
INLINE void store(float* to, const Four& four, int count) {
    if (WIDE == 4) {
        *reinterpret_cast<float4*>(to) = make_float4(four.at[0], four.at[1], four.at[2], four.at[3]);
    } else {
        for (int i = 0; i < 4; i++)
            if (i < count) to[i] = four.at[i];
    }
}

// Activations by their place in `nasgen_modules::Activation::ALL`; below 0 is none.
enum Activation { RELU, RELU6, HARDSWISH, SILU, SIGMOID, HARDSIGMOID, GELU, LEAKY_RELU, ELU, MISH, TANH };

INLINE float clamp06(float x) { return fminf(fmaxf(x, 0.0f), 6.0f); }
INLINE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
INLINE float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

INLINE float activated(int activation, float x) {
    switch (activation) {
        case RELU: return x < 0.0f ? 0.0f : x;
        case RELU6: return x != x ? x : clamp06(x);
        case HARDSWISH: return x * clamp06(x + 3.0f) / 6.0f;
        case SILU: return x * sigmoid(x);
        case SIGMOID: return sigmoid(x);
        case HARDSIGMOID: return x != x ? x : clamp06(x + 3.0f) / 6.0f;
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case LEAKY_RELU: return x > 0.0f ? x : 0.01f * x;
        case ELU: return x > 0.0f ? x : expm1f(x);
        case MISH: return x * tanhf(softplus(x));
        case TANH: return tanhf(x);
        default: return x;
    }
}

// The derivative at x, PyTorch's choice where there is a kink.
INLINE float slope(int activation, float x) {
    switch (activation) {
        case RELU: return x > 0.0f ? 1.0f : 0.0f;
        case RELU6: return x > 0.0f && x < 6.0f ? 1.0f : 0.0f;
        case HARDSWISH: return x >= 3.0f ? 1.0f : x > -3.0f ? x / 3.0f + 0.5f : 0.0f;
        case SILU: {
            float s = sigmoid(x);
            return s + x * s * (1.0f - s);
        }
        case SIGMOID: {
            float s = sigmoid(x);
            return s * (1.0f - s);
        }
        case HARDSIGMOID: return x > -3.0f && x < 3.0f ? 1.0f / 6.0f : 0.0f;
        case GELU: return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * expf(-0.5f * x * x) * 0.39894228f;
        case LEAKY_RELU: return x > 0.0f ? 1.0f : 0.01f;
        case ELU: return x > 0.0f ? 1.0f : expf(x);
        case MISH: {
            float t = tanhf(softplus(x));
            return t + x * (1.0f - t * t) * sigmoid(x);
        }
        case TANH: {
            float t = tanhf(x);
            return 1.0f - t * t;
        }
        default: return 1.0f;
    }
}

// What is dropped at random: the numbers of `nasgen_modules::randomness::Stream::at_step`.
struct Chance {
    unsigned key[2];
    unsigned node;
    // Of 2^24 numbers, so many are dropped.
    int dropped;
};

// Philox4x32-10 (Salmon et al. 2011).
INLINE void philox(unsigned words[4], unsigned key0, unsigned key1) {
    for (int round = 0; round < 10; round++) {
        unsigned long long first = 0xD2511F53ull * words[0], second = 0xCD9E8D57ull * words[2];
        unsigned next0 = unsigned(second >> 32) ^ words[1] ^ key0, next2 = unsigned(first >> 32) ^ words[3] ^ key1;
        words[1] = unsigned(second), words[3] = unsigned(first), words[0] = next0, words[2] = next2;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
}

// What element number `element` is kept by: 0, or the factor that keeps the mean. `step` has two words.
INLINE float kept(const Chance& chance, const unsigned* step, long long element) {
    if (chance.dropped == 0) return 1.0f;
    unsigned words[4] = {unsigned(element / 4), chance.node, step[0], step[1]};
    philox(words, chance.key[0], chance.key[1]);
    int number = int(words[element % 4] >> 8);
    return number < chance.dropped ? 0.0f : 16777216.0f / float(16777216 - chance.dropped);
}
