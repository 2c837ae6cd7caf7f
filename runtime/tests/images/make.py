"""Images of kinds that the crate `image` cannot write, made by Pillow: 16 by 8 pixels, the left half red, the right half blue.

    python runtime/tests/images/make.py      needs Pillow
"""

import os

from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = (16, 8)


def put(image, name, **options):
    image.save(os.path.join(HERE, name), **options)


rgb = Image.new("RGB", SIZE, (255, 0, 0))
rgb.paste((0, 0, 255), (8, 0, 16, 8))
green = Image.new("RGB", SIZE, (0, 255, 0))

put(rgb.convert("CMYK"), "cmyk.jpg", quality=95)
put(rgb, "progressive.jpg", quality=95, progressive=True)
put(rgb.convert("P", palette=Image.Palette.ADAPTIVE), "palette.png")
put(rgb.convert("P", palette=Image.Palette.ADAPTIVE), "palette_alpha.png", transparency=0)
put(rgb.convert("P", palette=Image.Palette.ADAPTIVE), "palette.bmp")
put(rgb, "animated.gif", save_all=True, append_images=[green], duration=100)
put(rgb, "animated.webp", save_all=True, append_images=[green], duration=100, lossless=True)
put(rgb, "animated.png", save_all=True, append_images=[green], duration=100)
gray = Image.new("I;16", SIZE, 0x1234)
put(gray, "gray16.png")
put(Image.new("LA", SIZE, (18, 0)), "gray_alpha.png")
put(Image.new("1", SIZE, 1), "one_bit.png")
