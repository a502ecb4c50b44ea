#include "lib.h"
void t_guest(void) {}
