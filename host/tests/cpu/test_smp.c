#include "lib.h"
void t_smp(void) {}
