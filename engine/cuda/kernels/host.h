// Runs kernels on a CPU, for tests: blocks one after the other, the threads of a block as fibers that change at barriers.
// Threads and blocks run in ascending or in descending order: what depends on it is a race.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utility>

#define INLINE static inline
#define NOINLINE static __attribute__((noinline))
#define SHARED static thread_local
#define ALIGNED16 __attribute__((aligned(16)))
#define INFINITE __builtin_inff()
#define KERNEL(name) static void name
#define EXPORT(name)                                                              \
    extern "C" void host_##name(const int* grid, int threads, int descending, void** arguments) { \
        host::launch(name, grid, threads, descending, arguments);                 \
    }

struct Indices {
    int x, y, z;
};
static thread_local Indices threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int min(int a, int b) { return a < b ? a : b; }
static constexpr int max(int a, int b) { return a > b ? a : b; }
static inline void __threadfence() {}
static inline float __ldcg(const float* place) { return *place; }
static inline double __ldcg(const double* place) { return *place; }
static inline int atomicAdd(int* place, int value) { return (*place += value) - value; }

namespace host {
constexpr int MOST_THREADS = 1024, STACK = 64 * 1024, WARP_LANES = 32;
enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
    void* top;
    State state;
};

struct Block {
    Fiber fibers[MOST_THREADS];
    void* scheduler;
    int current;
    void (*run)(void*);
    void* call;
    char* stacks;
};
static thread_local Block block;

// Saves the registers that a callee keeps, changes the stack, and takes them from there.
extern "C" void nasgen_switch(void** from, void* to);
asm(R"(
.text
.globl nasgen_switch
.hidden nasgen_switch
nasgen_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void wait(State state) {
    Fiber& fiber = block.fibers[block.current];
    fiber.state = state;
    nasgen_switch(&fiber.top, block.scheduler);
}
// A pointer that may change: the compiler cannot know that a barrier leaves shared memory alone.
static void (*volatile barrier)(State) = wait;

static void begin() {
    block.run(block.call);
    barrier(DONE);
    abort();
}

// Whether all of the fibers from `first` to before `last` that are not done wait for `state`; then they wait no more.
static bool release(int first, int last, State state) {
    bool any = false;
    for (int i = first; i < last; i++) {
        if (block.fibers[i].state == READY || (block.fibers[i].state != DONE && block.fibers[i].state != state)) return false;
        any |= block.fibers[i].state == state;
    }
    for (int i = first; i < last; i++)
        if (block.fibers[i].state == state) block.fibers[i].state = READY;
    return any;
}

static void run_block(int threads, bool descending) {
    for (int i = 0; i < threads; i++) {
        // Six registers, the place to return to, and what aligns the stack as a call does.
        void** top = (void**)(block.stacks + (size_t)(i + 1) * STACK) - 8;
        memset(top, 0, 8 * sizeof(void*));
        top[6] = (void*)begin;
        block.fibers[i] = {top, READY};
    }
    for (bool goes_on = true; goes_on;) {
        for (int i = 0; i < threads; i++) {
            const int number = descending ? threads - 1 - i : i;
            if (block.fibers[number].state != READY) continue;
            block.current = number;
            threadIdx = {number, 0, 0};
            nasgen_switch(&block.scheduler, block.fibers[number].top);
        }
        goes_on = release(0, threads, AT_BLOCK);
        for (int first = 0; first < threads; first += WARP_LANES)
            goes_on |= release(first, min(threads, first + WARP_LANES), AT_WARP);
    }
    for (int i = 0; i < threads; i++)
        if (block.fibers[i].state != DONE) abort();  // threads of a block that wait for different barriers
}

template <class... A>
struct Call {
    void (*kernel)(A...);
    void** arguments;
    template <size_t... I>
    void with(std::index_sequence<I...>) {
        kernel(*(std::remove_reference_t<A>*)arguments[I]...);
    }
    static void run(void* call) { ((Call*)call)->with(std::index_sequence_for<A...>()); }
};

template <class... A>
void launch(void (*kernel)(A...), const int* grid, int threads, bool descending, void** arguments) {
    if (!block.stacks) block.stacks = (char*)aligned_alloc(4096, (size_t)MOST_THREADS * STACK);
    Call<A...> call = {kernel, arguments};
    block.run = Call<A...>::run, block.call = &call;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {threads, 1, 1};
    const long long count = (long long)grid[0] * grid[1] * grid[2];
    for (long long i = 0; i < count; i++) {
        const long long number = descending ? count - 1 - i : i;
        blockIdx = {int(number % grid[0]), int(number / grid[0] % grid[1]), int(number / grid[0] / grid[1])};
        run_block(threads, descending);
    }
}
}  // namespace host

static inline void __syncthreads() { host::barrier(host::AT_BLOCK); }

#ifdef NASGEN_TF32
// To 10 bits of mantissa, as `cvt.rna.tf32` does: ties away from 0.
static inline float rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x1000) & 0xffffe000;
    memcpy(&x, &bits, 4);
    return x;
}

// `mma.m16n8k8`: each lane of a warp gives its parts of both matrices and gets its part of the product.
static inline void multiply(float sum[4], const float a[4], const float b[2]) {
    static thread_local float left[host::MOST_THREADS][4], right[host::MOST_THREADS][2];
    const int thread = threadIdx.x, warp = thread / 32 * 32, row = thread % 32 / 4, column = thread % 4 * 2;
    memcpy(left[thread], a, sizeof left[thread]);
    memcpy(right[thread], b, sizeof right[thread]);
    host::barrier(host::AT_WARP);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) {
            // Row r and depth k of the left are with lane r % 8 · 4 + k % 4, those of the right with column · 4 + k % 4.
            const float l = left[warp + row * 4 + k % 4][i / 2 + k / 4 * 2];
            const float r = right[warp + (column + i % 2) * 4 + k % 4][k / 4];
            sum[i] += l * r;
        }
    host::barrier(host::AT_WARP);
}
#endif
