#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Runs a part of lab/hw.sh by itself, for tests/test_hw_rules.py and tests/test_hw_messages.py.
#
# usage: part.sh FILE NAME: print the variable NAME that FILE, a part of hw.sh, sets
#        part.sh FILE listed BINARY EXPECT CASE: print a case's entry in the list of known failures EXPECT
#        part.sh FILE explain FOLDER: print what hw.sh knows of the log FOLDER/boot
# shellcheck disable=SC1090  # a part of hw.sh
. "$1"
if [ "$2" = listed ]; then
	# shellcheck disable=SC2034  # hw.sh's function reads them
	binary=$3 expect=$4
	listed "$5"
elif [ "$2" = explain ]; then
	# shellcheck disable=SC2034
	tmp=$3
	explain
else
	eval "printf %s \"\$$2\""
fi
