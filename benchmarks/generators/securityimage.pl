#!/usr/bin/perl
# Draws labelled captchas with GD::SecurityImage (Debian's package).
#
#     apt-get install libgd-securityimage-perl fonts-dejavu-core fonts-liberation fonts-staypuft
#     perl benchmarks/generators/securityimage.pl data/unseen 1000
#
# Into the folder securityimage, <label>_<number>.png: six digits, the module's default text. It has
# no default look; layouts, styles and colours are those of its examples/demo.pl, one of each drawn
# for every image. See pypi.py.
use strict;
use warnings;
use File::Path 'make_path';
use GD::SecurityImage;

my ($folder, $count) = @ARGV;
my @fonts = map { "/usr/share/fonts/truetype/$_.ttf" } qw(
    dejavu/DejaVuSans dejavu/DejaVuSans-Bold liberation/LiberationSans-Regular
    liberation/LiberationSerif-Bold liberation/LiberationMono-Bold staypuft/StayPuft);
my @layouts = (
    { width => 220, height => 90,  ptsize => 30 },
    { width => 360, height => 110, ptsize => 25, scramble => 1 },
    { width => 360, height => 90,  ptsize => 25, scramble => 1, angle => 30 },
);
# Style, lines, colours of ground (if not the default), text and lines, particles
my @styles = (
    [ 'ec',      16, [0, 0, 0],       [84, 207, 112],  [0, 0, 0],       [1000] ],
    [ 'ellipse', 15, [208, 202, 206], [184, 20, 180],  [184, 20, 180],  [2000] ],
    [ 'circle',  40, [210, 215, 196], [63, 143, 167],  [210, 215, 196], [3500] ],
    [ 'box',     6,  undef,           [245, 240, 220], [115, 115, 115], [3000, 2] ],
    [ 'rect',    30, undef,           [63, 143, 167],  [226, 223, 169], [2000] ],
    [ 'default', 10, undef,           [68, 150, 125],  [255, 0, 0],     [5000] ],
);

make_path("$folder/securityimage");
for my $number (0 .. $count - 1) {
    my ($style, $lines, $ground, $text, $line, $particles) = @{ $styles[rand @styles] };
    my $image = GD::SecurityImage->new(
        lines => $lines, font => $fonts[rand @fonts], send_ctobg => 1,
        $ground ? (bgcolor => $ground) : (), %{ $layouts[rand @layouts] });
    $image->random->create(ttf => $style, $text, $line)->particle(@$particles);
    my ($data, undef, $label) = $image->out(force => 'png');
    open my $file, '>:raw', sprintf('%s/securityimage/%s_%04d.png', $folder, $label, $number) or die $!;
    print $file $data;
    close $file or die $!;
}
print "securityimage: $count images\n";
