#include "vf_hooks.h"

_Thread_local uint64_t vf_hooks_fired __attribute__((tls_model("initial-exec")));
