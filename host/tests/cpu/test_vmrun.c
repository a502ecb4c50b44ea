#include "lib.h"
void t_vmrun(void) {}
