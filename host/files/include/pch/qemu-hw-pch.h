/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The headers that most devices begin with. meson compiles them twice: for
 * the files that all targets share, and for the files of the one target.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "trace/control.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
