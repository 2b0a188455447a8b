/* A stub of a GPU: the functions of the CUDA driver and libraries that the program calls. Device memory is host memory that is zero at
 * first, copies copy, and kernels do nothing. All results are zero, which is right for a model whose weights are zero. The file named by
 * STUB_GPU contains the current fault:
 *
 *   works        no fault
 *   no-device    the driver starts and finds no device
 *   old          the driver is older than the program needs
 *   memory       every allocation fails
 *   kernel       a kernel fails, and after it every call, as on a real device
 *   kernel-once  one kernel fails
 *   nan          data copied from the device is NaN
 *   wrong        data copied from the device is all ones
 *   gone         every call fails, as after the device has fallen off the bus
 *   stuck        waiting for the device never ends
 *   crash        an allocation crashes the process
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, DEINITIALIZED = 4, NO_DEVICE = 100, LAUNCH_FAILED = 719 };

static int is(const char *fault) {
  char text[32] = "works";
  const char *path = getenv("STUB_GPU");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (file) {
    if (!fgets(text, sizeof text, file)) strcpy(text, "works");
    fclose(file);
  }
  text[strcspn(text, "\n")] = 0;
  return strcmp(text, fault) == 0;
}

/* The status of calls that have no fault of their own. */
static int status(void) { return is("gone") ? DEINITIALIZED : is("kernel") ? LAUNCH_FAILED : SUCCESS; }

/* Ends the fault. */
static void mend(void) {
  FILE *file = fopen(getenv("STUB_GPU"), "w");
  if (file) {
    fputs("works\n", file);
    fclose(file);
  }
}

static int give(void **handle) {
  *handle = calloc(1, 64);
  return status();
}

static int allocate(uint64_t *pointer, size_t size) {
  if (is("crash")) raise(SIGSEGV);
  if (is("memory")) return OUT_OF_MEMORY;
  *pointer = (uint64_t)calloc(1, size + 256);
  return status();
}

static int release(uint64_t pointer) {
  free((void *)pointer);
  return status();
}

static int to_host(void *to, uint64_t from, size_t size) {
  const float one = 1;
  memcpy(to, (void *)from, size);
  if (is("nan")) memset(to, 0xff, size);
  for (size_t i = 0; is("wrong") && i + 4 <= size; i += 4) memcpy((char *)to + i, &one, 4);
  return status();
}

static int to_device(uint64_t to, const void *from, size_t size) {
  memcpy((void *)to, from, size);
  return status();
}

static int wait_for_device(void) {
  while (is("stuck")) sleep(1);
  return status();
}

static int launch(void) {
  if (is("kernel-once")) {
    mend();
    return LAUNCH_FAILED;
  }
  return status();
}

/* The driver. */
EXPORT int cuInit(unsigned flags) { return (void)flags, is("no-device") ? NO_DEVICE : SUCCESS; }
EXPORT int cuDriverGetVersion(int *version) { return *version = is("old") ? 11040 : 13000, SUCCESS; }
EXPORT int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, status(); }
EXPORT int cuDeviceGetCount(int *count) { return *count = 1, status(); }
EXPORT int cuDeviceGetName(char *name, int size, int device) { return snprintf(name, size, "Stub %d", device), status(); }
EXPORT int cuDeviceTotalMem_v2(size_t *size, int device) { return (void)device, *size = 8ul << 30, status(); }
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  /* Compute capability 8.7, that of an Orin. All other attributes are 1024, which is enough. */
  (void)device;
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : 1024;
  return status();
}
EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, give(context); }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, status(); }
EXPORT int cuCtxSetCurrent(void *context) { return (void)context, status(); }
EXPORT int cuCtxGetCurrent(void **context) { return *context = NULL, status(); }
EXPORT int cuCtxSynchronize(void) { return wait_for_device(); }
EXPORT int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, give(stream); }
EXPORT int cuStreamDestroy_v2(void *stream) { return free(stream), status(); }
EXPORT int cuStreamSynchronize(void *stream) { return (void)stream, wait_for_device(); }
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return (void)stream, (void)event, (void)flags, status(); }
EXPORT int cuEventCreate(void **event, unsigned flags) { return (void)flags, give(event); }
EXPORT int cuEventDestroy_v2(void *event) { return free(event), status(); }
EXPORT int cuEventRecord(void *event, void *stream) { return (void)event, (void)stream, status(); }
EXPORT int cuEventSynchronize(void *event) { return (void)event, wait_for_device(); }
EXPORT int cuModuleLoad(void **module, const char *path) { return (void)path, give(module); }
EXPORT int cuModuleLoadData(void **module, const void *data) { return (void)data, give(module); }
EXPORT int cuModuleUnload(void *module) { return free(module), status(); }
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) { return (void)module, (void)name, give(function); }
EXPORT int cuFuncSetAttribute(void *function, int attribute, int value) { return (void)function, (void)attribute, (void)value, status(); }
EXPORT int cuFuncGetAttribute(int *value, int attribute, void *function) { return (void)attribute, (void)function, *value = 1024, status(); }
EXPORT int cuMemGetInfo_v2(size_t *left, size_t *total) { return *left = *total = 8ul << 30, status(); }
EXPORT int cuMemAlloc_v2(uint64_t *pointer, size_t size) { return allocate(pointer, size); }
EXPORT int cuMemAllocAsync(uint64_t *pointer, size_t size, void *stream) { return (void)stream, allocate(pointer, size); }
EXPORT int cuMemFree_v2(uint64_t pointer) { return release(pointer); }
EXPORT int cuMemFreeAsync(uint64_t pointer, void *stream) { return (void)stream, release(pointer); }
EXPORT int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { return to_device(to, from, size); }
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) { return (void)stream, to_device(to, from, size); }
EXPORT int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { return to_host(to, from, size); }
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) { return (void)stream, to_host(to, from, size); }
EXPORT int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t size) { return to_device(to, (void *)from, size); }
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void *stream) { return (void)stream, to_device(to, (void *)from, size); }
EXPORT int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t size) { return memset((void *)to, value, size), status(); }
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t size, void *stream) { return (void)stream, memset((void *)to, value, size), status(); }
EXPORT int cuLaunchKernel(void) { return launch(); }
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks) { return *blocks = 1, status(); }
EXPORT int cuOccupancyMaxPotentialBlockSize(int *grid, int *block) { return *grid = *block = 32, status(); }
EXPORT int cuGetErrorName(int error, const char **name) {
  *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_OTHER";
  return SUCCESS;
}
EXPORT int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

/* The runtime. The struct has the first fields of cudaDeviceProp. */
struct properties {
  char name[256], uuid[16], luid[8];
  unsigned node_mask;
  size_t total_memory, shared_memory_per_block;
  int registers_per_block, warp_size;
  size_t pitch;
  int threads_per_block, threads[3], grid[3], clock_rate;
  size_t constant_memory;
  int major, minor;
  size_t texture_alignment, texture_pitch_alignment;
  int overlap, multiprocessors;
};
EXPORT int cudaGetDeviceProperties_v2(struct properties *device, int ordinal) {
  (void)ordinal;
  memset(device, 0, sizeof *device);
  strcpy(device->name, "Stub");
  device->total_memory = 8ul << 30;
  device->shared_memory_per_block = 48 << 10;
  device->warp_size = 32;
  device->threads_per_block = 1024;
  device->major = 8;
  device->minor = 7;
  device->multiprocessors = 8;
  return status();
}
EXPORT int cudaRuntimeGetVersion(int *version) { return *version = 12060, SUCCESS; }
EXPORT const char *cudaGetErrorString(int error) { return (void)error, "a stub's error"; }
EXPORT const char *cudaGetErrorName(int error) { return (void)error, "cudaErrorStub"; }

/* The compiler. */
EXPORT int nvrtcVersion(int *major, int *minor) { return *major = 12, *minor = 6, SUCCESS; }
EXPORT int nvrtcCreateProgram(void **program) { return give(program); }
EXPORT int nvrtcDestroyProgram(void **program) { return free(*program), SUCCESS; }
EXPORT int nvrtcCompileProgram(void) { return SUCCESS; }
EXPORT int nvrtcGetCUBINSize(void *program, size_t *size) { return (void)program, *size = 4, SUCCESS; }
EXPORT int nvrtcGetCUBIN(void *program, char *cubin) { return (void)program, memcpy(cubin, "stub", 4), SUCCESS; }
EXPORT const char *nvrtcGetErrorString(int error) { return (void)error, "a stub's error"; }

/* Matrix products. */
EXPORT int cublasCreate_v2(void **handle) { return give(handle); }
EXPORT int cublasDestroy_v2(void *handle) { return free(handle), status() ? 14 : SUCCESS; }
EXPORT int cublasSetStream_v2(void) { return SUCCESS; }
EXPORT size_t cublasGetCudartVersion(void) { return 12060; }
EXPORT int cublasSgemmStridedBatched(void) { return launch() ? 13 : SUCCESS; }
EXPORT int cublasGemmStridedBatchedEx(void) { return launch() ? 13 : SUCCESS; }

/* Convolutions. They fail unless TF32 is disabled, which is possible in cuDNN only by this environment variable. */
static int is_exact(void) {
  const char *value = getenv("NVIDIA_TF32_OVERRIDE");
  return value && strcmp(value, "0") == 0;
}
EXPORT int cudnnCreate(void **handle) { return give(handle); }
EXPORT int cudnnDestroy(void *handle) { return free(handle), SUCCESS; }
EXPORT int cudnnSetStream(void) { return SUCCESS; }
EXPORT size_t cudnnGetVersion(void) { return 90201; }
EXPORT size_t cudnnGetCudartVersion(void) { return 12060; }
EXPORT int cudnnCreateConvolutionDescriptor(void **descriptor) { return give(descriptor); }
EXPORT int cudnnDestroyConvolutionDescriptor(void *descriptor) { return free(descriptor), SUCCESS; }
EXPORT int cudnnSetConvolutionNdDescriptor(void) { return SUCCESS; }
EXPORT int cudnnSetConvolutionGroupCount(void) { return SUCCESS; }
EXPORT int cudnnSetConvolutionMathType(void) { return SUCCESS; }
EXPORT int cudnnCreateTensorDescriptor(void **descriptor) { return give(descriptor); }
EXPORT int cudnnDestroyTensorDescriptor(void *descriptor) { return free(descriptor), SUCCESS; }
EXPORT int cudnnSetTensorNdDescriptor(void) { return SUCCESS; }
EXPORT int cudnnCreateFilterDescriptor(void **descriptor) { return give(descriptor); }
EXPORT int cudnnDestroyFilterDescriptor(void *descriptor) { return free(descriptor), SUCCESS; }
EXPORT int cudnnSetFilterNdDescriptor(void) { return SUCCESS; }
EXPORT int cudnnGetConvolutionForwardWorkspaceSize(void *handle, void *x, void *w, void *conv, void *y, int algorithm, size_t *size) {
  return (void)handle, (void)x, (void)w, (void)conv, (void)y, (void)algorithm, *size = 0, SUCCESS;
}
EXPORT int cudnnConvolutionForward(void) { return launch() || !is_exact() ? 5000 : SUCCESS; }
EXPORT const char *cudnnGetErrorString(int error) { return (void)error, "a stub's error"; }
