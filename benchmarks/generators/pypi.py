"""Draw labelled captchas with generators of other people that pip installs, as they are by default.

    pip install captcha==0.7.1 easy-captcha-python==1.0.0 wheezy.captcha==3.2.2 \\
        multicolorcaptcha==1.2.0 Django==5.2.19 django-simple-captcha==0.7.0 claptcha==0.3.3 \\
        captchagen==0.1.0
    python benchmarks/generators/pypi.py data/unseen 1000
    python benchmarks/generators/pypi.py data/unseen 1000 captcha wheezy.captcha

Into a folder each, <label>_<number>.png or .jpg; without names, with all that are installed. Have
them in an environment of their own, which needs nothing of this project. claptcha wants a Pillow
before 10: pip install --target=/my/pillow9 Pillow==9.5.0, then PYTHONPATH=/my/pillow9.

benchmarks/unseen.py and self_taught.py read the folders. Nothing was ever trained with such images
before it was measured, and nothing should be.
"""

import io
import itertools
import random
import shutil
import string
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

Drawn = Iterator[tuple[str, bytes]]  # labels, and image files


def main() -> None:
    """Draw what the command line asks for."""
    if len(sys.argv) < 3:
        raise SystemExit("usage: pypi.py FOLDER COUNT [GENERATOR ...]")
    folder, count, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for name in names or list(GENERATORS):
        draw, suffix = GENERATORS[name]
        try:
            for number, (label, data) in enumerate(itertools.islice(draw(), count)):
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / f"{label}_{number:04d}.{suffix}").write_bytes(data)
        except (ImportError, AttributeError) as error:
            # It is not installed, or with a Pillow that it does not know.
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(f"{name}: {count} images")


def captcha() -> Drawn:
    """Four digits and capitals, as the package's documentation chooses them."""
    from captcha.image import ImageCaptcha

    generator = ImageCaptcha()
    while True:
        text = "".join(random.choices(string.digits + string.ascii_uppercase, k=4))
        yield text, generator.generate(text).getvalue()


def easy_captcha() -> Drawn:
    """Five characters in the first of its fonts."""
    from easy_captcha import SpecCaptcha

    while True:
        one, stream = SpecCaptcha(), io.BytesIO()
        one.out(stream)
        yield one.text(), stream.getvalue()


def captchagen() -> Drawn:
    """Four to six characters, turned, coloured, with noise; fonts of Debian's fonts-dejavu-core."""
    from CaptchaGen.CaptchaGen import CaptchaConfig, CaptchaGenerator

    with tempfile.TemporaryDirectory() as fonts:
        for name in ("DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono"):
            shutil.copy(f"/usr/share/fonts/truetype/dejavu/{name}.ttf", fonts)
        look = CaptchaConfig(rotate=True, noise=True, random_color=True)
        generator = CaptchaGenerator(fonts, look)
        while True:
            image, label = generator.generate()
            stream = io.BytesIO()
            image.convert("RGB").save(stream, "PNG")
            yield label, stream.getvalue()


def claptcha() -> Drawn:
    """Six capitals, which the package leaves to the caller, in the font of its documentation."""
    from claptcha import Claptcha

    one = Claptcha(lambda: "".join(random.choices(string.ascii_uppercase, k=6)), free_mono())
    while True:
        text, stream = one.bytes
        yield text, stream.getvalue()


def django_simple_captcha() -> Drawn:
    """Four letters, through its own view and store. Capitals are drawn, the answer is small."""
    import django
    from django.conf import settings

    memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(
        DATABASES={"default": memory}, INSTALLED_APPS=["captcha"], ROOT_URLCONF="captcha.urls",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True, SECRET_KEY="none",
    )  # fmt: skip
    django.setup()
    from captcha.models import CaptchaStore
    from captcha.views import captcha_image
    from django.core.management import call_command
    from django.test import RequestFactory

    call_command("migrate", verbosity=0)
    while True:
        key = CaptchaStore.generate_key()
        answer = captcha_image(RequestFactory().get("/"), key)
        yield CaptchaStore.objects.get(hashkey=key).response, answer.content


def multicolorcaptcha() -> Drawn:
    """Four digits, 640 x 360 pixels."""
    from multicolorcaptcha import CaptchaGenerator

    generator = CaptchaGenerator()
    while True:
        one, stream = generator.gen_captcha_image(), io.BytesIO()
        one.image.save(stream, "PNG")
        yield one.characters, stream.getvalue()


def wheezy_captcha() -> Drawn:
    """The drawings of the package's own sample; letters and JPEG as its CaptchaContext has them."""
    from wheezy.captcha import image

    letters = [image.warp(), image.rotate(), image.offset()]
    fonts = [free_mono("Bold"), "LiberationMono-Bold.ttf"]  # Debian's fonts-liberation has it
    text = image.text(fonts=fonts, drawings=letters)
    drawings = [image.background(), text, image.curve(), image.noise(), image.smooth()]
    draw = image.captcha(drawings=drawings)
    while True:
        label = "".join(random.sample("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 4))
        stream = io.BytesIO()
        draw(label).save(stream, "JPEG", quality=75)
        yield label, stream.getvalue()


def free_mono(style: str = "") -> str:
    """Return a font file, a Courier by another name, that multicolorcaptcha brings along."""
    import multicolorcaptcha

    folder = Path(multicolorcaptcha.__file__).parent / "fonts" / "freefont-20120503"
    return str(folder / f"FreeMono{style}.ttf")


# What draws, and the suffix of its files
GENERATORS: dict[str, tuple[Callable[[], Drawn], str]] = {
    "captcha": (captcha, "png"),
    "captchagen": (captchagen, "png"),
    "easy-captcha-python": (easy_captcha, "png"),
    "claptcha": (claptcha, "png"),
    "django-simple-captcha": (django_simple_captcha, "png"),
    "multicolorcaptcha": (multicolorcaptcha, "png"),
    "wheezy.captcha": (wheezy_captcha, "jpg"),
}


if __name__ == "__main__":
    main()
