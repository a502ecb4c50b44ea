#!/usr/bin/env perl
# SPDX-License-Identifier: GPL-2.0-only
# Stands in for the kernel's get_maintainer.pl: prints people and lists for files of the tests' small kernel.
use strict;
use warnings;

my @rules = (
	[qr{^kernel/a\.c$}, m => 'First Maintainer <first@example.org>', r => '"Viewer, Re" <re@example.org>'],
	[qr{^kernel/b\.c$}, m => 'Jürgen Groß <second@example.org>', m => 'A Tester <TESTER@example.org>'],
	[qr{^kernel/}, l => 'kvm@vger.kernel.org', l => 'linux-kernel@vger.kernel.org (open list)'],
);
# A .get_maintainer.conf in the user's home would change the output.
die "HOME is somebody's\n" if -d $ENV{HOME};
my %want = (m => 1, r => 1, l => 1);
my ($separator, $patch, %seen) = ("\n");
for (@ARGV) {
	if (/^--(no-)?([mrl])$/) { $want{$2} = !$1 }
	elsif (/^--separator=(.*)$/s) { $separator = $1 }
	elsif (!/^--/) { $patch = $_ }
}
open my $f, "<", $patch or die "$patch: $!\n";
my @files = map { m{^\+\+\+ b/(\S+)} ? $1 : () } <$f>;
my @found;
for my $rule (@rules) {
	my ($files, @who) = @$rule;
	next unless grep { $_ =~ $files } @files;
	while (my ($kind, $address) = splice @who, 0, 2) {
		push @found, $address if $want{$kind} && !$seen{$address}++;
	}
}
print join($separator, @found), "\n" if @found;
