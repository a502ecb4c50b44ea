#!/usr/bin/env perl
# SPDX-License-Identifier: GPL-2.0-only
# Stands in for the kernel's checkpatch.pl: it reports full-length commit ids, and a missing sign-off.
use strict;
use warnings;

my ($mail) = grep { !/^--/ && !/^UNKNOWN_COMMIT_ID$/ } @ARGV;
my ($bad, $signed) = (0, 0);
open my $f, "<", $mail or die "$mail: $!\n";
while (<$f>) {
	$signed = 1 if /^Signed-off-by: /;
	next unless /[0-9a-f]{40} ?\]|commit [0-9a-f]{40}/;
	print "$mail:$.: ERROR:GIT_COMMIT_ID: Please use git commit description style\n";
	$bad = 1;
}
if (!$signed) {
	print "$mail:1: ERROR:MISSING_SIGN_OFF: Missing Signed-off-by: line(s)\n";
	$bad = 1;
}
exit $bad;
