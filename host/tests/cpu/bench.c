#include "lib.h"
void bench(void) {}
