#!/usr/bin/perl
# Draws labelled captchas with Authen::Captcha (Debian's package), as it draws them by default.
#
#     apt-get install libauthen-captcha-perl
#     perl benchmarks/generators/authen.pl data/unseen 1000
#
# Into the folder authen-captcha, <label>_<number>.png: six characters. See pypi.py.
use strict;
use warnings;
use Authen::Captcha;
use File::Copy 'copy';
use File::Path 'make_path';
use File::Temp 'tempdir';

my ($folder, $count) = @ARGV;
my $work = tempdir(CLEANUP => 1);
my $captcha = Authen::Captcha->new(data_folder => $work, output_folder => $work);

make_path("$folder/authen-captcha");
for my $number (0 .. $count - 1) {
    my ($token, $label) = $captcha->generate_code(6);
    my $file = sprintf '%s/authen-captcha/%s_%04d.png', $folder, $label, $number;
    copy("$work/$token.png", $file) or die $!;
}
print "authen-captcha: $count images\n";
