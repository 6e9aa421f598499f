/* nccl_emu.h -- the part of NCCL that kernels/nccl.cu uses, for the emulation: between processes through MPI, within one
 * by copies (nccl.cpp). Stricter than NCCL: the group is left only when all is there; a message of another size than the
 * one that is waited for, or one that overlaps another of the same group, ends the program. */
#ifndef SKY_TESTS_NCCL_EMU_H
#define SKY_TESTS_NCCL_EMU_H

#include "emulate/cuda_emu.h"

#define SKY_NCCL_LIBRARY NULL /* the program itself */

typedef struct emu_nccl *ncclComm_t;
typedef struct {
    char internal[128];
} ncclUniqueId;
enum ncclResult_t { ncclSuccess = 0, ncclInvalidUsage = 5 };
enum ncclDataType_t { ncclInt8 = 0 };

extern "C" {
ncclResult_t ncclGetVersion(int *version);
const char *ncclGetErrorString(ncclResult_t rc);
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *c, int ranks, ncclUniqueId id, int rank);
ncclResult_t ncclCommDestroy(ncclComm_t c);
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);
ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t t, int peer, ncclComm_t c, cudaStream_t s);
ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t t, int peer, ncclComm_t c, cudaStream_t s);
}

#endif
