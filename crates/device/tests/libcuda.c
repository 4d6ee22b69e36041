/* A driver that finds FAKE_CUDA_DEVICES devices and computes nothing; without that variable it does not start. */
#include <stdlib.h>

int cuInit(unsigned flags) {
    (void)flags;
    return getenv("FAKE_CUDA_DEVICES") ? 0 : 100; /* CUDA_ERROR_NO_DEVICE */
}

int cuDeviceGetCount(int *count) {
    *count = atoi(getenv("FAKE_CUDA_DEVICES"));
    return 0;
}
