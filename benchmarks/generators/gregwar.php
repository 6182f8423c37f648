<?php
// Draws labelled captchas with Gregwar's CaptchaBuilder as it is by default (Debian's package).
//
//     apt-get install php-cli php-gd php-gregwar-captcha
//     php benchmarks/generators/gregwar.php data/unseen 1000
//
// Into the folder gregwar, <label>_<number>.jpg: five characters, 150 x 40 pixels. See pypi.py.
error_reporting(E_ALL & ~E_DEPRECATED);
require '/usr/share/php/Gregwar/Captcha/autoload.php';

[, $folder, $count] = $argv;
@mkdir("$folder/gregwar", 0755, true);
for ($number = 0; $number < $count; $number++) {
    $builder = new Gregwar\Captcha\CaptchaBuilder;
    $builder->build();
    $builder->save(sprintf('%s/gregwar/%s_%04d.jpg', $folder, $builder->getPhrase(), $number));
}
echo "gregwar: $count images\n";
