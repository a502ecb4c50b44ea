# SPDX-License-Identifier: GPL-2.0-or-later
#
# The emulated SEV-SNP host and nothing beside it: one machine, the devices
# that the lab boots with, and those that virtme-ng and kunit.py ask for.
# Configure with --without-default-devices --with-devices-x86_64=snplab.

CONFIG_Q35=y
CONFIG_AMD_IOMMU=y
CONFIG_AMD_SNP_HOST=y
CONFIG_AMD_PSP=y
CONFIG_EDU=y
CONFIG_HPET=y
CONFIG_ISA_DEBUG=y

CONFIG_PCIE_PORT=y

CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_9P=y
CONFIG_FSDEV_9P=y
CONFIG_WDT_IB6300ESB=y
