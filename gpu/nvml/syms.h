/* SPDX-License-Identifier: MIT */
/*
 * All functions of libnvidia-ml.so.1 that are used, each once: RK_NVML_SYMBOLS(X) with X(need,
 * result, name, parameters), where need is REQUIRED or OPTIONAL. The declarations are the project's
 * own, because a toolkit need not have nvml.h. The loader (gpu/nvml/internal.h) and the tests' own
 * libnvidia-ml.so.1 (tests/fake_cuda) expand this list.
 */
#ifndef RK_GPU_NVML_SYMS_H
#define RK_GPU_NVML_SYMS_H

#ifdef NVML_API_VERSION
#error "nvml.h and gpu/nvml/syms.h declare the same functions"
#endif

typedef struct nvmlDevice_st *rk_nvml_device;

struct rk_nvml_memory {
	unsigned long long total;
	unsigned long long free;
	unsigned long long used;
};

struct rk_nvml_utilization {
	unsigned int gpu;    /* percent of the time since the last look */
	unsigned int memory; /* the same, of its memory's bus */
};

struct rk_nvml_pci {
	char bus_id_legacy[16];
	unsigned int domain;
	unsigned int bus;
	unsigned int device;
	unsigned int pci_device_id;
	unsigned int pci_subsystem_id;
	char bus_id[32];
};

typedef struct nvmlEventSet_st *rk_nvml_event_set;

struct rk_nvml_event {
	rk_nvml_device device;
	unsigned long long type; /* RK_NVML_EVENT_* */
	unsigned long long data; /* the Xid */
	unsigned int gpu_instance;
	unsigned int compute_instance;
};

/* What these functions return, as far as it matters here. */
enum {
	RK_NVML_SUCCESS = 0,
	RK_NVML_NOT_SUPPORTED = 3,
	RK_NVML_NO_PERMISSION = 4,
	RK_NVML_NOT_FOUND = 6,
	RK_NVML_DRIVER_NOT_LOADED = 9,
	RK_NVML_TIMEOUT = 10,
	RK_NVML_GPU_IS_LOST = 15,
	RK_NVML_UNKNOWN = 999,
};

/* Events of a device, as bits. */
#define RK_NVML_EVENT_DOUBLE_BIT_ECC 0x2ULL
#define RK_NVML_EVENT_XID	     0x8ULL

#define RK_NVML_ECC_UNCORRECTED 1 /* which errors */
#define RK_NVML_ECC_VOLATILE	0 /* since the driver was loaded */

#define RK_NVML_MIG_ENABLED	1  /* the GPU is divided: its instances are used instead of it */
#define RK_NVML_TEMPERATURE_GPU 0  /* which sensor */
#define RK_NVML_NAME_MAX	96 /* with its NUL */
#define RK_NVML_UUID_MAX	96 /* the same */

/* clang-format off */
#define RK_NVML_SYMBOLS(X)                                                                         \
	X(REQUIRED, int, nvmlInit_v2, (void))                                                       \
	X(REQUIRED, int, nvmlShutdown, (void))                                                      \
	X(REQUIRED, const char *, nvmlErrorString, (int result))                                    \
	X(REQUIRED, int, nvmlDeviceGetCount_v2, (unsigned int *count))                              \
	X(REQUIRED, int, nvmlDeviceGetHandleByIndex_v2, (unsigned int index, rk_nvml_device *device)) \
	X(REQUIRED, int, nvmlDeviceGetName, (rk_nvml_device device, char *name, unsigned int size)) \
	X(REQUIRED, int, nvmlDeviceGetUUID, (rk_nvml_device device, char *uuid, unsigned int size)) \
	X(REQUIRED, int, nvmlDeviceGetMemoryInfo, (rk_nvml_device device, struct rk_nvml_memory *memory)) \
	X(OPTIONAL, int, nvmlDeviceGetUtilizationRates,                                             \
	  (rk_nvml_device device, struct rk_nvml_utilization *utilization))                         \
	X(OPTIONAL, int, nvmlDeviceGetTemperature,                                                  \
	  (rk_nvml_device device, int sensor, unsigned int *celsius))                               \
	X(OPTIONAL, int, nvmlDeviceGetPowerUsage, (rk_nvml_device device, unsigned int *milliwatts)) \
	X(OPTIONAL, int, nvmlDeviceGetPciInfo_v3, (rk_nvml_device device, struct rk_nvml_pci *pci)) \
	X(OPTIONAL, int, nvmlDeviceGetTotalEccErrors,                                               \
	  (rk_nvml_device device, int errors, int counter, unsigned long long *count))              \
	X(OPTIONAL, int, nvmlDeviceGetRemappedRows,                                                 \
	  (rk_nvml_device device, unsigned int *correctable, unsigned int *uncorrectable,           \
	   unsigned int *is_pending, unsigned int *failed))                                         \
	X(OPTIONAL, int, nvmlDeviceGetMigMode,                                                      \
	  (rk_nvml_device device, unsigned int *current, unsigned int *pending))                    \
	X(OPTIONAL, int, nvmlDeviceGetMaxMigDeviceCount, (rk_nvml_device device, unsigned int *count)) \
	X(OPTIONAL, int, nvmlDeviceGetMigDeviceHandleByIndex,                                       \
	  (rk_nvml_device device, unsigned int index, rk_nvml_device *instance))                    \
	X(OPTIONAL, int, nvmlEventSetCreate, (rk_nvml_event_set *set))                              \
	X(OPTIONAL, int, nvmlDeviceRegisterEvents,                                                  \
	  (rk_nvml_device device, unsigned long long types, rk_nvml_event_set set))                 \
	X(OPTIONAL, int, nvmlEventSetWait_v2,                                                       \
	  (rk_nvml_event_set set, struct rk_nvml_event *event, unsigned int timeout_ms))            \
	X(OPTIONAL, int, nvmlEventSetFree, (rk_nvml_event_set set))
/* clang-format on */

/* For the types; nothing links against them. */
#define X(need, result, name, parameters) result name parameters;
RK_NVML_SYMBOLS(X)
#undef X

#endif
