/* See cuda_emu.h. */
#include "emulate/cuda_emu.h"

#include <stdio.h>
#include <sys/mman.h>
#include <utility>
#include <vector>
#if defined __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

[[noreturn]] static void die(const char *what)
{
    printf("Bail out! emulation: %s (block %u,%u,%u thread %u of %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, blockDim.x);
    fflush(stdout);
    abort();
}

/* ---- memory: every allocation ends at an inaccessible page and is itself inaccessible to host code ---------------- */

enum { PAGE = 4096, ALIGN = 256, SHARED = 48 << 10, SHARED_MOST = 227 << 10 };
struct allocation {
    char *map, *p;
    size_t mapped, bytes;
};
static std::vector<allocation> memory;
static int opened;

/* By a protection key where the processor has them: that is one register, where mprotect goes through all the pages. */
static int protection_key(void)
{
    static int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
    return key;
}
static void protect(const allocation &a, int prot) { mprotect(a.map + PAGE, a.mapped - 2 * PAGE, prot); }
static void protect_all(bool open)
{
    if (protection_key() >= 0)
        pkey_set(protection_key(), open ? 0 : PKEY_DISABLE_ACCESS);
    else
        for (const allocation &a : memory)
            protect(a, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
void emu_open_memory(void)
{
    if (opened++ == 0)
        protect_all(true);
}
void emu_close_memory(void)
{
    if (--opened == 0)
        protect_all(false);
}

static const allocation *find(const void *p)
{
    for (const allocation &a : memory)
        if ((const char *)p >= a.p && (const char *)p < a.p + a.bytes)
            return &a;
    return NULL;
}
void emu_check_pointer(const void *p)
{
    if (p && !find(p))
        die("a kernel's pointer argument is not device memory");
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    cudaError_t rc = emu_not_in_capture();
    if (rc != cudaSuccess)
        return rc;
    size_t size = ((bytes ? bytes : 1) + ALIGN - 1) / ALIGN * ALIGN, mapped = (size + PAGE - 1) / PAGE * PAGE + 2 * PAGE;
    char *map = (char *)mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return emu_said(cudaErrorMemoryAllocation);
    memory.push_back({map, map + mapped - PAGE - size, mapped, size});
    *p = memory.back().p;
    if (protection_key() >= 0 && pkey_mprotect(map + PAGE, mapped - 2 * PAGE, PROT_READ | PROT_WRITE, protection_key()))
        die("pkey_mprotect");
    emu_open_memory();
    memset(*p, 0xff, size); /* not a number, in every floating type */
    emu_close_memory();
    return cudaSuccess;
}
cudaError_t cudaFree(void *p)
{
    cudaError_t rc = p ? emu_not_in_capture() : cudaSuccess;
    if (!p || rc != cudaSuccess)
        return rc;
    emu_drain_all();
    for (size_t i = 0; i < memory.size(); i++)
        if (memory[i].p == p) {
            munmap(memory[i].map, memory[i].mapped);
            memory.erase(memory.begin() + (long)i);
            return cudaSuccess;
        }
    return emu_said(cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t *available, size_t *total) { return *available = *total = (size_t)8 << 30, cudaSuccess; }

/* Page-locked memory of the host: read and written when the copy's turn comes. */
struct locked {
    char *p;
    size_t n;
};
static std::vector<locked> pinned;
static int is_pinned(const void *p, size_t n)
{
    for (const locked &l : pinned)
        if ((const char *)p >= l.p && (const char *)p + n <= l.p + l.n)
            return 1;
    return 0;
}
cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    cudaError_t rc = emu_not_in_capture();
    if (rc != cudaSuccess)
        return rc;
    if (!(*p = aligned_alloc(ALIGN, (bytes + ALIGN) / ALIGN * ALIGN)))
        return emu_said(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    pinned.push_back({(char *)*p, bytes});
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p)
{
    cudaError_t rc = p ? emu_not_in_capture() : cudaSuccess;
    if (!p || rc != cudaSuccess)
        return rc;
    emu_drain_all();
    for (size_t i = 0; i < pinned.size(); i++)
        if (pinned[i].p == p) {
            pinned.erase(pinned.begin() + (long)i);
            free(p);
            return cudaSuccess;
        }
    return emu_said(cudaErrorInvalidValue);
}

/* Dynamic shared memory beyond 48 KB has to be asked for. */
static std::vector<std::pair<const void *, size_t>> allowed;
cudaError_t emu_allow_shared(const void *kernel, int bytes)
{
    if (bytes < 0 || bytes > SHARED_MOST)
        return emu_said(cudaErrorInvalidValue);
    allowed.insert(allowed.begin(), {kernel, (size_t)bytes});
    return cudaSuccess;
}
void emu_check_shared(const void *kernel, size_t bytes)
{
    for (auto &a : allowed)
        if (a.first == kernel && bytes <= a.second)
            return;
    if (bytes > SHARED)
        die("more dynamic shared memory than the kernel was allowed");
}

void emu_check_range(const void *p, size_t n)
{
    const allocation *a = find(p);
    if (!a || (size_t)((const char *)p - a->p) + n > a->bytes)
        die("a copy leaves its allocation");
}
static void copy_now(void *dst, const void *src, size_t bytes)
{
    emu_open_memory();
    memcpy(dst, src, bytes);
    emu_close_memory();
}
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    if (!bytes)
        return cudaSuccess;
    if (kind != cudaMemcpyDeviceToHost)
        emu_check_range(dst, bytes);
    if (kind != cudaMemcpyHostToDevice)
        emu_check_range(src, bytes);
    if (kind == cudaMemcpyDeviceToDevice && (char *)dst < (const char *)src + bytes && (const char *)src < (char *)dst + bytes)
        die("a copy within the device overlaps itself");
    if (emu_capturing(s) && ((kind == cudaMemcpyHostToDevice && !is_pinned(src, bytes)) || (kind == cudaMemcpyDeviceToHost && !is_pinned(dst, bytes))))
        return emu_not_in_capture();
    emu_queue(s, [=] { copy_now(dst, src, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    emu_check_range(p, bytes);
    emu_queue(s, [=] {
        emu_open_memory();
        memset(p, value, bytes);
        emu_close_memory();
    });
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n) { return *n = 8, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr a, int)
{
    *v = a == cudaDevAttrMultiProcessorCount ? 3 : a == cudaDevAttrMaxSharedMemoryPerBlockOptin ? SHARED_MOST : 8;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) { return *v = 0, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { return *v = 0, cudaSuccess; }
static cudaError_t last = cudaSuccess;
cudaError_t emu_said(cudaError_t rc)
{
    if (rc != cudaSuccess)
        last = rc;
    return rc;
}
cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last;
    last = cudaSuccess;
    return e;
}
const char *cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "emulated error"; }

/* ---- changing stacks. swapcontext asks the kernel for the signal mask every time, which took most of the time --------- */

#if defined __x86_64__
struct place {
    void *sp;
};
extern "C" void emu_change(void **from, void *to); /* what a call must keep goes onto the stack */
asm(".text\n.p2align 4\n.type emu_change,@function\nemu_change:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void change(place *from, const place *to) { emu_change(&from->sp, to->sp); }
static void begin(place *p, char *stack, size_t size, void (*fn)(void))
{
    void **top = (void **)(stack + size);
    *--top = NULL;       /* fn does not return; the stack is as after a call of it */
    *--top = (void *)fn; /* where emu_change returns to */
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    p->sp = top;
}
#else
#include <ucontext.h>
typedef ucontext_t place;
static void change(place *from, const place *to) { swapcontext(from, to); }
static void begin(place *p, char *stack, size_t size, void (*fn)(void))
{
    getcontext(p);
    p->uc_stack.ss_sp = stack;
    p->uc_stack.ss_size = size;
    p->uc_link = NULL;
    makecontext(p, fn, 0);
}
#endif

/* ---- fibers ------------------------------------------------------------------------------------------------------- */

dim3 threadIdx, blockIdx, blockDim, gridDim;
int emu_order;

enum { MAX_THREADS = 1024, STACK = 256 << 10, GIVEN = 64 };
enum wait_state { NOT_STARTED, RUNS, AT_BARRIER, AT_EXCHANGE, ENDED };
struct fiber {
    place at;
    wait_state state;
    dim3 index;
    int stack;      /* the one it runs on */
    int kind;       /* of the exchange it waits in */
    unsigned turns; /* exchanges so far: even and odd ones use different places, so a fast lane cannot overwrite */
    char given[2][GIVEN];
    std::vector<std::pair<void *, const void *>> copies; /* under way; NULL, NULL ends a group */
};
static fiber *fibers;
static char *stacks;
static place scheduler;
static int current, threads;
static const std::function<void()> *running;
static void *dynamic_shared;

void *emu_dynamic_shared(void) { return dynamic_shared; }
int emu_lane(void) { return current % 32; }

/* What the main stack is, for the address sanitizer; asked once from the scheduler. */
#if defined __SANITIZE_ADDRESS__
#include <pthread.h>
static void main_stack(const void **bottom, size_t *size)
{
    static void *known;
    static size_t bytes;
    if (!known) { /* slow: it reads the process's maps */
        pthread_attr_t a;
        pthread_getattr_np(pthread_self(), &a);
        pthread_attr_getstack(&a, &known, &bytes);
        pthread_attr_destroy(&a);
    }
    *bottom = known;
    *size = bytes;
}
#endif

static int nth(int k, int n) { return emu_order ? n - 1 - k : k; }

static void enter(int i)
{
    current = i;
    threadIdx = fibers[i].index;
    fibers[i].state = RUNS;
}

/* A thread that ends without ever waiting leaves its stack to the next one: most kernels need no switch at all. */
static void fiber_main(void)
{
#if defined __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    for (int k = 0;;) {
        (*running)();
        fibers[current].state = ENDED;
        int mine = fibers[current].stack;
        while (k < threads && fibers[nth(k, threads)].state != NOT_STARTED)
            k++;
        if (k == threads)
            break;
        fibers[nth(k, threads)].stack = mine;
        enter(nth(k, threads));
    }
#if defined __SANITIZE_ADDRESS__
    const void *bottom;
    size_t size;
    main_stack(&bottom, &size);
    __sanitizer_start_switch_fiber(NULL, bottom, size);
#endif
    change(&fibers[current].at, &scheduler);
}

static void switch_to(int i)
{
    enter(i);
#if defined __SANITIZE_ADDRESS__
    void *fake;
    __sanitizer_start_switch_fiber(&fake, stacks + (size_t)fibers[i].stack * STACK, STACK);
#endif
    change(&scheduler, &fibers[i].at);
#if defined __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

static void wait_here(wait_state s)
{
    int me = current;
    fibers[me].state = s;
#if defined __SANITIZE_ADDRESS__
    void *fake;
    const void *bottom;
    size_t size;
    main_stack(&bottom, &size);
    __sanitizer_start_switch_fiber(&fake, bottom, size);
#endif
    change(&fibers[me].at, &scheduler);
#if defined __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

void __syncthreads(void) { wait_here(AT_BARRIER); }

const void *emu_exchange(int kind, const void *give, size_t bytes, int from)
{
    fiber *f = &fibers[current];
    if (bytes > GIVEN)
        die("an exchange of too many bytes");
    f->kind = kind;
    memcpy(f->given[f->turns++ % 2], give, bytes);
    wait_here(AT_EXCHANGE);
    return emu_given(from);
}
const void *emu_given(int lane)
{
    int other = current / 32 * 32 + lane;
    return fibers[other < threads ? other : current].given[(fibers[current].turns - 1) % 2];
}

void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    emu_exchange(EMU_MMA, mine, sizeof mine, 0);
    int g = emu_lane() / 4, t = 2 * (emu_lane() % 4);
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, column = t + i % 2;
        float sum = c[i];
        for (int k = 0; k < 16; k++) {
            const uint32_t *left = (const uint32_t *)emu_given(row % 8 * 4 + k % 8 / 2), *right = (const uint32_t *)emu_given(column * 4 + k % 8 / 2);
            uint32_t x = left[row / 8 + k / 8 * 2] >> (k % 2 * 16) & 0xffff, y = right[4 + k / 8] >> (k % 2 * 16) & 0xffff;
            sum += __uint_as_float(x << 16) * __uint_as_float(y << 16);
        }
        c[i] = sum;
    }
}

void emu_load_matrices(uint32_t r[4], const uint16_t *row, bool turned)
{
    if ((uintptr_t)row % 16)
        die("a row of a matrix is not aligned");
    emu_exchange(EMU_MATRICES, row, 16, 0);
    int g = emu_lane() / 4, t = 2 * (emu_lane() % 4);
    for (int m = 0; m < 4; m++) {
        uint32_t pair[2];
        for (int i = 0; i < 2; i++)
            pair[i] = ((const uint16_t *)emu_given(8 * m + (turned ? t + i : g)))[turned ? g : t + i];
        r[m] = pair[0] | pair[1] << 16;
    }
}

void async_copy16(void *shared, const void *global)
{
    if ((uintptr_t)shared % 16 || (uintptr_t)global % 16)
        die("an asynchronous copy of 16 bytes is not aligned");
    if (emu_order) /* it may land at once, or as late as the wait for it */
        memcpy(shared, global, 16);
    else
        fibers[current].copies.push_back({shared, global});
}
void async_commit(void) { fibers[current].copies.push_back({NULL, NULL}); }
void emu_async_wait(unsigned left)
{
    auto &c = fibers[current].copies;
    unsigned groups = 0;
    for (auto &x : c)
        groups += !x.first;
    while (groups > left) {
        auto x = c.front();
        c.erase(c.begin());
        if (x.first)
            memcpy(x.first, x.second, 16);
        else
            groups--;
    }
}

/* Lanes of the warp from thread w on that all wait in the same exchange go on. */
static int release_warp(int w)
{
    int n = threads - w < 32 ? threads - w : 32, waiting = 0, ended = 0, kinds = 0;
    for (int i = w; i < w + n; i++) {
        waiting += fibers[i].state == AT_EXCHANGE;
        ended += fibers[i].state == ENDED;
        if (fibers[i].state == AT_EXCHANGE)
            kinds |= 1 << fibers[i].kind;
    }
    if (waiting && ended)
        die("a lane ended while its warp exchanges values");
    if (waiting < n)
        return 0;
    if (kinds & (kinds - 1))
        die("lanes of a warp wait in different operations");
    for (int i = w; i < w + n; i++)
        fibers[i].state = RUNS;
    return 1;
}

static int release_block(void)
{
    int waiting = 0, ended = 0;
    for (int i = 0; i < threads; i++) {
        waiting += fibers[i].state == AT_BARRIER;
        ended += fibers[i].state == ENDED;
    }
    if (waiting && ended)
        die("a thread ended while others wait at a barrier");
    for (int i = 0; waiting == threads && i < threads; i++)
        fibers[i].state = RUNS;
    return waiting == threads;
}

/* The thread starts on a stack of its own. */
static void start(int i, int stack)
{
    fiber *f = &fibers[i];
    f->stack = stack;
    begin(&f->at, stacks + (size_t)stack * STACK, STACK, fiber_main);
}

/* A warp runs as far as it gets without the others: a barrier that is missing leaves them far behind. Returns whether any of
 * its threads ran. */
static int run_warp(int w, int *used)
{
    int ran = 0, n = threads - w < 32 ? threads - w : 32;
    do {
        for (int k = 0; k < n; k++) {
            int i = w + nth(k, n);
            if (fibers[i].state == NOT_STARTED)
                start(i, (*used)++);
            else if (fibers[i].state != RUNS)
                continue;
            switch_to(i);
            ran = 1;
        }
    } while (release_warp(w));
    return ran;
}

static void run_block(void)
{
    int used = 0;
    for (int i = 0; i < threads; i++) {
        fiber *f = &fibers[i];
        f->state = NOT_STARTED;
        f->turns = 0;
        f->copies.clear();
        f->index = dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y, (unsigned)i / blockDim.x / blockDim.y);
    }
    for (;;) {
        int ran = 0, ended = 0;
        for (int k = 0, warps = (threads + 31) / 32; k < warps; k++)
            ran |= run_warp(32 * nth(k, warps), &used);
        for (int i = 0; i < threads; i++)
            ended += fibers[i].state == ENDED;
        if (ended == threads)
            return;
        if (!release_block() && !ran)
            die("threads wait for each other for ever");
    }
}

void emu_run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body)
{
    int64_t blocks = (int64_t)grid.x * grid.y * grid.z;
    threads = (int)(block.x * block.y * block.z);
    if (threads < 1 || threads > MAX_THREADS || blocks < 1 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535 || shared > SHARED_MOST)
        die("a launch that the machine would refuse");
    if (!fibers) {
        fibers = new fiber[MAX_THREADS];
        stacks = (char *)mmap(NULL, (size_t)MAX_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    running = &body;
    gridDim = grid;
    blockDim = block;
    dynamic_shared = aligned_alloc(64, (shared + 63) / 64 * 64 + 64);
    emu_open_memory();
    for (int64_t i = 0; i < blocks; i++) {
        int64_t b = emu_order ? blocks - 1 - i : i;
        blockIdx = dim3((unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y));
        memset(dynamic_shared, 0xff, shared);
        run_block();
    }
    emu_close_memory();
    free(dynamic_shared);
}
