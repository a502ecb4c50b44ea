/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The headers that most files of a library without devices begin with.
 * meson compiles them once for each such library.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "trace/control.h"
