# SPDX-License-Identifier: GPL-2.0
include $(BR2_EXTERNAL_SHMBUF_PATH)/package/shmbuf/shmbuf.mk
